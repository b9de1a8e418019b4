"""Clusters behind a gateway, and the proxy before them: real server, real Postgres, real TLS."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
from prometheus_client import CollectorRegistry

from bulkhead.platform.audit.intake import Intake
from bulkhead.platform.audit.record import Refusals
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, transaction
from bulkhead.platform.destinations import Network
from bulkhead.platform.http.front import Front
from bulkhead.platform.http.incoming import Incoming
from bulkhead.platform.http.limits import Failures
from bulkhead.platform.http.metrics import HttpMetrics
from bulkhead.platform.http.route import Admin, PlatformAdmin, Principal, User, UserWith
from bulkhead.platform.http.server import Bounds
from bulkhead.platform.http.table import Table
from bulkhead.platform.proxy import target as targets
from bulkhead.platform.proxy.forwarding import Limits
from bulkhead.platform.proxy.gateways import Gateways
from bulkhead.platform.proxy.requests import Requests, Room
from bulkhead.platform.proxy.routes import Deps, routes
from bulkhead.platform.proxy.setting import Setting
from bulkhead.platform.proxy.vouching import Vouching
from bulkhead.platform.signing.keys import SigningKeys
from bulkhead.platform.signing.sealing import Sealing
from bulkhead.protocol.assertions import Jwks, KeyUse, server_name
from bulkhead.protocol.problems import Code, Problem
from hack.plane.certificates import Authority, KeyPair
from hack.plane.data_api import Cluster, Clusters, StandIn
from tests.integration.platform.events.gen import LOOPBACK
from tests.integration.platform.http.served import Served, serving
from tests.integration.platform.joining.platform import Clock
from tests.integration.platform.rows import Rows
from tests.integration.platform.server import Client, Database

PLATFORM = "https://platform.example.com"


@dataclass(kw_only=True)
class Yard:
    """One plane of one organisation, its gateway, and the platform before it.

    people: who may call, by what they show
    limits: of the front that is served next
    clock: by which requests tell how long they took
    """

    api: Pool
    worker: Pool
    database: Database
    organisation: UUID
    plane: UUID
    stand_in: StandIn
    jwks: Jwks
    authority: Authority
    client: KeyPair
    clients_ca: str
    gateway_port: int = 0
    people: dict[str, Principal] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    room: Room = field(default_factory=Room)
    clock: Clock = field(default_factory=Clock)
    sealing: Sealing = field(default_factory=lambda: Sealing({"kek": b"k" * 32}, random=os.urandom))
    allowed: tuple[Network, ...] = LOOPBACK
    looks: int = 0
    keys: SigningKeys = field(init=False)
    gateways: Gateways = field(init=False)

    def __post_init__(self) -> None:
        self.keys = signing_keys(self.sealing)
        self.gateways = Gateways(sealing=self.sealing, allowed=self.allowed)

    async def cluster(self, *, online: bool = True, dsn: str = "", **columns: Any) -> UUID:
        """One that is behind the gateway, and is heard of."""
        async with self.database.superuser() as session:
            rows = Rows(session)
            cluster = await rows.cluster(self.organisation, self.plane, **columns)
            now = dt.datetime.now(dt.UTC)
            await rows.liveness(cluster, self.organisation, online=online, last_seen=now)
        own = self.authority.server(str(cluster), server_name(str(cluster)))
        added = Cluster(certificate=own.certificate, key=own.key, jwks=self.jwks, dsn=dsn)
        served = self.stand_in.served
        self.stand_in.served = msgspec.structs.replace(served, clusters={**served.clusters, str(cluster): added})
        return cluster

    async def aim(self, port: int | None = None, *, address: str = "", **columns: Any) -> None:
        """Set the plane's target: the gateway, or another port of loopback."""
        sealed = self.sealing.seal(self.client.key.encode(), targets.place(self.plane))
        row = {
            "address": address or f"127.0.0.1:{port or self.gateway_port}",
            "ca": self.authority.certificate,
            "client_certificate": self.client.certificate,
            "sealed_client_key": sealed.text,
            "sealed_under": sealed.under,
            "set_by": "admin",
            **columns,
        }
        async with self.database.superuser() as session:
            await session.execute("DELETE FROM plane_targets WHERE plane_id = %s", (self.plane,))
            await Rows(session).insert("plane_targets", plane_id=self.plane, **row)

    async def change(self, statement: str, *parameters: object) -> None:
        """As a superuser."""
        async with self.database.superuser() as session:
            await session.execute(statement.encode(), parameters)

    async def audited(self, cluster: UUID) -> list[dict[str, Any]]:
        """What the audit has of a cluster, oldest first."""
        async with self.database.superuser() as session:
            return await audited(session, cluster)

    async def authenticate(self, _: UserWith | PlatformAdmin, request: Incoming) -> Principal:
        self.looks += 1
        found = self.people.get(request.bearer)
        if found is None:
            raise Problem(Code.API_TOKEN_UNKNOWN)
        return found

    def front(self) -> Front:
        vouching = Vouching(self.keys, platform=PLATFORM, new_id=uuid4, clock=time.monotonic)
        requests = Requests(
            pool=self.api,
            intake=Intake(self.worker),
            gateways=self.gateways,
            vouching=vouching,
            authenticate=self.authenticate,
            clock=self.clock,
            limits=self.limits,
            room=self.room,
        )
        setting = Setting(sealing=self.sealing, gateways=self.gateways)
        return Front(
            Table(routes(Deps(requests=requests, setting=setting, limits=self.limits))),
            authenticators={UserWith: self.authenticate, PlatformAdmin: self.authenticate},
            transaction=lambda principal: transaction(self.api, scope_of(principal)),
            quota=None,
            audit=Refusals(self.worker),
            failures=Failures(clock=time.monotonic),
            metrics=HttpMetrics(CollectorRegistry()),
            randomness=os.urandom,
        )

    @asynccontextmanager
    async def served(self) -> AsyncIterator[Served]:
        """The proxy on a port of its own; connections to gateways end with the block."""
        async with serving(self.front(), Bounds()) as running:
            yield running
        await self.gateways.close()


