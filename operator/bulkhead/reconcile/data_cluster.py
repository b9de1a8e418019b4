"""A DataCluster: brought to what its spec asks for, or a truthful reason why not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from bulkhead.api import labels
from bulkhead.api.conditions import ENGINE_CONDITIONS, ConditionType, Reason, Status
from bulkhead.api.data_cluster import DataCluster
from bulkhead.api.names import physical_names
from bulkhead.api.ownership import Stamp
from bulkhead.api.record import EngineName, Holding, Outline, Record
from bulkhead.api.timestamp import rfc3339
from bulkhead.engines.contract import Access, Request
from bulkhead.engines.errors import EngineError
from bulkhead.kube.errors import KubeError, NotFound
from bulkhead.kube.resources import DATA_CLUSTERS
from bulkhead.reconcile import (
    children,
    deletion,
    finalizers,
    key,
    namespace,
    planes,
    projections,
    registered,
    settled,
    status,
    suspension,
    tenant,
)
from bulkhead.reconcile.children import Child, Owner
from bulkhead.reconcile.context import (
    Context,
    NotYet,
    Unresolved,
    access_wanted,
    namesake,
    platform_of,
    resolve,
    suspended_by_platform,
)
from bulkhead.reconcile.converge import Findings, Result, TenantSubject, claim, finish, look
from bulkhead.reconcile.deps import DONE, RETRY, Deps, Outcome
from bulkhead.reconcile.planes import OpenEngine
from bulkhead.reconcile.records import OpenRecord, RecordUnreadable
from bulkhead.reconcile.report import READY, Progress, Verdict, digest, status_of, waiting
from bulkhead.reconcile.together import both
from bulkhead.reconcile.unforeseen import broken
from bulkhead.runtime.mutations import MayNotAct


async def reconcile(name: str, deps: Deps, *, suspect: bool = False) -> Outcome:
    """Bring one DataCluster to what its spec asks for, or say truthfully why not.

    suspect: a survey showed a difference in an engine, or its turn has come, so the record's word that all is in place
    is not taken, and engines are looked at closely.
    """
    cluster = deps.view.data_cluster(name)
    if cluster is None:
        return DONE
    if cluster.metadata.deletion_timestamp:
        return await deletion.run(cluster, deps)
    await registered.absorb(cluster, deps)
    if _is_paused(cluster, deps):
        await _wait(cluster, waiting(Reason.PAUSED, "paused by annotation: nothing is changed"), deps)
        return DONE  # all that could end it is watched

    context = resolve(cluster, deps.view, deps.planes)
    if isinstance(context, NotYet):
        return DONE
    if isinstance(context, Unresolved):
        return await _wait_unresolved(cluster, context, deps)
    seen = _children_seen(cluster, deps)
    if not suspect and _is_settled(cluster, context, seen, deps):
        renewal = _until_renewal(deps.view.outline(cluster.metadata.uid), deps)
        return renewal.or_sooner(await _keep_registered(cluster, context, deps))

    await finalizers.add(DATA_CLUSTERS, cluster.metadata, deps)
    try:
        record = await _open_record(cluster, context, deps)
    except RecordUnreadable as error:
        return await _wait(cluster, waiting(Reason.RECORD_UNREADABLE, str(error)), deps)
    if record is None:
        return DONE
    if problem := namesake(context.tenant, record.record.tenant_uid):
        return await _wait(cluster, waiting(problem.reason, problem.message), deps)
    findings = await _claim_names(cluster, context, record, deps, closely=suspect or _in_conflict(cluster))
    results, home = await both(
        finish(key.data_cluster(name), findings, deps.mutations),
        _furnish_namespace(cluster, context, record.record, deps),
    )
    _tell_repairs(record.record, results, deps)
    record.record = _with_results(record.record, cluster, context, results)
    inside = await _publish_secrets(cluster, context, record.record, home, deps)
    outcome = await _conclude(cluster, context, record, results, inside, deps)
    return outcome.or_sooner(await _keep_registered(cluster, context, deps))


async def _keep_registered(cluster: DataCluster, context: Context, deps: Deps) -> Outcome:
    """The platform's part. What nobody foresaw there says nothing of the engines: said in `Ready`, which the next look
    at them takes back, the two would go on without a pause."""
    try:
        return await registered.keep(cluster, context.plane, deps)
    except (KubeError, MayNotAct):
        raise
    except Exception as error:  # noqa: BLE001 - see above
        broken(key.data_cluster(cluster.metadata.name), error)
        return RETRY


async def broke(name: str, message: str, deps: Deps) -> None:
    """Shut what must be shut, which needs little of what may have broken, and say that nothing is known."""
    cluster = deps.view.data_cluster(name)
    if cluster is None:
        return
    if cluster.metadata.deletion_timestamp:
        await _wait(cluster, Verdict(Status.UNKNOWN, Reason.INTERNAL_ERROR, message), deps)
        return
    await _wait_unresolved(cluster, Unresolved(Reason.INTERNAL_ERROR, message), deps)


def _in_conflict(cluster: DataCluster) -> bool:
    """What only a close look finds must not be taken back by one that is not."""
    engines = frozenset(ENGINE_CONDITIONS.values())
    return any(each.type in engines and each.reason == Reason.CONFLICT for each in cluster.status.conditions)


def _is_paused(cluster: DataCluster, deps: Deps) -> bool:
    """Suspension overrides a pause: a door that must be shut is not left open because repairs are unwanted."""
    paused = cluster.metadata.annotations.get(labels.PAUSED) == "true"
    return paused and _access(cluster, deps) is Access.OPEN


def _access(cluster: DataCluster, deps: Deps) -> Access:
    return access_wanted(cluster, deps.view)


def _children_seen(cluster: DataCluster, deps: Deps) -> str:
    """Digest of the children. Where it is the one that the record remembers they are as we left them, which nothing
    else tells after a restart."""
    children = deps.view.children_of(cluster.metadata.uid)
    seen = settled.children_digest(namespace.digests(children))
    outline = deps.view.outline(cluster.metadata.uid)
    if outline is not None and outline.children == seen:
        deps.view.confirm(children)
    return seen


def _is_settled(cluster: DataCluster, context: Context, seen: str, deps: Deps) -> bool:
    if any(engine.gate.is_open for engine in _in_use(context).values()):
        return False
    outline = deps.view.outline(cluster.metadata.uid)
    return settled.is_settled(cluster, context, outline, seen, deps.clock().timestamp())


def _until_renewal(outline: Outline | None, deps: Deps) -> Outcome:
    if outline is None or not outline.renew_at:
        return DONE
    # Due and yet not renewed: its engine is out of use. Coming back at once would be a loop without a pause.
    return Outcome(at=outline.renew_at) if outline.renew_at > deps.clock().timestamp() else RETRY


async def _wait_unresolved(cluster: DataCluster, why: Unresolved, deps: Deps) -> Outcome:
    """Shut what must be shut, and say what is missing."""
    try:
        await suspension.cut_unresolved(cluster, deps)
    except RecordUnreadable as error:
        message = f"its access can not be cut: {error}. Beside that: {why.message}"
        return await _wait(cluster, waiting(Reason.RECORD_UNREADABLE, message), deps)
    return await _wait(cluster, waiting(why.reason, why.message), deps)


async def _wait(cluster: DataCluster, verdict: Verdict, deps: Deps) -> Outcome:
    """Say why nothing is done. What it waits for is watched; the retry is for what no watch shows."""
    progress = Progress(overall=verdict, access=_access(cluster, deps))
    await status.write(cluster, status_of(cluster, progress, deps.clock()), deps)
    return RETRY


async def _open_record(cluster: DataCluster, context: Context, deps: Deps) -> OpenRecord[Record] | None:
    """The record, with credentials in force for every engine in use. Not written yet; None where the cluster went."""
    # One that no watch has shown yet is not read: the first save would be refused, and nothing is made before it.
    known = deps.view.has_record(cluster.metadata.uid)
    opened = await deps.records.load(Record, cluster.metadata.uid) if known else None
    if opened is None:
        if not await _still_there(cluster, deps):
            return None
        opened = deps.records.draft(_draft(cluster, context, deps))
    opened.record = _with_listed_indexes(opened.record, cluster)
    for name, engine in _in_use(context).items():
        holding = _held(opened.record, name, engine, cluster, deps)
        opened.record = opened.record.with_holding(name, holding)
    return opened


async def _still_there(cluster: DataCluster, deps: Deps) -> bool:
    """Asked live before anything begins: a watch that lags could have us provision for one that is long gone."""
    try:
        live = await deps.kube.get_metadata(DATA_CLUSTERS, cluster.metadata.name)
    except NotFound:
        return False
    return bool(live["metadata"]["uid"] == cluster.metadata.uid)


def _draft(cluster: DataCluster, context: Context, deps: Deps) -> Record:
    uid = cluster.metadata.uid
    return Record(
        installation=deps.installation,
        uid=uid,
        slug=cluster.metadata.name,
        tenant=context.tenant.metadata.name,
        tenant_uid=context.tenant.metadata.uid,
        plane=context.plane.metadata.name,
        names=physical_names(cluster.metadata.name, uid, cluster.spec.search.indexes, opaque=context.opaque),
    )


def _with_listed_indexes(record: Record, cluster: DataCluster) -> Record:
    """The record with names for indexes that the spec lists by now. One that it no longer lists lives on as long as
    the holding has it among what is claimed or provisioned."""
    listed = record.names.listed(cluster.spec.search.indexes)
    return msgspec.structs.replace(record, names=msgspec.structs.replace(record.names, indexes=listed))


def _held(record: Record, name: EngineName, engine: OpenEngine, cluster: DataCluster, deps: Deps) -> Holding:
    """What is held for one engine, with its credentials renewed and a wish to recreate lost data obeyed once."""
    held = engine.taken_over(record.holding(name))
    stamp = Stamp(record.installation, record.uid)
    try:
        credentials = engine.engine.credentials(record.names, stamp, held, deps.clock())
    except EngineError:
        credentials = held.credentials  # no key to sign with; the look that follows says why
    held = msgspec.structs.replace(held, server=held.server or engine.identity, credentials=credentials)
    wish = cluster.metadata.annotations.get(labels.RECREATE, "")
    if wish.partition(":")[0] != name.value or wish == held.recreated:
        return held
    begun = tuple(sorted({*held.claimed, *held.provisioned}))  # what left the spec is not forgotten over it
    return msgspec.structs.replace(held, provisioned=(), claimed_at="", claimed=begun, recreated=wish)


async def _claim_names(
    cluster: DataCluster, context: Context, record: OpenRecord[Record], deps: Deps, *, closely: bool
) -> Findings:
    """Look at every engine; write down, before anything is made, which names were free and what will be given out."""
    subjects = {
        name: TenantSubject(engine, request_of(cluster, context, record.record, name, closely=closely))
        for name, engine in _in_use(context).items()
    }
    found = await look(key.data_cluster(cluster.metadata.name), subjects)
    findings = claim(key.data_cluster(cluster.metadata.name), found, rfc3339(deps.clock()))
    for name, finding in findings.items():
        record.record = record.record.with_holding(name, finding.subject.holding)
    record.outline = _outline(record)
    await record.save()
    return findings


def _with_results(
    record: Record, cluster: DataCluster, context: Context, results: Mapping[EngineName, Result]
) -> Record:
    """The record with what is provisioned now and, for engines in order, what their survey should show: nothing, where
    it was suspended before anything was made."""
    for name, result in results.items():
        record = record.with_holding(name, result.holding)
        if result.verdict.good and result.holding.provisioned:
            request = request_of(cluster, context, record, name)
            fingerprint = _in_use(context)[name].engine.fingerprint(request)
            record = record.with_holding(name, msgspec.structs.replace(result.holding, fingerprint=fingerprint))
    return record


def _outline(record: OpenRecord[Record]) -> Outline:
    """The outline of what is in hand; whether it was settled stays as it was."""
    before = record.outline
    if before is None:
        return record.record.outline(settled="", children="", status="")
    return record.record.outline(settled=before.settled, children=before.children, status=before.status)


def _tell_repairs(record: Record, results: Mapping[EngineName, Result], deps: Deps) -> None:
    for name, result in results.items():
        if result.repaired:
            deps.repaired(record, name)


def _in_use(context: Context) -> dict[EngineName, OpenEngine]:
    """Engines to work on: those that tenants may use, and any that is open where access is to be cut."""
    cut = context.access is Access.CUT
    engines = context.open_plane.engines.items()
    return {name: engine for name, engine in engines if isinstance(engine, OpenEngine) and (cut or not engine.barred)}


def request_of(
    cluster: DataCluster, context: Context, record: Record, name: EngineName, *, closely: bool = False
) -> Request:
    """What `name` is asked to give this DataCluster."""
    return Request(
        stamp=Stamp(record.installation, record.uid),
        names=record.names,
        spec=cluster.spec,
        plan=context.plan,
        holding=record.holding(name),
        access=context.access,
        closely=closely,
    )


@dataclass(frozen=True, slots=True)
class Home:
    """What the namespace came to."""

    verdict: Verdict
    ours: bool
    """Whether it is known to bear our stamp and to stay: nothing is written into another one. RBAC lets us write
    anywhere, and whether the admission policies that confine it are installed is not known here."""


async def _furnish_namespace(cluster: DataCluster, context: Context, record: Record, deps: Deps) -> Home:
    """Namespace, quotas, policies and bindings: all that does not wait for an engine."""
    owner = Owner.of(record)
    wanted = children.namespace(owner)
    found = await namespace.apply_namespace(wanted, owner.uid, deps.kube, deps.view)
    if not found.good:  # credentials that are renewed go into one that is ours all the same
        return Home(found, ours=namespace.is_ours(wanted.name, owner.uid, deps.view))
    furniture = _furniture(cluster, context, owner)
    # First: whatever else is refused, a member who was taken out or a range that was closed goes.
    await namespace.prune(furniture, owner.uid, deps.kube, deps.view)
    return Home(await namespace.apply_contents(furniture, deps.kube, deps.view), ours=True)


async def _publish_secrets(cluster: DataCluster, context: Context, record: Record, home: Home, deps: Deps) -> Verdict:
    """The tenant's Secrets; then what the spec asks for in vain is said."""
    if not home.ours:
        return home.verdict
    published = await namespace.apply_contents(_secrets(cluster, context, record), deps.kube, deps.view)
    inside = home.verdict if not home.verdict.good else published
    refused = children.refused_egress(cluster.spec.egress, context.plane.spec.egress)
    if inside.good and refused:
        return waiting(
            Reason.EGRESS_NOT_ALLOWED,
            f"spec.egress asks for {', '.join(refused)}, which spec.egress of the DataPlane "
            f'"{context.plane.metadata.name}" does not allow: it stays closed; remove it, or have the plane allow it',
        )
    return inside


