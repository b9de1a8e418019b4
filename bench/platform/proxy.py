"""The platform's proxy beside a bare pass-through of httpx and uvicorn, to the same upstream, in turn in one run.

    reads, writes   of several sizes: so many clients ask as fast as they are answered, window after window in the order
                    A B B A; what counts is the ratio of the medians of requests a second
    memory          of the service while one answer, and then one body, of a gibibyte streams

The platform asks who calls, counts quotas, looks up the cluster, records the request before it leaves and its outcome
afterwards, both forced to disk, and signs an assertion; the pass-through does nothing of it. All run on one machine:
Postgres, upstream and clients take their share of it too, which the report tells.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import msgspec
import psycopg

from bench.measure import resident_bytes, spent
from bench.platform.callers import Caller, Reached, write_callers
from bench.platform.load import ROOT
from bench.platform.population import request
from bench.platform.pressure import Order, Yield
from bulkhead.protocol.assertions import server_name
from hack.plane.certificates import Authority, KeyPair
from hack.plane.plane import Part, Plane, PlaneOptions
from hack.plane.platform import Platform, Replica
from hack.plane.ports import LOOPBACK
from hack.plane.private import write_private
from hack.plane.process import Launch, Server

MIB = 2**20
KIB = 2**10
CLUSTERS = 16
CALLERS_OF_EACH = 10
"""Together they may ask for 1,600 requests a second before a quota refuses them."""
STREAMED = 2**30
PIECE = bytes(262144)

Side = Literal["platform", "bare"]


@dataclass(frozen=True, slots=True)
class Kind:
    """Requests that are alike. size: bytes of the answer of a read, of the body of a write"""

    method: Literal["GET", "POST", "PUT"]
    size: int

    def __str__(self) -> str:
        size = f"{self.size // MIB} MiB" if self.size >= MIB else f"{self.size // KIB} KiB"
        return f"{self.method}, {'answer' if self.method == 'GET' else 'body'} of {size}"

    def head(self, caller: Caller, host: str) -> bytes:
        path = f"/v1/clusters/{caller.cluster}/proxy/" + (f"bytes/{self.size}" if self.method == "GET" else "items")
        body = 0 if self.method == "GET" else self.size
        return request(self.method, path, host, caller.token.reveal(), bytes(body))[: -body or None]


SMALL = (Kind("GET", KIB), Kind("POST", KIB))
KINDS = (*SMALL, Kind("GET", MIB), Kind("PUT", MIB))


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How much of everything. connections: of clients; seconds: of each window; streamed: bytes; 0: none"""

    connections: int = 32
    seconds: float = 5.0
    rounds: int = 3
    streamed: int = STREAMED
    kinds: tuple[Kind, ...] = KINDS


@dataclass(frozen=True, slots=True)
class Window:
    """What one side did in some seconds. spent: share of a core by process"""

    found: Yield
    spent: dict[str, float]

    @property
    def per_second(self) -> float:
        """Requests that succeeded."""
        return self.found.statuses.get(200, 0) / self.found.lasted

    @property
    def milliseconds(self) -> dict[str, float]:
        """Of CPU for each request, by process: what a busy machine changes least."""
        return {name: 1000 * share / self.per_second for name, share in self.spent.items()}

    @property
    def others(self) -> dict[str, int]:
        """What was no success."""
        return {str(status or "broken"): many for status, many in self.found.statuses.items() if status != 200}

    def at(self, quantile: float) -> float:
        """Milliseconds."""
        ordered = sorted(self.found.seconds)
        return 1000 * ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else float("nan")


