"""What the platform is told of a plane and of its data clusters, out of their status and record: pure.

Ids, enums, counts, times and versions. No name of anything of a tenant's is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType

from bulkhead.api.conditions import ENGINE_CONDITIONS, ConditionType, Reason, Status
from bulkhead.api.data_cluster import CredentialStatus, DataCluster
from bulkhead.api.data_plane import DataPlane
from bulkhead.api.meta import Condition
from bulkhead.api.record import EngineName as OurEngine
from bulkhead.protocol.documents import PROTOCOL
from bulkhead.protocol.heartbeat import Counted, EngineReport, Heartbeat
from bulkhead.protocol.scalars import MOST_INTEGER
from bulkhead.protocol.sync import (
    MOST_DELTA_ROWS,
    ClusterRow,
    Delta,
    Distance,
    EngineName,
    EngineRow,
    EngineState,
    IndexRow,
    Phase,
    Row,
    RowKey,
    Snapshot,
    Stream,
    key,
    opaque_id,
)

_STATES: Mapping[str, EngineState] = MappingProxyType({
    Reason.READY: EngineState.READY,
    Reason.SUSPENDED: EngineState.SUSPENDED,
    Reason.PROVISIONING: EngineState.PROVISIONING,
    Reason.DELETING: EngineState.DELETING,
    Reason.ENGINE_UNAVAILABLE: EngineState.UNAVAILABLE,
    Reason.ENGINE_REFUSED: EngineState.REFUSED,
    Reason.ENGINE_INSECURE: EngineState.INSECURE,
    Reason.ENGINE_CHANGED: EngineState.CHANGED,
    Reason.CONFLICT: EngineState.CONFLICT,
    Reason.DATA_MISSING: EngineState.DATA_MISSING,
})  # fmt: skip

_MOST_GENERATION = 2**31 - 1

Rows = Mapping[RowKey, Row]


def plane_heartbeat(plane: DataPlane, clusters: Iterable[DataCluster], *, release: str, acknowledged: str) -> Heartbeat:
    """What a plane tells of itself."""
    on_it = list(clusters)
    ready = sum(_status(each.status.conditions, ConditionType.READY) == Status.TRUE for each in on_it)
    counts = {
        Counted.TENANTS: len({each.spec.tenant_ref.name for each in on_it}),
        Counted.CLUSTERS: len(on_it),
        Counted.READY_CLUSTERS: ready,
    }
    good = _status(plane.status.conditions, ConditionType.READY) == Status.TRUE
    phase = Phase.ACTIVE if good else Phase.DEGRADED
    return Heartbeat(
        protocol=PROTOCOL,
        release=release,
        phase=Phase.DELETING if plane.metadata.deletion_timestamp else phase,
        engines=_engines(plane.status.conditions, plane.status.versions),
        applied_generation=0,
        acknowledged_key=acknowledged,
        counts={counted: min(count, MOST_INTEGER) for counted, count in counts.items()},
    )


def cluster_heartbeat(
    cluster: DataCluster, versions: Mapping[str, str], *, release: str, applied: int, acknowledged: str
) -> Heartbeat:
    """What a data cluster tells of itself. `versions`: of the plane's servers, by engine."""
    return Heartbeat(
        protocol=PROTOCOL,
        release=release,
        phase=_phase(cluster),
        engines=_engines(cluster.status.conditions, versions),
        applied_generation=applied,
        acknowledged_key=acknowledged,
    )


def rows(cluster: DataCluster, versions: Mapping[str, str]) -> Rows:
    """A cluster's metadata, whole."""
    found: list[Row] = [_cluster_row(cluster), *_engine_rows(cluster, versions), *_index_rows(cluster)]
    return {key(row): row for row in found}


def snapshot(wanted: Rows, replaces: Stream | None) -> Snapshot:
    """All rows, as the start of a new stream."""
    return Snapshot(replaces=replaces, rows=tuple(wanted.values()))


def delta(stream: Stream, sequence: int, before: Rows, after: Rows) -> Delta | Snapshot | None:
    """What changed; None: nothing. A snapshot where more changed than a delta holds."""
    changed = tuple(row for at, row in after.items() if before.get(at) != row)
    removed = tuple(at for at in before if at not in after)
    if not changed and not removed:
        return None
    if max(len(changed), len(removed)) > MOST_DELTA_ROWS:
        return snapshot(after, stream)
    return Delta(stream=stream, sequence=sequence, upserts=changed, removed=removed)


def _phase(cluster: DataCluster) -> Phase:
    """Who says that it is offline is not."""
    found = next((each for each in Phase if each.value == cluster.status.phase), Phase.PENDING)
    return Phase.ACTIVE if found is Phase.OFFLINE else found


def _cluster_row(cluster: DataCluster) -> ClusterRow:
    return ClusterRow(
        id=cluster.metadata.uid,
        phase=_phase(cluster),
        generation=min(cluster.status.observed_generation, _MOST_GENERATION),
        created_at=_seconds(cluster.metadata.creation_timestamp),
        dimensions=cluster.spec.embedding.dimensions,
        distance=Distance(cluster.spec.embedding.distance.value),
    )


def _engine_rows(cluster: DataCluster, versions: Mapping[str, str]) -> Iterator[EngineRow]:
    for engine, found in _engines(cluster.status.conditions, versions).items():
        credential = cluster.status.credentials.get(engine.value, CredentialStatus(generation=0, issued_to=""))
        yield EngineRow(
            engine=engine,
            state=found.state,
            release=found.release,
            credential_generation=min(credential.generation, _MOST_GENERATION),
            credential_expires_at=_seconds(credential.expires_at) if credential.expires_at else None,
            items=None,
            bytes=None,
        )


def _index_rows(cluster: DataCluster) -> Iterator[IndexRow]:
    offered = any(each.type == ConditionType.SEARCH_READY for each in cluster.status.conditions)
    for name in cluster.spec.search.indexes if offered else ():
        yield IndexRow(id=opaque_id(cluster.metadata.uid, name), documents=None)


def _engines(conditions: Iterable[Condition], versions: Mapping[str, str]) -> dict[EngineName, EngineReport]:
    found = {each.type: each for each in conditions}
    return {
        EngineName(engine.value): EngineReport(
            state=_STATES.get(found[kind].reason, EngineState.UNKNOWN), release=_release(engine, versions)
        )
        for engine, kind in ENGINE_CONDITIONS.items()
        if kind in found
    }


def _release(engine: OurEngine, versions: Mapping[str, str]) -> str | None:
    """The version as the protocol spells one: an engine may say anything."""
    word = versions.get(engine.value, "").partition(" ")[0][:64]
    plain = word.replace(".", "").replace("+", "").replace("_", "").replace("-", "")
    return word if plain.isalnum() and plain.isascii() and word[0].isalnum() else None


def _status(conditions: Iterable[Condition], kind: ConditionType) -> str:
    return next((each.status for each in conditions if each.type == kind), Status.UNKNOWN)


def _seconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp())
