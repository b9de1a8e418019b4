"""Composition root of the platform service: the one place where pools, clocks and sources of randomness are made.

    listener of operations (health, metrics) -> database usable -> public listener and workers
    -> SIGTERM -> unready -> last connection taken -> running requests end -> workers end

What ends without being asked to ends the process: the supervisor starts a whole one again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import psycopg
import structlog

from bulkhead.platform import health
from bulkhead.platform.audit import routes as audit
from bulkhead.platform.audit import standing
from bulkhead.platform.audit.export import Export, Revoked, Unwritable
from bulkhead.platform.audit.intake import Intake
from bulkhead.platform.audit.look import Restored, look
from bulkhead.platform.audit.record import Refusals
from bulkhead.platform.audit.sealer import Sealer
from bulkhead.platform.audit.standing import Exported
from bulkhead.platform.clusters import routes as clusters
from bulkhead.platform.clusters.heartbeat import Announced
from bulkhead.platform.clusters.liveness import Liveness
from bulkhead.platform.database import pools
from bulkhead.platform.database.migrate import shortfall
from bulkhead.platform.database.pools import Pool, Role
from bulkhead.platform.database.scope import Scope, Unavailable, transaction
from bulkhead.platform.events import routes as events
from bulkhead.platform.events.delivery import Deliveries
from bulkhead.platform.http.front import Authenticator, Front, Quota
from bulkhead.platform.http.limits import Failures
from bulkhead.platform.http.route import (
    Admin,
    Anonymous,
    Caller,
    Joined,
    PlatformAdmin,
    Principal,
    RegistrationToken,
    Route,
    ServiceKey,
    TokenHolder,
    User,
    UserOrPlane,
    UserWith,
)
from bulkhead.platform.http.server import Bounds, Server, listen, within_file_limit
from bulkhead.platform.http.spans import spans_of
from bulkhead.platform.http.table import Table
from bulkhead.platform.http.tls import Tls
from bulkhead.platform.joining import routes as joining
from bulkhead.platform.joining import sweeping
from bulkhead.platform.joining.tokens import RegistrationTokens
from bulkhead.platform.keys.last_used import LastUsed
from bulkhead.platform.keys.service_key import ServiceKeys
from bulkhead.platform.keys.slow import Slow, threads
from bulkhead.platform.keys.verify import Outcome, Verifier
from bulkhead.platform.metrics import Metrics
from bulkhead.platform.outbound import Outbound
from bulkhead.platform.proxy import routes as proxy
from bulkhead.platform.proxy.forwarding import Limits
from bulkhead.platform.proxy.gateways import Gateways
from bulkhead.platform.proxy.requests import Requests, Room
from bulkhead.platform.proxy.setting import Setting
from bulkhead.platform.proxy.vouching import Vouching
from bulkhead.platform.quota.buckets import Buckets
from bulkhead.platform.quota.callers import Callers, sweep
from bulkhead.platform.quota.leases import Leases
from bulkhead.platform.readiness import Readiness
from bulkhead.platform.settings import Keys, Settings
from bulkhead.platform.signing.keys import SigningKeys
from bulkhead.platform.signing.sealing import Sealing
from bulkhead.platform.users import administration, tokens
from bulkhead.platform.users import sql as users_sql
from bulkhead.platform.users.api_token import ApiTokens
from bulkhead.platform.users.authentication import Users
from bulkhead.platform.users.key_set import KeySets
from bulkhead.platform.users.login import Logins
from bulkhead.protocol.assertions import KeyUse
from bulkhead.protocol.problems import Code, Problem
from bulkhead.telemetry.probes import LoopCanary, Probes

log = structlog.get_logger(__name__)

AUDIT_KEY_LIFETIME = timedelta(days=90)
ASSERTION_KEY_LIFETIME = timedelta(days=30)
SIGNING_KEY_LOOK_SECONDS = 600.0
LOOK_WAIT_SECONDS = 2.0
"""For a connection to look at the database by: less than the time that a look may take in all."""
COLLECTED_AFTER = (700, 10, 1000)
"""More objects than were let go, and looks at one generation, after which there is a look at it or at the next."""
RESTORED = "its database was restored from a backup, and nothing is served until that is put right"

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Something that runs beside requests for as long as the process. It is cancelled once no request runs any more."""

    name: str
    run: Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What every part of the service stands on."""

    settings: Settings
    api: Pool
    worker: Pool
    metrics: Metrics
    failures: Failures
    readiness: Readiness
    canary: LoopCanary
    sealing: Sealing
    outbound: Outbound
    export: Export | None
    known: Exported = field(default_factory=Exported)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the subjects bring, put together. closed: see Front"""

    rows: tuple[Route, ...]
    authenticators: Mapping[type[Caller], Authenticator]
    quota: Quota | None
    workers: tuple[Worker, ...]
    closed: Callable[[], str] = lambda: ""


