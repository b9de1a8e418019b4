"""A replica of the platform with all that joins, on a real database, and joiners that speak to it over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import msgspec
from prometheus_client import CollectorRegistry

from bulkhead.platform.app import scope_of
from bulkhead.platform.audit.export import Revoked
from bulkhead.platform.audit.record import Refusals
from bulkhead.platform.clusters import routes as clusters
from bulkhead.platform.clusters.heartbeat import Announced
from bulkhead.platform.clusters.liveness import Liveness
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, transaction
from bulkhead.platform.http.front import Front
from bulkhead.platform.http.incoming import Incoming
from bulkhead.platform.http.limits import Failures
from bulkhead.platform.http.metrics import HttpMetrics
from bulkhead.platform.http.route import (
    Admin,
    PlatformAdmin,
    Principal,
    RegistrationToken,
    ServiceKey,
    User,
    UserOrPlane,
    UserWith,
)
from bulkhead.platform.http.server import Bounds, Server, listen
from bulkhead.platform.http.table import Table
from bulkhead.platform.joining import routes
from bulkhead.platform.joining.tokens import RegistrationTokens
from bulkhead.platform.keys.last_used import LastUsed
from bulkhead.platform.keys.service_key import ServiceKeys
from bulkhead.platform.keys.slow import Slow
from bulkhead.platform.keys.verify import Outcome, Verifier
from bulkhead.platform.settings import Key, Keys, Scrypt
from bulkhead.platform.signing.keys import SigningKeys
from bulkhead.platform.signing.sealing import Sealing
from bulkhead.protocol import credentials, proofs, registration
from bulkhead.protocol.assertions import KeyUse
from bulkhead.protocol.documents import PROTOCOL, canonical
from bulkhead.protocol.keys import SigningKey
from bulkhead.protocol.proofs import IdentityKind
from tests.integration.platform.server import Client, Database, one

URL = "https://platform.example.com"
ABILITIES = frozenset({"CLUSTER_READ", "CLUSTER_WRITE"})


class People:
    """Stands in for log-ins, which are another subject's: `Bearer admin`, `Bearer user.{organisation}`."""

    def __init__(self, keys: ServiceKeys) -> None:
        self._keys = keys

    async def __call__(self, caller: Any, request: Incoming) -> Principal:
        bearer = request.bearer
        if bearer == "admin":
            return Admin(subject="root", issuer="https://login.example.com", source="human")
        kind, _, organisation = bearer.partition(".")
        if kind == "user":
            return User(
                organisation_id=UUID(organisation),
                subject="ada",
                issuer="https://login.example.com",
                abilities=ABILITIES,
                source="human",
            )
        return await self._keys(caller, request)


