"""A server that is down, stuck, another one, insecure, or not to be trusted; and an administrator who is none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bulkhead.engines.contract import Do, EngineChanged, ServerRequest
from bulkhead.engines.errors import Insecure, Refused, Unavailable
from bulkhead.engines.minio.engine import MinioEngine
from hack.plane.certificates import Authority
from hack.plane.minio import Minio as Server
from hack.plane.plane import now
from tests.integration.engines.minio_server import Driver, admin, engine_of, running_server
from tests.unit.engines.minio import gen


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> AsyncIterator[Server]:
    async with running_server() as running:
        yield running


def server_request(remembered: str = "") -> ServerRequest:
    holding = gen.request(server=remembered).holding
    return ServerRequest(stamp=gen.stamp(uid="plane"), holding=holding, proposal="unused")


async def observe_server(engine: MinioEngine) -> None:
    try:
        await engine.observe_server(server_request())
    finally:
        await engine.close()


async def test_the_server_says_who_it_is_and_what_is_known_of_it(server: Server) -> None:
    engine = engine_of(server)
    found = engine.server_of(await engine.observe_server(server_request()))
    assert len(found.identity) == 36
    assert found.version
    assert "CVE-2026-41145" in found.advisories[0]
    await engine.close()


async def test_another_server_behind_the_address_is_told(server: Server) -> None:
    engine = engine_of(server)
    seen = await engine.observe_server(server_request())
    assert engine.decide_server(server_request(seen.identity), seen) == Do()
    assert engine.decide_server(server_request("another"), seen) == EngineChanged("another", seen.identity)
    await engine.close()


async def test_the_identity_is_the_same_after_a_restart(server: Server) -> None:
    engine = engine_of(server)
    before = await engine.observe_server(server_request())
    await server.stop()
    await server.start()
    assert (await engine.observe_server(server_request())).identity == before.identity
    await engine.close()


async def test_a_server_with_an_account_of_the_default_name_is_insecure(server: Server) -> None:
    admin(server).user_add("minioadmin", "not-the-default-secret")
    try:
        with pytest.raises(Insecure, match="minioadmin"):
            await observe_server(engine_of(server))
    finally:
        admin(server).user_remove("minioadmin")


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"secret_key": "wrong-secret-key"}, "SignatureDoesNotMatch"), ({"access_key": "nobody"}, "InvalidAccessKeyId")],
)
async def test_wrong_keys_are_refused_with_the_way_out(server: Server, changes: dict[str, str], code: str) -> None:
    with pytest.raises(Refused, match=rf"{code}.*adminSecretRef") as caught:
        await observe_server(engine_of(server, **changes))
    assert not any(value in str(caught.value) for value in changes.values())


async def test_the_keys_of_a_tenant_do_not_administer_and_that_is_said(server: Server) -> None:
    admin(server).user_add("just-a-user", "just-a-secret")
    with pytest.raises(Refused, match=r"AccessDenied.*adminSecretRef"):
        await observe_server(engine_of(server, access_key="just-a-user", secret_key="just-a-secret"))
    admin(server).user_remove("just-a-user")


@pytest.mark.parametrize("key", ["", "line\n", "sp ace", "\u00fcmlaut"])
async def test_keys_that_no_account_can_have_are_refused_without_showing_them(server: Server, key: str) -> None:
    with pytest.raises(Refused, match="adminSecretRef") as caught:
        await observe_server(engine_of(server, secret_key=key))
    assert not key or key not in str(caught.value)


async def test_a_server_of_another_ca_is_refused_with_the_way_out(server: Server) -> None:
    foreign = Authority("somebody else", now()).certificate
    with pytest.raises(Refused, match=r"not trusted.*caSecretRef"):
        await observe_server(engine_of(server, ca_pem=foreign))


async def test_a_ca_that_is_none_is_refused_with_the_way_out(server: Server) -> None:
    with pytest.raises(Refused, match="caSecretRef"):
        await observe_server(engine_of(server, ca_pem="no certificate"))


async def test_an_unencrypted_address_of_another_machine_is_refused(server: Server) -> None:
    with pytest.raises(Refused, match="in the clear"):
        await observe_server(engine_of(server, url="http://minio.example.com:9000"))


@pytest.mark.parametrize("url", ["https://minio.example.com/store", "https://", "minio", "https://host:99999"])
async def test_an_address_that_is_none_is_refused(server: Server, url: str) -> None:
    with pytest.raises((Refused, Unavailable), match="DataPlane"):
        await observe_server(engine_of(server, url=url))


async def test_speaking_without_tls_to_a_server_with_tls_is_refused(server: Server) -> None:
    with pytest.raises(Refused, match="answered 400"):
        await observe_server(engine_of(server, url=f"http://{server.endpoint}"))


async def test_a_server_that_is_down_is_unavailable_until_it_is_back(server: Server) -> None:
    engine = engine_of(server)
    driver = await Driver.of(engine)
    await server.stop()
    with pytest.raises(Unavailable, match="nobody listens"):
        await engine.ping()
    with pytest.raises(Unavailable, match='while looking at bucket "acme-data"'):
        await engine.observe(driver.request())
    await server.start()
    await engine.ping()
    await engine.close()


async def test_a_server_that_is_stuck_is_given_up_in_time(server: Server) -> None:
    engine = engine_of(server)
    await engine.ping()
    await server.pause()
    started = time.monotonic()
    try:
        results = await asyncio.gather(*(engine.ping() for _ in range(2)), return_exceptions=True)
    finally:
        await server.resume()
    assert [type(result) for result in results] == [Unavailable] * 2
    assert time.monotonic() - started < 16
    await engine.ping()
    await engine.close()