Compose = Callable[[Base], Parts]


def parts_of(base: Base) -> Parts:
    """All subjects. Asks nobody anything: the documents are generated from it, too."""
    used, tokens_used = LastUsed(base.worker), LastUsed(base.worker, users_sql.LAST_USED)
    verifier = _verifier(base)
    keys = ServiceKeys(base.api, verifier, used, random=os.urandom)
    users = Users(
        base.api,
        tokens=ApiTokens(base.api, verifier, tokens_used),
        keys=keys,
        logins=Logins(base.api, KeySets(base.outbound, clock=time.monotonic), clock=time.time),
    )
    assertions = _signing_keys(base, KeyUse.ASSERTION, ASSERTION_KEY_LIFETIME)
    keep = partial(_keep, base.export)
    join = joining.Deps(
        url=base.settings.url,
        pool=base.api,
        verifier=verifier,
        signing=assertions,
        random=os.urandom,
        keep=keep,
        failures=base.failures,
    )
    gateways = Gateways(sealing=base.sealing, allowed=base.settings.allowed_addresses)
    sealer = _sealer(base)
    announced = Announced()
    liveness = Liveness(
        base.worker,
        name=socket.gethostname(),
        new_id=uuid4,
        clock=time.monotonic,
        closed=lambda: bool(sealer.shortfall),
    )
    return Parts(
        rows=(
            *health.routes(healthy=base.canary.check, ready=base.readiness.check),
            *joining.routes(join),
            *clusters.joined(clusters.Deps(liveness=liveness, announced=announced)),
            *clusters.people(),
            *proxy.routes(_proxy(base, gateways, assertions, users)),
            *tokens.routes(pool=base.api, verifier=verifier, random=os.urandom, keep=keep),
            *administration.routes(pool=base.api, outbound=base.outbound, keep=keep),
            *audit.routes(),
            *events.routes(sealing=base.sealing, outbound=base.outbound, random=os.urandom, new_id=uuid4),
        ),
        authenticators={
            ServiceKey: keys,
            UserOrPlane: users,
            UserWith: users,
            PlatformAdmin: users,
            RegistrationToken: RegistrationTokens(base.api),
        },
        quota=Callers(Leases(base.api, clock=time.monotonic), Buckets(clock=time.monotonic)),
        workers=(
            Worker(name="readiness", run=base.readiness.watch),
            Worker(name="signing keys", run=lambda: _keep_signing_keys(base, assertions, announced)),
            Worker(name="liveness", run=liveness.run),
            Worker(name="gateways", run=gateways.run),
            Worker(name="last used", run=used.run),
            Worker(name="last used tokens", run=tokens_used.run),
            Worker(name="joining", run=lambda: sweeping.run(base.worker)),
            Worker(name="quota", run=lambda: sweep(base.worker)),
            Worker(name="audit", run=sealer.run),
            Worker(name="deliveries", run=_deliveries(base).run),
        ),
        closed=lambda: RESTORED if sealer.shortfall else "",
    )


def _proxy(base: Base, gateways: Gateways, keys: SigningKeys, authenticate: Authenticator) -> proxy.Deps:
    limits = Limits()
    requests = Requests(
        pool=base.api,
        intake=Intake(base.worker),
        gateways=gateways,
        vouching=Vouching(keys, platform=base.settings.url, new_id=uuid4, clock=time.monotonic),
        authenticate=authenticate,
        clock=time.monotonic,
        limits=limits,
        room=Room(),
    )
    return proxy.Deps(requests=requests, setting=Setting(sealing=base.sealing, gateways=gateways), limits=limits)


