"""A joiner that tries again until it is answered ends joined, once, whatever the way to the platform does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from enum import Enum, auto

import aiohttp
import msgspec
import pytest

from bulkhead.protocol import credentials
from tests.integration.platform.joining.platform import Answered, Joiner, Replica, World, works
from tests.integration.platform.server import one


class Fault(Enum):
    """What the way does to one connection."""

    DROPPED_BEFORE = auto()
    REQUEST_TRUNCATED = auto()
    ANSWER_DROPPED = auto()
    ANSWER_TRUNCATED = auto()
    DELAYED = auto()
    """It arrives once the replica has answered a later one."""
    DUPLICATED = auto()


class Lossy:
    """A loopback port that leads to one replica after the other, and does each fault once before it lets through."""

    def __init__(self, replicas: tuple[Replica, ...], faults: tuple[Fault, ...]) -> None:
        self._replicas = itertools.cycle(replicas)
        self._faults = list(faults)
        self._delayed: list[bytes] = []

    @property
    def spent(self) -> bool:
        """Whether each fault was done."""
        return not self._faults

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[int]:
        """Its port, for the time of the block."""
        async with await asyncio.start_server(self._accept, "127.0.0.1", 0) as server:
            yield server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _message(reader)
        match self._faults.pop(0) if self._faults else None:
            case Fault.DROPPED_BEFORE:
                pass
            case Fault.REQUEST_TRUNCATED:
                await _sent(next(self._replicas), request[:-10], whole=False)
            case Fault.ANSWER_DROPPED:
                await _sent(next(self._replicas), request)
            case Fault.ANSWER_TRUNCATED:
                writer.write((await _sent(next(self._replicas), request))[:-10])
            case Fault.DELAYED:
                self._delayed.append(request)
            case Fault.DUPLICATED:
                answers = await asyncio.gather(*(_sent(next(self._replicas), request) for _ in range(2)))
                writer.write(answers[0])
            case None:
                answer = await _sent(next(self._replicas), request)
                for earlier in self._delayed:
                    await _sent(next(self._replicas), earlier)
                writer.write(answer)
        await _closed(writer)


async def _message(reader: asyncio.StreamReader) -> bytes:
    """One HTTP message whose length its head tells."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    return head + await reader.readexactly(int(fields.get(b"content-length", b"0")))


async def _sent(service: Replica, request: bytes, *, whole: bool = True) -> bytes:
    """The replica's answer; none to a request that was cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        writer.write(request)
        await writer.drain()
        return await _message(reader) if whole else b""
    finally:
        await _closed(writer)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def until_answered(call: Callable[[], Awaitable[Answered]]) -> Answered:
    """The first answer that comes whole."""
    for _ in range(20):
        with contextlib.suppress(aiohttp.ClientError, msgspec.DecodeError):
            return await call()
    raise AssertionError("no answer came through")


async def live(world: World, joiner: Joiner) -> list[str]:
    rows = await world.session.execute(
        """SELECT id FROM service_keys
           WHERE identity_id = %s AND revoked_at IS NULL AND (retires_at IS NULL OR retires_at > now())""",
        (joiner.identity,),
    )
    return [row[0] for row in await rows.fetchall()]


ORDERS = (
    *((fault,) for fault in Fault),
    tuple(Fault),
    (Fault.DELAYED, Fault.ANSWER_TRUNCATED, Fault.ANSWER_DROPPED, Fault.REQUEST_TRUNCATED, Fault.DROPPED_BEFORE),
)
named = pytest.mark.parametrize("faults", ORDERS, ids=lambda faults: "-".join(each.name for each in faults))


@contextlib.asynccontextmanager
async def way(world: World, faults: tuple[Fault, ...]) -> AsyncIterator[Replica]:
    lossy = Lossy((world.first, world.second), faults)
    async with lossy.opened() as port:
        yield replace(world.first, port=port)
    assert lossy.spent


@named
async def test_an_exchange_ends_with_one_identity_and_one_key(world: World, faults: tuple[Fault, ...]) -> None:
    cluster = world.cluster()
    token = await world.token_for(cluster)
    async with way(world, faults) as service:
        assert (await until_answered(lambda: cluster.exchange(service, token))).status == 201
    assert await live(world, cluster) == [cluster.key_id]
    assert await one(world.session, "SELECT count(*) FROM clusters WHERE uid = %s", (cluster.uid,)) == 1


@named
async def test_a_challenge_and_its_answer_end_with_one_key_and_cost_once(
    world: World, faults: tuple[Fault, ...]
) -> None:
    cluster, new = await world.joined_cluster(), credentials.Secret.generate(os.urandom)
    async with way(world, faults) as service:
        challenge = (await until_answered(lambda: cluster.challenge(service))).body["challenge"]
    async with way(world, faults) as service:
        answered = await until_answered(lambda: cluster.answer_challenge(service, challenge, new))
    assert answered.status == 200
    assert await live(world, cluster) == [cluster.key_id]
    assert await one(world.session, "SELECT rejoin_budget FROM clusters WHERE id = %s", (cluster.identity,)) == 4


@named
async def test_a_rotation_ends_with_the_new_key_alone(world: World, faults: tuple[Fault, ...]) -> None:
    plane, new = await world.joined_plane(world.organisation), credentials.Secret.generate(os.urandom)
    async with way(world, faults) as service:
        answered = await until_answered(lambda: plane.rotate(service, new))
    assert answered.status == 201
    plane.key_id, plane.secret = answered.body["keyId"], new
    assert (await works(world.second, plane)).status == 200
    # The old one is served until the overlap ends, which its row tells.
    await world.session.execute("UPDATE service_keys SET retires_at = now() WHERE retires_at IS NOT NULL")
    assert await live(world, plane) == [plane.key_id]
