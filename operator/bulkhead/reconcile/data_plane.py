"""A DataPlane: its engines are opened, identified, prepared, and offered to the reconciles of its tenants."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec
import structlog

from bulkhead.api import labels
from bulkhead.api.conditions import (
    ENGINE_CONDITIONS,
    ConditionType,
    Reason,
    Status,
    condition,
    kstatus,
    merge,
    ready,
    replaced,
)
from bulkhead.api.data_plane import DataPlane, DataPlaneStatus, PlatformPlane
from bulkhead.api.meta import Condition
from bulkhead.api.ownership import Stamp
from bulkhead.api.record import EngineName, Holding, PlaneRecord
from bulkhead.api.timestamp import rfc3339
from bulkhead.engines.contract import Server, ServerRequest
from bulkhead.engines.errors import EngineError
from bulkhead.kube.errors import NotFound
from bulkhead.kube.resources import DATA_PLANES, SECRETS
from bulkhead.reconcile import finalizers, key, planes, registered, status
from bulkhead.reconcile.converge import (
    Finding,
    Findings,
    Result,
    ServerSubject,
    claim,
    failure,
    finish,
    look,
    reconsidered,
)
from bulkhead.reconcile.deps import DONE, RETRY, Deps, Outcome
from bulkhead.reconcile.orphans import clear_up, left_on, orphaned_records
from bulkhead.reconcile.planes import OpenEngine, OpenPlane
from bulkhead.reconcile.records import OpenRecord, RecordUnreadable
from bulkhead.reconcile.registered import NO_PLATFORM, Standing
from bulkhead.reconcile.report import PLATFORM_CONDITIONS, READY, Verdict, patch, waiting
from bulkhead.reconcile.succession import UNMARKED, Succession, succession
from bulkhead.reconcile.unforeseen import unforeseen

Secrets = Mapping[str, Mapping[str, str] | None]
"""Values by the name of their Secret; None where it does not exist."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """What one engine of the plane came to."""

    verdict: Verdict
    opened: OpenEngine | None = None
    holding: Holding | None = None
    server: Server | None = None


async def reconcile(name: str, deps: Deps) -> Outcome:
    """Open the engines of one DataPlane and say truthfully which of them can be used."""
    plane = deps.view.data_plane(name)
    if plane is None:
        await deps.planes.close(name)
        return DONE
    leaving = _leaving(plane, deps)
    if leaving is READY:
        return await _let_go(plane, deps)

    if leaving is None:
        await finalizers.add(DATA_PLANES, plane.metadata, deps)
    try:
        record = await _open_record(plane, deps)
    except RecordUnreadable as error:
        return await _stand_still(plane, waiting(Reason.RECORD_UNREADABLE, str(error)), leaving, deps)
    secrets = await _read_secrets(plane, deps)
    platform = await registered.open_platform(plane, record.record, secrets, deps)
    parts = await _prepare_engines(plane, record, secrets, deps)
    await _publish(plane, parts, deps)
    standing = await registered.join_plane(plane, record, platform, secrets, deps)
    await _write_status(plane, registered.plane_status(record.record, plane, deps), parts, standing, leaving, deps)
    good = all(part.verdict.good for part in parts.values()) and not standing.retry
    return DONE if good else RETRY


async def broke(name: str, message: str, deps: Deps) -> None:
    """Say that nothing is known of the plane as a whole; what is said of its parts stays as it was told last."""
    plane = deps.view.data_plane(name)
    if plane is None:
        return
    if deps.planes.open_plane(plane) is None:
        why = Verdict(Status.UNKNOWN, Reason.INTERNAL_ERROR, message)
        await _publish(plane, dict.fromkeys(planes.offered(plane.spec), Part(why)), deps)  # its tenants wait for that
    overall = condition(ConditionType.READY, Status.UNKNOWN, Reason.INTERNAL_ERROR, message)
    said = [overall, *kstatus(overall)]
    conditions = replaced(
        plane.status.conditions,
        said,
        kinds=[each.type for each in said],
        generation=plane.metadata.generation,
        now=deps.clock(),
    )
    await _put_status(plane, msgspec.structs.replace(plane.status, conditions=conditions), deps)


async def _stand_still(plane: DataPlane, why: Verdict, leaving: Verdict | None, deps: Deps) -> Outcome:
    """Offer no engine: nobody knows any more which servers hold the tenants' data."""
    parts = dict.fromkeys(planes.offered(plane.spec), Part(why))
    await _publish(plane, parts, deps)
    verdicts = dict.fromkeys(PLATFORM_CONDITIONS, why) if plane.spec.platform is not None else {}
    await _write_status(plane, plane.status.platform, parts, Standing(verdicts), leaving, deps)
    return RETRY