@dataclass(slots=True)
class Comparison:
    """Windows of both sides with requests of one kind."""

    platform: list[Window] = field(default_factory=list)
    bare: list[Window] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Of the medians: above 1 the platform is the faster one."""
        return _median(self.platform) / _median(self.bare)

    def report(self) -> dict[str, Any]:
        """All figures by what they are."""
        return {
            "platform / bare": round(self.ratio, 3),
            "platform / bare, window by window": [
                round(ours.per_second / bare.per_second, 3) for ours, bare in zip(self.platform, self.bare, strict=True)
            ],
            "platform": _report(self.platform),
            "bare": _report(self.bare),
        }


class Upstream(Server):
    """What both sides ask: see `upstream.py`. certificates: of all clusters, and of who may ask"""

    def __init__(self, plane: Plane, own: KeyPair, client_ca: str) -> None:
        folder = plane.site.folder("upstream")
        self.port = plane.site.ports.reserve()
        files = {
            "certificate": write_private(folder / "own.crt", own.certificate),
            "key": write_private(folder / "own.key", own.key),
            "client-ca": write_private(folder / "ca.crt", client_ca),
        }
        super().__init__("upstream", plane.site.warden, _launch("upstream", folder, self.port, files))

    async def answers(self) -> bool:
        return await _is_open(self.port)


class Bare(Server):
    """The pass-through: see `passthrough.py`."""

    def __init__(self, plane: Plane, upstream: Upstream, name: str, ca: str, client: KeyPair) -> None:
        folder = plane.site.folder("bare")
        self.port = plane.site.ports.reserve()
        files = {
            "ca": write_private(folder / "ca.crt", ca),
            "certificate": write_private(folder / "client.crt", client.certificate),
            "key": write_private(folder / "client.key", client.key),
        }
        words = {"upstream": f"https://{LOOPBACK}:{upstream.port}", "name": name}
        super().__init__("bare", plane.site.warden, _launch("passthrough", folder, self.port, files | words))

    async def answers(self) -> bool:
        return await _is_open(self.port)


def _launch(module: str, folder: Path, port: int, options: Any) -> Launch:
    words = {"host": LOOPBACK, "port": port, **options}
    argv = [sys.executable, "-m", f"bench.platform.{module}", *(f"--{name}={value}" for name, value in words.items())]
    env = {"PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}"}
    return Launch(argv, folder / f"{module}.log", env=env, cwd=folder)


async def _is_open(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        return False
    writer.close()
    return True


@dataclass(slots=True)
class Bench:
    """Both proxies before one upstream."""

    platform: Platform
    replica: Replica
    bare: Bare
    upstream: Upstream
    callers: list[Caller]
    amounts: Amounts
    say: Callable[[str], None]

    async def compare(self, kind: Kind) -> Comparison:
        """Window after window."""
        found = Comparison()
        for _ in range(self.amounts.rounds):
            for side in ("platform", "bare", "bare", "platform"):
                getattr(found, side).append(await self.window(kind, side))
        self.say(f"{kind}: platform / bare {found.ratio:.2f}, {_median(found.bare):.0f} requests a second bare")
        return found

    async def window(self, kind: Kind, side: Side) -> Window:
        """So many seconds of one side."""
        port = self.replica.port if side == "platform" else self.bare.port
        order = Order(
            host=LOOPBACK,
            port=port,
            heads=[kind.head(caller, f"{LOOPBACK}:{port}") for caller in self.callers],
            body=0 if kind.method == "GET" else kind.size,
            connections=self.amounts.connections,
            warm_up=1.0,
            seconds=self.amounts.seconds,
        )
        pids = {
            "the proxy": self.replica.pid if side == "platform" else self.bare.pid,
            "Postgres": self.platform.database.postgres.pid,
            "upstream": self.upstream.pid,
        }
        before, begun = spent(pids), asyncio.get_running_loop().time()
        found = await pressing(order)
        after, lasted = spent(pids), asyncio.get_running_loop().time() - begun
        shares = {name: (after[name] - before[name]) / lasted for name in pids}
        return Window(found, {**shares, "clients": found.cpu / lasted})

    async def memory(self) -> dict[str, Any]:
        """Of the service, while much streams each way; in MiB."""
        found = {}
        for way, stream in (("answer", self._read), ("body", self._write)):
            before = resident_bytes(self.replica.pid)
            task = asyncio.create_task(stream())
            most = before
            while not task.done():
                most = max(most, resident_bytes(self.replica.pid))
                await asyncio.wait([task], timeout=0.02)
            seconds = await task
            found[way] = {
                "MiB streamed": self.amounts.streamed // MIB,
                "MiB a second": round(self.amounts.streamed / MIB / seconds, 1),
                "MiB before": round(before / MIB, 1),
                "MiB at most meanwhile": round(most / MIB, 1),
                "MiB grown": round((most - before) / MIB, 1),
            }
            self.say(f"{way} of {self.amounts.streamed // MIB} MiB: memory grew by {(most - before) / MIB:.1f} MiB")
        return found

    async def _read(self) -> float:
        kind = Kind("GET", self.amounts.streamed)
        async with self._connected() as (reader, writer):
            begun = asyncio.get_running_loop().time()
            writer.write(kind.head(self.callers[0], LOOPBACK))
            await _succeeded(reader)
            left = kind.size
            while left:
                piece = await reader.read(len(PIECE))
                assert piece, "the answer ended early"
                left -= len(piece)
            return asyncio.get_running_loop().time() - begun

    async def _write(self) -> float:
        path = f"/v1/clusters/{self.callers[0].cluster}/proxy/items"
        head = request("PUT", path, LOOPBACK, self.callers[0].token.reveal(), b"")
        announced = b"Content-Length: %d\r\n\r\n" % self.amounts.streamed
        async with self._connected() as (reader, writer):
            begun = asyncio.get_running_loop().time()
            writer.write(head.removesuffix(b"\r\n") + announced)
            for _ in range(self.amounts.streamed // len(PIECE)):
                writer.write(PIECE)
                await writer.drain()
            await _succeeded(reader)
            return asyncio.get_running_loop().time() - begun

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(LOOPBACK, self.replica.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def _succeeded(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head.decode()


async def pressing(order: Order) -> Yield:
    """What came of `order`, in a process of its own."""
    with tempfile.NamedTemporaryFile() as outcome:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bench.platform.pressure", outcome.name),
            stdin=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}"},
        )
        try:
            await process.communicate(msgspec.msgpack.encode(order))
            return msgspec.msgpack.decode(outcome.read(), type=Yield)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@asynccontextmanager
async def bench(amounts: Amounts, say: Callable[[str], None]) -> AsyncIterator[Bench]:
    """Both proxies, on a plane of Postgres alone."""
    now = dt.datetime.now(dt.UTC)
    servers, clients = Authority("bench gateway", now), Authority("bench clients", now)
    clusters = [uuid4() for _ in range(CLUSTERS)]
    names = [server_name(str(cluster)) for cluster in clusters]
    client = clients.client("platform")
    async with Plane.start(PlaneOptions(parts=frozenset({Part.POSTGRES}), fsync=True)) as plane:
        upstream = Upstream(plane, servers.server("gateway", *names), clients.certificate)
        bare = Bare(plane, upstream, names[0], servers.certificate, client)
        platform = await Platform.install(plane, tls=False)
        async with await psycopg.AsyncConnection.connect(platform.database.superuser_dsn, autocommit=True) as session:
            # A plane logs every statement for the sake of tests; nobody who runs a service does.
            await session.execute("ALTER DATABASE platform SET log_statement = 'none'")
        replica = platform.replica()
        for server in (upstream, bare, replica):
            await server.start()
        reached = Reached(f"{LOOPBACK}:{upstream.port}", servers.certificate, client)
        callers = await write_callers(platform, clusters, reached, of_each=CALLERS_OF_EACH)
        yield Bench(platform, replica, bare, upstream, callers, amounts, say)


async def measure(amounts: Amounts, say: Callable[[str], None]) -> dict[str, Any]:
    """The report."""
    async with bench(amounts, say) as found:
        report: dict[str, Any] = {
            "connections of clients": amounts.connections,
            "load average before": round(os.getloadavg()[0], 1),
        }
        for kind in amounts.kinds:
            report[str(kind)] = (await found.compare(kind)).report()
        if amounts.streamed:
            report["memory of the service"] = await found.memory()
        report["load average after"] = round(os.getloadavg()[0], 1)
        return report


def _median(windows: list[Window]) -> float:
    return statistics.median(each.per_second for each in windows)


def _report(windows: list[Window]) -> dict[str, Any]:
    def median(of: Callable[[Window], float], digits: int) -> float:
        return round(statistics.median(of(each) for each in windows), digits)

    def by_process(of: Callable[[Window], dict[str, float]]) -> dict[str, float]:
        return {name: round(statistics.median(of(each)[name] for each in windows), 2) for name in windows[0].spent}

    return {
        "requests a second": [round(each.per_second, 1) for each in windows],
        "requests a second, median": round(_median(windows), 1),
        "ms (p50, p99), medians": [median(lambda each: each.at(0.5), 1), median(lambda each: each.at(0.99), 1)],
        "not answered with 200": [each.others for each in windows],
        "share of a core, medians": by_process(lambda each: each.spent),
        "CPU ms a request, medians": by_process(lambda each: each.milliseconds),
    }
