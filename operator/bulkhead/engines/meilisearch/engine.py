"""The search engine on Meilisearch: looks, decides by the rules of `decide`, acts one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import ClassVar

from bulkhead.api.data_plane import SearchEndpoint
from bulkhead.api.names import PhysicalNames
from bulkhead.api.ownership import Stamp
from bulkhead.api.record import Credential, EngineName, Holding
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.binding import reached_by
from bulkhead.engines.contract import Access, Conflict, Decision, Do, EngineChanged, Request, Server, ServerRequest
from bulkhead.engines.errors import Refused, Unavailable
from bulkhead.engines.http import HttpClient
from bulkhead.engines.meilisearch import decide as rules
from bulkhead.engines.meilisearch import probe
from bulkhead.engines.meilisearch.api import MeilisearchApi
from bulkhead.engines.meilisearch.decide import REGISTER, Marker, Owner, Seen, SeenIndex, SeenServer, Wanted
from bulkhead.engines.meilisearch.errors import RIGHTS
from bulkhead.engines.meilisearch.keys import Key, issue, key_uid, key_value, master_fingerprint
from bulkhead.engines.meilisearch.steps import (
    CancelTasks,
    ConfigureIndex,
    CreateIndex,
    CreateKey,
    DeleteIndex,
    DeleteKey,
    DeleteTasks,
    MeilisearchStep,
    ReleaseIndexes,
    StampIndexes,
    WriteIdentity,
)


class MeilisearchEngine:
    """One Meilisearch server. Implements `Engine[Seen, SeenServer]`."""

    name: ClassVar[EngineName] = EngineName.SEARCH

    def __init__(
        self, endpoint: SearchEndpoint, master_key: Sensitive, ca_pem: str | None, *, installation: str
    ) -> None:
        """`master_key`: the server's own, from which keys derive. `ca_pem`: None for the system's CAs."""
        self._url = endpoint.url
        self._master_key = master_key
        self._ca_pem = ca_pem
        self._installation = installation
        bearer = Sensitive(f"Bearer {master_key.reveal()}")
        self._client = HttpClient(endpoint.url, ca_pem=ca_pem, headers={"Authorization": bearer})
        self._api = MeilisearchApi(self._client)

    async def close(self) -> None:
        await self._client.close()

    async def ping(self) -> None:
        await self._api.version()

    async def observe_server(self, request: ServerRequest) -> SeenServer:  # noqa: ARG002 - part of the contract
        version = await self._api.version()
        probe.require_release(version)
        await probe.require_locked(self._api, self._master_key)
        await probe.require_master(self._api, self._master_key)
        await probe.require_safe_features(self._api)
        marker, _ = await self._api.register(())
        occupied = marker is None and not await self._api.is_empty(REGISTER)
        return SeenServer(version=version, marker=marker, occupied=occupied)

    def server_of(self, seen: SeenServer) -> Server:
        return Server(identity=seen.identity, version=seen.version, advisories=(probe.LEAK,))

    def decide_server(self, request: ServerRequest, seen: SeenServer) -> Decision:
        return rules.decide_server(request, seen)

    def credentials(
        self,
        names: PhysicalNames,  # noqa: ARG002 - part of the contract
        stamp: Stamp,
        holding: Holding,
        now: datetime,  # noqa: ARG002 - part of the contract: these do not expire
    ) -> tuple[Credential, ...]:
        signed_by = master_fingerprint(self._master_key)
        kept = holding.credentials
        renewed = tuple(c if c.signed_by == signed_by else issue(self._master_key, stamp, c.generation) for c in kept)
        return renewed or (issue(self._master_key, stamp, 1),)

    async def observe(self, request: Request) -> Seen:
        wanted = rules.wanted_of(request)
        (marker, owners), indexes, (keys, strangers) = await asyncio.gather(
            self._api.register(wanted.names), self._indexes(wanted.names), self._keys(request, wanted)
        )
        if not (marker or request.holding.server) and request.access is Access.OPEN:
            raise Unavailable("while looking at Meilisearch: it is not prepared yet; its DataPlane does that first")
        server = marker.identity if marker else ""
        indexes = await self._emptiness(indexes, owners)
        seen = Seen(server=server, indexes=indexes, owners=owners, keys=keys, strangers=strangers)
        if request.access is Access.OPEN and not request.closely and rules.opens_anew(wanted, seen):
            keys, strangers = await self._all_keys(request, wanted)
            return replace(seen, keys=keys, strangers=strangers)
        names = rules.removable(wanted, seen) if request.access is Access.CUT else ()
        if not names:
            return seen
        waiting, tasks = await asyncio.gather(
            self._api.count_tasks(names, waiting=True), self._api.count_tasks(names, waiting=False)
        )
        return replace(seen, waiting_tasks=waiting, tasks=tasks)

    def decide(self, request: Request, seen: Seen) -> Decision:
        return rules.decide(rules.wanted_of(request), seen)

    def decide_removal(self, request: Request, seen: Seen) -> Do | Conflict | EngineChanged:
        return rules.decide_removal(rules.wanted_of(request), seen)

    async def act(self, step: MeilisearchStep) -> None:
        match step:
            case WriteIdentity(stamp, identity):
                await self._api.write_identity(Marker(str(stamp), identity))
            case CreateIndex(name):
                await self._api.create_index(name)
            case StampIndexes(stamp, names):
                await self._stamp(stamp, names)
            case ConfigureIndex(name):
                await self._api.configure_index(name)
            case CreateKey(key):
                await self._create_key(key)
            case DeleteKey(uid):
                await self._api.delete_key(uid)
            case CancelTasks() | DeleteIndex() | DeleteTasks() | ReleaseIndexes():
                await self._erase(step)

    def binding(self, request: Request) -> Mapping[str, str]:
        return {
            **reached_by(self._url, "meilisearch", "meilisearch", self._ca_pem),
            "api-key": request.published.value.reveal(),
            "indexes": ",".join(request.names.indexes),
            "primary-key": rules.PRIMARY_KEY,
        }

    def fingerprint(self, request: Request) -> str:
        wanted = rules.wanted_of(request)
        return rules.digest(wanted.indexes, wanted.keys(wanted.indexes))

    async def survey(self) -> Mapping[str, str]:
        created = {index.uid: index.created_at async for index in self._api.indexes()}
        owners = {name: owner async for name, owner in self._api.owners()}
        keys = [key async for key in self._api.all_keys()]
        return rules.surveyed(self._installation, created, owners, keys)

    async def _indexes(self, names: Iterable[str]) -> dict[str, SeenIndex]:
        found = await asyncio.gather(*(self._index(name) for name in names))
        return {name: index for name, index in zip(names, found, strict=True) if index}

    async def _index(self, name: str) -> SeenIndex | None:
        index = await self._api.index(name)
        if index is None:
            return None
        settings = await self._api.settings(name)
        configured = settings is not None and settings.as_wanted
        return SeenIndex(created_at=index.created_at, primary_key=index.primary_key, empty=False, configured=configured)

    async def _emptiness(self, indexes: Mapping[str, SeenIndex], owners: Mapping[str, Owner]) -> dict[str, SeenIndex]:
        """`indexes`, with those counted that no stamp tells whose they are."""
        unsure = [name for name, index in indexes.items() if not rules.stamped(index, owners.get(name))]
        empty = await asyncio.gather(*map(self._api.is_empty, unsure))
        counted = dict(zip(unsure, empty, strict=True))
        return {name: replace(index, empty=counted.get(name, False)) for name, index in indexes.items()}

    async def _keys(self, request: Request, wanted: Wanted) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
        """Ours, and those of others for one of our names. By generation while access is open: all that the record can
        know of. All keys of the server at a close look and where access is cut: one that an older copy of the record
        does not know would open what a successor gets under these names."""
        if request.closely or request.access is Access.CUT:
            return await self._all_keys(request, wanted)
        found = await asyncio.gather(*map(self._api.key, _uids(request)))
        return tuple(filter(None, found)), ()

    async def _all_keys(self, request: Request, wanted: Wanted) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
        uids, ours, strangers = _uids(request), [], []
        async for key in self._api.all_keys():
            if key.uid in uids or key.name == str(request.stamp):
                ours.append(key)
            elif any(map(key.names, wanted.names)):
                strangers.append(key)
        return tuple(ours), tuple(strangers)

    async def _stamp(self, stamp: Stamp, names: tuple[str, ...]) -> None:
        found = dict(zip(names, await asyncio.gather(*map(self._api.index, names)), strict=True))
        gone = ", ".join(name for name, index in found.items() if index is None)
        if gone:
            raise Unavailable(f"while stamping indexes: gone since they were made: {gone}")
        await self._api.write_owners(
            {name: Owner(str(stamp), index.created_at) for name, index in found.items() if index}
        )

    async def _erase(self, step: CancelTasks | DeleteIndex | DeleteTasks | ReleaseIndexes) -> None:
        match step:
            case CancelTasks(names):
                await self._api.cancel_tasks(names)
            case DeleteIndex(name):
                await self._api.delete_index(name)
            case DeleteTasks(names):
                await self._api.delete_tasks(names)
            case ReleaseIndexes(names):
                await self._api.delete_owners(names)

    async def _create_key(self, key: Key) -> None:
        value = await self._api.create_key(key)
        if value is not None and value != key_value(self._master_key, key.uid):
            raise Refused(f"while creating key {key.uid}: the server gave it another value than derived: {RIGHTS}")


def _uids(request: Request) -> tuple[str, ...]:
    """Of the keys of every generation up to the newest that the record knows."""
    newest = max((credential.generation for credential in request.holding.credentials), default=0)
    return tuple(key_uid(request.stamp, generation) for generation in range(1, newest + 1))