def _verifier(base: Base) -> Verifier:
    bounds = base.settings.scrypt
    slow: Slow[Outcome] = Slow(threads(bounds), bounds)
    chance = random.SystemRandom().random
    return Verifier(base.settings.pepper, slow, base.failures, random=chance, salt=os.urandom)


async def _keep(
    export: Export | None,
    what: Revoked,
    id_: str,
    /,
    *,
    epoch: int,
    organisation: str | None = None,
    subject: str = "",
    rotation: int = 0,
) -> None:
    """A revocation, where there is an export to outlive the database in. What it does not take is not revoked."""
    if export is None:
        return
    try:
        await export.revocation(what, id_, epoch=epoch, organisation=organisation, subject=subject, rotation=rotation)
    except Unwritable:
        raise Problem(Code.UNAVAILABLE, "what is revoked can not be kept beyond the database now") from None


def _signing_keys(base: Base, use: KeyUse, lifetime: timedelta) -> SigningKeys:
    return SigningKeys(use, platform=base.settings.url, sealing=base.sealing, random=os.urandom, lifetime=lifetime)


async def _keep_signing_keys(base: Base, keys: SigningKeys, announced: Announced) -> None:
    """There is a first key from the start on, and a successor in time."""
    while True:
        with contextlib.suppress(Unavailable):
            async with transaction(base.api, Scope()) as tx:
                ring = await keys.keep(tx)
            announced.ring = ring
        await asyncio.sleep(SIGNING_KEY_LOOK_SECONDS)


def _sealer(base: Base) -> Sealer:
    keys = _signing_keys(base, KeyUse.AUDIT_HEAD, AUDIT_KEY_LIFETIME)
    sealer = Sealer(base.worker, keys=keys, export=base.export, known=base.known)
    base.readiness.mind(lambda: sealer.shortfall)
    base.readiness.mind(lambda: f"the export can not be written: {trouble}" if (trouble := _trouble(base)) else "")
    return sealer


def _trouble(base: Base) -> str:
    return base.export.trouble if base.export else ""


async def _opened(base: Base) -> Exported:
    """What the export knows, which the database is no less than. Raises Restored, Damaged, Unwritable, OSError."""
    if base.export is None or base.settings.export_directory is None:
        return Exported()
    known = await asyncio.to_thread(standing.read, base.settings.export_directory)
    async with transaction(base.worker, Scope()) as tx:
        database = await look(tx, known.head)
    if reason := standing.shortfall(known, database):
        raise Restored(reason)
    await base.export.epoch(database.epoch)
    return known


def _deliveries(base: Base) -> Deliveries:
    return Deliveries(
        base.worker,
        outbound=base.outbound,
        sealing=base.sealing,
        new_id=uuid4,
        chance=random.SystemRandom().random,
    )


async def serve(settings: Settings, *, bounds: Bounds, compose: Compose = parts_of) -> None:
    """Serve until SIGTERM or SIGINT. Raises whatever else ended it.

    Raises:
        TooPowerful: a log-in of the database may do more than its role.
        Restored: the database shows less than the export: it has to be fenced first.
        Damaged, Unwritable: the export can not be read, or not be written.
        OSError: an address can not be had, or the certificate's or the export's files can not be read.
    """
    async with (
        pools.pool(settings.api.text, "api", settings.api_bounds) as api,
        pools.pool(settings.worker.text, "worker", settings.worker_bounds) as worker,
    ):
        base = base_of(settings, api, worker)
        probes = Probes(healthy=(base.canary.check,), ready=(base.readiness.check,), render_metrics=base.metrics.render)
        async with probes.serving(settings.operations_host, settings.operations_port) as port:
            log.info("started", operations=port)
            base.canary.start()
            await base.readiness.until_ready()
            await _refuse_power(base)
            base = replace(base, known=await _opened(base))
            await _serve(base, compose(base), bounds)


def base_of(settings: Settings, api: Pool, worker: Pool) -> Base:
    """What stands on these pools."""
    metrics = Metrics()
    metrics.pool("api", api)
    metrics.pool("worker", worker)
    return Base(
        settings=settings,
        api=api,
        worker=worker,
        metrics=metrics,
        failures=Failures(clock=time.monotonic),
        readiness=Readiness(lambda: _why_not(worker)),
        canary=LoopCanary(on_lag=metrics.loop_lag.observe),
        sealing=_sealing(settings.key_encryption),
        outbound=Outbound(allowed=settings.allowed_addresses),
        export=_export(settings),
    )


