"""The end of a DataCluster: access is cut first, then its data is erased and proven gone, or kept out of reach.

A part that can not go on (an engine that is down) blocks only itself, says so, and the finalizer stays until it could.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import structlog

from bulkhead.api import labels
from bulkhead.api.conditions import ENGINE_CONDITIONS, ConditionType, Reason, Status
from bulkhead.api.data_cluster import DataCluster, DeletionPolicy, Identity
from bulkhead.api.record import Credential, EngineName, Holding, Record
from bulkhead.api.sensitive import Sensitive
from bulkhead.api.tenant import Tenant
from bulkhead.api.timestamp import rfc3339
from bulkhead.kube.errors import NotFound
from bulkhead.kube.resources import CUSTOM_RESOURCE_DEFINITIONS, DATA_CLUSTERS, TENANTS
from bulkhead.reconcile import finalizers, key, namespace, planes, registered, retained, status, suspension
from bulkhead.reconcile.context import deletion_policy
from bulkhead.reconcile.converge import Result, TenantSubject, erase
from bulkhead.reconcile.deps import DONE, RETRY, Deps, Outcome
from bulkhead.reconcile.records import OpenRecord, RecordUnreadable
from bulkhead.reconcile.report import READY, Progress, Verdict, status_of, waiting
from bulkhead.reconcile.together import together

log = structlog.get_logger(__name__)

_RECORD_LOST = waiting(
    Reason.RECORD_UNREADABLE,
    "its record (a Secret in the operator's namespace) is gone, so nobody knows what to cut and erase: restore that "
    'Secret, or clear up by hand (docs/operations.md, "After a deletion") what opens it and what it has, and take the '
    f"finalizer {labels.FINALIZER} off this object",
)
_TENANT_UNREADABLE = waiting(
    Reason.INVALID_SPEC,
    "its Tenant does not fit the schema of this release, so nobody knows whether the data is to be kept, and nothing "
    "is erased: apply the CRDs that belong to it",
)
_CRD = f"{DATA_CLUSTERS.plural}.{DATA_CLUSTERS.group}"


async def run(cluster: DataCluster, deps: Deps) -> Outcome:
    """Go one deletion as far as it can go now."""
    if labels.FINALIZER not in cluster.metadata.finalizers:
        return DONE
    if hindrance := await _hindrance(cluster, deps):
        return await _report(cluster, {}, hindrance, deps)

    try:
        record = await deps.records.load(Record, cluster.metadata.uid)
    except RecordUnreadable as error:
        return await _report(cluster, {}, waiting(Reason.RECORD_UNREADABLE, str(error)), deps)
    if record is None and (_was_given_something(cluster) or deps.view.children_of(cluster.metadata.uid)):
        return await _report(cluster, {}, _RECORD_LOST, deps)
    if record is None:
        return await _let_go(cluster, deps)  # nothing was ever made: the record is written before anything is
    plane = deps.view.data_plane(record.record.plane)
    if plane is not None and deps.planes.open_plane(plane) is None:
        return DONE  # the plane's own first reconcile is not through; it brings us back
    return await _end(cluster, record, deps)


async def _end(cluster: DataCluster, record: OpenRecord[Record], deps: Deps) -> Outcome:
    """Cut, clear away, erase or keep, and let go once all of it is through."""
    # Asked once: what the plane no longer offers when it is to be erased is not erased, and must not pass for that.
    subjects, parts = _parted(cluster, record.record, deps)
    me = key.data_cluster(cluster.metadata.name)
    results = await suspension.cut(me, subjects, deps)  # first: whatever else fails, nobody can write any more
    given_up = _given_up(cluster, record.record)
    parts |= {ENGINE_CONDITIONS[name]: each.verdict for name, each in results.items() if name not in given_up}
    parts |= await _remove_namespace(cluster, record.record, deps)
    # Asked once: a Tenant that changes its mind in between must not have the record of kept data forgotten.
    policy = await _policy(cluster, deps)
    if isinstance(policy, Verdict):
        return await _report(cluster, parts, policy, deps)
    if policy is DeletionPolicy.DELETE:
        kept_up = {name: subject for name, subject in subjects.items() if name not in given_up}
        parts |= await _erase(cluster, kept_up, parts, deps)
    parts |= await _give_notice(cluster, record, deps)
    if not all(verdict.good for verdict in parts.values()):
        return await _report(cluster, parts, None, deps)

    if policy is DeletionPolicy.DELETE:
        cluster = await _left_with_nothing(cluster, deps)
    _tell_given_up(cluster, given_up, results)
    cut = {name: subjects[name] for name, each in results.items() if each.verdict.good}
    await _settle_record(record, policy, cut, deps)
    deps.beats.left(cluster.metadata.uid)
    return await _let_go(cluster, deps)


async def _hindrance(cluster: DataCluster, deps: Deps) -> Verdict | None:
    """Why nothing may be cut or erased at all. Asked live: a watch may lag behind what was decided."""
    if cluster.spec.deletion_protection:
        return waiting(
            Reason.PROTECTED, "spec.deletionProtection is on: nothing is cut or erased until it is set to false"
        )
    crd = await deps.kube.get_metadata(CUSTOM_RESOURCE_DEFINITIONS, _CRD)
    if "deletionTimestamp" in crd["metadata"]:
        return waiting(
            Reason.CRD_TERMINATING,
            f'the CRD "{_CRD}" is being removed: nothing is cut or erased meanwhile; to let it go with all data kept, '
            f"take the finalizer {labels.FINALIZER} off this object",
        )
    return None


def _was_given_something(cluster: DataCluster) -> bool:
    """Whether its status tells of something that was made, which says so only after its record did."""
    return bool(cluster.status.identity.namespace or cluster.status.credentials)


async def _left_with_nothing(cluster: DataCluster, deps: Deps) -> DataCluster:
    """The same, whose status tells of nothing any more: written before its record goes, or a crash in between would
    leave one that seems to have lost it."""
    emptied = msgspec.structs.replace(cluster.status, identity=Identity(), credentials={})
    await status.write(cluster, emptied, deps)
    newest = deps.view.data_cluster(cluster.metadata.name)
    return newest if newest is not None and newest.metadata.uid == cluster.metadata.uid else cluster


async def _policy(cluster: DataCluster, deps: Deps) -> DeletionPolicy | Verdict:
    """Whether the data is erased. The Tenant is asked live: its own watch may lag behind, and what it wants to keep
    would be gone."""
    if cluster.spec.deletion_policy is DeletionPolicy.RETAIN:
        return DeletionPolicy.RETAIN
    try:
        live = await deps.kube.get(TENANTS, cluster.spec.tenant_ref.name)
        return deletion_policy(cluster, msgspec.convert(live, Tenant))
    except NotFound:
        return deletion_policy(cluster, None)
    except msgspec.ValidationError:
        return _TENANT_UNREADABLE


async def _erase(
    cluster: DataCluster,
    subjects: Mapping[EngineName, TenantSubject],
    parts: Mapping[ConditionType, Verdict],
    deps: Deps,
) -> dict[ConditionType, Verdict]:
    """Erase in every engine that is cut, side by side, each until a last look finds nothing of ours."""
    cut = {name: subject for name, subject in subjects.items() if parts[ENGINE_CONDITIONS[name]].good}
    me = key.data_cluster(cluster.metadata.name)
    verdicts = await together(erase(me, subject, deps.mutations) for subject in cut.values())
    return {ENGINE_CONDITIONS[name]: verdict for name, verdict in zip(cut, verdicts, strict=True)}


async def _remove_namespace(cluster: DataCluster, record: Record, deps: Deps) -> dict[ConditionType, Verdict]:
    """The namespace with all that is in it; others' finalizers there are waited for."""
    gone = await namespace.remove(record.names.namespace, cluster.metadata.uid, deps.kube)
    if gone:
        return {ConditionType.NAMESPACE_READY: READY}
    message = f'the namespace "{record.names.namespace}" is being deleted'
    return {ConditionType.NAMESPACE_READY: waiting(Reason.NAMESPACE_TERMINATING, message)}


