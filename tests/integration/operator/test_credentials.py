"""An administrator's credential changes: it is taken up, and whatever hangs on it is issued again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql

from bulkhead.kube.resources import DATA_PLANES
from hack.plane import installation
from hack.plane.process import Server
from tests.integration.operator.engines import ALL, opened
from tests.world import World, eventually

SLUG = "rekeyed"


async def restart_with(server: Server, **environment: str) -> None:
    """Start the server again with some variables of its environment changed."""
    await server.stop()
    server._launch = replace(server._launch, env={**server._launch.env, **environment})
    await server.start()


async def change_vectors(world: World) -> None:
    qdrant = world.plane.qdrant
    qdrant.api_key = f"{qdrant.api_key[::-1]}-new"
    await restart_with(qdrant, QDRANT__SERVICE__API_KEY=qdrant.api_key)


async def change_search(world: World) -> None:
    meilisearch = world.plane.meilisearch
    meilisearch.master_key = f"{meilisearch.master_key[::-1]}-new"
    await restart_with(meilisearch, MEILI_MASTER_KEY=meilisearch.master_key)


async def change_store(world: World) -> None:
    minio = world.plane.minio
    minio.secret_key = f"{minio.secret_key[::-1]}-new"
    await restart_with(minio, MINIO_ROOT_PASSWORD=minio.secret_key)


async def change_postgres(world: World) -> None:
    """Restarted too, or sessions that were opened with the former password would live on. By its verifier, as every
    statement is logged."""
    postgres = world.plane.postgres
    changed = f"{postgres.password[::-1]}-new"
    async with await psycopg.AsyncConnection.connect(postgres.dsn(), autocommit=True) as session:
        user = postgres.superuser.encode()
        verifier = session.pgconn.encrypt_password(changed.encode(), user, b"scram-sha-256").decode()
        await session.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(postgres.superuser), verifier))
    postgres.password = changed
    await restart_with(postgres)


CHANGES: dict[str, tuple[Callable[[World], Awaitable[None]], str, str | None]] = {
    "vectors": (change_vectors, "VectorsReady", "vectors-binding"),
    "search": (change_search, "SearchReady", "search-binding"),
    "objectStore": (change_store, "ObjectStoreReady", None),
    "postgres": (change_postgres, "PostgresReady", None),
}
"""How, the condition, and the binding whose credential hangs on what was changed."""


@pytest.mark.parametrize("engine", CHANGES)
async def test_a_changed_admin_credential_is_taken_up_and_what_hangs_on_it_is_issued_again(
    world: World, engine: str
) -> None:
    change, condition, hanging = CHANGES[engine]
    await world.ready_tenants(SLUG)
    before = await world.bindings(SLUG)
    await change(world)
    refused = await world.reason(DATA_PLANES, "default", condition, "EngineRefused")
    assert "adminSecretRef" in refused["message"]
    await installation.apply(world.plane, *installation.secrets(world.plane))
    await world.plane_ready()
    await world.ready(SLUG)

    async def all_open() -> bool:
        return await opened(world.plane, await world.bindings(SLUG)) == ALL

    await eventually(all_open)
    after = await world.bindings(SLUG)
    assert {name for name in before if before[name] != after[name]} == ({hanging} if hanging else set())
    if hanging:
        assert engine not in await opened(world.plane, {**after, hanging: before[hanging]})
    await world.remove_tenants(SLUG)