def _furniture(cluster: DataCluster, context: Context, owner: Owner) -> tuple[Child, ...]:
    return children.contents(owner, cluster, context.plane.spec, context.plan.compute, context.tenant.spec.members)


def _secrets(cluster: DataCluster, context: Context, record: Record) -> tuple[Child, ...]:
    """Projections of every engine that gives something; one that never was complete has nothing to publish yet."""
    provisioned = {name for name, held in record.holdings.items() if held.provisioned}
    bindings = {
        name: engine.engine.binding(request_of(cluster, context, record, name))
        for name, engine in _in_use(context).items()
        if name in provisioned
    }
    complete = provisioned <= bindings.keys()
    known = record.registration if platform_of(context.plane) else None
    joined = known if known is not None and known.platform == platform_of(context.plane) and known.trusted else None
    return tuple(projections.secrets(Owner.of(record), bindings, joined, complete=complete))


async def _conclude(
    cluster: DataCluster,
    context: Context,
    record: OpenRecord[Record],
    results: Mapping[EngineName, Result],
    inside: Verdict,
    deps: Deps,
) -> Outcome:
    """Status from what was found; where everything is in place the record remembers that, before the status says so."""
    progress = Progress(
        parts=_parts(context, record.record, results, inside),
        record=record.record,
        plan=context.plan_name,
        access=context.access,
        endpoints=_endpoints(context, record.record),
        unlisted=_is_unlisted(cluster, context),
        by_platform=suspended_by_platform(cluster, deps.view),
    )
    wanted = status_of(cluster, progress, deps.clock())
    record.outline = _outline(record)
    if progress.complete:
        everything = _all_children(cluster, context, record.record)
        left = settled.children_digest(namespace.wanted_digests(everything, deps.view))
        mark = settled.digest(cluster, context, left)
        record.outline = record.record.outline(settled=mark, children=left, status=digest(wanted))
    await record.save()
    await status.write(cluster, wanted, deps)
    # What waits for one engine alone must not miss the renewal of another one's credentials.
    return _until_renewal(record.outline, deps) if _all_parked(progress, context) else RETRY


