"""Metadata of a cluster, kept equal at both ends: one stream of numbered deltas after one atomic snapshot.

The platform numbers streams. A snapshot names the stream that it replaces (compare and set) and is answered with the
number of the new one, in which deltas count from 1. Under its row's lock the platform takes the next sequence, answers
a repeat (same sequence, same digest) with 200 and anything else with 409 and the sequence that it has applied.

Rows hold ids, enums, counts, times and versions. A dataset's name has a field in `NamedDatasetRow` only, which is
written where the tenant opted in and nowhere else. The schema is closed on both ends: content has no field to travel
in.
"""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from bulkhead.protocol.documents import Answer, Closed, Request, digest
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.scalars import Count, Generation, Release, Sha256, UnixSeconds, Uuid

MOST_SNAPSHOT_ROWS = 4096
MOST_DELTA_ROWS = 512
"""Of each list of a delta."""
MOST_BYTES = 4 * 1024 * 1024
"""Of a request: the largest snapshot fits."""
MOST_STREAM = 2**31 - 1


_HIDDEN = r"\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"
"""Control characters, and those that hide or turn the text around them."""

DatasetName = Annotated[
    str,
    Meta(max_length=128, pattern=rf"^[^ {_HIDDEN}]([^{_HIDDEN}]*[^ {_HIDDEN}])?\Z", description="A dataset's name"),
]


class Phase(StrEnum):
    """The state of a plane or cluster in one word."""

    PENDING = "Pending"
    PROVISIONING = "Provisioning"
    ACTIVE = "Active"
    SUSPENDED = "Suspended"
    OFFLINE = "Offline"
    DEGRADED = "Degraded"
    DELETING = "Deleting"


class EngineName(StrEnum):
    """The engines, as a DataPlane's spec names them."""

    POSTGRES = "postgres"
    OBJECT_STORE = "objectStore"
    VECTORS = "vectors"
    SEARCH = "search"


class EngineState(StrEnum):
    """How an engine is, for this plane or cluster."""

    READY = "Ready"
    PROVISIONING = "Provisioning"
    SUSPENDED = "Suspended"
    DELETING = "Deleting"
    UNAVAILABLE = "Unavailable"
    REFUSED = "Refused"
    CONFLICT = "Conflict"
    CHANGED = "Changed"
    DATA_MISSING = "DataMissing"
    INSECURE = "Insecure"
    UNKNOWN = "Unknown"


class Distance(StrEnum):
    """How vectors are compared."""

    COSINE = "Cosine"
    DOT = "Dot"
    EUCLID = "Euclid"
    MANHATTAN = "Manhattan"


class Stream(Closed, frozen=True, kw_only=True, order=True):
    """A stream's number. Those of a later epoch (a platform that was restored) come after all of an earlier one."""

    epoch: Annotated[int, Meta(ge=0, le=MOST_STREAM)]
    number: Annotated[int, Meta(ge=1, le=MOST_STREAM)]


class ClusterRow(Closed, frozen=True, kw_only=True, tag_field="kind", tag="cluster"):
    """The DataCluster itself."""

    id: Uuid
    """Its UID in Kubernetes."""
    phase: Phase
    generation: Generation
    """Of its spec, as last reconciled."""
    created_at: UnixSeconds
    dimensions: Annotated[int, Meta(ge=1, le=65535)]
    distance: Distance


class EngineRow(Closed, frozen=True, kw_only=True, tag_field="kind", tag="engine"):
    """One engine's share of it."""

    engine: EngineName
    state: EngineState
    release: Release | None
    """Null: not known."""
    credential_generation: Generation
    """0: none was issued."""
    credential_expires_at: UnixSeconds | None
    """Null: it does not expire."""
    items: Count | None
    """Objects, points or documents; null: not counted."""
    bytes: Count | None


class IndexRow(Closed, frozen=True, kw_only=True, tag_field="kind", tag="index"):
    """One search index."""

    id: Uuid
    """`opaque_id` of the DataCluster's UID and the name of the index."""
    documents: Count | None


class DatasetRow(Closed, frozen=True, kw_only=True, tag_field="kind", tag="dataset"):
    """One dataset, of which the name stays where it is."""

    id: Uuid
    version: Count
    entries: Count
    bytes: Count
    updated_at: UnixSeconds


