"""What an identity tells every 30 seconds, and what it is told: ids, enums, counts, times and versions alone."""

from __future__ import annotations

from enum import StrEnum

from bulkhead.protocol.assertions import Links
from bulkhead.protocol.documents import Answer, Closed, Request
from bulkhead.protocol.scalars import Count, Generation, Kid, Release, RowId, UnixSeconds
from bulkhead.protocol.sync import EngineName, EngineState, Phase, Stream

PERIOD = 30
"""Seconds from one heartbeat to the next; senders vary each by a fifth."""
OFFLINE_AFTER = 120
"""Seconds of silence after which an identity is offline."""


class Counted(StrEnum):
    """What is counted in a heartbeat: of a plane its clusters, of a cluster its data."""

    TENANTS = "tenants"
    CLUSTERS = "clusters"
    READY_CLUSTERS = "readyClusters"
    DATABASE_BYTES = "databaseBytes"
    OBJECTS = "objects"
    OBJECT_BYTES = "objectBytes"
    POINTS = "points"
    DOCUMENTS = "documents"


class EngineReport(Closed, frozen=True, kw_only=True):
    """One engine as the sender sees it."""

    state: EngineState
    release: Release | None = None
    """Version of the engine; null: not known."""


class Heartbeat(Request, frozen=True, kw_only=True):
    """The sender is alive, and this is how it is."""

    release: Release
    """Version of the operator."""
    phase: Phase
    engines: dict[EngineName, EngineReport]
    """Those that the plane offers."""
    applied_generation: Generation
    """The highest generation of desired state that was applied; 0: none yet."""
    acknowledged_key: Kid
    """The newest signing key that is trusted: the platform signs with no later one."""
    counts: dict[Counted, Count] = {}
    """What is known; what is left out is not."""


class Desired(Answer, frozen=True, kw_only=True):
    """What the platform wants of this cluster."""

    generation: Generation
    """Counts up with each change. One that is not above the applied one is ignored."""
    suspended: bool


class KeyRotation(Answer, frozen=True, kw_only=True):
    """Announces that a service key wants a successor."""

    replaces: RowId
    before: UnixSeconds
    """When the old key ends."""


class SnapshotWanted(Answer, frozen=True, kw_only=True):
    """Asks for a snapshot, which begins a new stream."""

    replaces: Stream | None = None
    """What the snapshot must say that it replaces; null: there was no stream."""


class HeartbeatAnswer(Answer, frozen=True, kw_only=True):
    """What the platform answers to a heartbeat."""

    server_time: UnixSeconds
    """For showing how far a clock is off; nothing is decided by it."""
    desired: Desired | None = None
    """Null: the platform has no say now (it was restored to before what was applied), so all stays as it is."""
    succession: Links = ()
    """The signing keys after the acknowledged one, oldest first."""
    rotation: KeyRotation | None = None
    """Null: no service key wants a successor."""
    snapshot: SnapshotWanted | None = None
    """Null: the deltas of the stream in use go on."""
