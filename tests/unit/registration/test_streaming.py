"""The stream of a cluster's metadata, from its sender's side."""

from __future__ import annotations

from typing import Any

import msgspec

from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.sync import Delta, IndexRow, Snapshot, Stream, SyncAnswer, key
from bulkhead.registration import streaming
from bulkhead.registration.report import Rows
from bulkhead.registration.streaming import Streaming, answered, out_of_step, outgoing
from tests.unit.protocol.gen import NOW, OTHER_UID, UID

FIRST = Stream(epoch=0, number=1)


def rows(*documents: int) -> Rows:
    """An index each, with so many documents."""
    ids = (UID, OTHER_UID)
    found = [IndexRow(id=id_, documents=count) for id_, count in zip(ids, documents, strict=False)]
    return {key(row): row for row in found}


def answer(sequence: int = 0, stream: Stream = FIRST) -> SyncAnswer:
    return SyncAnswer(stream=stream, sequence=sequence, server_time=NOW)


def begun(*documents: int) -> Streaming:
    return answered(outgoing(Streaming(), rows(*documents)), answer())


def change(state: Streaming) -> Any:
    assert state.pending is not None
    return state.pending.change


def test_the_first_request_is_a_snapshot() -> None:
    assert change(outgoing(Streaming(), rows(1))) == Snapshot(replaces=None, rows=tuple(rows(1).values()))


def test_nothing_is_sent_while_nothing_changes() -> None:
    assert outgoing(begun(1), rows(1)).pending is None


def test_what_changed_is_a_delta_with_the_next_sequence() -> None:
    state = outgoing(begun(1, 2), rows(3))
    removed = tuple(at for at in rows(1, 2) if at not in rows(3))
    assert change(state) == Delta(stream=FIRST, sequence=1, upserts=tuple(rows(3).values()), removed=removed)


def test_an_answer_that_was_lost_is_met_by_the_same_request_whatever_changed_since() -> None:
    sent = outgoing(begun(1), rows(2))
    again = outgoing(sent, rows(3))
    assert again.pending == sent.pending
    after = outgoing(answered(again, answer(1)), rows(3))
    assert (change(after).sequence, change(after).upserts) == (2, tuple(rows(3).values()))


def test_who_is_out_of_step_sends_a_snapshot_that_replaces_what_the_platform_has() -> None:
    other = Stream(epoch=1, number=4)
    for code in (Code.STREAM_SUPERSEDED, Code.SEQUENCE_GAP, Code.DIGEST_MISMATCH):
        problem = Problem(code, stream=other, sequence=9).document()
        assert change(outgoing(out_of_step(problem), rows(1))) == Snapshot(replaces=other, rows=tuple(rows(1).values()))


def test_a_snapshot_that_the_platform_asks_for_is_sent_once() -> None:
    asked = outgoing(streaming.wanted(begun(1), FIRST), rows(2))
    assert change(asked).replaces == FIRST
    assert streaming.wanted(asked, FIRST) == asked


def test_the_state_holds_no_more_than_what_the_platform_has() -> None:
    assert begun(1).pending is None
    assert msgspec.to_builtins(begun(1).pending_rows) == {}
