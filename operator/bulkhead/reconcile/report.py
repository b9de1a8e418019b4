"""Status from what was found: pure. What it says is true now, or says since when it is unknown."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from bulkhead.api.conditions import (
    ConditionType,
    Phase,
    Reason,
    Status,
    condition,
    kstatus,
    merge,
    phase,
    ready,
    replaced,
)
from bulkhead.api.data_cluster import (
    NOT_JOINED,
    CredentialStatus,
    DataCluster,
    DataClusterStatus,
    Identity,
    PlatformCluster,
)
from bulkhead.api.meta import Condition
from bulkhead.api.record import EngineName, Record
from bulkhead.api.timestamp import rfc3339
from bulkhead.engines.contract import Access


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a part of the flow came to, as its condition will say it."""

    status: Status
    reason: Reason
    message: str = ""

    @property
    def good(self) -> bool:
        return self.status is Status.TRUE


READY = Verdict(Status.TRUE, Reason.READY)


def waiting(reason: Reason, message: str) -> Verdict:
    """Not as wanted; `reason` tells whether it passes by itself or a person must act."""
    return Verdict(Status.FALSE, reason, message)


@dataclass(frozen=True, slots=True)
class Progress:
    """The outcome of one reconcile of a DataCluster."""

    parts: Mapping[ConditionType, Verdict] = field(default_factory=dict)
    """Namespace and each engine that the plane offers."""
    overall: Verdict | None = None
    """Set where the flow stopped before the parts, or over all of them (paused, unresolved, deleting)."""
    record: Record | None = None
    plan: str = ""
    """Name of the Plan in force; empty: not looked up, so it is what it was."""
    access: Access = Access.OPEN
    endpoints: Mapping[str, str] = field(default_factory=dict)
    unlisted: bool = False
    by_platform: bool = False
    """The platform wants it suspended."""

    @property
    def complete(self) -> bool:
        """Whether everything is in place for the access that is wanted."""
        return self.overall is None and all(verdict.good for verdict in self.parts.values())


def status_of(cluster: DataCluster, progress: Progress, now: datetime) -> DataClusterStatus:
    """The whole status. Equal findings give an equal status, so that it is written only when something changed."""
    kept = _kept(cluster.status.conditions) if progress.overall is not None and not progress.parts else []
    parts = [condition(kind, v.status, v.reason, v.message) for kind, v in progress.parts.items()] or kept
    suspended = _suspended(progress)
    platform = _of_platform(cluster, progress)
    overall = _overall(parts, progress)
    merged = merge(
        cluster.status.conditions,
        [overall, *kstatus(overall), suspended, *parts, *platform, *_unlisted(progress)],
        generation=cluster.metadata.generation,
        now=now,
    )
    as_they_were = {each.type: each for each in (*kept, *platform)}
    conditions = tuple(as_they_were.get(each.type, each) for each in merged)
    if progress.record is not None:
        provisioned = any(held.fingerprint for held in progress.record.holdings.values())
    else:
        provisioned = cluster.status.phase not in ("", Phase.PENDING, Phase.PROVISIONING)
    return DataClusterStatus(
        phase=phase(conditions, deleting=bool(cluster.metadata.deletion_timestamp), provisioned=provisioned),
        observed_generation=cluster.metadata.generation,
        tenant_uid=progress.record.tenant_uid if progress.record else cluster.status.tenant_uid,
        plan=progress.plan or cluster.status.plan,
        identity=_identity(progress.record) if progress.record else cluster.status.identity,
        credentials=_credentials(progress.record) if progress.record else cluster.status.credentials,
        endpoints=dict(progress.endpoints) or cluster.status.endpoints,
        platform=cluster.status.platform,
        conditions=conditions,
    )


def with_platform(
    cluster: DataCluster, verdicts: Mapping[ConditionType, Verdict], platform: PlatformCluster, now: datetime
) -> DataClusterStatus:
    """The status as it is, with these verdicts on the platform and nothing else changed. Of what they leave out nothing
    new is known; none at all: there is no platform."""
    before = cluster.status
    found = [condition(kind, v.status, v.reason, v.message) for kind, v in verdicts.items()]
    conditions = replaced(
        before.conditions,
        found,
        kinds=tuple(verdicts) or PLATFORM_CONDITIONS,
        generation=cluster.metadata.generation,
        now=now,
    )
    return msgspec.structs.replace(
        before,
        phase=_phase_with(before.phase, conditions),
        platform=platform,
        conditions=conditions,
    )


def says_of_platform(status: DataClusterStatus) -> bool:
    """Whether anything in it is about a platform."""
    return bool(status.platform.cluster_id) or any(each.type in PLATFORM_CONDITIONS for each in status.conditions)


