"""A Tenant: its list of data clusters becomes DataCluster objects, and what becomes of them is summed up.

Taking an entry off the list never deletes, and a DataCluster applied by hand is never overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import structlog

from bulkhead.api import labels
from bulkhead.api.conditions import ConditionType, Reason, Status, condition, kstatus, merge, phase
from bulkhead.api.data_cluster import DataCluster, DataClusterSpec
from bulkhead.api.meta import API_VERSION, Condition, LocalRef
from bulkhead.api.tenant import DataClusterEntry, DataClusterSummary, Tenant, TenantStatus
from bulkhead.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from bulkhead.kube.resources import CUSTOM_RESOURCE_DEFINITIONS, DATA_CLUSTERS, TENANTS
from bulkhead.reconcile import finalizers
from bulkhead.reconcile.deps import DONE, RETRY, Deps, Outcome
from bulkhead.reconcile.report import READY, Verdict, patch, waiting
from bulkhead.reconcile.status import put

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 30.0
"""For which nothing is said of a new Tenant whose data clusters are being made. A thousand at once take about as
long."""

_CRD = f"{TENANTS.plural}.{TENANTS.group}"


@dataclass(frozen=True, slots=True)
class Create:
    """A DataCluster that the list names and that does not exist."""

    name: str
    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Update:
    """A DataCluster of ours, as seen at this version, whose spec lags behind its entry; `spec` is a merge patch."""

    name: str
    version: str
    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Taken:
    """A listed name that is somebody else's DataCluster."""

    name: str
    tenant: str


Action = Create | Update | Taken


async def reconcile(name: str, deps: Deps) -> Outcome:
    """Bring the DataClusters of one Tenant in line with its list, and sum up how they are."""
    tenant = deps.view.tenant(name)
    if tenant is None:
        return DONE
    if tenant.metadata.deletion_timestamp:
        return await _let_go(tenant, deps)
    if tenant.metadata.annotations.get(labels.PAUSED) == "true":
        return DONE

    await finalizers.add(TENANTS, tenant.metadata, deps)
    actions = decide(tenant, {entry.name: deps.view.data_cluster(entry.name) for entry in listed(tenant)})
    problems = [problem for action in actions if (problem := await _act(tenant, action, deps)) is not None]
    made = any(isinstance(action, Create) for action in actions)
    if not problems and (made or _just_begun(tenant, deps)):
        # The first status of what was made brings us back before: one write instead of two.
        return Outcome(at=deps.clock().timestamp() + PATIENCE_SECONDS)
    await _write_status(tenant, problems, deps)
    return RETRY if problems else DONE


def _just_begun(tenant: Tenant, deps: Deps) -> bool:
    """Whether neither a new Tenant nor one of its data clusters has said anything yet."""
    silent = any(not cluster.status.conditions for cluster in deps.view.data_clusters_of(tenant.metadata.name))
    age = deps.clock() - datetime.fromisoformat(tenant.metadata.creation_timestamp)
    # Two clocks tell the age: where they are far apart, waiting could have no end.
    return silent and not tenant.status.conditions and abs(age.total_seconds()) < PATIENCE_SECONDS


def listed(tenant: Tenant) -> tuple[DataClusterEntry, ...]:
    """The entries of the list; where it is omitted, one named like the tenant."""
    if tenant.spec.data_clusters is None:
        return (DataClusterEntry(name=tenant.metadata.name),)
    return tenant.spec.data_clusters


def made_by(tenant: Tenant, cluster: DataCluster) -> bool:
    """Whether the list of this very Tenant (its UID) made this DataCluster."""
    return cluster.metadata.labels.get(labels.TENANT_UID) == tenant.metadata.uid


def decide(tenant: Tenant, existing: Mapping[str, DataCluster | None]) -> list[Action]:
    """What the list asks for. Pure."""
    found = (_action(tenant, entry, existing[entry.name]) for entry in listed(tenant))
    return [action for action in found if action is not None]


