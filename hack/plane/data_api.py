"""A stand-in for the gateway of a plane and the Data APIs behind it: enough for the demo, tests and benchmarks.

It is honest at its door and a dummy behind it. At the door it does all that a Data API has to do with a request of the
platform: TLS 1.3 with the client's certificate verified, one certificate for each cluster by server name, and the
assertion checked for signature, platform, cluster, method, target, time and, where something is written, first use.
Behind it are no data sets: it answers a row of the tenant's own database, what it was sent, and bytes.

    python -m hack.plane.data_api --host=127.0.0.1 --port=8443 --clusters=FILE
"""

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import signal
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import msgspec
import psycopg
from aiohttp import web

from bulkhead.protocol import assertions, documents
from bulkhead.protocol.assertions import HEADER, Ability, Assertion, Jwks, Method, server_name
from bulkhead.protocol.errors import AssertionInvalid, NotCurrent
from bulkhead.protocol.problems import CONTENT_TYPE, Code, Problem

PIECE: Final = bytes(65536)
MOST_BYTES: Final = 1 << 40
MOST_FILE: Final = 1 << 26
EVENT_SECONDS: Final = 0.2
_ROW: Final = "SELECT current_database(), session_user, now()::text"


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """One cluster behind the gateway.

    certificate, key: PEM, of its server name
    jwks: the keys of the platform that it trusts
    dsn: of its tenant's database; empty: it has none
    """

    certificate: str
    key: str
    jwks: Jwks
    dsn: str = ""


class Clusters(msgspec.Struct, frozen=True, kw_only=True):
    """What the program is told.

    platform: the URL whose assertions are taken
    client_ca: PEM, what the platform's own certificate is verified with
    clusters: by UUID
    """

    platform: str
    client_ca: str
    clusters: dict[str, Cluster]


@dataclass
class StandIn:
    """Serves clusters. `served` may be replaced at any time: its certificates count from the next connection on, all
    else from the next request on.

    clock: Unix seconds
    """

    served: Clusters
    clock: Callable[[], float] = time.time
    _contexts: dict[str, ssl.SSLContext] = field(default_factory=dict)
    _names: WeakKeyDictionary[ssl.SSLContext, str] = field(default_factory=WeakKeyDictionary)
    """Of contexts that connections still have, also of those that were replaced."""
    _made_of: Clusters | None = None
    _used: dict[tuple[str, str], int] = field(default_factory=dict)

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[int]:
        """Its port, for the time of the block."""
        runner = web.ServerRunner(web.Server(self.answer, access_log=None), handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port, ssl_context=self._front_context())
            await site.start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request."""
        try:
            cluster = self._cluster_of(request)
            assertion = self._verified(request, cluster)
            return await _answer(request, self.served.clusters[cluster], assertion)
        except Problem as problem:
            return web.Response(
                status=problem.code.status, body=documents.encode(problem.document()), content_type=CONTENT_TYPE
            )

    def _cluster_of(self, request: web.BaseRequest) -> str:
        """The cluster whose certificate the connection was made with: never what a header says."""
        connection = request.get_extra_info("ssl_object")
        name = connection and self._names.get(connection.context)
        cluster = next((each for each in self.served.clusters if server_name(each) == name), None)
        if cluster is None or request.host != name:
            raise Problem(Code.ASSERTION_INVALID, "there is no such cluster here")
        return cluster

    def _verified(self, request: web.BaseRequest, cluster: str) -> Assertion:
        given = request.headers.getall(HEADER, [])
        if len(given) != 1:
            raise Problem(Code.ASSERTION_INVALID, f"the header {HEADER} has to come once")
        now = int(self.clock())
        try:
            assertion = assertions.verify(
                given[0],
                self.served.clusters[cluster].jwks,
                platform=self.served.platform,
                cluster=cluster,
                method=request.method,
                target=request.raw_path.encode(),
                now=now,
            )
        except NotCurrent as error:
            raise Problem(Code.ASSERTION_NOT_CURRENT, str(error)) from None
        except AssertionInvalid as error:
            raise Problem(Code.ASSERTION_INVALID, str(error)) from None
        method = Method(request.method)
        if not method.safe:
            self._use(cluster, assertion, now)
        needed = Ability.DATASET_READ if method.safe else Ability.DATASET_WRITE
        if needed not in assertion.abilities:
            raise Problem(Code.ABILITY_MISSING, needed)
        return assertion

    def _use(self, cluster: str, assertion: Assertion, now: int) -> None:
        self._used = {jti: until for jti, until in self._used.items() if until > now}
        if (cluster, assertion.jti) in self._used:
            raise Problem(Code.ASSERTION_REPLAYED)
        self._used[cluster, assertion.jti] = assertion.exp + assertions.LEEWAY

    def _front_context(self) -> ssl.SSLContext:
        """What a connection begins with; it has no certificate: a client has to name a cluster."""
        context = self._context()

        def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
            chosen = self._current_contexts().get(name or "")
            if chosen is None:
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
            connection.context = chosen
            return None

        context.sni_callback = choose
        return context

    def _current_contexts(self) -> Mapping[str, ssl.SSLContext]:
        if self._made_of is not self.served:
            self._contexts = {server_name(id_): self._context(each) for id_, each in self.served.clusters.items()}
            self._names.update((context, name) for name, context in self._contexts.items())
            self._made_of = self.served
        return self._contexts

    def _context(self, cluster: Cluster | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.served.client_ca)
        if cluster is not None:
            with tempfile.NamedTemporaryFile("w", encoding="ascii") as pem:  # its owner alone may read it
                pem.write(cluster.certificate + cluster.key)
                pem.flush()
                context.load_cert_chain(pem.name)
        return context


async def _answer(request: web.BaseRequest, cluster: Cluster, assertion: Assertion) -> web.StreamResponse:
    match request.path.split("/")[1:]:
        case ["row"]:
            return web.json_response(await _row(cluster.dsn))
        case ["bytes", number] if number.isascii() and number.isdigit() and int(number) <= MOST_BYTES:
            return await _bytes(request, int(number))
        case ["events"]:
            return await _events(request)
        case _:
            return web.json_response(await _echo(request, assertion))


async def _row(dsn: str) -> dict[str, Any]:
    """Whose database this is, by the database's own word."""
    if not dsn:
        raise Problem(Code.NOT_FOUND, "this cluster has no database")
    async with await psycopg.AsyncConnection.connect(dsn, connect_timeout=5) as session:
        ((database, user, time_),) = await (await session.execute(_ROW)).fetchall()
    return {"database": database, "user": user, "time": time_}


