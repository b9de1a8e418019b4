"""Clients that ask as fast as they are answered, as a process of its own: so many connections, a request at a time on
each (a closed loop). What it counts is the throughput of whoever answers.

Reads an `Order` from the standard input and writes a `Yield` into the file that its argument names: MessagePack both.
"""

from __future__ import annotations

import asyncio
import itertools
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec
import uvloop

from bench.platform.upstream import announced

BROKEN = 0
"""In place of a status: the connection ended before the answer was whole."""
_HEAD_END = b"\r\n\r\n"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask.

    heads: of requests, taken in turn; body: bytes that follow each
    warm_up, seconds: what is answered in the former is not counted
    """

    host: str
    port: int
    heads: list[bytes]
    body: int
    connections: int
    warm_up: float
    seconds: float


class Yield(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it within the seconds.

    seconds: of each answer, from the first byte of its request
    statuses: how many of each; lasted: how long it was counted; cpu: seconds of this process
    """

    seconds: list[float]
    statuses: dict[int, int]
    lasted: float
    cpu: float


class Client(asyncio.Protocol):
    """One connection that asks again once it was answered."""

    def __init__(self, heads: Iterator[bytes], body: bytes, counted: list[tuple[float, float, int]]) -> None:
        self._heads = heads
        self._body = body
        self._counted = counted
        self._begun = 0.0
        self._head = b""
        self._status = BROKEN
        self._left = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance
        self._ask()

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._took(len(data))
            return
        self._head += data
        head, found, rest = self._head.partition(_HEAD_END)
        if not found:
            return
        self._head = b""
        self._status = int(head[9:12])
        self._left = announced(head)
        self._took(len(rest))

    def connection_lost(self, _exc: Exception | None) -> None:
        self._note(BROKEN)

    def _took(self, count: int) -> None:
        self._left -= count
        if not self._left:
            self._note(self._status)
            self._ask()

    def _ask(self) -> None:
        assert self._transport
        self._begun = time.monotonic()
        self._transport.write(next(self._heads))
        if self._body:
            self._transport.write(self._body)

    def _note(self, status: int) -> None:
        now = time.monotonic()
        self._counted.append((now, now - self._begun, status))


async def press(order: Order) -> Yield:
    """What came of `order`."""
    loop = asyncio.get_running_loop()
    heads, body = itertools.cycle(order.heads), bytes(order.body)
    counted: list[tuple[float, float, int]] = []
    clients = [
        (await loop.create_connection(lambda: Client(heads, body, counted), order.host, order.port))[0]
        for _ in range(order.connections)
    ]
    await asyncio.sleep(order.warm_up)
    begun = time.monotonic()
    await asyncio.sleep(order.seconds)
    ended = time.monotonic()
    found = [each for each in counted if begun <= each[0] < ended]
    for client in clients:
        client.abort()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Yield(
        seconds=[seconds for _, seconds, _ in found],
        statuses=dict(Counter(status for _, _, status in found)),
        lasted=ended - begun,
        cpu=used.ru_utime + used.ru_stime,
    )


def main() -> None:
    order = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Order)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(press(order))
    Path(sys.argv[1]).write_bytes(msgspec.msgpack.encode(outcome))


if __name__ == "__main__":
    main()