def _action(tenant: Tenant, entry: DataClusterEntry, cluster: DataCluster | None) -> Action | None:
    followed = _followed(tenant, entry)
    if cluster is None:
        owner, plane = LocalRef(name=tenant.metadata.name), tenant.spec.data_plane_ref
        return Create(
            entry.name, msgspec.to_builtins(DataClusterSpec(tenant_ref=owner, data_plane_ref=plane, **followed))
        )
    if cluster.spec.tenant_ref.name != tenant.metadata.name:
        return Taken(entry.name, cluster.spec.tenant_ref.name)
    if not made_by(tenant, cluster) or cluster.metadata.deletion_timestamp:
        return None
    wanted = msgspec.structs.replace(cluster.spec, **followed)
    if wanted == cluster.spec:
        return None
    changes = patch(msgspec.to_builtins(cluster.spec), msgspec.to_builtins(wanted)) or {}
    return Update(entry.name, cluster.metadata.resource_version, changes)


def _followed(tenant: Tenant, entry: DataClusterEntry) -> dict[str, Any]:
    """Fields of a DataCluster's spec that follow the Tenant; the others are its own."""
    listed = {field: getattr(entry, field) for field in entry.__struct_fields__ if field != "name"}
    return {**listed, "deletion_policy": tenant.spec.deletion_policy}


async def _act(tenant: Tenant, action: Action, deps: Deps) -> str | None:
    """Do it; what the API server refuses is told as a sentence."""
    try:
        match action:
            case Create(name, spec):
                made = await deps.kube.create(DATA_CLUSTERS, _body(tenant, name, spec))
                deps.answered(DATA_CLUSTERS, made)
            case Update(name, version, spec):
                changes = {"metadata": {"resourceVersion": version}, "spec": dict(spec)}
                deps.answered(DATA_CLUSTERS, await deps.kube.merge_patch(DATA_CLUSTERS, name, changes))
            case Taken(name, owner):
                return f'spec.dataClusters lists "{name}", a DataCluster of the Tenant "{owner}": choose another name'
    except (AlreadyExists, Conflict, NotFound):
        return None  # the watch has not shown it yet; it brings us back
    except (Invalid, Forbidden) as error:
        return f'the entry "{action.name}" of spec.dataClusters was refused: {error}'
    return None