def _all_parked(progress: Progress, context: Context) -> bool:
    """Whether nothing is missing, or only what engines that are down must give: their gates call the key back."""
    down = {ENGINE_CONDITIONS[name] for name, engine in _in_use(context).items() if engine.gate.is_open}
    return all(verdict.good or kind in down for kind, verdict in progress.parts.items())


def _parts(
    context: Context, record: Record, results: Mapping[EngineName, Result], inside: Verdict
) -> dict[ConditionType, Verdict]:
    """A verdict for the namespace, for every engine that the plane offers, and for any other that holds something of
    it: what nobody looks after is not in order, and what can not be reached is not shut."""
    parts = {ConditionType.NAMESPACE_READY: inside}
    for name, engine in context.open_plane.engines.items():
        found = engine if isinstance(engine, Verdict) else engine.barred
        parts[ENGINE_CONDITIONS[name]] = results[name].verdict if name in results and not found else found or READY
    for name, held in record.holdings.items():
        if name not in context.open_plane.engines and held.begun:
            parts[ENGINE_CONDITIONS[name]] = planes.not_offered(name, record.plane)
    return parts


def _all_children(cluster: DataCluster, context: Context, record: Record) -> Iterable[Child]:
    owner = Owner.of(record)
    yield children.namespace(owner)
    yield from _furniture(cluster, context, owner)
    yield from _secrets(cluster, context, record)


def _endpoints(context: Context, record: Record) -> dict[str, str]:
    """Where each engine is reached, for people; nothing secret."""
    plane, names = context.plane.spec, record.names
    found = {
        EngineName.POSTGRES: plane.postgres and f"{plane.postgres.host}:{plane.postgres.port}/{names.database}",
        EngineName.OBJECT_STORE: plane.object_store and f"{plane.object_store.endpoint}/{names.bucket}",
        EngineName.VECTORS: plane.vectors and f"{plane.vectors.url}/collections/{names.collection}",
        EngineName.SEARCH: plane.search and plane.search.url,
    }
    return {engine.value: endpoint for engine, endpoint in found.items() if endpoint}


def _is_unlisted(cluster: DataCluster, context: Context) -> bool:
    """Whether the Tenant's list made it and no longer has it: it runs on until it is deleted itself."""
    names = {entry.name for entry in tenant.listed(context.tenant)}
    return tenant.made_by(context.tenant, cluster) and cluster.metadata.name not in names