def scope_of(principal: Principal) -> Scope:
    if isinstance(principal, Admin):
        return Scope(platform_admin=True)
    assert isinstance(principal, User)
    return Scope(organisation=principal.organisation_id)


def signing_keys(sealing: Sealing) -> SigningKeys:
    return SigningKeys(
        KeyUse.ASSERTION, platform=PLATFORM, sealing=sealing, random=os.urandom, lifetime=timedelta(days=30)
    )


async def audited(session: Client, cluster: UUID) -> list[dict[str, Any]]:
    found = await session.execute(
        "SELECT convert_from(entry, 'UTF8')::jsonb FROM audit_intake "
        "WHERE convert_from(entry, 'UTF8')::jsonb->'target'->>'id' = %s ORDER BY id",
        (str(cluster),),
    )
    return [row[0] for row in await found.fetchall()]


@asynccontextmanager
async def yard(
    database: Database, api: Pool, worker: Pool, *, clock: Callable[[], float] = time.time
) -> AsyncIterator[Yard]:
    """A plane with a target, whose gateway stands on loopback. No cluster yet."""
    now = dt.datetime.now(dt.UTC)
    servers, clients = Authority("gateway", now), Authority("clients", now)
    sealing = Sealing({"kek": b"k" * 32}, random=os.urandom)
    async with transaction(api, Scope()) as tx:
        ring = await signing_keys(sealing).keep(tx)
    async with database.superuser() as session:
        rows = Rows(session)
        organisation, plane = await rows.organisation(), await rows.plane()
        await rows.grant(organisation, plane)
    stand_in = StandIn(Clusters(platform=PLATFORM, client_ca=clients.certificate, clusters={}), clock=clock)
    async with stand_in.listening("127.0.0.1", 0) as port:
        made = Yard(
            api=api,
            worker=worker,
            database=database,
            organisation=organisation,
            plane=plane,
            stand_in=stand_in,
            jwks=ring.jwks,
            authority=servers,
            client=clients.client("platform"),
            clients_ca=clients.certificate,
            gateway_port=port,
            sealing=sealing,
        )
        await made.aim()
        yield made