@dataclass
class Clock:
    """Monotonic seconds, which pass when a test says so."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Replica:
    """One process of the service, as far as joining and heartbeats go. What it hears is written when a test says so."""

    port: int
    failures: Failures
    verifier: Verifier
    used: LastUsed
    kept: list[tuple[str, str]]
    liveness: Liveness
    announced: Announced
    clock: Clock

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def replica(
    api: Pool, worker: Pool, *, pepper: bytes = b"p" * 32, previous: bytes | None = None, waiting: int = 64
) -> AsyncIterator[Replica]:
    """A replica on a free port of loopback."""
    peppers = Keys(Key(pepper), Key(previous) if previous else None)
    failures = Failures(clock=time.monotonic)
    signing = SigningKeys(
        KeyUse.ASSERTION,
        platform=URL,
        sealing=Sealing({"kek": b"k" * 32}, random=os.urandom),
        random=os.urandom,
        lifetime=timedelta(days=90),
    )
    async with transaction(api, Scope()) as tx:
        announced = Announced(await signing.keep(tx))
    clock = Clock()
    liveness = Liveness(worker, name="replica", new_id=uuid4, clock=clock)
    kept: list[tuple[str, str]] = []

    async def keep(what: Revoked, id_: str, /, *, epoch: int, organisation: str | None = None) -> None:
        assert epoch
        assert organisation is None
        kept.append((what.value, id_))

    with ThreadPoolExecutor(2) as executor:
        slow: Slow[Outcome] = Slow(executor, Scrypt(at_once=2, waiting=waiting))
        verifier = Verifier(peppers, slow, failures, random=random.random, salt=os.urandom)
        used = LastUsed(worker)
        keys = ServiceKeys(api, verifier, used, random=os.urandom)
        people = People(keys)
        front = Front(
            Table(
                (
                    *routes.routes(
                        routes.Deps(
                            url=URL,
                            pool=api,
                            verifier=verifier,
                            signing=signing,
                            random=os.urandom,
                            keep=keep,
                            failures=failures,
                        )
                    ),
                    *clusters.joined(clusters.Deps(liveness=liveness, announced=announced)),
                    *clusters.people(),
                )
            ),
            authenticators={
                ServiceKey: keys,
                UserOrPlane: people,
                UserWith: people,
                PlatformAdmin: people,
                RegistrationToken: RegistrationTokens(api),
            },
            transaction=lambda principal: transaction(api, scope_of(principal)),
            quota=None,
            audit=Refusals(worker),
            failures=failures,
            metrics=HttpMetrics(CollectorRegistry()),
            randomness=os.urandom,
        )
        listener = listen("127.0.0.1", 0)
        server = Server(front, listener, bounds=Bounds(), drain_seconds=1.0)
        serving = asyncio.create_task(server.run())
        try:
            yield Replica(listener.getsockname()[1], failures, verifier, used, kept, liveness, announced, clock)
        finally:
            await verifier.settle()
            server.stop()
            await serving


@dataclass(frozen=True)
class Answered:
    """What came back."""

    status: int
    body: dict[str, Any]

    @property
    def code(self) -> str:
        return str(self.body.get("code", ""))


async def ask(
    service: Replica, method: str, path: str, *, bearer: str = "", body: Any = None, **query: str
) -> Answered:
    """One request, and its answer."""
    headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
    data = None
    if body is not None:
        headers["content-type"] = "application/json"
        data = canonical(body)
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, service.url + path, headers=headers, data=data, params=query) as answer,
    ):
        text = await answer.read()
        return Answered(answer.status, msgspec.json.decode(text) if text else {})


@dataclass
class Joiner:
    """A plane or a cluster, as the operator has it: key pair and secret before any call."""

    kind: IdentityKind
    name: str
    plane: str | None = None
    uid: str = field(default_factory=lambda: str(uuid4()))
    key: SigningKey = field(default_factory=lambda: SigningKey.generate(os.urandom))
    secret: credentials.Secret = field(default_factory=lambda: credentials.Secret.generate(os.urandom))
    identity: str = ""
    key_id: str = ""

    @property
    def service_key(self) -> str:
        return credentials.ServiceKey(self.key_id, self.secret).reveal()

    def proof(self, token: str, others: dict[str, Any]) -> str:
        """Of an exchange; `others` replace claims."""
        claims = {
            "purpose": "registration",
            "platform": URL,
            "token": credentials.RegistrationToken.parse(token).digest.hex(),
            "public_key": self.key.public,
            "kind": self.kind,
            "plane": self.plane,
            "uid": self.uid,
            "name": self.name,
            "secret": self.secret.digest.hex(),
            **others,
        }
        return proofs.prove(proofs.RegistrationClaims(**claims), self.key)

    async def exchange(self, service: Replica, token: str, /, **others: Any) -> Answered:
        body = registration.ExchangeRequest(protocol=PROTOCOL, proof=self.proof(token, others))
        answered = await ask(service, "POST", "/v1/registrations", bearer=token, body=body)
        if answered.status == 201:
            self.identity, self.key_id = answered.body["identity"], answered.body["keyId"]
        return answered

    async def challenge(self, service: Replica) -> Answered:
        claims = proofs.ChallengeClaims(purpose="challenge", platform=URL, identity=self.identity)
        body = registration.ChallengeRequest(protocol=PROTOCOL, proof=proofs.prove(claims, self.key))
        return await ask(service, "POST", "/v1/registrations/challenge", body=body)

    async def answer_challenge(self, service: Replica, challenge: str, secret: credentials.Secret) -> Answered:
        claims = proofs.RejoinClaims(
            purpose="rejoin", platform=URL, identity=self.identity, challenge=challenge, secret=secret.digest.hex()
        )
        body = registration.RejoinRequest(protocol=PROTOCOL, proof=proofs.prove(claims, self.key))
        answered = await ask(service, "POST", "/v1/registrations/rejoin", body=body)
        if answered.status == 200:
            self.key_id, self.secret = answered.body["keyId"], secret
        return answered

    async def rejoin(self, service: Replica) -> Answered:
        challenge = await self.challenge(service)
        if challenge.status != 200:
            return challenge
        secret = credentials.Secret.generate(os.urandom)
        return await self.answer_challenge(service, challenge.body["challenge"], secret)

    async def rotate(self, service: Replica, secret: credentials.Secret) -> Answered:
        claims = proofs.KeyRegistrationClaims(
            purpose="key-registration",
            platform=URL,
            identity=self.identity,
            replaces=self.key_id,
            secret=secret.digest.hex(),
        )
        body = registration.KeyRegistrationRequest(protocol=PROTOCOL, proof=proofs.prove(claims, self.key))
        of = "clusters" if self.kind is IdentityKind.CLUSTER else "data-planes"
        return await ask(service, "POST", f"/v1/{of}/{self.identity}/keys", bearer=self.service_key, body=body)

    async def mint_for(self, service: Replica, cluster: Joiner, **others: Any) -> Answered:
        """A plane asks for a token of one of its clusters."""
        asked = {
            "protocol": PROTOCOL,
            "kind": IdentityKind.CLUSTER,
            "name": cluster.name,
            "seconds": 600,
            "plane": self.identity,
            "uid": cluster.uid,
            "tenant": registration.TenantRef(name=cluster.name, uid=tenant_uid(cluster.name)),
            "public_key": cluster.key.public,
            **others,
        }
        body = registration.TokenRequest(**asked)
        return await ask(service, "POST", "/v1/registration-tokens", bearer=self.service_key, body=body)


def tenant_uid(name: str) -> str:
    """The UID of the Tenant of that name, in these tests."""
    return str(UUID(bytes=(name.encode() * 16)[:16], version=4))


async def works(service: Replica, plane: Joiner) -> Answered:
    """A call that any live key of a plane may make."""
    return await ask(service, "GET", "/v1/registration-tokens", bearer=plane.service_key)


@dataclass
class World:
    """An organisation with a plane that has joined, and two replicas that know nothing of each other."""

    session: Client
    first: Replica
    second: Replica
    organisation: UUID
    plane: Joiner

    async def plane_token(self, joiner: Joiner, **others: Any) -> str:
        asked = {
            "protocol": PROTOCOL,
            "kind": IdentityKind.PLANE,
            "name": joiner.name,
            "seconds": 600,
            "self_confirming": True,
            **others,
        }
        body = registration.TokenRequest(**asked)
        answered = await ask(self.first, "POST", "/v1/data-planes/tokens", bearer="admin", body=body)
        assert answered.status == 201, answered
        return str(answered.body["token"])

    async def joined_plane(self, *organisations: UUID, **token: Any) -> Joiner:
        plane = Joiner(IdentityKind.PLANE, "plane")
        answered = await plane.exchange(self.first, await self.plane_token(plane, **token))
        assert answered.status == 201, answered
        for organisation in organisations:
            await self.grant(organisation, plane)
        return plane

    async def grant(self, organisation: UUID, plane: Joiner) -> None:
        await self.session.execute(
            "INSERT INTO plane_grants (organisation_id, plane_id, granted_by) VALUES (%s, %s, 'admin')",
            (organisation, plane.identity),
        )

    async def map(self, plane: Joiner, tenant: str, organisation: UUID) -> None:
        await self.session.execute(
            "INSERT INTO tenant_organisations (plane_id, tenant, organisation_id, set_by) VALUES (%s, %s, %s, 'admin')",
            (plane.identity, tenant, organisation),
        )

    async def another_organisation(self) -> UUID:
        name = f"organisation {uuid4()}"
        found = await one(self.session, "INSERT INTO organisations (name) VALUES (%s) RETURNING id", (name,))
        return UUID(str(found))

    def cluster(self, name: str = "acme") -> Joiner:
        return Joiner(IdentityKind.CLUSTER, name, plane=self.plane.identity)

    async def token_for(self, cluster: Joiner) -> str:
        answered = await self.plane.mint_for(self.first, cluster)
        assert answered.status == 201, answered
        return str(answered.body["token"])

    async def joined_cluster(self, name: str = "acme") -> Joiner:
        cluster = self.cluster(name)
        answered = await cluster.exchange(self.first, await self.token_for(cluster))
        assert answered.status == 201, answered
        return cluster

    async def as_user(self, method: str, path: str, body: Any = None) -> Answered:
        return await ask(self.first, method, path, bearer=f"user.{self.organisation}", body=body)

    async def refusals(self, code: str) -> int:
        """How many times the audit holds that a call was refused with this code."""
        found = await one(
            self.session,
            "SELECT count(*) FROM audit_intake WHERE convert_from(entry, 'UTF8')::jsonb->'details'->>'code' = %s",
            (code,),
        )
        return int(found)


@contextlib.asynccontextmanager
async def world(database: Database) -> AsyncIterator[World]:
    async with (
        database.superuser() as session,
        database.pool("api") as api,
        database.pool("worker") as worker,
        replica(api, worker) as first,
        replica(api, worker) as second,
    ):
        made = World(session, first, second, UUID(int=0), Joiner(IdentityKind.PLANE, "plane"))
        made.organisation = await made.another_organisation()
        made.plane = await made.joined_plane(made.organisation)
        yield made
