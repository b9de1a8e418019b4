"""The requests to Meilisearch that we need, each with the shape of its answer (1.48.3 and later).

What changes an index is a task in the one queue of the server: a call here ends when its task has, and raises where
that failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.errors import Refused, Unavailable
from bulkhead.engines.http import ANSWER_SECONDS, ERASE_SECONDS, HttpClient, Reply, decoded
from bulkhead.engines.meilisearch.decide import FILTERABLE, PRIMARY_KEY, REGISTER, SORTABLE, Marker, Owner
from bulkhead.engines.meilisearch.errors import Failure, error_of, failure_of, task_error
from bulkhead.engines.meilisearch.keys import Key

PAGE = 1000
IDENTITY_ID = "server"
"""Id of the marker in the register. The others are names of indexes, which hold an underscore."""
_POLL_FIRST, _POLL_LONGEST = 0.01, 0.25
"""Seconds before the first look at a task, when most have ended, and at most between two later ones, which double."""
CANCELLED = Failure("somebody cancelled it", "canceled", "system")
"""A cancelled task holds no error of its own; trying again helps."""

T = TypeVar("T")


class Index(msgspec.Struct, frozen=True, rename="camel"):
    uid: str
    created_at: str
    primary_key: str | None = None


class Settings(msgspec.Struct, frozen=True, rename="camel"):
    filterable_attributes: list[Any] = []
    sortable_attributes: list[str] = []

    @property
    def as_wanted(self) -> bool:
        return _same(self.filterable_attributes, FILTERABLE) and _same(self.sortable_attributes, SORTABLE)


class KeyAnswer(msgspec.Struct, frozen=True, rename="camel"):
    uid: str
    key: Sensitive
    actions: list[str]
    indexes: list[str]
    name: str | None = None
    expires_at: str | None = None

    @property
    def described(self) -> Key:
        return Key(self.uid, self.name or "", tuple(sorted(self.actions)), tuple(sorted(self.indexes)), self.expires_at)


class _Document(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    stamp: str = ""
    identity: str = ""
    created_at: str = ""


class _Stats(msgspec.Struct, frozen=True, rename="camel"):
    number_of_documents: int


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    pkg_version: str


class _Enqueued(msgspec.Struct, frozen=True, rename="camel"):
    task_uid: int


class _Task(msgspec.Struct, frozen=True):
    status: str
    error: Failure | None = None


class _Total(msgspec.Struct, frozen=True):
    total: int


class MeilisearchApi:
    """Raises Unavailable, Refused or Insecure, saying what failed while doing what."""

    def __init__(self, client: HttpClient, *, patience: float = ANSWER_SECONDS) -> None:
        """`patience`: seconds for a task to end, where it does not erase."""
        self._client = client
        self._patience = patience

    async def version(self) -> str:
        return (await self._got("/version", "asking Meilisearch for its version", _Version)).pkg_version

    async def experimental_features(self) -> Mapping[str, Any]:
        return await self._got("/experimental-features", "asking for experimental features", dict[str, Any])

    async def answers_to(self, headers: Mapping[str, Sensitive], path: str) -> Reply:
        """What the server answers to somebody with these headers and no others."""
        return await self._client.call("GET", path, doing="trying what Meilisearch refuses", headers=headers)

    async def index(self, name: str) -> Index | None:
        return await self._found(_path(name), f'looking at index "{name}"', Index)

    async def indexes(self) -> AsyncIterator[Index]:
        async for page in self._pages("/indexes", "listing indexes", list[Index]):
            for index in page:
                yield index

    async def settings(self, name: str) -> Settings | None:
        return await self._found(f"{_path(name)}/settings", f'reading settings of index "{name}"', Settings)

    async def is_empty(self, name: str) -> bool:
        """True also where there is none."""
        stats = await self._found(f"{_path(name)}/stats", f'counting documents of index "{name}"', _Stats)
        return stats is None or stats.number_of_documents == 0

    async def create_index(self, name: str) -> None:
        """Success too where there is one that holds nothing."""
        doing, body = f'creating index "{name}"', {"uid": name, "primaryKey": PRIMARY_KEY}
        made = await self._done("POST", "/indexes", doing, body, fine="index_already_exists")
        if not made and not await self.is_empty(name):
            raise Refused(f"while {doing}: somebody else made and filled it in the same moment")

    async def configure_index(self, name: str) -> None:
        """An index that went in the same moment is made by this, empty. Its time of creation is then not the one in
        the register, so the loss shows at the next look."""
        body = {"filterableAttributes": FILTERABLE, "sortableAttributes": SORTABLE}
        await self._done("PATCH", f"{_path(name)}/settings", f'configuring index "{name}"', body)

    async def delete_index(self, name: str) -> None:
        """Success too where there is none."""
        doing = f'deleting index "{name}"'
        await self._done("DELETE", _path(name), doing, fine="index_not_found", seconds=ERASE_SECONDS)

    async def count_tasks(self, indexes: Iterable[str], *, waiting: bool) -> int:
        only = "&statuses=enqueued,processing" if waiting else ""
        path = f"/tasks?limit=1&{_of(indexes)}{only}"
        return (await self._got(path, "counting tasks", _Total)).total

    async def cancel_tasks(self, indexes: Iterable[str]) -> None:
        path = f"/tasks/cancel?statuses=enqueued,processing&{_of(indexes)}"
        await self._done("POST", path, "cancelling waiting tasks", seconds=ERASE_SECONDS)

    async def delete_tasks(self, indexes: Iterable[str]) -> None:
        """Those that are done; the server keeps the others."""
        path = f"/tasks?statuses=succeeded,failed,canceled&{_of(indexes)}"
        await self._done("DELETE", path, "deleting the history of tasks", seconds=ERASE_SECONDS)

    async def key(self, uid: str) -> Key | None:
        found = await self._found(f"/keys/{uid}", f"looking at key {uid}", KeyAnswer)
        return found.described if found else None

    async def all_keys(self) -> AsyncIterator[Key]:
        async for page in self._pages("/keys", "listing keys", list[KeyAnswer]):
            for key in page:
                yield key.described

    async def any_key(self) -> KeyAnswer | None:
        """Some key with its value."""
        doing = "looking at a key"
        reply = await self._client.call("GET", "/keys?limit=1", doing=doing)
        return next(iter(self._page(reply, list[KeyAnswer], doing)), None)

    async def create_key(self, key: Key) -> Sensitive | None:
        """The value that the server gave it; None where there is one with that uid."""
        doing = f"creating key {key.uid}"
        body = {
            "uid": key.uid,
            "name": key.name,
            "actions": key.actions,
            "indexes": key.indexes,
            "expiresAt": key.expires_at,
        }
        reply = await self._client.call("POST", "/keys", doing=doing, body=body)
        if failure_of(reply).code == "api_key_already_exists":
            return None
        return self._read(reply, KeyAnswer, doing).key

    async def delete_key(self, uid: str) -> None:
        """Success too where there is none."""
        doing = f"deleting key {uid}"
        reply = await self._client.call("DELETE", f"/keys/{uid}", doing=doing)
        if not (reply.good or reply.status == 404):
            raise error_of(reply, doing)

    async def register(self, names: Iterable[str]) -> tuple[Marker | None, Mapping[str, Owner]]:
        """The marker and the owners of `names`; none of either where there is no register."""
        doing = "reading the operator's register"
        ids = [IDENTITY_ID, *names]
        body = {"ids": ids, "limit": len(ids)}
        reply = await self._client.call("POST", f"{_path(REGISTER)}/documents/fetch", doing=doing, body=body)
        documents = [] if reply.status == 404 else self._page(reply, list[_Document], doing)
        marker = next((Marker(each.stamp, each.identity) for each in documents if each.id == IDENTITY_ID), None)
        return marker, _owners(documents)

    async def owners(self) -> AsyncIterator[tuple[str, Owner]]:
        """All names in the register, page by page."""
        path, doing = f"{_path(REGISTER)}/documents", "reading the operator's register"
        async for page in self._pages(path, doing, list[_Document]):
            for name, owner in _owners(page).items():
                yield name, owner

    async def write_identity(self, marker: Marker) -> None:
        """Makes the register too, in the same task."""
        await self._write([{"id": IDENTITY_ID, "stamp": marker.mark, "identity": marker.identity}])

    async def write_owners(self, owners: Mapping[str, Owner]) -> None:
        documents = ({"id": name, "stamp": it.mark, "createdAt": it.created_at} for name, it in owners.items())
        await self._write(list(documents))

    async def delete_owners(self, names: Iterable[str]) -> None:
        """Success too where there is no register."""
        path, doing = f"{_path(REGISTER)}/documents/delete-batch", "removing stamps from the operator's register"
        await self._done("POST", path, doing, list(names), fine="index_not_found")

    async def _write(self, documents: list[dict[str, str]]) -> None:
        path = f"{_path(REGISTER)}/documents?primaryKey={PRIMARY_KEY}"
        await self._done("POST", path, "writing the operator's register", documents)

    async def _got(self, path: str, doing: str, kind: type[T]) -> T:
        return self._read(await self._client.call("GET", path, doing=doing), kind, doing)

    async def _found(self, path: str, doing: str, kind: type[T]) -> T | None:
        reply = await self._client.call("GET", path, doing=doing)
        return None if reply.status == 404 else self._read(reply, kind, doing)

    async def _pages(self, path: str, doing: str, kind: type[list[T]]) -> AsyncIterator[list[T]]:
        offset = 0
        while True:
            reply = await self._client.call("GET", f"{path}?limit={PAGE}&offset={offset}", doing=doing)
            page = self._page(reply, kind, doing)
            yield page
            offset += PAGE
            if len(page) < PAGE:
                return

    async def _done(
        self,
        method: str,
        path: str,
        doing: str,
        body: object = None,
        *,
        fine: str = "",
        seconds: float | None = None,
    ) -> bool:
        """Queue a task and wait for its end. True: it succeeded; False: it failed with `fine`, the code of a failure
        that leaves things as they should be."""
        reply = await self._client.call(method, path, doing=doing, body=body)
        if fine and not reply.good and failure_of(reply).code == fine:
            return False
        task = self._read(reply, _Enqueued, doing).task_uid
        failure = await self._ended(task, doing, self._patience if seconds is None else seconds)
        if failure is not None and failure.code != fine:
            raise task_error(failure, doing)
        return failure is None

    async def _ended(self, task: int, doing: str, seconds: float) -> Failure | None:
        """How the task failed; None: it succeeded. Raises Unavailable where it does not end in time."""
        pause = _POLL_FIRST
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await asyncio.sleep(pause)
                    seen = await self._got(f"/tasks/{task}", doing, _Task)
                    if seen.status not in {"enqueued", "processing"}:
                        return None if seen.status == "succeeded" else seen.error or CANCELLED
                    pause = min(2 * pause, _POLL_LONGEST)
        except TimeoutError:
            raise Unavailable(f"while {doing}: task {task} still waits: another one holds the server's queue") from None

    @staticmethod
    def _read(reply: Reply, kind: type[T], doing: str) -> T:
        if not reply.good:
            raise error_of(reply, doing)
        return decoded(reply, kind, doing)

    @classmethod
    def _page(cls, reply: Reply, kind: type[list[T]], doing: str) -> list[T]:
        results = cls._read(reply, dict[str, msgspec.Raw], doing).get("results", b"null")
        return decoded(Reply(reply.status, bytes(results)), kind, doing)


def _path(name: str) -> str:
    return f"/indexes/{quote(name, safe='')}"


def _of(indexes: Iterable[str]) -> str:
    return "indexUids=" + ",".join(quote(name, safe="") for name in indexes)


def _owners(documents: Iterable[_Document]) -> dict[str, Owner]:
    return {each.id: Owner(each.stamp, each.created_at) for each in documents if each.id != IDENTITY_ID}


def _same(found: list[Any], wanted: Iterable[str]) -> bool:
    """Whether both hold the same names; what is no name, such as a pattern with options, is a difference."""
    names = [name for name in found if isinstance(name, str)]
    return len(names) == len(found) and sorted(names) == sorted(wanted)
