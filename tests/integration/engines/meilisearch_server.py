"""A Meilisearch for the tests of its engine, and the tenant's side of it: plain HTTP with a key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from bulkhead.api.data_plane import SearchEndpoint
from bulkhead.api.meta import LocalRef
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.http import HttpClient
from bulkhead.engines.meilisearch.engine import MeilisearchEngine
from hack.plane.plane import Part, Plane, PlaneOptions
from hack.plane.search import Meilisearch as Server
from tests.integration.engines.tenant import INSTALLATION

DEADLINE_SECONDS = 20


@asynccontextmanager
async def running_server() -> AsyncIterator[Server]:
    """A server of our own, for the time of the block."""
    async with Plane.start(PlaneOptions(parts=frozenset({Part.MEILISEARCH}), fsync=False)) as plane:
        yield plane.meilisearch


@asynccontextmanager
async def engine_of(server: Server, **changes: str) -> AsyncIterator[MeilisearchEngine]:
    """The engine as its administrator opens it. `changes`: another key, CA or address."""
    engine = MeilisearchEngine(
        SearchEndpoint(url=changes.get("url", server.url), admin_secret_ref=LocalRef(name="meilisearch-admin")),
        Sensitive(changes.get("master_key", server.master_key)),
        changes.get("ca_pem", server.ca_pem),
        installation=INSTALLATION,
    )
    try:
        yield engine
    finally:
        await engine.close()


async def restart(server: Server, *arguments: str, master_key: str) -> None:
    """Start the server again with more arguments and this master key, none where it is empty."""
    await server.stop()
    former = server._launch
    env = {name: value for name, value in former.env.items() if name != "MEILI_MASTER_KEY"}
    keyed = {**env, "MEILI_MASTER_KEY": master_key} if master_key else env
    server._launch = replace(former, argv=[*former.argv, *arguments], env=keyed)
    await server.start()


@dataclass(frozen=True)
class Answer:
    status: int
    text: str

    @property
    def body(self) -> Any:
        return msgspec.json.decode(self.text)


class Client:
    """Whoever speaks to the server with a key."""

    def __init__(self, server: Server, key: str) -> None:
        bearer = {"Authorization": Sensitive(f"Bearer {key}")}
        self._http = HttpClient(server.url, ca_pem=server.ca_pem, headers=bearer)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self._http.close()

    async def ask(self, method: str, path: str, body: object = None) -> Answer:
        reply = await self._http.call(method, path, doing="a test", body=body)
        return Answer(reply.status, reply.body.decode())

    async def done(self, method: str, path: str, body: object = None) -> str:
        """Ask and wait for the task, as only an administrator can; returns its status."""
        task = (await self.ask(method, path, body)).body["taskUid"]
        ended = {"succeeded", "failed", "canceled"}
        seen = await self._until(f"/tasks/{task}", lambda answer: answer.body["status"] in ended)
        return str(seen.body["status"])

    async def add(self, index: str, **document: str) -> None:
        """Add the document and wait until it is there, as a tenant can."""
        assert (await self.ask("POST", f"/indexes/{index}/documents", [document])).status == 202
        await self._until(f"/indexes/{index}/documents/{document['id']}", lambda answer: answer.status == 200)

    async def _until(self, path: str, fits: Callable[[Answer], bool]) -> Answer:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                answer = await self.ask("GET", path)
                if fits(answer):
                    return answer
                await asyncio.sleep(0.01)

    async def search(self, index: str, **query: object) -> Answer:
        return await self.ask("POST", f"/indexes/{index}/search", query)

    async def indexes(self) -> set[str]:
        return {index["uid"] for index in (await self.ask("GET", "/indexes?limit=1000")).body["results"]}

    async def keys(self) -> list[dict[str, Any]]:
        """Those that are not the server's own."""
        listed = (await self.ask("GET", "/keys?limit=1000")).body["results"]
        return [key for key in listed if not str(key["name"]).startswith("Default ")]

    async def count_tasks(self, *indexes: str) -> int:
        return int((await self.ask("GET", f"/tasks?limit=1&indexUids={','.join(indexes)}")).body["total"])


async def sweep(admin: Client) -> None:
    """Remove all indexes, our keys and the history of tasks."""
    for key in await admin.keys():
        await admin.ask("DELETE", f"/keys/{key['uid']}")
    for name in await admin.indexes():
        await admin.done("DELETE", f"/indexes/{name}")
    await admin.done("DELETE", "/tasks?statuses=succeeded,failed,canceled")


async def inventory(admin: Client) -> Mapping[str, object]:
    """All that the server holds but for times: to compare the ends of two ways."""
    held: dict[str, object] = {}
    for name in await admin.indexes():
        documents = (await admin.ask("GET", f"/indexes/{name}/documents?limit=1000")).body["results"]
        timeless = [{field: value for field, value in each.items() if field != "createdAt"} for each in documents]
        index = (await admin.ask("GET", f"/indexes/{name}")).body
        settings = (await admin.ask("GET", f"/indexes/{name}/settings")).body
        held[name] = (index["primaryKey"], settings, sorted(map(str, timeless)))
    keys = [(key["uid"], key["name"], tuple(key["actions"]), tuple(key["indexes"])) for key in await admin.keys()]
    return {"indexes": held, "keys": sorted(keys)}
