"""A Qdrant for the tests of its engine, and the tenant's side of it: plain HTTP with a token."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from bulkhead.api.data_plane import VectorsEndpoint
from bulkhead.api.meta import LocalRef
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.http import HttpClient
from bulkhead.engines.qdrant.engine import QdrantEngine
from hack.plane.plane import Part, Plane, PlaneOptions
from hack.plane.vectors import Qdrant as Server
from tests.integration.engines.tenant import INSTALLATION


@asynccontextmanager
async def running_server() -> AsyncIterator[Server]:
    """A server of our own, for the time of the block."""
    async with Plane.start(PlaneOptions(parts=frozenset({Part.QDRANT}), fsync=False)) as plane:
        yield plane.qdrant


@asynccontextmanager
async def engine_of(server: Server, **changes: str) -> AsyncIterator[QdrantEngine]:
    """The engine as its administrator opens it. `changes`: another key, CA, address or lifetime."""
    engine = QdrantEngine(
        VectorsEndpoint(
            url=changes.get("url", server.url),
            admin_secret_ref=LocalRef(name="qdrant-admin"),
            token_lifetime=changes.get("lifetime", "24h"),
        ),
        Sensitive(changes.get("api_key", server.api_key)),
        changes.get("ca_pem", server.ca_pem),
        installation=INSTALLATION,
        clock=lambda: datetime.now(UTC),
    )
    try:
        yield engine
    finally:
        await engine.close()


async def restart(server: Server, **environment: str) -> None:
    """Start the server again with some variables of its environment changed."""
    await server.stop()
    server._launch = replace(server._launch, env={**server._launch.env, **environment})
    await server.start()


@dataclass(frozen=True)
class Answer:
    status: int
    text: str

    @property
    def result(self) -> Any:
        return msgspec.json.decode(self.text)["result"]


class Client:
    """Whoever speaks to the server with a token or a key."""

    def __init__(self, server: Server, key: str) -> None:
        self._http = HttpClient(server.url, ca_pem=server.ca_pem, headers={"api-key": Sensitive(key)})

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_raised: object) -> None:
        await self._http.close()

    async def ask(self, method: str, path: str, body: object = None) -> Answer:
        reply = await self._http.call(method, path, doing="a test", body=body)
        return Answer(reply.status, reply.body.decode())

    async def put_point(self, collection: str, number: int = 1, **payload: str) -> Answer:
        points = {"points": [{"id": number, "vector": [1.0, 0.0, 0.0, 0.0], "payload": payload}]}
        return await self.ask("PUT", f"/collections/{collection}/points?wait=true", points)

    async def search(self, collection: str, **more: object) -> Answer:
        query = {"query": [1.0, 0.0, 0.0, 0.0], "limit": 10, "with_payload": True, **more}
        return await self.ask("POST", f"/collections/{collection}/points/query", query)

    async def names(self) -> set[str]:
        listed = await self.ask("GET", "/collections")
        return {collection["name"] for collection in listed.result["collections"]}


async def sweep(admin: Client) -> None:
    """Remove all collections and their snapshots."""
    for name in await admin.names():
        for snapshot in (await admin.ask("GET", f"/collections/{name}/snapshots")).result:
            await admin.ask("DELETE", f"/collections/{name}/snapshots/{snapshot['name']}")
        await admin.ask("DELETE", f"/collections/{name}")


async def inventory(admin: Client) -> Mapping[str, object]:
    """All that the server holds: to compare the ends of two ways."""
    held: dict[str, object] = {}
    for name in await admin.names():
        info = (await admin.ask("GET", f"/collections/{name}")).result
        config = info["config"]
        scroll = await admin.ask("POST", f"/collections/{name}/points/scroll", {"limit": 100, "with_payload": True})
        points = sorted((str(point["id"]), str(point["payload"])) for point in scroll.result["points"])
        held[name] = (
            config["params"],
            config.get("metadata"),
            config.get("strict_mode_config"),
            info["payload_schema"],
            points,
        )
    return held
