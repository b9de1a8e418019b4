"""The gateway of a plane as a process: whom it lets in, and what it takes up while it runs."""

from __future__ import annotations

import datetime as dt
import os
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aiohttp
import psycopg
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from bulkhead.platform.proxy import target as targets
from bulkhead.protocol import assertions, documents
from bulkhead.protocol.assertions import HEADER, Ability, Assertion, Jwk, Jwks, Method, Source, path_hash, server_name
from bulkhead.protocol.keys import SigningKey
from bulkhead.protocol.problems import Code
from hack.plane.certificates import Authority, KeyPair
from hack.plane.gateway import Gateway, Published, published
from hack.plane.plane import Part, Plane, PlaneOptions
from hack.plane.ports import LOOPBACK
from tests.world import eventually

PLATFORM = "https://platform.example.com"


@pytest.fixture(scope="module")
async def plane() -> AsyncIterator[Plane]:
    async with Plane.start(PlaneOptions(parts=frozenset({Part.POSTGRES}), fsync=False)) as running:
        yield running


@pytest.fixture(scope="module")
async def gateway(plane: Plane) -> Gateway:
    started = Gateway(plane.site, platform=PLATFORM)
    await started.start()
    return started


@pytest.fixture
def key() -> SigningKey:
    return SigningKey.generate(os.urandom)


@pytest.fixture
async def cluster(gateway: Gateway, key: SigningKey) -> str:
    """One that trusts `key`, as soon as the gateway has read of it."""
    id_ = str(uuid4())
    await gateway.admit(id_, jwks(key))
    await eventually(lambda: served(gateway, id_))
    return id_


async def served(gateway: Gateway, cluster: str) -> bool:
    async with session(gateway, gateway.client) as client:
        try:
            async with client.get(url(gateway, cluster)):
                return True
        except aiohttp.ClientConnectionError:
            return False


def jwks(*keys: SigningKey) -> Jwks:
    return Jwks(keys=tuple(Jwk.of(each.public) for each in keys))


def vouched(key: SigningKey, cluster: str, method: Method = Method.GET, path: str = "/") -> dict[str, str]:
    claims = Assertion(
        purpose="assertion",
        iss=PLATFORM,
        aud=cluster,
        sub="ada",
        organisation=str(uuid4()),
        abilities=(Ability.DATASET_READ, Ability.DATASET_WRITE),
        source=Source.HUMAN,
        method=method,
        path=path_hash(path.encode()),
        jti=str(uuid4()),
        exp=int(time.time()) + assertions.LIFETIME,
    )
    return {"Host": server_name(cluster), HEADER: assertions.sign(claims, key)}