async def _give_notice(cluster: DataCluster, record: OpenRecord[Record], deps: Deps) -> dict[ConditionType, Verdict]:
    """After all that counts more: what holds up the platform holds up nothing but the object and its record."""
    if record.record.registration is None:
        return {}
    return {ConditionType.REGISTERED: await registered.give_notice(cluster, record, deps)}


def _parted(
    cluster: DataCluster, record: Record, deps: Deps
) -> tuple[dict[EngineName, TenantSubject], dict[ConditionType, Verdict]]:
    """Engines that hold something of it and can be asked, given up or not: one that answers is cut, for what is left
    there is left shut. For the others, why they can not, unless they are given up."""
    found = suspension.reachable(cluster.spec, record, deps)
    given_up = _given_up(cluster, record)
    lost = [name for name in record.holdings if name not in found and name not in given_up]
    return found, {ENGINE_CONDITIONS[name]: _unreachable(name, record.plane, deps) for name in lost}


def _given_up(cluster: DataCluster, record: Record) -> set[EngineName]:
    """Engines that the deletion does not wait for: what fails there is not reported, and nothing there is erased."""
    wish = {entry.strip() for entry in cluster.metadata.annotations.get(labels.ABANDON, "").split(",")}
    return {name for name in record.holdings if _surrender(name, cluster) in wish}


