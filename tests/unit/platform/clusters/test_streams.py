"""A step of a stream against what is applied: every case, and any order of repeats."""

from __future__ import annotations

import pytest

from bulkhead.platform.clusters.streams import Applied, Apply, Open, Repeat, decide, wanted
from bulkhead.protocol.documents import PROTOCOL
from bulkhead.protocol.heartbeat import SnapshotWanted
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.sync import Delta, IndexRow, Snapshot, Stream, SyncRequest, content_digest, opaque_id

UID = "00000000-0000-4000-8000-000000000000"
FIRST, SECOND = Stream(epoch=1, number=1), Stream(epoch=1, number=2)


def row(documents: int) -> IndexRow:
    return IndexRow(id=opaque_id(UID, "index"), documents=documents)


def request(change: Snapshot | Delta) -> SyncRequest:
    return SyncRequest(protocol=PROTOCOL, change=change, digest=content_digest(change))


def snapshot(replaces: Stream | None, documents: int = 0) -> SyncRequest:
    return request(Snapshot(replaces=replaces, rows=(row(documents),)))


def delta(stream: Stream, sequence: int, documents: int = 0) -> SyncRequest:
    return request(Delta(stream=stream, sequence=sequence, upserts=(row(documents),)))


OPENED = snapshot(FIRST)
LAST = delta(SECOND, 3)
APPLIED = Applied(stream=SECOND, replaced=FIRST, snapshot=OPENED.digest, sequence=3, digest=LAST.digest)


def refused(applied: Applied | None, step: SyncRequest, epoch: int = 1) -> tuple[Code, object, object]:
    """The code, and what is applied as the refusal tells it."""
    with pytest.raises(Problem) as raised:
        decide(applied, step, epoch)
    problem = raised.value
    return problem.code, problem.extension.get("stream"), problem.extension.get("sequence")


def test_the_first_snapshot_opens_the_first_stream_of_this_life() -> None:
    assert decide(None, snapshot(None), 4) == Open(Stream(epoch=4, number=1))


def test_a_snapshot_replaces_the_stream_that_it_names_if_that_is_in_use() -> None:
    assert decide(APPLIED, snapshot(SECOND), 1) == Open(Stream(epoch=1, number=3))
    assert refused(APPLIED, snapshot(FIRST, 1)) == (Code.STREAM_SUPERSEDED, SECOND, None)
    assert refused(APPLIED, snapshot(None)) == (Code.STREAM_SUPERSEDED, SECOND, None)
    assert refused(None, snapshot(FIRST)) == (Code.STREAM_SUPERSEDED, None, None)


def test_the_snapshot_that_opened_the_stream_is_a_repeat_whatever_came_after_it() -> None:
    assert decide(APPLIED, OPENED, 1) == Repeat()


def test_a_delta_is_the_next_or_the_last_one_again_and_nothing_else() -> None:
    assert decide(APPLIED, delta(SECOND, 4), 1) == Apply()
    assert decide(APPLIED, LAST, 1) == Repeat()
    assert refused(APPLIED, delta(SECOND, 3, 1)) == (Code.DIGEST_MISMATCH, SECOND, 3)
    assert refused(APPLIED, delta(SECOND, 5)) == (Code.SEQUENCE_GAP, SECOND, 3)
    assert refused(APPLIED, delta(SECOND, 2)) == (Code.SEQUENCE_GAP, SECOND, 3)


def test_a_delta_of_another_stream_is_refused_with_the_one_in_use() -> None:
    assert refused(APPLIED, delta(FIRST, 4)) == (Code.STREAM_SUPERSEDED, SECOND, None)
    assert refused(APPLIED, delta(Stream(epoch=1, number=3), 1)) == (Code.STREAM_SUPERSEDED, SECOND, None)
    assert refused(None, delta(FIRST, 1)) == (Code.STREAM_SUPERSEDED, None, None)


def test_after_a_fence_only_a_snapshot_goes_on_and_its_stream_comes_after_all_before_it() -> None:
    assert refused(APPLIED, delta(SECOND, 4), 2) == (Code.STREAM_SUPERSEDED, SECOND, None)
    assert refused(APPLIED, OPENED, 2) == (Code.STREAM_SUPERSEDED, SECOND, None)
    assert decide(APPLIED, snapshot(SECOND), 2) == Open(Stream(epoch=2, number=1))
    assert Stream(epoch=2, number=1) > SECOND


def test_a_snapshot_is_asked_for_where_there_is_none_of_this_life() -> None:
    assert wanted(None, 1) == SnapshotWanted(replaces=None)
    assert wanted(SECOND, 1) is None
    assert wanted(SECOND, 2) == SnapshotWanted(replaces=SECOND)
