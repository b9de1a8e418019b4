"""Conditions: their types, the one enum of reasons, and the pure rules by which a list of them changes.

`Ready` and the other positive ones follow metav1.Condition; `Reconciling` and `Stalled` follow kstatus, so that Flux,
Argo CD and `kubectl wait` understand them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

import msgspec

from bulkhead.api.meta import Condition
from bulkhead.api.record import EngineName
from bulkhead.api.timestamp import rfc3339

MESSAGE_BYTES = 1024
"""Most bytes of a message; a longer one is cut."""
MOST_CONDITIONS = 32
"""Most conditions of one object, as in its schema."""


class ConditionType(StrEnum):
    """Every type that Bulkhead writes, in the order in which they are listed."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    SUSPENDED = "Suspended"
    NAMESPACE_READY = "NamespaceReady"
    POSTGRES_READY = "PostgresReady"
    OBJECT_STORE_READY = "ObjectStoreReady"
    VECTORS_READY = "VectorsReady"
    SEARCH_READY = "SearchReady"
    CERTIFICATES_READY = "CertificatesReady"
    DATA_API_AVAILABLE = "DataApiAvailable"
    REGISTERED = "Registered"
    CONNECTED = "Connected"
    ISOLATED = "Isolated"
    BACKEND_SECURE = "BackendSecure"
    UNLISTED = "Unlisted"
    ORPHANED_RECORDS = "OrphanedRecords"


ENGINE_CONDITIONS: Mapping[EngineName, ConditionType] = MappingProxyType({
    EngineName.POSTGRES: ConditionType.POSTGRES_READY,
    EngineName.OBJECT_STORE: ConditionType.OBJECT_STORE_READY,
    EngineName.VECTORS: ConditionType.VECTORS_READY,
    EngineName.SEARCH: ConditionType.SEARCH_READY,
})  # fmt: skip
"""The condition of each engine, of a DataCluster and of a DataPlane alike."""


