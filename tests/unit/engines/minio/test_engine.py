"""What the engine does without a server: credentials, bindings, bounded calls, and steps that show no secret."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.api.data_plane import ObjectStoreEndpoint
from bulkhead.api.meta import LocalRef
from bulkhead.api.record import Holding
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.errors import Unavailable
from bulkhead.engines.minio.engine import MinioEngine
from bulkhead.engines.minio.lane import Lane
from bulkhead.engines.minio.steps import AbortUpload, CreateUser
from tests.unit.engines.minio import gen

NOW = datetime(2026, 1, 1, tzinfo=UTC)
URL = "https://minio.data.svc:9000"


def engine(url: str = URL, ca_pem: str | None = "-----BEGIN CERTIFICATE-----") -> MinioEngine:
    return MinioEngine(
        ObjectStoreEndpoint(endpoint=url, admin_secret_ref=LocalRef(name="minio-admin"), region="eu-1"),
        Sensitive("admin"),
        Sensitive("admin-secret"),
        ca_pem,
        installation=gen.INSTALLATION,
        randomness=lambda count: bytes(range(count)),
    )


@given(st.binary(min_size=30, max_size=30))
def test_a_first_credential_has_forty_characters_that_need_no_quoting(randomness: bytes) -> None:
    made = MinioEngine(
        ObjectStoreEndpoint(endpoint=URL, admin_secret_ref=LocalRef(name="minio-admin")),
        Sensitive("admin"),
        Sensitive("admin-secret"),
        None,
        installation=gen.INSTALLATION,
        randomness=lambda _: randomness,
    ).credentials(gen.names(), gen.stamp(), Holding(), NOW)
    secret_key = made[0].value.reveal()
    assert len(secret_key) == 40
    assert secret_key.replace("-", "a").replace("_", "a").isalnum()


def test_the_first_credential_is_named_after_the_uid() -> None:
    (made,) = engine().credentials(gen.names(), gen.stamp(), Holding(), NOW)
    assert (made.generation, made.identity) == (1, gen.names().access_key(1))


def test_held_credentials_stay_as_they_are() -> None:
    holding = gen.request(generations=(2, 3)).holding
    assert engine().credentials(gen.names(), gen.stamp(), holding, NOW) == holding.credentials


def test_a_binding_holds_all_that_a_client_needs_of_the_newest_generation() -> None:
    request = gen.request(generations=(1, 2))
    held = request.holding.credentials[-1]
    secret_key = held.value.reveal()
    assert engine().binding(request) == {
        "type": "s3",
        "provider": "minio",
        "uri": URL,
        "endpoint": URL,
        "host": "minio.data.svc",
        "port": "9000",
        "tls": "true",
        "bucket": "acme-data",
        "region": "eu-1",
        "path-style": "true",
        "username": held.identity,
        "password": secret_key,
        "access-key": held.identity,
        "secret-key": secret_key,
        "AWS_ACCESS_KEY_ID": held.identity,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_REGION": "eu-1",
        "AWS_ENDPOINT_URL_S3": URL,
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "ca.crt": "-----BEGIN CERTIFICATE-----",
    }


def test_without_a_ca_of_its_own_a_binding_names_none() -> None:
    assert "ca.crt" not in engine(ca_pem=None).binding(gen.request())


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("https://store.example.com", "store.example.com", "443", "true"),
        ("http://127.0.0.1:9000", "127.0.0.1", "9000", "false"),
        ("https://[::1]:9000", "::1", "9000", "true"),
    ],
)
def test_host_and_port_of_a_binding_are_those_of_the_endpoint(url: str, host: str, port: str, tls: str) -> None:
    found = engine(url).binding(gen.request())
    assert (found["host"], found["port"], found["tls"]) == (host, port, tls)


def test_a_step_shows_neither_secrets_nor_the_names_of_objects() -> None:
    steps = (CreateUser("acme-1", Sensitive("the-secret")), AbortUpload("acme-data", "the-key", "the-upload"))
    shown = " ".join(f"{step} {step!r}" for step in steps)
    assert "the-" not in shown


@pytest_asyncio.fixture(loop_scope="session")
async def lane() -> AsyncIterator[Lane]:
    lane = Lane(1, "test", seconds=0.05)
    yield lane
    lane.close()


async def test_a_call_that_takes_too_long_is_given_up(lane: Lane) -> None:
    done = threading.Event()
    with pytest.raises(Unavailable, match=r"while waiting: .* did not answer in time"):
        await lane.call("waiting", done.wait, 60)
    done.set()


async def test_waiting_for_a_free_thread_does_not_count_as_slowness() -> None:
    lane = Lane(1, "test", seconds=2.0)  # for each: all four take longer
    entered = threading.Semaphore(0)
    calls = [asyncio.create_task(lane.call("working", entered.acquire, timeout=0.6)) for _ in range(4)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    lane.close()
    assert results == [False] * 4


async def test_no_more_calls_run_at_once_than_there_are_threads() -> None:
    lane = Lane(2, "test")
    running = 0
    most = 0
    guard = threading.Lock()
    both = threading.Barrier(2)

    def work() -> None:
        nonlocal running, most
        with guard:
            running += 1
            most = max(most, running)
        both.wait(5)
        with guard:
            running -= 1

    await asyncio.gather(*(lane.call("working", work) for _ in range(6)))
    lane.close()
    assert most == 2


async def test_a_mistake_of_our_own_is_not_taken_for_a_failure_of_the_server() -> None:
    lane = Lane(1, "test")

    def mistake() -> None:
        raise TypeError("mistake")

    with pytest.raises(TypeError, match="mistake"):
        await lane.call("working", mistake)
    lane.close()


async def test_a_call_under_way_ends_when_its_lane_is_closed_and_the_next_one_is_told() -> None:
    lane = Lane(1, "test")
    started, go_on = threading.Event(), threading.Event()

    def work() -> str:
        started.set()
        go_on.wait(5)
        return "done"

    first = asyncio.create_task(lane.call("working", work))
    next_one = asyncio.create_task(lane.call("waiting", work))
    await asyncio.to_thread(started.wait, 5)
    lane.close()
    go_on.set()
    assert await first == "done"
    with pytest.raises(Unavailable, match="while waiting: the connection has been closed"):
        await next_one