def _tell_given_up(cluster: DataCluster, given_up: Iterable[EngineName], results: Mapping[EngineName, Result]) -> None:
    for name in sorted(given_up):
        shut = name in results and results[name].verdict.good
        log.warning("engine_given_up", data_cluster=cluster.metadata.name, engine=name.value, access_cut=shut)


def _surrender(name: EngineName, cluster: DataCluster) -> str:
    """The entry of the annotation by which an engine is given up. It names this very deletion: what is left over from
    another one, or comes along with a manifest, gives nothing up."""
    return f"{name.value}:{cluster.metadata.deletion_timestamp}"


def _unreachable(name: EngineName, plane: str, deps: Deps) -> Verdict:
    known = deps.view.data_plane(plane)
    opened = deps.planes.open_plane(known) if known is not None else None
    why = opened.engines.get(name) if opened is not None else None
    if isinstance(why, Verdict):
        return why
    return planes.not_offered(name, plane)


async def _settle_record(
    record: OpenRecord[Record], policy: DeletionPolicy, cut: Mapping[EngineName, TenantSubject], deps: Deps
) -> None:
    """After erasure nothing is remembered; retained data keeps its record, and with it its names and what surveys
    should show of it."""
    if policy is DeletionPolicy.DELETE:
        await record.remove()
        return
    shut = retained.expecting(record.record, cut, of=record.record.holdings)
    kept = {name: _without_secrets(holding) for name, holding in shut.holdings.items()}
    retained_at = record.record.retained_at or rfc3339(deps.clock())
    record.record = msgspec.structs.replace(shut, holdings=kept, retained_at=retained_at, registration=None)
    record.outline = record.record.outline(settled="", children="", status="")
    await record.save()


def _without_secrets(holding: Holding) -> Holding:
    """Generations and identities stay, so that none is ever used twice; what they opened is closed for good."""
    return msgspec.structs.replace(holding, credentials=tuple(_blank(c) for c in holding.credentials))


def _blank(credential: Credential) -> Credential:
    return msgspec.structs.replace(credential, value=Sensitive(""), verifier="")


async def _let_go(cluster: DataCluster, deps: Deps) -> Outcome:
    try:
        await finalizers.remove(DATA_CLUSTERS, cluster.metadata, deps)
    except NotFound:
        return DONE
    return DONE


async def _report(
    cluster: DataCluster, parts: Mapping[ConditionType, Verdict], hindrance: Verdict | None, deps: Deps
) -> Outcome:
    parts = {part: _with_way_out(part, verdict, cluster) for part, verdict in parts.items()}
    left = [f"{part}: {verdict.message}" for part, verdict in parts.items() if not verdict.good]
    overall = hindrance or Verdict(Status.FALSE, Reason.DELETING, "; ".join(left))
    shown = {part: verdict if not verdict.good else _CUT for part, verdict in parts.items()}
    progress = Progress(parts=shown, overall=overall)
    await status.write(cluster, status_of(cluster, progress, deps.clock()), deps)
    return RETRY


def _with_way_out(part: ConditionType, verdict: Verdict, cluster: DataCluster) -> Verdict:
    """With how an engine is given up, where it is one that holds up the deletion."""
    name = next((name for name, kind in ENGINE_CONDITIONS.items() if kind is part), None)
    if name is None or verdict.good:
        return verdict
    entry = f"{labels.ABANDON}={_surrender(name, cluster)}"
    way_out = (
        f"if it is lost for good, give it up, with what is there, by the annotation {entry} (several: with commas)"
    )
    return Verdict(verdict.status, verdict.reason, f"{verdict.message}; {way_out}")


_CUT = Verdict(Status.FALSE, Reason.DELETING, "done")