class Loopback(AbstractResolver):
    """Leads every name there."""

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=LOOPBACK, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing is held."""


def session(gateway: Gateway, client: KeyPair | None) -> aiohttp.ClientSession:
    if client is None:
        context = ssl.create_default_context(cadata=gateway.ca_pem)
    else:
        context = targets.context(ca=gateway.ca_pem, certificate=client.certificate, key=client.key)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, resolver=Loopback()))


def url(gateway: Gateway, cluster: str, path: str = "/") -> str:
    return f"https://{server_name(cluster)}:{gateway.address.rpartition(':')[2]}{path}"


async def ask(
    gateway: Gateway, cluster: str, headers: dict[str, str], *, method: str = "GET", path: str = "/"
) -> tuple[int, Any]:
    """Status and body, over a connection of its own, as the platform."""
    async with (
        session(gateway, gateway.client) as client,
        client.request(method, url(gateway, cluster, path), headers=headers) as response,
    ):
        return response.status, await response.json(content_type=None)


async def test_a_request_that_is_vouched_for_is_answered(gateway: Gateway, key: SigningKey, cluster: str) -> None:
    status, said = await ask(gateway, cluster, vouched(key, cluster, path="/notes?x=1"), path="/notes?x=1")
    assert (status, said["target"], said["assertion"]["sub"]) == (200, "/notes?x=1", "ada")


async def test_a_request_that_nobody_vouches_for_is_refused(gateway: Gateway, key: SigningKey, cluster: str) -> None:
    stranger = SigningKey.generate(os.urandom)
    for headers in (
        {"Host": server_name(cluster)},
        vouched(stranger, cluster),
        {**vouched(key, str(uuid4())), "Host": server_name(cluster)},
        vouched(key, cluster, path="/other"),
    ):
        status, said = await ask(gateway, cluster, headers)
        assert (status, said["code"]) == (Code.ASSERTION_INVALID.status, "assertion_invalid"), headers


async def test_an_assertion_of_a_write_is_good_for_one_request(gateway: Gateway, key: SigningKey, cluster: str) -> None:
    headers = vouched(key, cluster, Method.POST)
    assert (await ask(gateway, cluster, headers, method="POST"))[0] == 200
    assert (await ask(gateway, cluster, headers, method="POST"))[1]["code"] == "assertion_replayed"


async def test_who_is_not_the_platform_does_not_get_through_tls(gateway: Gateway, cluster: str) -> None:
    impostor = Authority("plane gateway clients", dt.datetime.now(dt.UTC)).client("platform")
    for client in (None, impostor):
        async with session(gateway, client) as stranger:
            with pytest.raises(aiohttp.ClientConnectionError):
                await stranger.get(url(gateway, cluster))


async def test_a_cluster_that_was_not_admitted_has_no_certificate(gateway: Gateway, cluster: str) -> None:
    assert await served(gateway, cluster)
    assert not await served(gateway, str(uuid4()))


async def test_a_row_is_of_the_clusters_own_database_by_its_own_log_in(
    plane: Plane, gateway: Gateway, key: SigningKey, cluster: str
) -> None:
    assert (await ask(gateway, cluster, vouched(key, cluster, path="/row"), path="/row"))[0] == 404
    password = await plane.postgres.create_operator("tenant_login")
    dsn = psycopg.conninfo.make_conninfo(plane.postgres.dsn(), user="tenant_login", password=password)
    await gateway.admit(cluster, jwks(key), dsn=dsn)

    async def answered() -> dict[str, Any]:
        status, row = await ask(gateway, cluster, vouched(key, cluster, path="/row"), path="/row")
        assert status == 200, row
        return dict(row)

    row = await eventually(answered)
    assert (row["database"], row["user"]) == ("postgres", "tenant_login")


async def test_keys_are_taken_up_without_ending_a_connection(gateway: Gateway, key: SigningKey, cluster: str) -> None:
    successor = SigningKey.generate(os.urandom)
    async with session(gateway, gateway.client) as client:

        async def status(by: SigningKey) -> int:
            async with client.get(url(gateway, cluster), headers=vouched(by, cluster)) as response:
                await response.read()
                return response.status

        assert (await status(key), await status(successor)) == (200, Code.ASSERTION_INVALID.status)
        await gateway.admit(cluster, jwks(key, successor))

        async def both() -> bool:
            return (await status(key), await status(successor)) == (200, 200)

        assert await eventually(both)
        assert (await ask(gateway, cluster, vouched(successor, cluster)))[0] == 200
        assert await both(), "what a new connection is made with counts for that one alone"
        await gateway.admit(cluster, jwks(successor))

        async def the_newest_alone() -> bool:
            return (await status(key), await status(successor)) == (Code.ASSERTION_INVALID.status, 200)

        assert await eventually(the_newest_alone)


async def test_a_killed_gateway_comes_back_with_its_clusters(gateway: Gateway, key: SigningKey, cluster: str) -> None:
    await gateway.kill()
    assert not await gateway.answers()
    await gateway.start()
    assert (await ask(gateway, cluster, vouched(key, cluster)))[0] == 200


async def test_what_was_edited_by_hand_is_left_to_the_operator(key: SigningKey) -> None:
    good = {"PLATFORM_CLUSTER_ID": "a", "PLATFORM_JWKS": documents.encode(jwks(key)).decode(), "POSTGRES_URI": "b"}
    bad: tuple[dict[str, str], ...] = ({}, {**good, "PLATFORM_JWKS": "{"}, {**good, "PLATFORM_JWKS": ""})
    secrets = [
        {"data": {key: b64encode(value.encode()).decode() for key, value in each.items()}} for each in (*bad, good)
    ]
    assert list(published([{}, {"data": {"PLATFORM_JWKS": "/w=="}}, *secrets])) == [Published("a", jwks(key), "b")]
