"""Postgres servers as a whole: what is asked of them, how they are reached, and what is said when they are not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import psycopg
import pytest
from psycopg import sql

from bulkhead.api.data_plane import PostgresTls, TlsMode
from bulkhead.engines.contract import Do, EngineChanged
from bulkhead.engines.errors import EngineError, Insecure, Refused, Unavailable
from bulkhead.engines.postgres.databases import CloseToPublic
from bulkhead.engines.postgres.engine import PostgresEngine
from bulkhead.engines.postgres.perform import PAUSES
from bulkhead.engines.postgres.sessions import CONNECT_SECONDS, KEPT
from bulkhead.engines.postgres.statement import Rights, Statement
from hack.plane.certificates import Authority
from tests.integration.engines.postgres_server import MODES, Driver, Mode, Server, one, running_server
from tests.unit.engines.postgres import gen
from tests.world import eventually

SHUT = "REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC; GRANT CONNECT ON DATABASE postgres TO bh_op"
OPEN = "GRANT CONNECT ON DATABASE postgres, template1 TO PUBLIC"


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Server]:
    async with running_server("18") as running:
        yield running


@pytest.fixture(scope="module")
async def tls_server() -> AsyncIterator[Server]:
    async with running_server("16", tls=True) as running:
        yield running


@pytest.fixture(params=MODES)
async def driver(server: Server, request: pytest.FixtureRequest) -> AsyncIterator[Driver]:
    async with Driver.of(server, request.param) as driven:
        yield driven


async def said(server: Server, mode: Mode = "superuser", **changes: object) -> EngineError:
    """What looking at the server raises."""
    engine = server.engine(mode, **changes)  # type: ignore[arg-type]  # fields of the endpoint
    try:
        with pytest.raises(EngineError) as caught:
            await engine.observe_server(gen.server_request())
    finally:
        await engine.close()
    return caught.value


async def test_a_server_that_is_prepared_needs_nothing_more(driver: Driver) -> None:
    await driver.prepare_server()
    request = driver.server_request(remembered=driver.identity)
    seen = await driver.engine.observe_server(request)
    assert driver.engine.decide_server(request, seen) == Do()
    assert driver.engine.server_of(seen).identity == driver.identity
    assert driver.engine.server_of(seen).version.startswith("18.")


async def test_another_server_is_told_by_its_identity(driver: Driver) -> None:
    request = driver.server_request(remembered="1")
    seen = await driver.engine.observe_server(request)
    assert driver.engine.decide_server(request, seen) == EngineChanged("1", driver.identity)


async def test_a_superuser_shuts_what_the_server_left_open(server: Server) -> None:
    await server.run(OPEN)
    async with Driver.of(server, "superuser") as driver:
        await driver.prepare_server()
    for database in ("postgres", "template1"):
        assert await server.rows(f"SELECT has_database_privilege('public', '{database}', 'CONNECT')") == [(False,)]


async def test_a_restricted_operator_says_what_must_be_shut(server: Server) -> None:
    await server.run(OPEN)
    try:
        error = await said(server, "restricted")
    finally:
        await server.run(SHUT)
    assert isinstance(error, Insecure)
    assert "REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC" in str(error)


@pytest.mark.parametrize(
    ("lose", "give_back", "way_out"),
    [
        ("ALTER ROLE bh_op NOCREATEDB", "ALTER ROLE bh_op CREATEDB", 'ALTER ROLE "bh_op" CREATEROLE CREATEDB'),
        ("ALTER ROLE bh_op NOCREATEROLE", "ALTER ROLE bh_op CREATEROLE", 'ALTER ROLE "bh_op" CREATEROLE CREATEDB'),
        (
            "REVOKE pg_signal_backend FROM bh_op",
            "GRANT pg_signal_backend TO bh_op",
            'GRANT pg_signal_backend TO "bh_op"',
        ),
    ],
)
async def test_a_right_that_is_missing_is_named_with_the_statement_that_gives_it(
    server: Server, lose: str, give_back: str, way_out: str
) -> None:
    await server.run(lose)
    try:
        error = await said(server, "restricted")
    finally:
        await server.run(give_back)
    assert type(error) is Refused
    assert way_out in str(error)


async def test_without_the_right_to_limit_temporary_files_tenants_are_made_and_it_is_told(server: Server) -> None:
    await server.run("REVOKE SET ON PARAMETER temp_file_limit FROM bh_op")
    try:
        async with Driver.of(server, "restricted") as driver:
            seen = await driver.engine.observe_server(driver.server_request())
            assert any("temp_file_limit" in advisory for advisory in driver.engine.server_of(seen).advisories)
            request = await driver.converge(driver.request())
            assert await driver.steps(request) == ()
            assert (await driver.engine.survey())[request.stamp.uid] == driver.engine.fingerprint(request)
    finally:
        await server.run("GRANT SET ON PARAMETER temp_file_limit TO bh_op")
    async with Driver.of(server, "restricted") as driver:
        await driver.converge(request)
        async with driver.client(request) as client:
            assert await one(client, "SHOW temp_file_limit") == "1GB"


async def test_databases_of_others_that_are_open_to_all_are_told(server: Server) -> None:
    await server.run("CREATE DATABASE erp")
    try:
        async with Driver.of(server, "restricted") as driver:
            seen = await driver.engine.observe_server(driver.server_request())
            assert any('"erp"' in advisory for advisory in driver.engine.server_of(seen).advisories)
    finally:
        await server.run("DROP DATABASE erp")


async def test_a_wrong_password_names_the_secret(server: Server) -> None:
    error = await said(server, password="wrong")
    assert type(error) is Refused
    assert "spec.postgres.adminSecretRef" in str(error)
    assert "wrong" not in str(error)


async def test_a_server_that_asks_for_no_password_is_insecure(server: Server) -> None:
    rules = server.postgres.log_file.parent / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(before.replace("scram-sha-256", "trust"))
    try:
        await restart(server)
        error = await said(server)
    finally:
        rules.write_text(before)
        await restart(server)
    assert isinstance(error, Insecure)
    assert "pg_hba.conf must ask for scram-sha-256" in str(error)


async def restart(server: Server) -> None:
    await server.postgres.stop()
    await server.postgres.start()


async def test_nobody_listening_is_unavailable_at_once(server: Server) -> None:
    started = time.monotonic()
    error = await said(server, port=1)
    assert isinstance(error, Unavailable)
    assert time.monotonic() - started < CONNECT_SECONDS


async def test_a_server_with_a_certificate_of_our_ca_is_reached(tls_server: Server) -> None:
    async with Driver.of(tls_server, "restricted") as driver:
        await driver.prepare_server()
        request = await driver.converge(driver.request())
        seen = await driver.engine.observe_server(driver.server_request())
        assert not any("not encrypted" in advisory for advisory in driver.engine.server_of(seen).advisories)
        binding = driver.engine.binding(request)
        ca_file = tls_server.postgres.log_file.parent / "binding-ca.crt"
        ca_file.write_text(binding["ca.crt"])
        async with await psycopg.AsyncConnection.connect(binding["uri"], sslrootcert=str(ca_file)) as client:
            assert client.pgconn.ssl_in_use
        await driver.erase(request)


async def test_a_certificate_of_another_ca_names_the_secret_with_the_ca(tls_server: Server) -> None:
    stranger = Authority("stranger", gen.NOW).certificate
    error = await said(tls_server, ca_pem=stranger)
    assert type(error) is Refused
    assert "spec.postgres.tls.caSecretRef" in str(error)


@pytest.mark.parametrize("ca_pem", ["no certificate", " "])
async def test_a_ca_that_is_none_names_the_secret_with_the_ca(tls_server: Server, ca_pem: str) -> None:
    error = await said(tls_server, ca_pem=ca_pem)
    assert type(error) is Refused
    assert "spec.postgres.tls.caSecretRef" in str(error)


@pytest.mark.parametrize("mode", [TlsMode.VERIFY_FULL, TlsMode.VERIFY_CA])
async def test_a_ca_that_is_not_given_is_not_any_ca(tls_server: Server, mode: TlsMode) -> None:
    error = await said(replace(tls_server, ca_pem=None), tls=PostgresTls(mode=mode))
    assert type(error) is Refused
    assert "spec.postgres.tls.caSecretRef" in str(error)


async def test_no_password_is_sent_to_a_server_without_tls_where_tls_is_asked_for(server: Server) -> None:
    error = await said(server, tls=PostgresTls(mode=TlsMode.VERIFY_FULL), ca_pem=Authority("x", gen.NOW).certificate)
    assert type(error) is Refused
    assert "spec.postgres.tls.mode" in str(error)


async def test_an_engine_that_is_closed_is_unavailable(server: Server) -> None:
    engine = server.engine()
    await engine.ping()
    await engine.close()
    with pytest.raises(Unavailable):
        await engine.ping()


async def test_kept_sessions_that_a_restart_ended_are_replaced(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    await asyncio.gather(*(driver.engine.ping() for _ in range(4)))
    await driver.server.postgres.kill()
    started = time.monotonic()
    with pytest.raises(Unavailable, match="while calling the server"):
        await driver.engine.ping()
    assert time.monotonic() - started < CONNECT_SECONDS
    await driver.server.postgres.start()
    assert await driver.steps(request) == ()


async def test_a_server_that_does_not_answer_is_unavailable_in_bounded_time(driver: Driver) -> None:
    await driver.engine.ping()
    await driver.server.postgres.pause()
    started = time.monotonic()
    try:
        with pytest.raises(Unavailable):
            await driver.engine.ping()
    finally:
        await driver.server.postgres.resume()
    assert time.monotonic() - started < 15
    await driver.engine.ping()


async def test_a_server_that_freezes_while_it_is_asked_is_unavailable_in_bounded_time(server: Server) -> None:
    async with Driver.of(server, "superuser") as driver:
        request = driver.request()
        (step, *_) = await driver.steps(request)
        async with server.superuser() as blocker:
            await blocker.execute("BEGIN; LOCK TABLE pg_authid")
            act = asyncio.create_task(driver.engine.act(step))
            while not await one(blocker, "SELECT count(*) FROM pg_locks WHERE NOT granted"):
                continue
            await server.postgres.pause()
            started = time.monotonic()
            try:
                with pytest.raises(Unavailable, match="no answer in time"):
                    await act
            finally:
                await server.postgres.resume()
        assert time.monotonic() - started < 15
        await driver.converge(request)


async def test_a_step_that_waits_for_a_lock_gives_up_and_is_done_later(server: Server) -> None:
    async with Driver.of(server, "superuser") as driver:
        request = driver.request()
        (step, *_) = await driver.steps(request)
        async with server.superuser() as blocker:
            await blocker.execute("BEGIN; LOCK TABLE pg_authid")
            with pytest.raises(Unavailable, match="while create group role"):
                await driver.engine.act(step)
        await driver.converge(request)


async def test_a_cancelled_step_leaves_no_session_in_the_pool_with_it(server: Server) -> None:
    async with Driver.of(server, "superuser") as driver:
        request = driver.request()
        (step, *_) = await driver.steps(request)
        async with server.superuser() as blocker:
            await blocker.execute("BEGIN; LOCK TABLE pg_authid")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(driver.engine.act(step), 0.2)
        await driver.converge(request)


async def test_a_closed_engine_leaves_no_session_behind(server: Server) -> None:
    count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'bh_op'"

    async def left(number: int) -> bool:
        found = await server.rows(count)
        assert found == [(number,)], found  # a closed one is seen for a moment
        return True

    async with Driver.of(server, "restricted") as driver:
        await asyncio.gather(*(driver.engine.ping() for _ in range(8)))
        await eventually(partial(left, KEPT))
    await eventually(partial(left, 0))


@dataclass(frozen=True, slots=True)
class Count(Statement):
    """Counts how often it was done; its effect is there from `enough` times on."""

    enough: int
    trouble: str = ""
    """Statement that follows the count, which no rollback takes back."""

    def __str__(self) -> str:
        return "count"

    def text(self, rights: Rights) -> sql.Composed:  # noqa: ARG002 - the same for every operator
        return sql.SQL("SELECT nextval('public.tries'); {}").format(sql.SQL(self.trouble))

    def proof(self) -> sql.Composed:
        return sql.SQL("SELECT is_called AND last_value >= {} FROM public.tries").format(sql.Literal(self.enough))


@dataclass(frozen=True, slots=True)
class CountAgain(Count):
    stubborn: ClassVar[bool] = True


def failing_until(tries: int, state: str) -> str:
    return (
        f"DO $$ BEGIN IF currval('public.tries') < {tries} "
        f"THEN RAISE EXCEPTION 'as if' USING ERRCODE = '{state}'; END IF; END $$"
    )


@pytest.fixture
async def counting(server: Server) -> AsyncIterator[PostgresEngine]:
    await server.run("DROP SEQUENCE IF EXISTS public.tries; CREATE SEQUENCE public.tries")
    async with Driver.of(server, "superuser") as driver:
        yield driver.engine


async def tries(server: Server) -> int:
    ((count,),) = await server.rows("SELECT last_value FROM public.tries")
    return int(count)


@pytest.mark.parametrize("state", ["XX000", "55006", "40P01", "40001"])
async def test_a_transient_failure_is_tried_again_at_once(server: Server, counting: PostgresEngine, state: str) -> None:
    await counting.act(Count(1, failing_until(3, state)))
    assert await tries(server) == 3


async def test_a_transient_failure_that_lasts_is_given_up(server: Server, counting: PostgresEngine) -> None:
    with pytest.raises(Unavailable, match="as if"):
        await counting.act(Count(1, failing_until(99, "XX000")))
    assert await tries(server) == 1 + len(PAUSES)


@pytest.mark.parametrize("state", ["42501", "42601", "2BP01"])
async def test_a_lasting_failure_is_not_tried_again(server: Server, counting: PostgresEngine, state: str) -> None:
    with pytest.raises(Refused, match="as if"):
        await counting.act(Count(1, failing_until(99, state)))
    assert await tries(server) == 1


async def test_a_step_whose_answer_was_lost_is_done(server: Server, counting: PostgresEngine) -> None:
    await counting.act(Count(1, "SELECT pg_terminate_backend(pg_backend_pid())"))
    assert await tries(server) == 1


async def test_a_step_that_was_lost_before_it_was_done_is_unavailable(counting: PostgresEngine) -> None:
    with pytest.raises(Unavailable, match="while count"):
        await counting.act(Count(2, "SELECT pg_terminate_backend(pg_backend_pid())"))


@pytest.mark.parametrize("state", ["42710", "42P04", "42704", "3D000"])
async def test_what_somebody_else_has_done_is_done(counting: PostgresEngine, state: str) -> None:
    await counting.act(Count(1, failing_until(99, state)))


async def test_what_is_in_the_way_and_is_not_the_effect_is_refused(counting: PostgresEngine) -> None:
    with pytest.raises(Refused, match="as if"):
        await counting.act(Count(2, failing_until(99, "42710")))


async def test_what_is_acknowledged_without_effect_is_refused_with_the_servers_warning(
    server: Server, counting: PostgresEngine
) -> None:
    warning = "DO $$ BEGIN RAISE WARNING 'no privileges could be revoked'; END $$"
    with pytest.raises(Refused, match=r"while count: .* it has no effect: no privileges could be revoked"):
        await counting.act(Count(99, warning))
    assert await tries(server) == 1


async def test_a_revoke_that_is_a_warning_and_no_more_is_not_taken_for_done(server: Server) -> None:
    await server.run("CREATE DATABASE foreign_one OWNER postgres")
    try:
        async with Driver.of(server, "restricted") as driver:
            with pytest.raises(Refused, match="it has no effect"):
                await driver.engine.act(CloseToPublic("foreign_one"))
    finally:
        await server.run("DROP DATABASE foreign_one")


async def test_what_may_slip_in_again_is_done_again(server: Server, counting: PostgresEngine) -> None:
    await counting.act(CountAgain(3))
    assert await tries(server) == 3