def _sealing(keys: Keys) -> Sealing:
    known = [key for key in (keys.current, keys.previous) if key]
    return Sealing({key.id: key.value for key in known}, random=os.urandom)


def _export(settings: Settings) -> Export | None:
    if settings.export_directory is None:
        return None
    return Export(settings.export_directory, replica=str(uuid4()), clock=time.time)


def front_of(base: Base, parts: Parts) -> Front:
    """The application."""
    return Front(
        Table(health.with_document(parts.rows)),
        authenticators=parts.authenticators,
        transaction=lambda principal: transaction(base.api, scope_of(principal)),
        quota=parts.quota,
        audit=Refusals(base.worker),
        failures=base.failures,
        metrics=base.metrics.http,
        randomness=os.urandom,
        spans=spans_of(os.environ),
        trusted=base.settings.trusted_proxies,
        draining=lambda: base.readiness.draining,
        closed=parts.closed,
    )


def scope_of(principal: Principal) -> Scope:
    """Whose rows a caller's transactions see."""
    match principal:
        case Joined(kind="plane"):
            return Scope(plane=principal.plane_id)
        case Joined() | User():
            return Scope(organisation=principal.organisation_id)
        case TokenHolder():
            return Scope(token=principal.token_id, organisation=principal.organisation_id, plane=principal.plane_id)
        case Admin():
            return Scope(platform_admin=True)
        case Anonymous():
            return Scope()


async def _serve(base: Base, parts: Parts, bounds: Bounds) -> None:
    settings = base.settings
    tls = Tls(settings.tls.certificate, settings.tls.key) if settings.tls else None
    listener = listen(settings.host, settings.port)
    server = Server(
        front_of(base, parts),
        listener,
        bounds=within_file_limit(bounds),
        tls=tls.context if tls else None,
        drain_seconds=settings.drain_seconds,
    )
    base.metrics.connections(lambda: server.connections)
    asked = _asked_to_stop()
    _leave_to_the_collector_what_is_made_from_now_on()
    async with asyncio.TaskGroup() as group:
        workers = [group.create_task(_for_ever(worker)) for worker in (*parts.workers, *_followers(tls))]
        serving = group.create_task(server.run())
        log.info("serving", host=settings.host, port=listener.getsockname()[1], routes=len(parts.rows))
        await asked
        log.info("draining")
        base.readiness.drain()
        await asyncio.sleep(settings.drain_delay_seconds)
        server.stop()
        await serving
        for worker in workers:
            worker.cancel()
    log.info("ended")


def _leave_to_the_collector_what_is_made_from_now_on() -> None:
    """Modules and routes stay: to go through them in each full collection would stop every request for 0.1 s. Nor is it
    to go through ten thousand connections each time that some more have come: half a second, to find nothing, for
    hardly anything here is garbage in a cycle."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTED_AFTER)


def _followers(tls: Tls | None) -> tuple[Worker, ...]:
    return (Worker(name="certificate", run=tls.follow),) if tls else ()


async def _for_ever(worker: Worker) -> None:
    await worker.run()
    raise RuntimeError(f"the worker {worker.name} came to an end")


async def _why_not(worker: Pool) -> str:
    """Why no request can be served. By the worker's pool: that of requests may be busy with them."""
    try:
        async with worker.connection(timeout=LOOK_WAIT_SECONDS) as connection:
            return await shortfall(connection)
    except psycopg.OperationalError:
        return "the database does not answer"


async def _refuse_power(base: Base) -> None:
    roles: tuple[tuple[Role, Pool], ...] = (("api", base.api), ("worker", base.worker))
    for role, pool in roles:
        async with pool.connection() as connection:
            await pools.refuse_power(connection, role)


def _asked_to_stop() -> asyncio.Future[None]:
    """Done at the first SIGTERM or SIGINT. The second finds no handler of ours and ends the process at once."""
    loop = asyncio.get_running_loop()
    asked: asyncio.Future[None] = loop.create_future()

    def answer() -> None:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
        asked.set_result(None)

    for number in _SIGNALS:
        loop.add_signal_handler(number, answer)
    return asked