def _leaving(plane: DataPlane, deps: Deps) -> Verdict | None:
    """Whether a plane that is being deleted may go; None for one that is not. One in use stays in service, after a
    restart too: its engines hold tenants' data, and deleting, restoring or finding that again needs it."""
    if not plane.metadata.deletion_timestamp:
        return None
    users = deps.view.count_on(plane.metadata.name)
    if users:
        return waiting(Reason.IN_USE, f"{users} data clusters use this plane: delete them first")
    if left := left_on(plane.metadata.name, deps.view):
        return waiting(
            Reason.IN_USE,
            f"its engines hold what is left of DataClusters that are gone: {left}. Nothing of it is erased. For "
            f"each: {clear_up()}",
        )
    return READY


async def _let_go(plane: DataPlane, deps: Deps) -> Outcome:
    """Close the engines, forget what is remembered of them, let the object go."""
    try:
        record = await deps.records.load(PlaneRecord, plane.metadata.uid)
    except RecordUnreadable as error:
        why = waiting(Reason.RECORD_UNREADABLE, f"{error}, or delete that Secret: nothing uses this DataPlane any more")
        return await _stand_still(plane, why, why, deps)
    if _leaving(plane, deps) is not READY:
        return RETRY  # a DataCluster came while the record was read; whoever comes from here on finds no open engine
    await deps.planes.close(plane.metadata.name)
    await registered.close(plane, deps)
    if record is not None:
        await record.remove()
    await finalizers.remove(DATA_PLANES, plane.metadata, deps)
    return DONE


async def _open_record(plane: DataPlane, deps: Deps) -> OpenRecord[PlaneRecord]:
    found = await deps.records.load(PlaneRecord, plane.metadata.uid)
    proposal = deps.new_id()
    return found or deps.records.draft(
        PlaneRecord(installation=deps.installation, uid=plane.metadata.uid, proposal=proposal)
    )


async def _read_secrets(plane: DataPlane, deps: Deps) -> Secrets:
    """Values of the Secrets that the spec names, looked up in the operator's own namespace and nowhere else."""
    names = sorted(planes.secret_names(plane.spec))
    values = await asyncio.gather(*(_read_secret(name, deps) for name in names))
    return dict(zip(names, values, strict=True))


async def _read_secret(name: str, deps: Deps) -> Mapping[str, str] | None:
    try:
        secret = await deps.kube.get(SECRETS, name, deps.namespace)
    except NotFound:
        return None
    return {key: _text(value) for key, value in (secret.get("data") or {}).items()}


def _text(encoded: str) -> str:
    """A Secret's value as text without the line ends, of Windows too, that editors leave; one that is not text counts
    as empty."""
    try:
        return base64.b64decode(encoded).decode().rstrip("\r\n")
    except UnicodeDecodeError:
        return ""


async def _prepare_engines(
    plane: DataPlane, record: OpenRecord[PlaneRecord], secrets: Secrets, deps: Deps
) -> dict[EngineName, Part]:
    """Open every engine whose credentials are there, prepare its server, remember who it is."""
    me = key.data_plane(plane.metadata.name)
    opened = {
        name: _open(plane, name, endpoint, secrets, deps) for name, endpoint in planes.offered(plane.spec).items()
    }
    usable = {name: engine for name, engine in opened.items() if isinstance(engine, OpenEngine)}
    subjects = {name: _subject(engine, record.record) for name, engine in usable.items()}
    seen = await look(me, subjects)
    accepted = _accepted(plane, seen, deps)
    record.record = _with_accepted(record.record, accepted, deps)
    again = {name: reconsidered(me, seen[name], _subject(usable[name], record.record)) for name in accepted}
    findings = claim(me, {**seen, **again}, rfc3339(deps.clock()))
    record.record = _holding(record.record, {name: f.subject.holding for name, f in findings.items()})
    await record.save()
    _tell_accepted(plane, accepted)
    results = await finish(me, findings, deps.mutations)
    parts = {name: _part(engine, results.get(name)) for name, engine in opened.items()}
    record.record = _holding(record.record, {name: part.holding for name, part in parts.items() if part.holding})
    await record.save()
    return parts


