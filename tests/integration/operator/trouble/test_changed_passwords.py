"""A tenant may change the password of its own login. What the operator gave out works again within a sweep, whether the
operator may read verifiers or not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial

import psycopg
from psycopg.conninfo import make_conninfo

from hack.plane.plane import Part, Plane, PlaneOptions
from tests.postgres_builds import needs_postgres
from tests.world import World, eventually

PARTS = frozenset({Part.KUBERNETES, Part.POSTGRES})
RESTRICTED = "bh_op"
SLUGS = ("changing", "unchanged")


async def test_a_password_that_a_tenant_changed_itself_is_set_back_and_nothing_else_changes(world: World) -> None:
    await changed_and_set_back(world)
    await world.remove_tenants(*SLUGS)


async def test_so_it_is_over_tls_and_by_an_operator_that_may_not_read_verifiers() -> None:
    options = PlaneOptions(fsync=False, parts=PARTS, tls_postgres=True)
    await needs_postgres(options.postgres, tls=True)
    async with Plane.start(options) as plane:
        role = (RESTRICTED, await plane.postgres.create_operator(RESTRICTED))
        async with World.on(plane, postgres_operator=role) as world:
            await changed_and_set_back(world)
            await all_is_encrypted(world)


async def all_is_encrypted(world: World) -> None:
    """What the operator itself sends, and what it tells a tenant to do."""
    binding = await world.secret("postgres-binding", f"tenant-{SLUGS[0]}")
    assert "sslmode=verify-full" in binding["uri"]
    encrypted = (
        "SELECT DISTINCT usename, ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = ANY(%s)"
    )
    async with (
        await psycopg.AsyncConnection.connect(reached(world, binding)) as tenant,
        await psycopg.AsyncConnection.connect(world.plane.postgres.dsn()) as superuser,
    ):
        names = [RESTRICTED, tenant.info.user]
        rows = await (await superuser.execute(encrypted, (names,))).fetchall()
    assert sorted(rows) == [(name, True) for name in names]


async def changed_and_set_back(world: World) -> None:
    changing, neighbour = SLUGS
    await world.ready_tenants(*SLUGS)
    before = await everything_of(world, changing)
    done = {slug: deeds(world, slug) for slug in SLUGS}
    dsn = reached(world, await world.secret("postgres-binding", f"tenant-{changing}"))
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as session:
        await session.execute("SET ROLE NONE")
        await session.execute(f"ALTER ROLE {changing}_1 PASSWORD 'mine'")
        await eventually(lambda: lets_in(dsn))
        await session.execute("SELECT 1")
    await eventually(partial(is_repaired, world, changing, done[changing]))
    assert await everything_of(world, changing) == before
    assert [deeds(world, slug) - done[slug] for slug in (changing, neighbour)] == [1, 0]


async def is_repaired(world: World, slug: str, done: int) -> bool:
    """It is said a moment after the password is set."""
    return deeds(world, slug) > done


def deeds(world: World, slug: str) -> int:
    """How often something was done in Postgres for a DataCluster."""
    events = (json.loads(line) for line in world.log().splitlines() if '"converged"' in line)
    return sum((each["key"], each["engine"]) == (f"DataCluster/{slug}", "postgres") for each in events)


async def everything_of(world: World, slug: str) -> tuple[object, ...]:
    """Status, record and binding."""
    cluster = await world.data_cluster(slug)
    uid = cluster["metadata"]["uid"]
    record = await world.secret(f"record-{uid}", "bulkhead-system")
    return cluster["status"], record, await world.secret("postgres-binding", f"tenant-{slug}")


def reached(world: World, binding: Mapping[str, str]) -> str:
    """The binding's uri, with its certificate in a file where libpq looks for one."""
    if "ca.crt" not in binding:
        return binding["uri"]
    ca_file = world.plane.root / "binding-ca.crt"
    ca_file.write_text(binding["ca.crt"])
    return make_conninfo(binding["uri"], sslrootcert=str(ca_file))


async def lets_in(dsn: str) -> bool:
    try:
        async with await psycopg.AsyncConnection.connect(dsn, connect_timeout=5):
            return True
    except psycopg.OperationalError as error:
        if "password authentication failed" not in str(error):
            raise
        return False
