"""One DataCluster on real Postgres servers: made, kept, cut, rotated, removed, also after a crash at any step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import get_args

import msgspec
import psycopg
import pytest
from psycopg import errors as pg

from bulkhead.engines.contract import ClaimFirst, Conflict, DataMissing, Do, EngineChanged, Request
from bulkhead.engines.errors import Refused, Unavailable
from bulkhead.engines.postgres.databases import Furnish, UseWarm
from hack.plane.postgres_builds import PostgresVersion
from tests.integration.engines.cost import Tally
from tests.integration.engines.postgres_server import MODES, VARIANTS, Driver, Mode, Servers, one
from tests.unit.engines.postgres import gen
from tests.world import eventually


@pytest.fixture(scope="module")
async def servers() -> AsyncIterator[Servers]:
    started = Servers()
    yield started
    await started.close()


@pytest.fixture(params=VARIANTS, ids="-".join)
async def driver(servers: Servers, request: pytest.FixtureRequest) -> AsyncIterator[Driver]:
    version, mode = request.param
    async with Driver.of(await servers.of(version), mode) as driven:
        yield driven


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("version", get_args(PostgresVersion))
async def test_a_whole_life_on_each_release_with_each_operator(
    servers: Servers, version: PostgresVersion, mode: Mode
) -> None:
    async with Driver.of(await servers.of(version), mode) as driver, warmed(driver, 1) as warm:
        request = await warm.converge(warm.request(schemas=("app",)))
        async with warm.client(request) as client:
            await client.execute("CREATE TABLE app.notes AS SELECT 'kept' AS text")
        await warm.converge(gen.cut(request))
        both = await warm.converge(warm.successor(request))
        request = await warm.converge(gen.held(both, credentials=both.holding.credentials[1:]))
        async with warm.client(request) as client:
            assert await one(client, "SELECT text FROM app.notes") == "kept"
        assert (await warm.engine.survey())[request.stamp.uid] == warm.engine.fingerprint(request)
        await warm.erase(request)
        assert await warm.inventory(request) == ""


async def test_a_tenant_works_in_its_database_as_the_group(driver: Driver) -> None:
    request = await driver.converge(driver.request(schemas=("app",)))
    async with driver.client(request) as client:
        await client.execute("CREATE TABLE notes (text text)")
        await client.execute("CREATE TABLE app.notes (text text)")
        assert await one(client, "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'notes' LIMIT 1") == (
            request.names.database
        )
        assert await one(client, "SHOW temp_file_limit") == "1GB"
        assert await one(client, "SHOW search_path") == '"$user", public, extensions'


async def test_what_is_made_is_left_alone_and_surveyed_as_wanted(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    assert await driver.steps(request) == ()
    assert (await driver.engine.survey())[request.stamp.uid] == driver.engine.fingerprint(request)


@pytest.mark.parametrize("driver", [("18", "restricted")], indirect=True)
async def test_a_survey_says_as_much_for_six_tenants_as_for_two(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def admit(slug: str) -> str:
        return (await driver.converge(driver.request(slug))).stamp.uid

    statements = Tally(monkeypatch, psycopg.AsyncCursor, "execute")
    await statements.does_not_grow_with_tenants(driver.engine, admit)


async def test_nothing_is_made_without_a_claim(driver: Driver) -> None:
    request = gen.held(driver.request(), claimed_at="")
    assert await driver.decision(request) == ClaimFirst()


async def test_each_step_may_be_done_twice(driver: Driver) -> None:
    request = driver.request(schemas=("app",))
    for step in await driver.steps(request):
        await driver.engine.act(step)
        await driver.engine.act(step)
    assert await driver.steps(request) == ()
    for step in await driver.removal(request):
        await driver.engine.act(step)
        await driver.engine.act(step)
    assert await driver.removal(request) == ()


async def test_many_are_made_side_by_side(driver: Driver) -> None:
    requests = [driver.request() for _ in range(8)]
    await asyncio.gather(*(driver.converge(request) for request in requests))
    survey = await driver.engine.survey()
    assert all(survey[request.stamp.uid] == driver.engine.fingerprint(request) for request in requests)


async def test_two_operators_that_make_the_same_one_end_well(driver: Driver) -> None:
    request = driver.request()
    async with Driver.of(driver.server, driver.mode) as other:
        await asyncio.gather(driver.converge(request), other.converge(request), return_exceptions=True)
    await driver.converge(request)
    async with driver.client(request) as client:
        assert await one(client, "SELECT 1") == 1


@asynccontextmanager
async def warmed(driver: Driver, count: int) -> AsyncIterator[Driver]:
    """A driver with this many databases made in advance, all of them dropped at the end."""
    async with Driver.of(driver.server, driver.mode, warm_databases=count) as warm:
        await warm.prepare_server()
        yield warm
    async with Driver.of(driver.server, driver.mode, warm_databases=0) as bare:
        await bare.prepare_server()


async def test_a_warm_database_becomes_a_tenants_in_two_steps(driver: Driver) -> None:
    async with warmed(driver, 1) as warm:
        request = warm.request()
        assert len(await warm.steps(request)) == 2
        assert await warm.inventory(await warm.converge(request)) == (
            await driver.inventory(await driver.converge(driver.request()))
        )


async def test_no_two_tenants_get_the_same_warm_database(driver: Driver) -> None:
    async with warmed(driver, 3) as warm:
        looks = await asyncio.gather(*(warm.steps(warm.request()) for _ in range(4)))
        taken = [step.warm for steps in looks for step in steps if isinstance(step, UseWarm)]
        assert len(set(taken)) == len(taken) == 3


async def test_a_warm_database_that_somebody_else_took_is_not_a_success(driver: Driver) -> None:
    async with warmed(driver, 1) as warm:
        first, second = warm.request(), warm.request()
        (taking, *_), (making, *_) = await warm.steps(first), await warm.steps(second)
        assert isinstance(taking, UseWarm)
        assert not isinstance(making, UseWarm)
        await warm.engine.act(taking)
        with pytest.raises(Refused, match="does not exist"):
            await warm.engine.act(UseWarm(taking.warm, second.names.database, second.stamp, 23))
        await warm.converge(second)


async def test_nobody_can_connect_to_a_warm_database(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    async with warmed(driver, 1) as warm:
        ((database,),) = await warm.server.rows(WARM)
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            async with driver.client(request, database=database):
                pass


WARM = "SELECT datname FROM pg_database WHERE datname LIKE 'bh_warm_%'"
DRAFTS = "SELECT datname FROM pg_database WHERE datname LIKE 'bh_new_%'"


async def test_warm_databases_are_finished_after_a_crash_at_any_step(driver: Driver) -> None:
    for done in range(3):
        async with Driver.of(driver.server, driver.mode, warm_databases=1) as crashing:
            request = crashing.server_request()
            decision = crashing.engine.decide_server(request, await crashing.engine.observe_server(request))
            assert isinstance(decision, Do)
            for step in decision.steps[:done]:
                await crashing.engine.act(step)
        async with warmed(driver, 1) as successor:
            assert len(await successor.server.rows(WARM)) == 1
        assert await driver.server.rows("SELECT FROM pg_roles WHERE rolname LIKE 'bh_warm_%'") == []


@pytest.mark.parametrize("count", [0, 1], ids=["bare", "warm"])
async def test_a_crash_after_any_step_ends_as_if_there_had_been_none(driver: Driver, count: int) -> None:
    async with warmed(driver, count) as undisturbed:
        request = undisturbed.request(schemas=("app",))
        total = len(await undisturbed.steps(request))
        expected = await undisturbed.inventory(await undisturbed.converge(request))
    for done in range(total):
        async with warmed(driver, count) as crashing:
            request = crashing.request(schemas=("app",))
            for step in (await crashing.steps(request))[:done]:
                await crashing.engine.act(step)
        async with Driver.of(driver.server, driver.mode) as successor:
            assert await successor.inventory(await successor.converge(request)) == expected
        assert await driver.server.rows(DRAFTS) == []


async def test_a_removal_that_crashed_after_any_step_is_finished(driver: Driver) -> None:
    total = len(await driver.removal(await driver.converge(driver.request())))
    for done in range(total):
        request = await driver.converge(driver.request())
        for step in (await driver.removal(request))[:done]:
            await driver.engine.act(step)
        await driver.erase(request)
        assert await driver.inventory(request) == ""


async def test_a_data_cluster_that_was_half_made_is_removed(driver: Driver) -> None:
    total = len(await driver.steps(driver.request()))
    for done in range(total):
        request = driver.request()
        for step in (await driver.steps(request))[:done]:
            await driver.engine.act(step)
        await driver.erase(request)
        assert await driver.inventory(request) == ""
        assert await driver.server.rows(DRAFTS) == []


@pytest.mark.parametrize("kind", ["database", "role"])
async def test_what_was_there_before_is_never_touched(driver: Driver, kind: str) -> None:
    request = driver.request()
    name = request.names.database
    await driver.server.run(f'CREATE {kind} "{name}"')
    before = await driver.inventory(request)
    assert await driver.decision(request) == Conflict(kind, name, "it bears no stamp")
    assert await driver.removal(request) == ()
    assert await driver.inventory(request) == before


async def test_a_namesake_of_another_data_cluster_is_never_touched(driver: Driver) -> None:
    first = await driver.converge(driver.request())
    second = driver.named(first.names.database)
    assert isinstance(found := await driver.decision(second), Conflict)
    assert first.stamp.uid in found.owner
    assert await driver.removal(second) == ()
    assert await driver.steps(first) == ()


async def test_what_has_lost_its_stamps_is_neither_suspended_nor_erased_until_they_are_back(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    name, login = request.names.database, request.names.login(1)
    for bare in (f'DATABASE "{name}"', f'ROLE "{name}"', f'ROLE "{login}"'):
        await driver.server.run(f"COMMENT ON {bare} IS NULL")
    cut = gen.cut(request)
    assert isinstance(driver.engine.decide_removal(cut, await driver.engine.observe(cut)), Conflict)
    for _ in range(3):
        found = await driver.decision(cut)
        assert isinstance(found, Conflict)
        await driver.server.run(found.owner.partition("run: ")[2])
    await driver.converge(cut)
    await driver.erase(request)
    assert await driver.inventory(request) == ""


async def test_a_database_that_is_gone_is_missing_and_not_made_anew(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    await driver.server.run(f'DROP DATABASE "{request.names.database}" WITH (FORCE)')
    assert await driver.decision(request) == DataMissing("database", request.names.database)
    survey = await driver.engine.survey()
    assert survey[request.stamp.uid] != driver.engine.fingerprint(request)


async def test_another_server_behind_the_address_is_not_written_to(driver: Driver) -> None:
    request = gen.held(driver.request(), server="1")
    assert await driver.decision(request) == EngineChanged("1", driver.identity)


DRIFT = (
    'GRANT CONNECT ON DATABASE "{0}" TO PUBLIC',
    'GRANT CREATE ON DATABASE "{0}" TO "{0}"',
    'GRANT CONNECT ON DATABASE "{0}" TO "{0}" WITH GRANT OPTION',
    'REVOKE CONNECT ON DATABASE "{0}" FROM "{0}"',
    'GRANT CONNECT ON DATABASE "{0}" TO "{1}_1"',
    'ALTER DATABASE "{0}" CONNECTION LIMIT -1',
    'ALTER DATABASE "{0}" ALLOW_CONNECTIONS false',
    'ALTER DATABASE "{0}" RESET search_path',
    'ALTER ROLE "{0}_1" NOLOGIN',
    'ALTER ROLE "{0}_1" CONNECTION LIMIT -1',
    "ALTER ROLE \"{0}_1\" VALID UNTIL '2020-01-01'",
    'ALTER ROLE "{0}_1" RESET role',
    'ALTER ROLE "{0}" LOGIN',
    'ALTER ROLE "{0}_1" CREATEDB',
    'GRANT "{1}" TO "{0}_1"',
    'GRANT "{0}" TO "{1}_1"',
    'REVOKE "{0}" FROM "{0}_1"',
    'DROP ROLE "{0}_1"',
)
INSIDE_DRIFT = (
    "DROP SCHEMA public CASCADE",
    "DROP SCHEMA app CASCADE",
    'ALTER SCHEMA app OWNER TO "bh_op"',
    "DROP SCHEMA extensions CASCADE",
)


async def test_drift_is_repaired_and_seen_by_the_survey(driver: Driver) -> None:
    request, neighbour = await driver.converge(driver.request()), await driver.converge(driver.request())
    expected = await driver.inventory(request)
    for drift in DRIFT:
        # As the operator: what a superuser grants, only a superuser can revoke.
        await driver.server.run(
            f"SET ROLE {driver.operator};" + drift.format(request.names.database, neighbour.names.database)
        )
        assert (await driver.engine.survey())[request.stamp.uid] != driver.engine.fingerprint(request), drift
        assert await driver.steps(request) != (), drift
        await driver.converge(request)
        assert await driver.inventory(request) == expected, drift
        assert (await driver.engine.survey())[request.stamp.uid] == driver.engine.fingerprint(request), drift
    assert await driver.steps(neighbour) == ()


async def test_drift_inside_a_database_is_repaired(driver: Driver) -> None:
    request = await driver.converge(driver.request(schemas=("app",)))
    expected = await driver.inventory(request)
    for drift in INSIDE_DRIFT:
        await driver.server.run(drift, request.names.database)
        async with Driver.of(driver.server, driver.mode) as later:  # which does not remember what it saw before
            await later.converge(request)
        assert await driver.inventory(request) == expected, drift


async def test_a_power_that_only_a_superuser_can_take_away_is_refused_by_name(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    await driver.server.run(f'ALTER ROLE "{request.names.login(1)}" SUPERUSER')
    (step, *_) = await driver.steps(request)
    if driver.operator == "bh_op":
        with pytest.raises(Refused, match=r"while repair login .* \(42501\)"):
            await driver.engine.act(step)
    else:
        await driver.converge(request)


async def test_a_smaller_plan_takes_effect(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    smaller = gen.request(request.names.database, connections=2, temp_file_limit="1Mi")
    request = type(request)(
        stamp=request.stamp,
        names=request.names,
        spec=request.spec,
        plan=smaller.plan,
        holding=request.holding,
        access=request.access,
    )
    await driver.converge(request)
    async with driver.client(request) as first, driver.client(request):
        assert await one(first, "SHOW temp_file_limit") == "1MB"
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            async with driver.client(request):
                pass


@pytest.mark.parametrize("changed", ["PASSWORD 'mine'", "PASSWORD NULL"])
async def test_a_password_that_the_tenant_changed_is_set_back_and_its_sessions_live_on(
    driver: Driver, changed: str
) -> None:
    request = gen.closely(await driver.converge(driver.request()))
    assert await driver.steps(request) == ()
    login = request.names.login(1)
    async with driver.client(request) as client:
        await client.execute(f'SET ROLE NONE; ALTER ROLE "{login}" {changed}'.encode())
        assert [str(step) for step in await driver.steps(request)] == [f'repair login "{login}"']
        await driver.converge(request)
        assert await one(client, "SELECT 1") == 1
    async with driver.client(request):
        pass


async def test_a_restricted_operator_tries_log_ins_only_when_it_looks_closely(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    await driver.server.run(f"ALTER ROLE \"{request.names.login(1)}\" PASSWORD 'mine'")
    assert bool(await driver.steps(request)) is (driver.mode == "superuser")


async def test_each_generation_in_force_is_tried(driver: Driver) -> None:
    request = gen.closely(await driver.converge(driver.successor(await driver.converge(driver.request()))))
    for generation in (1, 2):
        login = request.names.login(generation)
        await driver.server.run(f"ALTER ROLE \"{login}\" PASSWORD 'mine'")
        assert [str(step) for step in await driver.steps(request)] == [f'repair login "{login}"']
        await driver.converge(request)


async def test_a_login_that_is_busy_or_may_not_come_from_here_has_no_wrong_password(driver: Driver) -> None:
    request = gen.closely(await driver.converge(driver.request(connections=1)))
    async with driver.client(request):
        assert await driver.steps(request) == ()
    async with driver.server.admitting(request.names.login(1), "reject"):
        await eventually(partial(fails, driver, request, "rejects connection"))
        assert await driver.steps(request) == ()


async def test_an_old_hash_in_place_of_the_verifier_is_replaced_where_the_server_still_takes_such(
    driver: Driver,
) -> None:
    request = gen.closely(await driver.converge(driver.request()))
    login = request.names.login(1)
    await driver.server.run(f"ALTER ROLE \"{login}\" PASSWORD 'md5{'0' * 32}'")
    async with driver.server.admitting(login, "md5"):
        await eventually(partial(fails, driver, request, "password authentication failed"))
        assert [str(step) for step in await driver.steps(request)] == [f'repair login "{login}"']
        await driver.converge(request)
    async with driver.client(request):
        pass


async def fails(driver: Driver, request: Request, why: str) -> bool:
    """Whether the tenant is not let in, for this reason."""
    try:
        async with driver.client(request):
            return False
    except psycopg.OperationalError as error:
        return why in str(error)


async def test_no_password_is_tried_on_another_server(driver: Driver) -> None:
    request = gen.closely(await driver.converge(driver.request()))
    login = request.names.login(1)
    await driver.server.run(f"ALTER ROLE \"{login}\" PASSWORD 'mine'")
    elsewhere = await driver.engine.observe(gen.held(request, server="another"))
    assert elsewhere.estranged == frozenset()


async def test_a_server_that_is_down_is_unavailable_however_closely_it_is_looked_at(driver: Driver) -> None:
    request = gen.closely(await driver.converge(driver.request()))
    await driver.server.postgres.stop()
    try:
        with pytest.raises(Unavailable):
            await driver.steps(request)
    finally:
        await driver.server.postgres.start()
    assert await driver.steps(request) == ()


async def test_an_extension_is_made_where_the_tenant_can_use_but_not_change_it(driver: Driver) -> None:
    extension, use = (
        ("pgcrypto", "digest('a', 'md5')") if driver.server.postgres.version == "15" else ("vector", "'[1]'::vector")
    )
    request = driver.request(extensions=(extension,))
    if extension == "vector" and driver.operator == "bh_op":
        with pytest.raises(Refused, match='create extension "vector"'):
            await driver.converge(request)
        return
    await driver.converge(request)
    async with driver.client(request) as client:
        assert await one(client, f"SELECT {use}") is not None
        query = "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname <> 'plpgsql'"
        assert await one(client, query) == "extensions"
        with pytest.raises(pg.InsufficientPrivilege):
            await client.execute("CREATE TABLE extensions.mine ()")
        with pytest.raises(pg.InsufficientPrivilege):
            await client.execute(f"DROP EXTENSION {extension}".encode())


async def test_a_schema_with_a_hostile_name_is_only_a_schema(driver: Driver) -> None:
    hostile = 'x"; DROP SCHEMA public CASCADE; --'
    request = await driver.converge(driver.request(schemas=(hostile,)))
    assert await driver.server.rows(
        f"SELECT FROM pg_namespace WHERE nspname IN ('public', '{hostile}')", request.names.database
    ) == [(), ()]


async def test_cutting_access_ends_sessions_and_keeps_data_until_it_is_opened_again(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    async with driver.client(request) as client:
        await client.execute("CREATE TABLE notes AS SELECT 'kept' AS text")
        await driver.converge(gen.cut(request))
        with pytest.raises(psycopg.OperationalError):
            await client.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        async with driver.client(request):
            pass
    survey = await driver.engine.survey()
    assert survey[request.stamp.uid] == driver.engine.fingerprint(gen.cut(request))
    await driver.converge(request)
    async with driver.client(request) as client:
        assert await one(client, "SELECT text FROM notes") == "kept"


async def test_cutting_access_ends_the_session_of_a_role_that_is_gone(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    async with driver.client(request) as client:
        await driver.server.run(f'DROP ROLE "{request.names.login(1)}"')
        await driver.converge(gen.cut(request))
        with pytest.raises(psycopg.OperationalError):
            await client.execute("SELECT 1")


async def test_a_crash_between_the_steps_of_a_cut_is_healed(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    async with driver.client(request) as client:
        (first, *_) = await driver.steps(gen.cut(request))
        await driver.engine.act(first)
        await client.execute("SELECT 1")
        await driver.converge(gen.cut(request))
        with pytest.raises(psycopg.OperationalError):
            await client.execute("SELECT 1")


async def test_cutting_access_leaves_the_session_of_an_administrator(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    async with driver.server.superuser(request.names.database) as dump:
        await driver.converge(gen.cut(request))
        assert await one(dump, "SELECT 1") == 1


async def test_a_tenant_can_not_hold_up_its_own_suspension(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    async with driver.client(request) as client:
        await client.execute("SET ROLE NONE; BEGIN")
        await client.execute(f"ALTER ROLE \"{request.names.login(1)}\" PASSWORD 'mine'".encode())  # its row is locked
        await driver.converge(gen.cut(request))
        with pytest.raises(psycopg.OperationalError):
            await client.execute("SELECT 1")
    await driver.converge(request)
    async with driver.client(request):
        pass


@asynccontextmanager
async def altering(driver: Driver, request: Request) -> AsyncIterator[None]:
    """The tenant's first login alters itself over and over, in many sessions that come back when they are ended: each
    holds the row for too short a time to be ended for it, and none leaves a moment between."""
    login = request.names.login(1)
    alteration = f"ALTER ROLE \"{login}\" PASSWORD '{request.holding.credentials[0].verifier}'"  # so it can come back
    loop = f"""DO $do$BEGIN LOOP
        BEGIN EXECUTE $a${alteration}$a$; PERFORM pg_sleep(0.25); EXCEPTION WHEN OTHERS THEN END;
        COMMIT; END LOOP; END$do$"""

    async def alter() -> None:
        while True:
            try:
                async with driver.client(request, generation=0) as client:
                    await client.execute("SET ROLE NONE")
                    await client.execute(loop.encode())
            except psycopg.Error:
                await asyncio.sleep(0.1)  # as a client that reconnects does

    tasks = [asyncio.create_task(alter()) for _ in range(12)]
    try:
        await eventually(partial(all_alter, driver, login, len(tasks)))
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def all_alter(driver: Driver, login: str, count: int) -> bool:
    query = f"SELECT FROM pg_stat_activity WHERE usename = '{login}' AND query LIKE 'DO %'"
    return len(await driver.server.rows(query)) == count


async def test_a_tenant_that_alters_itself_over_and_over_is_suspended_and_removed(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    async with altering(driver, request):
        await driver.converge(gen.cut(request))
    expected = driver.engine.fingerprint(gen.cut(request))
    assert (await driver.engine.survey())[request.stamp.uid] == expected
    await driver.converge(request)
    async with altering(driver, request):
        await driver.erase(request)
    assert await driver.inventory(request) == ""


async def test_a_login_that_alters_itself_over_and_over_is_retired(driver: Driver) -> None:
    both = await driver.converge(driver.successor(await driver.converge(driver.request())))
    async with altering(driver, both), driver.client(both) as new:
        last = await driver.converge(gen.held(both, credentials=both.holding.credentials[1:]))
        assert await one(new, "SELECT 1") == 1
    assert (await driver.engine.survey())[last.stamp.uid] == driver.engine.fingerprint(last)


async def test_a_rotation_keeps_both_logins_then_retires_the_old_one_with_nothing_lost(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    async with driver.client(request) as client:
        await client.execute("CREATE TABLE of_group (text text)")
        await client.execute("SET ROLE NONE")
        await client.execute("CREATE TABLE of_login (text text)")

    both = await driver.converge(driver.successor(request))
    async with driver.client(both, generation=0) as old, driver.client(both) as new:
        await old.execute("INSERT INTO of_group VALUES ('old')")
        await new.execute("ALTER TABLE of_group ADD COLUMN more text")

        last = await driver.converge(gen.held(both, credentials=both.holding.credentials[1:]))
        with pytest.raises(psycopg.OperationalError):
            await old.execute("SELECT 1")
        assert await one(new, "SELECT text FROM of_group") == "old"
        assert await one(new, "SELECT count(*) FROM of_login") == 0
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        async with driver.client(both, generation=0):
            pass
    assert (await driver.engine.survey())[last.stamp.uid] == driver.engine.fingerprint(last)


async def test_removal_ends_sessions_and_leaves_nothing(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    async with driver.client(request) as client:
        await client.execute("CREATE TABLE notes (text text)")
        await driver.erase(request)
        with pytest.raises(psycopg.OperationalError):
            await client.execute("SELECT 1")
    assert await driver.inventory(request) == ""
    assert request.stamp.uid not in await driver.engine.survey()


async def test_a_name_is_free_again_after_removal_and_the_old_password_opens_nothing(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    await driver.erase(request)
    successor = await driver.converge(driver.named(request.names.database))
    async with driver.client(successor):
        pass
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        async with driver.client(request):
            pass


async def test_a_namesake_is_furnished_even_where_making_it_failed_halfway(driver: Driver) -> None:
    former = await driver.converge(driver.request(schemas=("app",)))
    assert await driver.steps(former) == ()  # and its inside is known from now on
    await driver.erase(former)
    request = driver.named(former.names.database, schemas=("app",))
    for step in await driver.steps(request):
        if isinstance(step, Furnish):
            break
        await driver.engine.act(step)
    assert Furnish(request.names.database, ("app",)) in await driver.steps(request)


async def test_a_neighbours_grants_do_not_keep_a_tenant_from_being_removed(driver: Driver) -> None:
    removed, neighbour = await driver.converge(driver.request("a")), await driver.converge(driver.request("ab"))
    async with driver.client(neighbour) as client:
        await client.execute("CREATE TABLE bait AS SELECT 'kept' AS text")
        for role in (removed.names.database, removed.names.login(1)):
            for hook in HOOKS:
                await client.execute(hook.format(role).encode())
    await driver.erase(removed)
    assert await driver.inventory(removed) == ""
    async with driver.client(neighbour) as client:
        assert await one(client, "SELECT text FROM bait") == "kept"
    assert await driver.steps(neighbour) == ()


HOOKS = (
    'GRANT SELECT ON bait TO "{0}"',
    'GRANT USAGE ON SCHEMA public TO "{0}"',
    'ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO "{0}"',
    'CREATE POLICY "{0}" ON bait TO "{0}" USING (true)',
)


@pytest.mark.parametrize(
    "hold",
    [
        'GRANT SELECT ON bait TO "{0}"',  # locks the role
        'COMMIT; GRANT SELECT ON bait TO "{0}"; BEGIN; GRANT SELECT ON bait TO PUBLIC',  # locks the privileges
        'COMMIT; GRANT SELECT ON bait TO "{0}"; BEGIN; LOCK TABLE bait',
    ],
)
async def test_what_a_neighbour_leaves_uncommitted_does_not_keep_a_tenant_from_being_removed(
    driver: Driver, hold: str
) -> None:
    removed, neighbour = await driver.converge(driver.request("a")), await driver.converge(driver.request("ab"))
    async with driver.client(neighbour) as client:
        await client.execute("CREATE TABLE bait (); BEGIN")
        await client.execute(hold.format(removed.names.login(1)).encode())
        await driver.erase(removed)
    assert await driver.inventory(removed) == ""
    assert await driver.steps(neighbour) == ()


GRASP = """DO $do$BEGIN LOOP BEGIN EXECUTE format('GRANT SELECT ON bait TO %s, %s', {}::regrole, {}::regrole);
    EXCEPTION WHEN OTHERS THEN END; COMMIT; PERFORM pg_sleep(0.002); END LOOP; END$do$"""
"""By their numbers, under whatever name they may hide."""


async def test_a_neighbour_that_grants_over_and_over_does_not_keep_a_tenant_from_being_removed(driver: Driver) -> None:
    removed, neighbour = await driver.converge(driver.request("a")), await driver.converge(driver.request("ab"))
    roles = (removed.names.database, removed.names.login(1))
    numbers = [await driver.server.rows(f"SELECT '\"{role}\"'::regrole::oid") for role in roles]
    grasp = GRASP.format(*(number for ((number,),) in numbers))

    async def grant() -> None:
        while True:
            with suppress(psycopg.Error):
                async with driver.client(neighbour) as client:
                    await client.execute(grasp.encode())

    async with driver.client(neighbour) as client:
        await client.execute("CREATE TABLE bait AS SELECT 'kept' AS text")
    tasks = [asyncio.create_task(grant()) for _ in range(3)]
    try:
        await eventually(partial(is_held, driver, removed))
        await driver.erase(removed)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert await driver.inventory(removed) == ""
    async with driver.client(neighbour) as client:
        assert await one(client, "SELECT text FROM bait") == "kept"


async def is_held(driver: Driver, request: Request) -> bool:
    """Whether a neighbour has granted it something."""
    held = (await driver.engine.observe(gen.cut(request))).footprints
    return any(footprint.database != request.names.database for footprint in held)


async def test_what_a_tenant_owns_in_a_foreign_database_is_not_dropped_with_it(driver: Driver) -> None:
    removed, neighbour = await driver.converge(driver.request("a")), await driver.converge(driver.request("ab"))
    database = neighbour.names.database
    await driver.server.run(f'CREATE TABLE odd (); ALTER TABLE odd OWNER TO "{removed.names.database}"', database)
    await driver.erase(removed)
    assert await driver.server.rows("SELECT FROM pg_class WHERE relname = 'odd'", database) == [()]


async def test_a_prepared_transaction_does_not_keep_a_tenant_from_being_removed(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    for number, role in enumerate((request.names.database, request.names.login(1))):
        async with driver.client(request) as client:
            await client.execute(f'SET ROLE "{role}"'.encode())
            await client.execute("BEGIN; CREATE TEMP TABLE x (); ROLLBACK")
            await client.execute("BEGIN; SELECT 1")
            await client.execute(f"PREPARE TRANSACTION '{request.names.database} {number}'".encode())
    await driver.erase(request)
    assert await driver.inventory(request) == ""


async def test_a_prepared_transaction_of_a_role_with_an_odd_name_is_rolled_back_too(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    odd = r"odd \ -c role=postgres"
    database = request.names.database
    await driver.server.run(f'DROP ROLE IF EXISTS "{odd}"')
    await driver.server.run(f'SET ROLE {driver.operator}; CREATE ROLE "{odd}"; GRANT "{odd}" TO {driver.operator}')
    await driver.server.run(f"SET ROLE \"{odd}\"; BEGIN; SELECT 1; PREPARE TRANSACTION '{database} odd'", database)
    await driver.erase(request)
    assert await driver.server.rows("SELECT FROM pg_prepared_xacts") == []


async def test_what_a_tenant_owns_in_masses_is_not_read_through(driver: Driver) -> None:
    request, neighbour = await driver.converge(driver.request("a")), await driver.converge(driver.request("ab"))
    async with driver.client(request) as client:
        await client.execute("SELECT count(lo_create(0)) FROM generate_series(1, 12000)")
    async with driver.client(neighbour) as client:
        await client.execute("CREATE TABLE bait ()")
        await client.execute(f'GRANT SELECT ON bait TO "{request.names.database}"'.encode())
    assert (await driver.engine.observe(request)).footprints == ()
    held = (await driver.engine.observe(gen.cut(request))).footprints
    assert request.names.database in [footprint.database for footprint in held]
    with suppress(Refused):
        await driver.erase(request)  # where the many have hidden the neighbour's, the first time fails
    await driver.erase(request)
    assert await driver.inventory(request) == ""


async def test_an_orphaned_session_does_not_keep_a_tenant_from_being_removed(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    async with driver.client(request):
        await driver.server.run(f'DROP ROLE "{request.names.login(1)}"')
        await driver.erase(request)
    assert await driver.inventory(request) == ""


async def test_a_tenant_that_uses_all_its_connections_does_not_lock_us_out(driver: Driver) -> None:
    request = await driver.converge(driver.request(connections=2))
    async with driver.client(request), driver.client(request):
        assert await driver.steps(request) == ()


async def test_no_password_ever_reaches_the_servers_log(driver: Driver) -> None:
    request = await driver.converge(driver.successor(await driver.converge(driver.request())))
    await driver.converge(gen.closely(request))
    await driver.converge(gen.cut(request))
    await driver.erase(request)
    log = driver.server.postgres.log_file.read_text()
    assert request.names.login(2) in log
    for credential in request.holding.credentials:
        assert credential.value.reveal() not in log


async def test_nothing_that_is_seen_shows_a_secret(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    seen = msgspec.json.encode(await driver.engine.observe(request)).decode()
    (credential,) = request.holding.credentials
    assert credential.value.reveal() not in seen
    assert credential.verifier not in seen


async def test_a_step_of_another_engine_is_a_bug(driver: Driver) -> None:
    with pytest.raises(TypeError, match="str is no step of Postgres"):
        await driver.engine.act("DROP DATABASE x")