def _accepted(plane: DataPlane, seen: Findings, deps: Deps) -> dict[EngineName, Succession]:
    """Servers that are from now on taken for those which the record names."""
    wish = plane.metadata.annotations.get(labels.ACCEPT_ENGINE, "")
    in_use = deps.view.names_plane(plane.metadata.name)
    found = {
        name: succession(name, each.subject.holding, _identity(each), wish=wish, in_use=in_use)
        for name, each in seen.items()
        if each.seen is not None
    }
    return {name: each for name, each in found.items() if each is not None}


def _identity(finding: Finding) -> str:
    return finding.subject.opened.engine.server_of(finding.seen).identity


def _with_accepted(record: PlaneRecord, accepted: Mapping[EngineName, Succession], deps: Deps) -> PlaneRecord:
    """With a fresh proposal: a server that has no identity yet must not be given the one of its predecessor."""
    if not accepted:
        return record
    return _holding(
        msgspec.structs.replace(record, proposal=deps.new_id()),
        {name: each.holding for name, each in accepted.items()},
    )


def _tell_accepted(plane: DataPlane, accepted: Mapping[EngineName, Succession]) -> None:
    for name, each in accepted.items():
        log.warning(
            "engine_accepted",
            plane=plane.metadata.name,
            engine=name.value,
            server=each.holding.server or UNMARKED,
            instead_of=each.former,
        )


def _holding(record: PlaneRecord, holdings: Mapping[EngineName, Holding]) -> PlaneRecord:
    for name, holding in holdings.items():
        record = record.with_holding(name, holding)
    return record


def _open(
    plane: DataPlane, name: EngineName, endpoint: planes.Endpoint, secrets: Secrets, deps: Deps
) -> OpenEngine | Verdict:
    access = planes.access_of(name, endpoint, secrets)
    if isinstance(access, Verdict):
        return access
    try:
        return deps.planes.engine(plane, name, access)
    except EngineError as error:
        return failure(error)
    except Exception as error:  # noqa: BLE001 - one engine's surprise must not keep the others shut
        return failure(unforeseen(key.data_plane(plane.metadata.name), name, error))


def _subject(opened: OpenEngine, record: PlaneRecord) -> ServerSubject:
    stamp = Stamp(record.installation, record.uid)
    holding = record.holding(opened.engine.name)
    return ServerSubject(opened, ServerRequest(stamp=stamp, holding=holding, proposal=record.proposal))


def _part(opened: OpenEngine | Verdict, result: Result | None) -> Part:
    if isinstance(opened, Verdict) or result is None:
        return Part(opened if isinstance(opened, Verdict) else READY)
    if result.seen is None:
        return Part(result.verdict, _known(opened, result.holding), result.holding)
    server = opened.engine.server_of(result.seen)
    holding = msgspec.structs.replace(result.holding, server=result.holding.server or server.identity)
    return Part(result.verdict, _known(opened, holding), holding, server)


def _known(opened: OpenEngine, holding: Holding) -> OpenEngine:
    return replace(opened, identity=holding.server, predecessors=holding.predecessors)


async def _publish(plane: DataPlane, parts: Mapping[EngineName, Part], deps: Deps) -> None:
    """Offer the engines to tenants; they look again when the result could differ for them."""
    engines = {name: _usable(part) for name, part in parts.items()}
    states = sorted(f"{name}={_state(engine)}" for name, engine in engines.items())
    inputs = "\n".join((plane.metadata.uid, str(plane.metadata.generation), *states))
    version = hashlib.sha256(inputs.encode()).hexdigest()[:16]
    opened = {name: part.opened for name, part in parts.items() if part.opened is not None}
    if await deps.planes.publish(plane.metadata.name, OpenPlane(plane.metadata.uid, version, engines, opened)):
        log.info("plane_opened", plane=plane.metadata.name, engines=states)
        deps.enqueue_data_clusters_on(plane.metadata.name)


