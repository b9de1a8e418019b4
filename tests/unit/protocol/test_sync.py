"""Streams of metadata: equal content has equal digests, other content has others, and rows are told apart."""

from __future__ import annotations

import hashlib
import json
import random
import unicodedata

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.protocol import documents, sync
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.scalars import MOST_INTEGER
from bulkhead.protocol.sync import (
    DatasetRow,
    Delta,
    EngineName,
    IndexRow,
    RowKey,
    RowKind,
    Snapshot,
    Stream,
    SyncRequest,
    content_digest,
)
from tests.unit.protocol import gen


def shuffled(change: Snapshot | Delta, seed: int) -> Snapshot | Delta:
    """The same content with its lists in another order."""
    order = random.Random(seed)  # noqa: S311 - the order of a test
    if isinstance(change, Snapshot):
        return msgspec.structs.replace(change, rows=tuple(order.sample(change.rows, len(change.rows))))
    return msgspec.structs.replace(
        change,
        upserts=tuple(order.sample(change.upserts, len(change.upserts))),
        removed=tuple(order.sample(change.removed, len(change.removed))),
    )


@given(gen.changes)
def test_a_step_comes_as_it_was_sent(change: Snapshot | Delta) -> None:
    request = gen.step(change)
    assert documents.decode(SyncRequest, documents.encode(request)) == request


@given(gen.changes, st.integers())
def test_equal_content_has_an_equal_digest_in_whatever_order_it_is_listed(change: Snapshot | Delta, seed: int) -> None:
    assert content_digest(shuffled(change, seed)) == content_digest(change)


@given(gen.changes, gen.changes)
def test_other_content_has_another_digest(one: Snapshot | Delta, other: Snapshot | Delta) -> None:
    assert one == other or content_digest(one) != content_digest(other) or shuffled(one, 0) == shuffled(other, 0)


@given(gen.changes)
def test_the_digest_is_that_of_rfc_8785_over_the_ordered_content(change: Snapshot | Delta) -> None:
    def place(row: dict[str, str]) -> tuple[str, str]:
        return row["kind"].replace("namedDataset", "dataset"), row.get("engine") or row["id"]

    ordered = gen.plain(change)
    for field in ordered.keys() & {"rows", "upserts", "removed"}:
        ordered[field].sort(key=place)
    text = json.dumps(ordered, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert content_digest(change) == hashlib.sha256(text).hexdigest()


@given(gen.changes, gen.changes)
def test_a_step_with_the_digest_of_another_is_refused(change: Snapshot | Delta, other: Snapshot | Delta) -> None:
    document = gen.plain(gen.step(change))
    document["digest"] = content_digest(other)
    if content_digest(other) != content_digest(change):
        with pytest.raises(Malformed, match="digest"):
            documents.decode(SyncRequest, json.dumps(document).encode())


def test_a_row_is_named_once() -> None:
    row = IndexRow(id=gen.UID, documents=1)
    with pytest.raises(Malformed):
        Snapshot(replaces=None, rows=(row, row))
    with pytest.raises(Malformed):
        Delta(stream=Stream(epoch=0, number=1), sequence=1, upserts=(row,), removed=(sync.key(row),))


def test_a_dataset_with_its_name_and_without_is_one_row() -> None:
    unnamed = DatasetRow(id=gen.UID, version=1, entries=2, bytes=3, updated_at=gen.NOW)
    assert sync.key(unnamed) == sync.key(gen.named("Orders"))
    with pytest.raises(Malformed):
        Snapshot(replaces=None, rows=(unnamed, gen.named("Orders")))


def test_a_delta_changes_something() -> None:
    with pytest.raises(Malformed):
        Delta(stream=Stream(epoch=0, number=1), sequence=1)


@given(gen.rows)
def test_only_the_row_that_is_for_it_has_a_field_for_a_name(row: sync.Row) -> None:
    assert ("name" in gen.plain(row)) == isinstance(row, sync.NamedDatasetRow)


@given(st.text(max_size=140))
def test_a_dataset_name_shows_all_of_itself(name: str) -> None:
    hidden = any(unicodedata.category(c) in ("Cc", "Zl", "Zp") or c in "\u200b\u200e\u202e\u2066\ufeff" for c in name)
    try:
        encoded = json.dumps(gen.plain(gen.named(name))).encode()
    except UnicodeEncodeError:
        return
    try:
        documents.decode(sync.NamedDatasetRow, encoded)
    except Malformed:
        return
    assert not hidden
    assert 0 < len(name) <= 128
    assert name == name.strip(" ")


@pytest.mark.parametrize("name", ["Orders 2026", "Verträge", "注文", "x", "a  b", "👩‍🔬"[0]])
def test_an_ordinary_dataset_name_is_taken(name: str) -> None:
    row = gen.named(name)
    assert documents.decode(sync.NamedDatasetRow, documents.encode(row)) == row


@pytest.mark.parametrize("name", ["", " x", "x ", "x\n", "\u202egnp.exe", "a\u200bb", "a\x00b", "x" * 129])
def test_a_dataset_name_that_hides_something_is_refused(name: str) -> None:
    with pytest.raises(Malformed):
        documents.decode(sync.NamedDatasetRow, json.dumps(gen.plain(gen.named(name))).encode())


def test_a_later_epoch_comes_after_every_stream_of_an_earlier_one() -> None:
    assert Stream(epoch=1, number=1) > Stream(epoch=0, number=sync.MOST_STREAM)


@pytest.mark.parametrize("kind", list(RowKind))
@pytest.mark.parametrize("id_", ["vectors", gen.UID])
def test_an_engine_is_told_by_its_name_and_nothing_else_is(kind: RowKind, id_: str) -> None:
    if (kind is RowKind.ENGINE) == (id_ in list(EngineName)):
        assert RowKey(kind=kind, id=id_).id == id_
    else:
        with pytest.raises(Malformed):
            RowKey(kind=kind, id=id_)


def test_the_largest_snapshot_fits_into_the_largest_body() -> None:
    name = "\U0001f9ea" * 128
    rows = tuple(
        msgspec.structs.replace(gen.named(name), id=f"00000000-0000-4000-8000-{at:012x}", entries=MOST_INTEGER)
        for at in range(sync.MOST_SNAPSHOT_ROWS)
    )
    body = documents.encode(gen.step(Snapshot(replaces=None, rows=rows)))
    assert len(body) <= sync.MOST_BYTES
    assert documents.decode(SyncRequest, body, most=sync.MOST_BYTES).digest


def test_one_row_more_than_the_largest_snapshot_is_refused() -> None:
    rows = [
        {"kind": "index", "id": f"00000000-0000-4000-8000-{at:012x}", "documents": 0}
        for at in range(sync.MOST_SNAPSHOT_ROWS + 1)
    ]
    document = {"type": "snapshot", "replaces": None, "rows": rows}
    fewer = json.dumps({**document, "rows": rows[1:]}).encode()
    assert len(documents.decode(Snapshot, fewer, most=sync.MOST_BYTES).rows) == sync.MOST_SNAPSHOT_ROWS
    with pytest.raises(Malformed, match="length"):
        documents.decode(Snapshot, json.dumps(document).encode(), most=sync.MOST_BYTES)


@given(gen.uuids, st.text(max_size=20), st.text(max_size=20))
def test_an_opaque_id_is_always_the_same_and_tells_names_apart(uid: str, one: str, other: str) -> None:
    assert sync.opaque_id(uid, one) == sync.opaque_id(uid, one)
    assert one == other or sync.opaque_id(uid, one) != sync.opaque_id(uid, other)
