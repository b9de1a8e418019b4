"""Clients of the service as a process of its own: many, each at its own pace, cheap enough not to be what is measured.

A client sends its one request again and again, each period varied by a fifth, whether the last one was answered or not
(an open loop: a slow service is not asked less). Connections are kept: either a few that all share, as a balancer has
them, where a request takes a free one, opens another or waits for one; or one for each client.

Reads a `Plan` from the standard input, goes on until SIGTERM, and writes an `Outcome` into the file that its argument
names, both in MessagePack.
"""

from __future__ import annotations

import asyncio
import random
import resource
import signal
import ssl
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
import uvloop

SPREAD = 0.2
NO_ANSWER = 0
"""In place of a status: the connection was refused or broke."""
ANYBODY = -1
MOST_SHARED = 64
"""Connections; a request that finds none free waits, and its latency with it."""
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_CLOSE = b"connection: close"
_CODE = b'"code":"'


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send.

    period: seconds; the first requests are spread over one
    sources: addresses of ours to send from, in turn
    own_connections: one for each client
    ca_pem: what the server's certificate is verified with; empty: plain HTTP
    """

    host: str
    port: int
    requests: list[bytes]
    period: float
    sources: list[str]
    own_connections: bool = False
    ca_pem: str = ""
    seed: int = 0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. Lists have one entry for each request that ended.

    client: which sent it; sent: monotonic clock; seconds: until the last byte of the answer
    unanswered: when what was not answered by the end was due to be sent
    codes: how many of each status, with the code where it is a problem
    late: seconds by which requests were sent after their time, the 99th percentile: the generator's own slowness
    cpu: seconds of this process; connections: that were opened
    """

    client: list[int]
    sent: list[float]
    seconds: list[float]
    status: list[int]
    unanswered: list[float]
    codes: dict[str, int]
    late: float
    cpu: float
    connections: int


class Connection(asyncio.Protocol):
    """One connection: a request at a time, and its answer.

    client: whose it is, where each has its own
    """

    def __init__(self, client: int, ended: Callable[[Connection], None]) -> None:
        self.client = client
        self.open = False
        self._ended = ended
        self._buffer = b""
        self._answered: Callable[[int, bytes], None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance
        self.open = True

    def send(self, request: bytes, answered: Callable[[int, bytes], None]) -> None:
        """`answered` is called once, with status and body, or with NO_ANSWER."""
        assert self._transport
        self._answered = answered
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(_HEAD_END)
        head = head.lower()
        if not found or len(body) < _length(head):
            return
        self._buffer = b""
        self.open = _CLOSE not in head
        self._end(int(head[9:12]), body)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.open = False
        self._ended(self)
        self._end(NO_ANSWER, b"")

    def _end(self, status: int, body: bytes) -> None:
        answered, self._answered = self._answered, None
        if answered:
            answered(status, body)


class Clients:
    """All of them, in one loop."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        self._random = random.Random(plan.seed)  # noqa: S311 - when to send, nothing secret
        self._context = ssl.create_default_context(cadata=plan.ca_pem) if plan.ca_pem else None
        # By whom they may be used: the client that has its own, or anybody.
        self._free: dict[int, dict[Connection, None]] = defaultdict(dict)
        self._waiting: deque[tuple[int, float]] = deque()
        self._connections = 0
        self._opening: set[asyncio.Task[None]] = set()
        self._late: list[float] = []
        self._asked: set[tuple[int, float]] = set()
        self.opened = 0
        self.samples: list[tuple[int, float, float, int]] = []
        self.codes: Counter[str] = Counter()

    def begin(self) -> None:
        """Let the first requests be sent, spread over a period."""
        begun = time.monotonic()
        for client in range(len(self._plan.requests)):
            self._at(begun + self._random.random() * self._plan.period, client)

    def unanswered(self) -> list[float]:
        """When each request that has no answer yet was to be sent."""
        return [begun for _, begun in self._asked]

    def late(self) -> float:
        """The 99th percentile."""
        return sorted(self._late)[int(0.99 * len(self._late))] if self._late else 0.0

    def _at(self, due: float, client: int) -> None:
        self._loop.call_later(max(0.0, due - time.monotonic()), self._beat, due, client)

    def _beat(self, due: float, client: int) -> None:
        now = time.monotonic()
        self._late.append(now - due)
        self._asked.add((client, now))
        self._at(due + self._plan.period * (1 + SPREAD * (2 * self._random.random() - 1)), client)
        if free := self._free[self._user(client)]:
            self._send(free.popitem()[0], client, now)
            return
        if self._connections >= MOST_SHARED and not self._plan.own_connections:
            self._waiting.append((client, now))
            return
        self._connections += 1
        task = self._loop.create_task(self._open(client, now))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, client: int, begun: float) -> None:
        source = self._plan.sources[client % len(self._plan.sources)]
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(client, self._forget),
                self._plan.host,
                self._plan.port,
                local_addr=(source, 0),
                ssl=self._context,
            )
        except OSError:
            self._connections -= 1
            self._note(client, begun, NO_ANSWER, b"")
            return
        self.opened += 1
        self._send(connection, client, begun)

    def _send(self, connection: Connection, client: int, begun: float) -> None:
        def answered(status: int, body: bytes) -> None:
            self._note(client, begun, status, body)
            if not connection.open:
                return
            if self._waiting:
                self._send(connection, *self._waiting.popleft())
                return
            self._free[self._user(connection.client)][connection] = None

        connection.send(self._plan.requests[client], answered)

    def _note(self, client: int, sent: float, status: int, body: bytes) -> None:
        self._asked.discard((client, sent))
        self.samples.append((client, sent, time.monotonic() - sent, status))
        self.codes[f"{status} {_code(body)}".strip()] += 1

    def _forget(self, connection: Connection) -> None:
        self._connections -= 1
        self._free[self._user(connection.client)].pop(connection, None)

    def _user(self, client: int) -> int:
        return client if self._plan.own_connections else ANYBODY


def _length(head: bytes) -> int:
    """What a head in lower case says of its body."""
    at = head.find(_LENGTH)
    return int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0]) if at >= 0 else 0


def _code(body: bytes) -> str:
    _, found, rest = body.partition(_CODE)
    return rest.partition(b'"')[0].decode() if found else ""


async def generate(plan: Plan) -> Outcome:
    """What came of `plan`."""
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    clients = Clients(plan)
    clients.begin()
    await told.wait()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Outcome(
        client=[each[0] for each in clients.samples],
        sent=[each[1] for each in clients.samples],
        seconds=[each[2] for each in clients.samples],
        status=[each[3] for each in clients.samples],
        unanswered=clients.unanswered(),
        codes=dict(clients.codes),
        late=clients.late(),
        cpu=used.ru_utime + used.ru_stime,
        connections=clients.opened,
    )


def main() -> None:
    plan = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Plan)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(generate(plan))
    Path(sys.argv[1]).write_bytes(msgspec.msgpack.encode(outcome))


if __name__ == "__main__":
    main()
