"""What a step of a cluster's stream does, given what is applied: pure. Asked under the lock of the cluster's row."""

from __future__ import annotations

from dataclasses import dataclass

from bulkhead.protocol.heartbeat import SnapshotWanted
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.sync import Delta, Snapshot, Stream, SyncRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a cluster's stream has come to.

    replaced: the stream before it; None: it was the first
    snapshot: digest of what opened it
    sequence, digest: of the last message; 0: the snapshot
    """

    stream: Stream
    replaced: Stream | None
    snapshot: str
    sequence: int
    digest: str


@dataclass(frozen=True, slots=True)
class Open:
    """Replace all rows by those of the snapshot, in this new stream."""

    stream: Stream


@dataclass(frozen=True, slots=True)
class Apply:
    """Change rows, as the next message of the stream in use."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """It was applied already: say so again."""


def decide(applied: Applied | None, request: SyncRequest, epoch: int) -> Open | Apply | Repeat:
    """What to do with `request` in the platform's life `epoch`. Raises Problem, with what is applied."""
    match request.change:
        case Snapshot() as snapshot:
            return _snapshot(applied, snapshot, request.digest, epoch)
        case Delta() as delta:
            return _delta(applied, delta, request.digest, epoch)


def wanted(stream: Stream | None, epoch: int) -> SnapshotWanted | None:
    """What the platform lacks, and only a snapshot can give; None: nothing. stream: in use"""
    if stream is None:
        return SnapshotWanted()
    return SnapshotWanted(replaces=stream) if stream.epoch < epoch else None


def _snapshot(applied: Applied | None, snapshot: Snapshot, digest: str, epoch: int) -> Open | Repeat:
    if applied is None:
        if snapshot.replaces is not None:
            raise Problem(Code.STREAM_SUPERSEDED, "no stream is in use")
        return Open(Stream(epoch=epoch, number=1))
    # Compare and set: whoever has seen the stream in use may replace it, and of two who have, one.
    if snapshot.replaces == applied.stream:
        return Open(_next(applied.stream, epoch))
    opened_this = (applied.replaced, applied.snapshot) == (snapshot.replaces, digest)
    if opened_this and applied.stream.epoch == epoch:
        return Repeat()
    raise Problem(Code.STREAM_SUPERSEDED, stream=applied.stream)


def _delta(applied: Applied | None, delta: Delta, digest: str, epoch: int) -> Apply | Repeat:
    if applied is None:
        raise Problem(Code.STREAM_SUPERSEDED, "no stream is in use")
    if delta.stream != applied.stream or applied.stream.epoch < epoch:
        raise Problem(Code.STREAM_SUPERSEDED, stream=applied.stream)
    if delta.sequence == applied.sequence + 1:
        return Apply()
    if delta.sequence != applied.sequence:
        raise Problem(Code.SEQUENCE_GAP, stream=applied.stream, sequence=applied.sequence)
    if digest != applied.digest:
        raise Problem(Code.DIGEST_MISMATCH, stream=applied.stream, sequence=applied.sequence)
    return Repeat()


def _next(stream: Stream, epoch: int) -> Stream:
    return Stream(epoch=epoch, number=stream.number + 1 if stream.epoch == epoch else 1)
