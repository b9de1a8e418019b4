"""Real Postgres servers for the tests of their engine, and the tenant's side of it: an ordinary client."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any, Literal

import psycopg

from bulkhead.api.data_plane import PostgresEndpoint, PostgresTls, TlsMode
from bulkhead.api.meta import LocalRef
from bulkhead.api.names import physical_names
from bulkhead.api.ownership import Stamp
from bulkhead.api.record import Credential, Holding
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.contract import Decision, Do, Request, ServerRequest, Step
from bulkhead.engines.postgres.engine import PostgresEngine
from bulkhead.engines.postgres.scram import new_password, scram_verifier
from hack.plane.plane import Part, Plane, PlaneOptions
from hack.plane.postgres import Postgres
from hack.plane.postgres_builds import PostgresVersion
from tests.postgres_builds import needs_postgres
from tests.unit.engines.postgres import gen

Mode = Literal["superuser", "restricted"]
MODES: tuple[Mode, ...] = ("superuser", "restricted")
Variant = tuple[PostgresVersion, Mode]
VARIANTS: tuple[Variant, ...] = (("18", "superuser"), ("18", "restricted"), ("16", "restricted"), ("15", "restricted"))
"""What most tests run on: releases differ in what a restricted operator may do, hardly otherwise."""
EXTENSIONS = ("vector", "pgcrypto")
ROUNDS = 3

INVENTORY = (
    """SELECT 'database', datname, datconnlimit, datallowconn, datacl::text, shobj_description(oid, 'pg_database')
       FROM pg_database""",
    """SELECT 'role', rolname, rolcanlogin, rolconnlimit,
              (SELECT array_agg(s ORDER BY s) FROM unnest(rolconfig) s)::text, shobj_description(oid, 'pg_authid')
       FROM pg_roles""",
    "SELECT 'membership', roleid::regrole::text, member::regrole::text FROM pg_auth_members",
    """SELECT 'setting', datname, setconfig::text
       FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase""",
)
INSIDE = "SELECT 'schema', nspname, nspowner::regrole::text, nspacl::text FROM pg_namespace WHERE nspname !~ '^pg_'"

Row = tuple[Any, ...]
Client = psycopg.AsyncConnection[Row]


@asynccontextmanager
async def running_server(version: PostgresVersion, *, tls: bool = False) -> AsyncIterator[Server]:
    """A server of our own, for the time of the block; skips the test where this machine has none of that version."""
    options = PlaneOptions(parts=frozenset({Part.POSTGRES}), postgres=version, tls_postgres=tls, fsync=False)
    await needs_postgres(version, tls=tls)
    async with Plane.start(options) as plane:
        await allow_prepared_transactions(plane.postgres)
        yield Server(plane.postgres, await plane.postgres.create_operator(), plane.ca_pem if tls else None)


class Servers:
    """One server per release, started when it is first asked for."""

    def __init__(self) -> None:
        self._running = AsyncExitStack()
        self._started: dict[PostgresVersion, Server] = {}

    async def of(self, version: PostgresVersion) -> Server:
        if version not in self._started:
            self._started[version] = await self._running.enter_async_context(running_server(version))
        return self._started[version]

    async def close(self) -> None:
        await self._running.aclose()


async def allow_prepared_transactions(postgres: Postgres) -> None:
    """As some servers do. A tenant can then leave one behind, which outlives its session."""
    async with await psycopg.AsyncConnection.connect(postgres.dsn(), autocommit=True) as session:
        await session.execute("ALTER SYSTEM SET max_prepared_transactions = 5")
    await postgres.stop()
    await postgres.start()


@dataclass(frozen=True)
class Server:
    postgres: Postgres
    operator_password: str
    ca_pem: str | None
    numbers: count[int] = field(default_factory=lambda: count(1))

    def endpoint(self, **changes: Any) -> PostgresEndpoint:
        mode = TlsMode.DISABLE if self.ca_pem is None else TlsMode.VERIFY_FULL
        declared = {
            "host": self.postgres.host,
            "port": self.postgres.port,
            "admin_secret_ref": LocalRef(name="postgres-admin"),
            "tls": PostgresTls(mode=mode),
            "warm_databases": 0,
            "allowed_extensions": EXTENSIONS,
        }
        return PostgresEndpoint(**{**declared, **changes})

    def engine(
        self, mode: Mode = "superuser", *, ca_pem: str | None = None, password: str = "", **changes: Any
    ) -> PostgresEngine:
        """The engine as its administrator opens it. `changes`: of the endpoint."""
        name, right = (
            (self.postgres.superuser, self.postgres.password)
            if mode == "superuser"
            else ("bh_op", self.operator_password)
        )
        return PostgresEngine(
            self.endpoint(**changes),
            Sensitive(name),
            Sensitive(password or right),
            ca_pem or self.ca_pem,
            installation=gen.INSTALLATION,
            randomness=secrets.token_bytes,
            clock=lambda: datetime.now(UTC),
        )

    @asynccontextmanager
    async def superuser(self, database: str = "postgres") -> AsyncIterator[Client]:
        async with await psycopg.AsyncConnection.connect(self.postgres.dsn(database), autocommit=True) as session:
            yield session

    @asynccontextmanager
    async def admitting(self, role: str, method: str) -> AsyncIterator[None]:
        """Have pg_hba.conf treat one role by another method, as soon as the server has read it again."""
        rules = self.postgres.log_file.with_name("data") / "pg_hba.conf"
        before = rules.read_text()
        rules.write_text(f'host all "{role}" {self.postgres.host}/32 {method}\n{before}')
        await self.run("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            rules.write_text(before)
            await self.run("SELECT pg_reload_conf()")

    async def run(self, statement: str, database: str = "postgres") -> None:
        """As superuser. `statement` comes from the test itself."""
        async with self.superuser(database) as session:
            await session.execute(statement.encode())

    async def rows(self, query: str, database: str = "postgres") -> list[Row]:
        async with self.superuser(database) as session:
            return await (await session.execute(query.encode())).fetchall()


@dataclass(frozen=True)
class Driver:
    """What the reconciler does with an engine, without a reconciler."""

    server: Server
    engine: PostgresEngine
    identity: str
    operator: str
    mode: Mode

    @classmethod
    @asynccontextmanager
    async def of(cls, server: Server, mode: Mode, **changes: Any) -> AsyncIterator[Driver]:
        engine = server.engine(mode, **changes)
        try:
            seen = await engine.observe(gen.cut(gen.request()))  # promises no warm database
            yield cls(server, engine, seen.identity, seen.operator.name, mode)
        finally:
            await engine.close()

    def request(self, slug: str = "acme", **changes: Any) -> Request:
        """A DataCluster that nobody else in this suite has: the slug gets a number before it."""
        name = f"n{next(self.server.numbers)}-{slug}"
        return self.named(name, **changes)

    def named(self, slug: str, **changes: Any) -> Request:
        uid = str(uuid.uuid4())
        names = physical_names(slug, uid, ("entries",), opaque=False)
        stamp = Stamp(gen.INSTALLATION, uid)
        credentials = self.engine.credentials(names, stamp, Holding(), gen.NOW)
        held = Holding(server=self.identity, claimed_at="2026-11-22T12:00:00Z", credentials=credentials)
        built = gen.request(slug, held=held, **changes)
        return type(built)(
            stamp=stamp, names=names, spec=built.spec, plan=built.plan, holding=held, access=built.access
        )

    def server_request(self, remembered: str = "") -> ServerRequest:
        return ServerRequest(
            stamp=Stamp(gen.INSTALLATION, gen.PLANE_UID), holding=Holding(server=remembered), proposal=""
        )

    async def decision(self, request: Request) -> Decision:
        return self.engine.decide(request, await self.engine.observe(request))

    async def steps(self, request: Request) -> Sequence[Step]:
        """What is still to do."""
        decision = await self.decision(request)
        assert isinstance(decision, Do), decision
        return decision.steps

    async def converge(self, request: Request) -> Request:
        """Do it until nothing is left to do, and return the request as it is afterwards."""
        for _ in range(ROUNDS):
            steps = await self.steps(request)
            if not steps:
                return gen.held(request, provisioned=("database",))
            for step in steps:
                await self.engine.act(step)
        raise AssertionError(f"still to do after {ROUNDS} rounds: {await self.steps(request)}")

    def successor(self, request: Request, **changes: Any) -> Request:
        """The same DataCluster with the next generation of its credential, the former ones still held."""
        before = request.holding.credentials
        password = new_password(secrets.token_bytes)
        issued = Credential(
            generation=before[-1].generation + 1,
            identity=request.names.login(before[-1].generation + 1),
            value=password,
            verifier=scram_verifier(password, secrets.token_bytes),
        )
        return gen.held(request, credentials=(*before, issued), **changes)

    async def inventory(self, request: Request) -> str:
        """All that the server holds of one DataCluster, with its name and UID left out: to compare the ends of ways."""
        name = request.names.database
        facts = [row for query in INVENTORY for row in await self.server.rows(query) if name in str(row)]
        if any(row[:2] == ("database", name) for row in facts):
            facts += await self.server.rows(INSIDE, name)
        return "\n".join(sorted(map(str, facts))).replace(name, "SLUG").replace(request.stamp.uid, "UID")

    async def removal(self, request: Request) -> Sequence[Step]:
        """What is still to erase."""
        cut = gen.cut(request)
        decision = self.engine.decide_removal(cut, await self.engine.observe(cut))
        assert isinstance(decision, Do), decision
        return decision.steps

    async def erase(self, request: Request) -> None:
        for _ in range(ROUNDS):
            steps = await self.removal(request)
            if not steps:
                return
            for step in steps:
                await self.engine.act(step)
        raise AssertionError(f"still there after {ROUNDS} rounds: {await self.removal(request)}")

    async def prepare_server(self) -> None:
        """What the plane's reconcile does before any tenant comes."""
        request = self.server_request()
        for _ in range(ROUNDS):
            decision = self.engine.decide_server(request, await self.engine.observe_server(request))
            assert isinstance(decision, Do), decision
            if not decision.steps:
                return
            for step in decision.steps:
                await self.engine.act(step)
        raise AssertionError("the server is never prepared")

    @asynccontextmanager
    async def client(self, request: Request, database: str = "", generation: int = -1) -> AsyncIterator[Client]:
        """The tenant's own log-in, to its own database or to another one."""
        credential = request.holding.credentials[generation]
        endpoint = self.server.endpoint()
        session = await psycopg.AsyncConnection.connect(
            host=endpoint.host,
            port=endpoint.port,
            dbname=database or request.names.database,
            user=credential.identity,
            password=credential.value.reveal(),
            autocommit=True,
            sslmode="disable" if self.server.ca_pem is None else "require",
            connect_timeout=5,
        )
        try:
            yield session
        finally:
            await session.close()


async def one(client: Client, query: str) -> Any:
    """The one value that `query` answers."""
    row = await (await client.execute(query.encode())).fetchone()
    assert row is not None
    return row[0]