async def _bytes(request: web.BaseRequest, number: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(number), "Content-Type": "application/octet-stream"})
    await response.prepare(request)
    while number > 0 and request.method != "HEAD":
        await response.write(PIECE[:number])
        number -= len(PIECE)
    return response


async def _events(request: web.BaseRequest) -> web.StreamResponse:
    """Events for ever (server-sent events, WHATWG HTML section 9.2)."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        for number in itertools.count():
            await response.write(f"id: {number}\ndata: tick\n\n".encode())
            await asyncio.sleep(EVENT_SECONDS)
    return response


async def _echo(request: web.BaseRequest, assertion: Assertion) -> dict[str, Any]:
    digest, number = hashlib.sha256(), 0
    async for piece in request.content.iter_any():
        digest.update(piece)
        number += len(piece)
    return {
        "method": request.method,
        "target": request.raw_path,
        "headers": [[name.lower(), value] for name, value in request.headers.items()],
        "bytes": number,
        "sha256": digest.hexdigest(),
        "assertion": msgspec.to_builtins(assertion),
    }


def read(path: Path) -> Clusters:
    """What the file says. Raises OSError, Malformed."""
    return documents.decode(Clusters, path.read_bytes(), most=MOST_FILE)


async def serve(host: str, port: int, path: Path) -> None:
    """Serve until SIGTERM; SIGHUP: read the file again."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    stand_in = StandIn(read(path))

    def again() -> None:
        stand_in.served = read(path)

    loop.add_signal_handler(signal.SIGHUP, again)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with stand_in.listening(host, port):
        await ended.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.plane.data_api", description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clusters", type=Path, required=True, help="JSON; see Clusters")
    options = parser.parse_args()
    asyncio.run(serve(options.host, options.port, options.clusters))
    return 0


if __name__ == "__main__":
    sys.exit(main())