def _phase_with(before: str, conditions: Sequence[Condition]) -> str:
    """A connection tells Active from Offline, and nothing else."""
    if before not in (Phase.ACTIVE, Phase.OFFLINE):
        return before
    lost = any(each.type == ConditionType.CONNECTED and each.status == Status.FALSE for each in conditions)
    return Phase.OFFLINE if lost else Phase.ACTIVE


def digest(status: DataClusterStatus) -> str:
    """Digest of a status without its times: tells one that was lost, edited or restored from an older day. What it
    says of the platform is left out: losing that unsettles nothing."""
    ours = [each for each in status.conditions if each.type not in PLATFORM_CONDITIONS]
    timeless = tuple(msgspec.structs.replace(each, last_transition_time="") for each in ours)
    phase_ = Phase.ACTIVE.value if status.phase == Phase.OFFLINE else status.phase
    plain = msgspec.structs.replace(status, phase=phase_, platform=NOT_JOINED, conditions=timeless)
    return hashlib.sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()[:16]


def patch(before: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """JSON merge patch that turns `before` into `wanted`; None where it is so already."""
    changes: dict[str, Any] = {key: None for key in before if key not in wanted}
    for key, value in wanted.items():
        old = before.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            if nested := patch(old, value):
                changes[key] = nested
        elif old != value:
            changes[key] = value
    return changes or None


def _kept(conditions: Sequence[Condition]) -> list[Condition]:
    """Parts as last reported, of the generation of then: where the flow stopped before them, nothing new is known."""
    ours = {ConditionType.NAMESPACE_READY, *_ENGINES}
    return [c for c in conditions if c.type in ours]


def _of_platform(cluster: DataCluster, progress: Progress) -> list[Condition]:
    """As last told; of one that is being deleted only what its deletion says."""
    if cluster.metadata.deletion_timestamp:
        return []
    return [c for c in cluster.status.conditions if c.type in PLATFORM_CONDITIONS and c.type not in progress.parts]


PLATFORM_CONDITIONS = (ConditionType.REGISTERED, ConditionType.CONNECTED)

_ENGINES = (
    ConditionType.POSTGRES_READY,
    ConditionType.OBJECT_STORE_READY,
    ConditionType.VECTORS_READY,
    ConditionType.SEARCH_READY,
)


def _overall(parts: Sequence[Condition], progress: Progress) -> Condition:
    if progress.overall is not None:
        return condition(
            ConditionType.READY, progress.overall.status, progress.overall.reason, progress.overall.message
        )
    overall = ready(parts)
    if overall.status == Status.TRUE and progress.access is Access.CUT:
        by = " by the platform" if progress.by_platform else ""
        message = f"suspended{by}: access is cut, data is kept"
        return condition(ConditionType.READY, Status.FALSE, Reason.SUSPENDED, message)
    return overall


def _suspended(progress: Progress) -> Condition:
    if progress.access is Access.OPEN:
        return condition(ConditionType.SUSPENDED, Status.FALSE, Reason.NOT_SUSPENDED)
    open_still = [str(kind) for kind, verdict in progress.parts.items() if kind in _ENGINES and not verdict.good]
    if progress.overall is not None or open_still:
        lacking = f": {', '.join(open_still)}" if open_still else ""
        message = f"not confirmed by every engine yet{lacking}"
        return condition(ConditionType.SUSPENDED, Status.UNKNOWN, Reason.SUSPENDING, message)
    return condition(ConditionType.SUSPENDED, Status.TRUE, Reason.SUSPENDED, "access is cut in every engine")


def _unlisted(progress: Progress) -> list[Condition]:
    if not progress.unlisted:
        return []
    message = "its Tenant no longer lists it; it runs on until it is deleted itself"
    return [condition(ConditionType.UNLISTED, Status.TRUE, Reason.UNLISTED, message)]


def _identity(record: Record) -> Identity:
    names = record.names
    return Identity(
        namespace=names.namespace,
        database=names.database,
        bucket=names.bucket,
        collection=names.collection,
        indexes=names.indexes,
    )


def _credentials(record: Record) -> dict[str, CredentialStatus]:
    published = {engine: held.published for engine, held in record.holdings.items()}
    return {
        EngineName(engine).value: CredentialStatus(
            generation=credential.generation,
            issued_to=credential.identity,
            expires_at=_moment(credential.expires_at) if credential.expires_at else "",
        )
        for engine, credential in sorted(published.items())
        if credential is not None
    }


def _moment(unix_seconds: int) -> str:
    return rfc3339(datetime.fromtimestamp(unix_seconds, UTC))