def _usable(part: Part) -> OpenEngine | Verdict:
    """An engine of which only nothing is known now stays in use once it was identified. One that is down has a gate
    that parks what needs it; where a look at the server broke, those at its tenants tell how each of them is, and
    whoever must be shut out is."""
    known = part.opened is not None and part.opened.identity
    unsure = part.verdict.reason in (Reason.ENGINE_UNAVAILABLE, Reason.INTERNAL_ERROR)
    if part.opened is not None and (part.verdict.good or (known and unsure)):
        return part.opened
    if part.opened is not None and known and part.verdict.reason is Reason.ENGINE_INSECURE:
        return replace(part.opened, barred=part.verdict)
    return part.verdict


def _state(engine: OpenEngine | Verdict) -> str:
    if isinstance(engine, Verdict):
        return engine.reason.value
    access = "barred" if engine.barred else "in use"
    return "/".join((engine.fingerprint, engine.identity, *engine.predecessors, access))


async def _write_status(
    plane: DataPlane,
    platform: PlatformPlane,
    parts: Mapping[EngineName, Part],
    standing: Standing,
    overall: Verdict | None,
    deps: Deps,
) -> None:
    users = deps.view.count_on(plane.metadata.name)
    wanted = status_of(plane, parts, overall, users, deps, standing)
    await _put_status(plane, msgspec.structs.replace(wanted, platform=platform), deps)


async def _put_status(plane: DataPlane, wanted: DataPlaneStatus, deps: Deps) -> None:
    changes = patch(msgspec.to_builtins(plane.status), msgspec.to_builtins(wanted))
    if changes is not None and await status.put(DATA_PLANES, plane.metadata, changes, deps):
        _log_transitions(plane, wanted)


def _log_transitions(plane: DataPlane, after: DataPlaneStatus) -> None:
    if changed := status.transitions(plane.status.conditions, after.conditions):
        log.info(
            "data_plane",
            name=plane.metadata.name,
            conditions={c.type: f"{c.status}/{c.reason}" for c in changed},
            message=next((c.message for c in changed if c.message), ""),
        )


def status_of(
    plane: DataPlane,
    parts: Mapping[EngineName, Part],
    overall: Verdict | None,
    users: int,
    deps: Deps,
    standing: Standing = NO_PLATFORM,
) -> DataPlaneStatus:
    """The whole status of a plane."""
    joined = registered.conditions(plane, standing)
    found = [
        condition(ENGINE_CONDITIONS[n], p.verdict.status, p.verdict.reason, p.verdict.message) for n, p in parts.items()
    ]
    summary = ready(found)
    if overall is not None:
        summary = condition(ConditionType.READY, overall.status, overall.reason, overall.message)
    servers = {name: part.server for name, part in parts.items() if part.server is not None}
    return DataPlaneStatus(
        observed_generation=plane.metadata.generation,
        data_clusters=users,
        versions={name.value: server.version for name, server in sorted(servers.items())} or plane.status.versions,
        conditions=merge(
            plane.status.conditions,
            [
                summary,
                *kstatus(summary),
                *found,
                *joined,
                _secure(parts),
                orphaned_records(plane.metadata.name, deps.view),
            ],
            generation=plane.metadata.generation,
            now=deps.clock(),
        ),
    )


def _secure(parts: Mapping[EngineName, Part]) -> Condition:
    """`BackendSecure`: the advisories of all servers, each with what closes it. Who does not answer is not called
    secure."""
    found = [(name, part.server) for name, part in sorted(parts.items()) if part.server is not None]
    advisories = [f"{name.value} {server.version}: {text}" for name, server in found for text in server.advisories]
    barred = [
        f"{name.value}: {part.verdict.message}"
        for name, part in sorted(parts.items())
        if part.verdict.reason is Reason.ENGINE_INSECURE
    ]
    if advisories or barred:
        message = "; ".join((*barred, *advisories))
        return condition(ConditionType.BACKEND_SECURE, Status.FALSE, Reason.ADVISORIES_OPEN, message)
    unseen = [name.value for name, part in sorted(parts.items()) if part.server is None]
    if unseen:
        message = f"not known of {', '.join(unseen)}"
        return condition(ConditionType.BACKEND_SECURE, Status.UNKNOWN, Reason.ENGINE_UNAVAILABLE, message)
    return condition(ConditionType.BACKEND_SECURE, Status.TRUE, Reason.SECURE)