def _body(tenant: Tenant, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """It bears the finalizer from its first moment, which saves a write, and the Tenant's UID as a label and no
    ownerReference: neither `--cascade=orphan` nor the removal of a CRD may start a cascade into data."""
    marks = {
        labels.MANAGED_BY: labels.MANAGED_BY_BULKHEAD,
        labels.TENANT: tenant.metadata.name,
        labels.TENANT_UID: tenant.metadata.uid,
    }
    metadata = {"name": name, "labels": marks, "finalizers": [labels.FINALIZER]}
    return {"apiVersion": API_VERSION, "kind": DATA_CLUSTERS.kind, "metadata": metadata, "spec": dict(spec)}


async def _let_go(tenant: Tenant, deps: Deps) -> Outcome:
    """Delete what the list made, wait for all that belongs to the Tenant, then let it go."""
    if labels.FINALIZER not in tenant.metadata.finalizers:
        return DONE
    if tenant.spec.deletion_protection:  # where no admission policy refused it
        message = "spec.deletionProtection is on: none of its data clusters is deleted until it is set to false"
        return await _stop(tenant, waiting(Reason.PROTECTED, message), deps)
    crd = await deps.kube.get_metadata(CUSTOM_RESOURCE_DEFINITIONS, _CRD)
    if "deletionTimestamp" in crd["metadata"]:
        message = f'the CRD "{_CRD}" is being removed: nothing is deleted meanwhile'
        return await _stop(tenant, waiting(Reason.CRD_TERMINATING, message), deps)
    names = deps.view.names_of(tenant.metadata.name)
    if not names:
        await finalizers.remove(TENANTS, tenant.metadata, deps)
        return DONE
    for cluster in deps.view.data_clusters_of(tenant.metadata.name):
        if made_by(tenant, cluster) and not cluster.metadata.deletion_timestamp:
            await _delete(cluster, deps)
    listed = ", ".join(sorted(names))
    message = f"waiting for its data clusters to go: {listed}; those applied by hand must be deleted by hand"
    await _stop(tenant, waiting(Reason.DELETING, message), deps)
    return DONE  # their going brings us back


async def _delete(cluster: DataCluster, deps: Deps) -> None:
    try:
        await deps.kube.delete(DATA_CLUSTERS, cluster.metadata.name, uid=cluster.metadata.uid)
    except NotFound:
        return
    except Forbidden as error:  # deletionProtection: its admission policy refuses, and that is what is wanted
        log.info("deletion_refused", data_cluster=cluster.metadata.name, reason=str(error))


async def _stop(tenant: Tenant, verdict: Verdict, deps: Deps) -> Outcome:
    await _write(tenant, _status(tenant, verdict, deps), deps)
    return RETRY


async def _write_status(tenant: Tenant, problems: list[str], deps: Deps) -> None:
    verdict = waiting(Reason.NAME_TAKEN, "; ".join(problems)) if problems else _summed_up(tenant, deps)
    await _write(tenant, _status(tenant, verdict, deps), deps)


def _summed_up(tenant: Tenant, deps: Deps) -> Verdict:
    """Ready when every DataCluster is."""
    for cluster in deps.view.data_clusters_of(tenant.metadata.name):
        found = {c.type: c for c in cluster.status.conditions}.get(ConditionType.READY)
        if found is None:
            return waiting(Reason.PROVISIONING, f'the data cluster "{cluster.metadata.name}" is being provisioned')
        if found.status != Status.TRUE:
            return waiting(_known(found.reason), f'the data cluster "{cluster.metadata.name}": {found.message}')
    return READY


def _known(reason: str) -> Reason:
    """The reason as this release spells it; another release's, or an edited one, is told in the message alone."""
    return next((each for each in Reason if each.value == reason), Reason.PROVISIONING)


def _suspended(tenant: Tenant, clusters: Sequence[DataCluster]) -> Condition:
    """Suspended only when every DataCluster has confirmed it: until then somebody may still get in."""
    if not tenant.spec.suspended:
        return condition(ConditionType.SUSPENDED, Status.FALSE, Reason.NOT_SUSPENDED)
    still_open = [c.metadata.name for c in clusters if _state(c, ConditionType.SUSPENDED) != Status.TRUE]
    if still_open:
        message = f"not confirmed yet by {', '.join(still_open)}"
        return condition(ConditionType.SUSPENDED, Status.UNKNOWN, Reason.SUSPENDING, message)
    return condition(ConditionType.SUSPENDED, Status.TRUE, Reason.SUSPENDED)


def _status(tenant: Tenant, verdict: Verdict, deps: Deps) -> TenantStatus:
    clusters = sorted(deps.view.data_clusters_of(tenant.metadata.name), key=lambda cluster: cluster.metadata.name)
    overall = condition(ConditionType.READY, verdict.status, verdict.reason, verdict.message)
    conditions = merge(
        tenant.status.conditions,
        [overall, *kstatus(overall), _suspended(tenant, clusters)],
        generation=tenant.metadata.generation,
        now=deps.clock(),
    )
    deleting = bool(tenant.metadata.deletion_timestamp)
    return TenantStatus(
        phase=phase(
            conditions, deleting=deleting, provisioned=tenant.status.phase not in ("", "Pending", "Provisioning")
        ),
        observed_generation=tenant.metadata.generation,
        plan=_plan(clusters),
        data_clusters=tuple(
            DataClusterSummary(name=c.metadata.name, phase=c.status.phase, ready=_state(c, ConditionType.READY))
            for c in clusters
        ),
        conditions=conditions,
    )


def _plan(clusters: Sequence[DataCluster]) -> str:
    """The Plan that its DataClusters are under; where there are several, how many: each one's own status names it."""
    names = {cluster.status.plan for cluster in clusters} - {""}
    return f"{len(names)} plans" if len(names) > 1 else "".join(names)


def _state(cluster: DataCluster, kind: ConditionType) -> str:
    return next((each.status for each in cluster.status.conditions if each.type == kind), Status.UNKNOWN)


async def _write(tenant: Tenant, status: TenantStatus, deps: Deps) -> None:
    changes = patch(msgspec.to_builtins(tenant.status), msgspec.to_builtins(status))
    if changes is not None:
        await put(TENANTS, tenant.metadata, changes, deps)
