"""The service as a process: how it starts, what it tells of itself, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from hack.plane.certificates import Authority
from tests.integration.platform.link import Link
from tests.integration.platform.server import Database
from tests.integration.platform.service import Service, ask, over, settings, until

PATIENT = ("tests.integration.platform.patient_service",)


async def test_it_serves_and_ends_with_status_0_when_told_to(database: Database) -> None:
    async with Service.started(settings(database)) as service:
        port = await service.port()
        assert await ask(port, "/healthz") == (200, "ok")
        assert await ask(port, "/readyz") == (200, "ok")
        service.stop()
        assert await service.status() == 0
        assert service.errors == ""


async def test_metrics_are_on_the_listener_of_operations_alone(database: Database) -> None:
    async with Service.started(settings(database)) as service:
        public, operations = await service.port(), await service.operations()
        assert (await ask(public, "/metrics"))[0] == 404
        status, text = await ask(operations, "/metrics")
        assert status == 200
        assert 'bulkhead_http_request_seconds_count{method="",route="",status="404"} 1.0' in text
        assert 'bulkhead_database_pool_size{role="api"}' in text
        assert await ask(operations, "/healthz") == (200, "ok")


async def test_the_document_that_it_serves_is_the_one_that_is_published(database: Database) -> None:
    async with Service.started(settings(database)) as service:
        served = await ask(await service.port(), "/openapi.json")
        published = Path(__file__).parents[3] / "docs/openapi.json"
        assert served == (200, published.read_text())


async def test_a_request_that_runs_is_finished_while_no_other_is_taken(database: Database) -> None:
    async with Service.started(settings(database), program=PATIENT) as service:
        port, operations = await service.port(), await service.operations()
        waiting = asyncio.create_task(ask(port, "/wait"))
        await service.event("waiting")
        service.stop()
        await until(port, "/healthz", 0)
        assert (await ask(operations, "/readyz"))[0] == 503
        assert (await ask(operations, "/healthz"))[0] == 200
        service.process.send_signal(signal.SIGUSR1)
        assert await waiting == (200, "waited")
        assert await service.status() == 0


async def test_a_request_that_runs_too_long_is_cut_off(database: Database) -> None:
    async with Service.started(settings(database, DRAIN_SECONDS="1"), program=PATIENT) as service:
        waiting = asyncio.create_task(ask(await service.port(), "/wait"))
        await service.event("waiting")
        service.stop()
        status, text = await waiting
        assert (status, json.loads(text)["code"]) == (503, "unavailable")
        assert await service.status() == 0


async def test_it_is_unready_at_once_and_takes_connections_until_balancers_have_noticed(database: Database) -> None:
    async with Service.started(settings(database, DRAIN_DELAY_SECONDS="600")) as service:
        port = await service.port()
        service.stop()
        await service.event("draining")
        assert (await ask(port, "/readyz"))[0] == 503
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/healthz") as response:
            assert (response.status, response.headers["Connection"]) == (200, "close")


async def test_a_second_signal_ends_it_at_once(database: Database) -> None:
    async with Service.started(settings(database, DRAIN_DELAY_SECONDS="600")) as service:
        await service.port()
        service.stop()
        await service.event("draining")
        service.stop()
        assert await service.status() == -signal.SIGTERM


async def test_workers_are_told_to_end_after_the_last_request(database: Database) -> None:
    async with Service.started(settings(database), program=PATIENT) as service:
        await service.port()
        service.stop()
        await service.event("flushed")
        assert await service.status() == 0


async def test_a_worker_that_ends_ends_the_service(database: Database) -> None:
    async with Service.started(settings(database), program=PATIENT) as service:
        await service.port()
        service.process.send_signal(signal.SIGUSR2)
        assert await service.status() == 1
        assert "the worker mortal came to an end" in service.errors


async def test_it_is_unready_while_the_database_is_away_and_ready_when_it_is_back(database: Database) -> None:
    postgres = database.server.postgres
    async with Link.to(postgres.host, postgres.port) as link:
        dsns = {"API_DSN": over(database.dsn("api"), link.port), "WORKER_DSN": over(database.dsn("worker"), link.port)}
        async with Service.started(settings(database, **dsns)) as service:
            port, operations = await service.port(), await service.operations()
            link.cut()
            assert await until(operations, "/readyz", 503) == "the database does not answer"
            assert (await ask(port, "/readyz"))[0] == 503
            assert (await ask(port, "/healthz"))[0] == 200
            link.mend()
            await until(port, "/readyz", 200)


async def test_it_waits_for_its_database_and_says_so(database: Database) -> None:
    postgres = database.server.postgres
    async with Link.to(postgres.host, postgres.port) as link:
        link.cut()
        dsns = {"API_DSN": over(database.dsn("api"), link.port), "WORKER_DSN": over(database.dsn("worker"), link.port)}
        async with Service.started(settings(database, **dsns)) as service:
            operations = await service.operations()
            await service.event("unready")
            assert (await ask(operations, "/readyz"))[0] == 503
            assert (await ask(operations, "/healthz"))[0] == 200
            link.mend()
            assert (await ask(await service.port(), "/readyz"))[0] == 200


async def test_a_database_that_was_never_migrated_is_waited_for(database: Database) -> None:
    async with database.server.empty_database() as empty, Service.started(settings(empty)) as service:
        await service.event("unready")
        assert "bulkhead platform migrate" in (await ask(await service.operations(), "/readyz"))[1]


async def test_a_log_in_that_may_do_more_than_its_role_is_refused(database: Database) -> None:
    async with Service.started(settings(database, API_DSN=database.dsn("owner"))) as service:
        assert await service.status() == 2
        assert "owner" in service.errors


async def test_with_a_certificate_it_speaks_TLS_1_3_and_nothing_older(database: Database, tmp_path: Path) -> None:  # noqa: N802 - the name of a protocol
    authority = Authority("platform", datetime.now(UTC))
    own = authority.server("platform")
    (tmp_path / "tls.crt").write_text(own.certificate)
    (tmp_path / "tls.key").write_text(own.key)
    files = {"TLS_CERTIFICATE_FILE": str(tmp_path / "tls.crt"), "TLS_KEY_FILE": str(tmp_path / "tls.key")}
    trust = ssl.create_default_context(cadata=authority.certificate)
    async with Service.started(settings(database, **files)) as service:
        url = f"https://127.0.0.1:{await service.port()}/healthz"
        async with aiohttp.ClientSession() as session, session.get(url, ssl=trust) as response:
            assert response.status == 200
        trust.maximum_version = ssl.TLSVersion.TLSv1_2
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(url, ssl=trust)