class Status(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Reason(StrEnum):
    """Why a condition is as it is: the only words that `reason` ever holds."""

    # it is as wanted
    READY = "Ready"
    SUSPENDED = "Suspended"
    NOT_SUSPENDED = "NotSuspended"
    UNLISTED = "Unlisted"
    SECURE = "Secure"
    NO_ORPHANS = "NoOrphans"

    # it will be, by itself
    PROVISIONING = "Provisioning"
    SUSPENDING = "Suspending"
    DELETING = "Deleting"
    CRD_TERMINATING = "CrdTerminating"
    NAMESPACE_TERMINATING = "NamespaceTerminating"
    IN_USE = "InUse"
    PLANE_NOT_READY = "PlaneNotReady"
    ENGINE_UNAVAILABLE = "EngineUnavailable"
    REGISTERING = "Registering"
    PLATFORM_UNAVAILABLE = "PlatformUnavailable"

    # a person asked for it to stand still
    PAUSED = "Paused"
    PROTECTED = "Protected"

    # a person must act
    INVALID_SPEC = "InvalidSpec"
    TENANT_NOT_FOUND = "TenantNotFound"
    TENANT_UID_CHANGED = "TenantUidChanged"
    TENANT_DELETING = "TenantDeleting"
    PLAN_NOT_FOUND = "PlanNotFound"
    PLAN_EXCEEDED = "PlanExceeded"
    PLANE_NOT_FOUND = "PlaneNotFound"
    CAPACITY_EXHAUSTED = "CapacityExhausted"
    NAME_RESERVED = "NameReserved"
    NAME_TAKEN = "NameTaken"
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - a reason
    SECRET_INCOMPLETE = "SecretIncomplete"  # noqa: S105 - a reason
    EGRESS_NOT_ALLOWED = "EgressNotAllowed"
    CONFLICT = "Conflict"
    DATA_MISSING = "DataMissing"
    RECORD_UNREADABLE = "RecordUnreadable"
    ENGINE_CHANGED = "EngineChanged"
    ENGINE_REFUSED = "EngineRefused"
    ENGINE_INSECURE = "EngineInsecure"
    ADVISORIES_OPEN = "AdvisoriesOpen"
    CLUSTER_REFUSED = "ClusterRefused"
    FINALIZER_REMOVED = "FinalizerRemoved"
    INTERNAL_ERROR = "InternalError"
    PLATFORM_REFUSED = "PlatformRefused"
    PLANE_UNCONFIRMED = "PlaneUnconfirmed"


_AS_WANTED = frozenset({
    Reason.READY, Reason.SUSPENDED, Reason.NOT_SUSPENDED, Reason.UNLISTED, Reason.SECURE, Reason.NO_ORPHANS,
    Reason.PAUSED, Reason.PROTECTED,
})  # fmt: skip
HEALING = frozenset({
    Reason.PROVISIONING, Reason.SUSPENDING, Reason.DELETING, Reason.CRD_TERMINATING,
    Reason.NAMESPACE_TERMINATING, Reason.IN_USE, Reason.PLANE_NOT_READY, Reason.ENGINE_UNAVAILABLE,
    Reason.REGISTERING, Reason.PLATFORM_UNAVAILABLE,
})  # fmt: skip
"""Reasons that pass by themselves: we try again, or wait for what is on its way."""
NEEDS_A_PERSON = frozenset(Reason) - _AS_WANTED - HEALING
"""Reasons that last until somebody acts; the message says how."""


class Phase(StrEnum):
    """The state of a Tenant or DataCluster in one word, for people."""

    PENDING = "Pending"
    PROVISIONING = "Provisioning"
    ACTIVE = "Active"
    SUSPENDED = "Suspended"
    OFFLINE = "Offline"
    DEGRADED = "Degraded"
    DELETING = "Deleting"


def condition(kind: ConditionType, status: Status, reason: Reason, message: str = "") -> Condition:
    """A condition as it is now; `merge` adds the generation and the time."""
    return Condition(type=kind, status=status, reason=reason, message=_presentable(message))


def ready(parts: Sequence[Condition]) -> Condition:
    """`Ready` of an object whose parts are these: True when each is True.

    Otherwise it takes the reason of the part that matters most (a person must act, then unknown or healing, in the
    order given) and names each part that is not ready.
    """
    lacking = [part for part in parts if part.status != Status.TRUE]
    if not lacking:
        return condition(ConditionType.READY, Status.TRUE, Reason.READY)
    first = min(lacking, key=lambda part: part.reason not in NEEDS_A_PERSON)
    message = "; ".join(f"{part.type}: {part.message or part.reason}" for part in lacking)
    return condition(ConditionType.READY, Status.FALSE, Reason(first.reason), message)


def kstatus(overall: Condition) -> tuple[Condition, Condition]:
    """`Reconciling` and `Stalled` as they follow from `Ready`: at most one of them is True."""
    reason = Reason(overall.reason)
    done = overall.status == Status.TRUE
    reconciling, stalled = not done and reason in HEALING, not done and reason in NEEDS_A_PERSON
    return (
        condition(ConditionType.RECONCILING, _status(reconciling), reason, overall.message if reconciling else ""),
        condition(ConditionType.STALLED, _status(stalled), reason, overall.message if stalled else ""),
    )


def phase(conditions: Iterable[Condition], *, deleting: bool, provisioned: bool) -> Phase:
    """One word for people. `provisioned`: it was complete once, so that what lacks now is a loss, not a beginning."""
    state = {each.type: each for each in conditions}
    if deleting:
        return Phase.DELETING
    if _is(state, ConditionType.SUSPENDED, Status.TRUE):
        return Phase.SUSPENDED
    if _is(state, ConditionType.READY, Status.TRUE):
        return Phase.OFFLINE if _is(state, ConditionType.CONNECTED, Status.FALSE) else Phase.ACTIVE
    if provisioned:
        return Phase.DEGRADED
    return Phase.PROVISIONING if _is(state, ConditionType.RECONCILING, Status.TRUE) else Phase.PENDING


def merge(
    old: Iterable[Condition], new: Iterable[Condition], *, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The list to write: all of `new`, with the time of the last change of status kept where there was none.

    One of our types that is not in `new` is dropped; types of others are kept, after ours. Equal input gives equal
    output, so that a status is written only when something changed.
    """
    before = {each.type: each for each in old}
    ours = {each.type: _dated(each, before.get(each.type), generation, now) for each in new}
    foreign = [each for each in before.values() if each.type not in _ORDER]
    ranked = sorted(ours.values(), key=lambda each: _ORDER[each.type]) + sorted(foreign, key=lambda each: each.type)
    return tuple(ranked[:MOST_CONDITIONS])


def replaced(
    old: Iterable[Condition], new: Iterable[Condition], *, kinds: Collection[str], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """`old` with `new` in place of what it has of `kinds`; all others exactly as they are."""
    before = {each.type: each for each in old}
    dated = [_dated(each, before.get(each.type), generation, now) for each in new]
    others = [each for each in before.values() if each.type not in kinds]
    ranked = sorted([*others, *dated], key=lambda each: (_ORDER.get(each.type, len(_ORDER)), each.type))
    return tuple(ranked[:MOST_CONDITIONS])


_ORDER: Mapping[str, int] = MappingProxyType({str(kind): rank for rank, kind in enumerate(ConditionType)})


def _dated(new: Condition, old: Condition | None, generation: int, now: datetime) -> Condition:
    unchanged = old is not None and old.status == new.status and old.last_transition_time
    return msgspec.structs.replace(
        new,
        message=_presentable(new.message),
        observed_generation=generation,
        last_transition_time=unchanged or rfc3339(now),
    )


def _presentable(message: str) -> str:
    """One line of at most 1 KiB of UTF-8: engines' answers may be long and hold control characters."""
    line = "".join(each if each.isprintable() else " " for each in message)
    encoded = line.encode(errors="replace")
    if len(encoded) <= MESSAGE_BYTES:
        return encoded.decode()
    return encoded[: MESSAGE_BYTES - len("…".encode())].decode(errors="ignore") + "…"


def _status(value: bool) -> Status:  # noqa: FBT001 - a conversion
    return Status.TRUE if value else Status.FALSE


def _is(state: Mapping[str, Condition], kind: ConditionType, status: Status) -> bool:
    return kind in state and state[kind].status == status
