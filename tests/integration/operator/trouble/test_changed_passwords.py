"""A tenant may change the password of its own login. What the operator gave out works again within a sweep, whether the
operator may read verifiers or not."""

from __future__ import annotations

import json
from functools import partial

import psycopg
import pytest

from hack.plane.plane import Part, Plane, PlaneOptions
from tests.world import World, eventually

PARTS = frozenset({Part.KUBERNETES, Part.POSTGRES})
RESTRICTED = "bh_op"


@pytest.mark.parametrize("restricted", [False, True], ids=["superuser", "restricted"])
async def test_a_password_that_a_tenant_changed_itself_is_set_back_and_nothing_else_changes(
    restricted: bool,  # noqa: FBT001 - a case
) -> None:
    async with Plane.start(PlaneOptions(fsync=False, parts=PARTS)) as plane:
        role = (RESTRICTED, await plane.postgres.create_operator(RESTRICTED)) if restricted else None
        async with World.on(plane, postgres_operator=role) as world:
            await world.ready_tenants("acme", "globex")
            before = await everything_of(world, "acme")
            uri = (await world.secret("postgres-binding", "tenant-acme"))["uri"]
            async with await psycopg.AsyncConnection.connect(uri, autocommit=True) as session:
                await session.execute("SET ROLE NONE")
                await session.execute("ALTER ROLE acme_1 PASSWORD 'mine'")
                await eventually(lambda: lets_in(uri))
                await session.execute("SELECT 1")
            await eventually(partial(is_repaired, world, "acme"))
            assert await everything_of(world, "acme") == before
            assert [repairs(world, slug) for slug in ("acme", "globex")] == [1, 0]


async def is_repaired(world: World, slug: str) -> bool:
    """It is said a moment after the password is set."""
    return repairs(world, slug) > 0


def repairs(world: World, slug: str) -> int:
    """How often something was done for a DataCluster since it was made."""
    events = [json.loads(line) for line in world.log().splitlines()]
    done = [each for each in events if each["event"] == "converged" and each["key"] == f"DataCluster/{slug}"]
    return len(done) - 1


async def everything_of(world: World, slug: str) -> tuple[object, ...]:
    """Status, record and binding."""
    cluster = await world.data_cluster(slug)
    uid = cluster["metadata"]["uid"]
    record = await world.secret(f"record-{uid}", "bulkhead-system")
    return cluster["status"], record, await world.secret("postgres-binding", f"tenant-{slug}")


async def lets_in(uri: str) -> bool:
    try:
        async with await psycopg.AsyncConnection.connect(uri, connect_timeout=5):
            return True
    except psycopg.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise
        return False