class NamedDatasetRow(Closed, frozen=True, kw_only=True, tag_field="kind", tag="namedDataset"):
    """One dataset of a tenant that opted in to names."""

    id: Uuid
    name: DatasetName
    version: Count
    entries: Count
    bytes: Count
    updated_at: UnixSeconds


Row = ClusterRow | EngineRow | IndexRow | DatasetRow | NamedDatasetRow


class RowKind(StrEnum):
    """What a row is about. A dataset with its name and one without are the same thing."""

    CLUSTER = "cluster"
    ENGINE = "engine"
    INDEX = "index"
    DATASET = "dataset"


_ENGINES = frozenset(EngineName)
_ROW_ID = rf"^([0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}|{'|'.join(EngineName)})\Z"


class RowKey(Closed, frozen=True, kw_only=True, order=True):
    """What tells a row from all others of its cluster."""

    kind: RowKind
    id: Annotated[str, Meta(pattern=_ROW_ID)]
    """A UUID, or an engine's name."""

    def __post_init__(self) -> None:
        if (self.kind is RowKind.ENGINE) != (self.id in _ENGINES):
            raise Malformed("an engine's row, and no other, is told by the engine's name")


def key(row: Row) -> RowKey:
    """What tells `row` from all others of its cluster."""
    match row:
        case EngineRow():
            return RowKey(kind=RowKind.ENGINE, id=row.engine)
        case ClusterRow():
            return RowKey(kind=RowKind.CLUSTER, id=row.id)
        case IndexRow():
            return RowKey(kind=RowKind.INDEX, id=row.id)
        case DatasetRow() | NamedDatasetRow():
            return RowKey(kind=RowKind.DATASET, id=row.id)


def opaque_id(uid: str, name: str) -> str:
    """An id for what has only a name, such as an index of the DataCluster `uid`: always the same, and not the name."""
    return str(uuid.uuid5(uuid.UUID(uid), name))


class Snapshot(Closed, frozen=True, kw_only=True, tag_field="type", tag="snapshot"):
    """All rows at one moment: the start of a new stream."""

    replaces: Stream | None
    """The stream in use so far; null: there was none."""
    rows: Annotated[tuple[Row, ...], Meta(max_length=MOST_SNAPSHOT_ROWS)]

    def __post_init__(self) -> None:
        _require_once([key(row) for row in self.rows])


class Delta(Closed, frozen=True, kw_only=True, tag_field="type", tag="delta"):
    """What changed since the delta before it."""

    stream: Stream
    sequence: Annotated[int, Meta(ge=1, le=MOST_STREAM)]
    upserts: Annotated[tuple[Row, ...], Meta(max_length=MOST_DELTA_ROWS)] = ()
    """Rows that are new or changed, whole."""
    removed: Annotated[tuple[RowKey, ...], Meta(max_length=MOST_DELTA_ROWS)] = ()

    def __post_init__(self) -> None:
        if not self.upserts and not self.removed:
            raise Malformed("a delta changes something")
        _require_once([*(key(row) for row in self.upserts), *self.removed])


class SyncRequest(Request, frozen=True, kw_only=True):
    """One step of a stream."""

    change: Snapshot | Delta
    digest: Sha256
    """`content_digest` of the change: what two requests with one sequence are compared by."""

    def __post_init__(self) -> None:
        if self.digest != content_digest(self.change):
            raise Malformed("the digest is not that of the change")


class SyncAnswer(Answer, frozen=True, kw_only=True):
    """What is applied now."""

    stream: Stream
    sequence: Annotated[int, Meta(ge=0, le=MOST_STREAM)]
    """0: the snapshot."""
    server_time: UnixSeconds


def content_digest(change: Snapshot | Delta) -> str:
    """Digest of the canonical form with rows in the order of their keys: equal for equal content, however it came."""
    if isinstance(change, Snapshot):
        return digest(msgspec.structs.replace(change, rows=_ordered(change.rows)))
    removed = tuple(sorted(change.removed))
    return digest(msgspec.structs.replace(change, upserts=_ordered(change.upserts), removed=removed))


def _ordered(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    return tuple(sorted(rows, key=key))


def _require_once(keys: list[RowKey]) -> None:
    if len(set(keys)) != len(keys):
        raise Malformed("a row is named twice")
