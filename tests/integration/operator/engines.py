"""The engines of a plane: as their administrators see them behind the operator's back, and as a tenant does."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from minio import Minio, MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import S3Error

from hack.plane.plane import Plane
from tests.integration.engines import meilisearch_server, minio_server, qdrant_server

Bindings = Mapping[str, Mapping[str, str]]
"""Service Bindings by the names of their Secrets."""
ALL = frozenset({"postgres", "objectStore", "vectors", "search"})
DENIED = (401, 403)
REFUSALS = (
    "password authentication failed",
    "not permitted to log in",
    "permission denied for database",
    "terminating connection due to administrator command",
    "server closed the connection unexpectedly",
)
"""Of Postgres; the last two: let in a moment before its session was ended."""


@dataclass(frozen=True, slots=True)
class Admins:
    """Administrators of all engines."""

    plane: Plane
    vectors: qdrant_server.Client
    search: meilisearch_server.Client
    store: Minio
    store_admin: MinioAdmin

    @classmethod
    @asynccontextmanager
    async def of(cls, plane: Plane) -> AsyncIterator[Admins]:
        """With the credentials that the servers of `plane` have now."""
        async with AsyncExitStack() as stack:
            yield cls(
                plane,
                await stack.enter_async_context(qdrant_server.Client(plane.qdrant, plane.qdrant.api_key)),
                await stack.enter_async_context(
                    meilisearch_server.Client(plane.meilisearch, plane.meilisearch.master_key)
                ),
                minio_server.root(plane.minio),
                minio_server.admin(plane.minio),
            )

    async def sql(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Rows of one statement of the superuser, or none."""
        async with await psycopg.AsyncConnection.connect(self.plane.postgres.dsn(database), autocommit=True) as admin:
            cursor = await admin.execute(statement.encode())
            return await cursor.fetchall() if cursor.description else []

    async def databases(self) -> set[str]:
        return {name for (name,) in await self.sql("SELECT datname FROM pg_database")}

    async def roles(self) -> set[str]:
        return {name for (name,) in await self.sql("SELECT rolname FROM pg_roles")}

    async def buckets(self) -> set[str]:
        return {bucket.name for bucket in await asyncio.to_thread(self.store.list_buckets)}

    async def users(self) -> str:
        """The object store's users as its admin API lists them."""
        return str(await asyncio.to_thread(self.store_admin.user_list))

    async def remains(self, slug: str) -> set[str]:
        """Everything in every engine that is called like this DataCluster and not like one whose name continues it."""
        indexes, keys = await self.search.indexes(), await self.search.keys()
        found = {
            *(f"database {name}" for name in await self.databases() if name == slug),
            *(f"role {name}" for name in await self.roles() if name == slug or name.startswith(f"{slug}_")),
            *(f"bucket {name}" for name in await self.buckets() if name == f"{slug}-data"),
            *(f"collection {name}" for name in await self.vectors.names() if name == f"{slug}_entries"),
            *(f"index {name}" for name in indexes if name.startswith(f"{slug}_")),
            *(f"key {key['uid']}" for key in keys if f"{slug}_entries" in key["indexes"]),
        }
        policies = await asyncio.to_thread(self.store_admin.policy_list)
        return found | ({f"policy {slug}"} if f'"{slug}"' in policies else set())

    async def drop_database(self, name: str) -> None:
        await self.sql(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def drop_bucket(self, name: str) -> None:
        def drop() -> None:
            for found in self.store.list_objects(name, recursive=True):
                self.store.remove_object(name, str(found.object_name))
            self.store.remove_bucket(name)

        await asyncio.to_thread(drop)

    async def drop_collection(self, name: str) -> None:
        assert (await self.vectors.ask("DELETE", f"/collections/{name}")).status == 200

    async def drop_index(self, name: str) -> None:
        assert await self.search.done("DELETE", f"/indexes/{name}") == "succeeded"


async def opened(plane: Plane, bindings: Bindings) -> set[str]:
    """The engines that let the holder of these bindings in to its own data."""
    tries = {
        "postgres": _enters_postgres(bindings["postgres-binding"]),
        "objectStore": asyncio.to_thread(_enters_store, plane, bindings["object-store-binding"]),
        "vectors": _enters_vectors(plane, bindings["vectors-binding"]),
        "search": _enters_search(plane, bindings["search-binding"]),
    }
    return {engine for engine, entered in zip(tries, await asyncio.gather(*tries.values()), strict=True) if entered}


async def _enters_postgres(binding: Mapping[str, str]) -> bool:
    try:
        async with await psycopg.AsyncConnection.connect(binding["uri"], connect_timeout=5) as connection:
            await connection.execute("CREATE TABLE IF NOT EXISTS notes (body text)")
            await connection.execute("INSERT INTO notes VALUES ('kept')")
    except psycopg.OperationalError as error:
        if any(refusal in str(error) for refusal in REFUSALS):
            return False
        raise
    return True


def _enters_store(plane: Plane, binding: Mapping[str, str]) -> bool:
    keys = StaticProvider(binding["access-key"], binding["secret-key"])
    client = minio_server.client(plane.minio, keys)
    try:
        client.put_object(binding["bucket"], "note", io.BytesIO(b"kept"), 4)
    except S3Error as error:
        if error.code in {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}:
            return False
        raise
    return minio_server.get(client, binding["bucket"], "note") == b"kept"


async def _enters_vectors(plane: Plane, binding: Mapping[str, str]) -> bool:
    async with qdrant_server.Client(plane.qdrant, binding["api-key"]) as client:
        answer = await client.ask("POST", f"/collections/{binding['collection']}/points/scroll", {"limit": 1})
    assert answer.status == 200 or answer.status in DENIED, answer
    return answer.status == 200


async def _enters_search(plane: Plane, binding: Mapping[str, str]) -> bool:
    async with meilisearch_server.Client(plane.meilisearch, binding["api-key"]) as client:
        answers = [await client.search(index) for index in binding["indexes"].split(",")]
    assert all(answer.status == 200 or answer.status in DENIED for answer in answers), answers
    return all(answer.status == 200 for answer in answers)
