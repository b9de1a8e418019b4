"""The stream of a cluster's metadata, as its sender keeps it: pure.

Nothing of it is stored. After a restart the platform says which stream is in use, and a snapshot replaces it; a request
whose answer was lost is sent again as it was, so that the same sequence never has two contents.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from bulkhead.protocol.documents import PROTOCOL
from bulkhead.protocol.problems import Code, ProblemDocument
from bulkhead.protocol.sync import Delta, Snapshot, Stream, SyncAnswer, SyncRequest, content_digest
from bulkhead.registration import report
from bulkhead.registration.report import Rows

OUT_OF_STEP = frozenset({Code.STREAM_SUPERSEDED, Code.SEQUENCE_GAP, Code.DIGEST_MISMATCH})


@dataclass(frozen=True, slots=True)
class Streaming:
    """stream: in use, or to be replaced; synced: what the platform has; None: not known, so a snapshot comes next."""

    stream: Stream | None = None
    sequence: int = 0
    synced: Rows | None = None
    pending: SyncRequest | None = None
    pending_rows: Rows = field(default_factory=dict)


def outgoing(state: Streaming, rows: Rows) -> Streaming:
    """With the next request in `pending`: the one that is not answered yet, or what changed; None: nothing did."""
    if state.pending is not None:
        return state
    change = _change(state, rows)
    if change is None:
        return state
    request = SyncRequest(protocol=PROTOCOL, change=change, digest=content_digest(change))
    return replace(state, pending=request, pending_rows=rows)


def answered(state: Streaming, answer: SyncAnswer) -> Streaming:
    """The platform has what was pending."""
    return Streaming(stream=answer.stream, sequence=answer.sequence, synced=state.pending_rows)


def out_of_step(problem: ProblemDocument) -> Streaming:
    """The platform has another stream, or another content: a snapshot replaces it."""
    return Streaming(stream=problem.stream)


def wanted(state: Streaming, replaces: Stream | None) -> Streaming:
    """The platform asks for a snapshot. One that is on its way is not made anew."""
    pending = state.pending.change if state.pending is not None else None
    if isinstance(pending, Snapshot) and pending.replaces == replaces:
        return state
    return Streaming(stream=replaces)


def _change(state: Streaming, rows: Rows) -> Snapshot | Delta | None:
    if state.synced is None or state.stream is None:
        return report.snapshot(rows, state.stream)
    return report.delta(state.stream, state.sequence + 1, state.synced, rows)
