"""Metadata of a cluster: each step applied once, whatever the network does with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bulkhead.protocol.documents import PROTOCOL, canonical
from bulkhead.protocol.sync import (
    MOST_BYTES,
    MOST_SNAPSHOT_ROWS,
    Delta,
    EngineName,
    EngineRow,
    EngineState,
    IndexRow,
    NamedDatasetRow,
    Row,
    RowKey,
    Snapshot,
    Stream,
    SyncRequest,
    content_digest,
    key,
    opaque_id,
)
from tests.integration.platform.clusters.gen import beats
from tests.integration.platform.joining.platform import Answered, Joiner, World, ask
from tests.integration.platform.server import one
from tests.world import eventually

UID = "00000000-0000-4000-8000-000000000000"


def index(number: int, documents: int = 0) -> IndexRow:
    return IndexRow(id=opaque_id(UID, f"index-{number}"), documents=documents)


def engine(name: EngineName, state: EngineState = EngineState.READY) -> EngineRow:
    return EngineRow(
        engine=name,
        state=state,
        release="1.0",
        credential_generation=1,
        credential_expires_at=None,
        items=None,
        bytes=None,
    )


def request(change: Snapshot | Delta) -> SyncRequest:
    return SyncRequest(protocol=PROTOCOL, change=change, digest=content_digest(change))


def snapshot(replaces: Stream | None, *rows: Row) -> SyncRequest:
    return request(Snapshot(replaces=replaces, rows=rows))


def delta(stream: Stream, sequence: int, *upserts: Row, removed: tuple[RowKey, ...] = ()) -> SyncRequest:
    return request(Delta(stream=stream, sequence=sequence, upserts=upserts, removed=removed))


async def sync(world: World, cluster: Joiner, body: Any, *, second: bool = False) -> Answered:
    service = world.second if second else world.first
    return await ask(service, "POST", f"/v1/clusters/{cluster.identity}/sync", bearer=cluster.service_key, body=body)


async def opened(world: World, cluster: Joiner, *rows: Row) -> Stream:
    """The first stream of a cluster."""
    answered = await sync(world, cluster, snapshot(None, *rows))
    assert (answered.status, answered.body["sequence"]) == (200, 0), answered
    return stream_of(answered)


def stream_of(answered: Answered) -> Stream:
    return msgspec.convert(answered.body["stream"], Stream)


async def rows_of(world: World, cluster: Joiner, limit: int = 200) -> dict[RowKey, Row]:
    """As a user reads them, page by page."""
    found: list[Row] = []
    query = {"limit": str(limit)}
    while True:
        answered = await ask(
            world.first, "GET", f"/v1/clusters/{cluster.identity}", bearer=f"user.{world.organisation}", **query
        )
        assert answered.status == 200, answered
        found += [msgspec.convert(row, Row) for row in answered.body["rows"]]
        if answered.body["next"] is None:
            return {key(row): row for row in found}
        query["after"] = answered.body["next"]


def keyed(*rows: Row) -> dict[RowKey, Row]:
    return {key(row): row for row in rows}


async def test_a_snapshot_and_its_deltas_are_read_as_they_were_told(world: World) -> None:
    cluster = await world.joined_cluster()
    stream = await opened(world, cluster, engine(EngineName.SEARCH), index(1), index(2))
    step = delta(stream, 1, index(2, 7), index(3), removed=(key(index(1)),))
    answered = await sync(world, cluster, step, second=True)
    assert (answered.status, answered.body["sequence"], stream_of(answered)) == (200, 1, stream)
    expected = keyed(engine(EngineName.SEARCH), index(2, 7), index(3))
    assert await rows_of(world, cluster) == await rows_of(world, cluster, limit=1) == expected
    again = await sync(world, cluster, snapshot(stream, index(9)))
    assert stream_of(again) == Stream(epoch=stream.epoch, number=stream.number + 1)
    assert await rows_of(world, cluster) == keyed(index(9))


async def test_the_heartbeat_asks_for_a_snapshot_until_there_is_one(world: World) -> None:
    cluster = await world.joined_cluster()
    assert (await beats(world.first, cluster))["snapshot"] == {"replaces": None}
    await opened(world, cluster)
    assert (await beats(world.second, cluster))["snapshot"] is None
    assert (await beats(world.first, world.plane))["snapshot"] is None


async def test_of_two_that_replace_the_same_stream_one_does_and_the_other_is_told_which(world: World) -> None:
    cluster = await world.joined_cluster()
    racing = [sync(world, cluster, snapshot(None, index(number)), second=number % 2 == 1) for number in range(6)]
    answers = await asyncio.gather(*racing)
    won = [answered for answered in answers if answered.status == 200]
    assert len(won) == 1
    lost = [answered for answered in answers if answered.status != 200]
    assert {answered.code for answered in lost} == {"stream_superseded"}
    assert {stream_of(answered) for answered in lost} == {stream_of(won[0])}
    assert await rows_of(world, cluster) == keyed(index(answers.index(won[0])))


async def test_the_same_delta_many_times_at_once_is_applied_once(world: World) -> None:
    cluster = await world.joined_cluster()
    stream = await opened(world, cluster)
    step = delta(stream, 1, index(1, 5))
    answers = await asyncio.gather(*(sync(world, cluster, step, second=number % 2 == 1) for number in range(8)))
    assert {(answered.status, answered.body["sequence"]) for answered in answers} == {(200, 1)}


async def test_a_cluster_syncs_its_own_rows_alone(world: World) -> None:
    acme, globex = await world.joined_cluster("acme"), await world.joined_cluster("globex")
    path = f"/v1/clusters/{globex.identity}/sync"
    answered = await ask(world.first, "POST", path, bearer=acme.service_key, body=snapshot(None, index(1)))
    assert answered.code == "not_found"
    assert await rows_of(world, globex) == {}


async def test_rows_of_a_cluster_are_bounded_however_they_come(world: World) -> None:
    cluster = await world.joined_cluster()
    stream = await opened(world, cluster, *(index(number) for number in range(MOST_SNAPSHOT_ROWS)))
    over = delta(stream, 1, index(MOST_SNAPSHOT_ROWS))
    answered = await sync(world, cluster, over)
    assert (answered.status, answered.code) == (409, "limit_reached")
    swapped = delta(stream, 1, index(MOST_SNAPSHOT_ROWS), removed=(key(index(0)),))
    assert (await sync(world, cluster, swapped)).status == 200
    found = await one(world.session, "SELECT count(*) FROM documents WHERE cluster_id = %s", (cluster.identity,))
    assert found == MOST_SNAPSHOT_ROWS


async def test_a_snapshot_that_says_what_is_known_writes_no_row(world: World) -> None:
    cluster = await world.joined_cluster()
    stream = await opened(world, cluster, index(1), index(2))
    written = "SELECT string_agg(xmin::text, ' ' ORDER BY id) FROM documents WHERE cluster_id = %s"
    before = await one(world.session, written, (cluster.identity,))
    assert (await sync(world, cluster, snapshot(stream, index(1), index(2)))).status == 200
    assert await one(world.session, written, (cluster.identity,)) == before


def hostile() -> Iterator[tuple[str, Any]]:
    """Bodies that no honest sender writes."""
    honest = msgspec.to_builtins(snapshot(None, index(1)))
    row = honest["change"]["rows"][0]

    def with_row(**fields: Any) -> Any:
        return {**honest, "change": {**honest["change"], "rows": [{**row, **fields}]}}

    yield "content in a field of its own", with_row(content="Dear Sir")
    yield "a name where an id belongs", with_row(id="quarterly report.docx")
    yield "a count below nothing", with_row(documents=-1)
    yield "a count that no reader keeps", with_row(documents=2**63)
    yield "an unknown kind of row", with_row(kind="secret")
    yield "another digest", {**honest, "digest": "0" * 64}
    yield "a row twice", {**honest, "change": {**honest["change"], "rows": [row, row]}}
    yield "more rows than there may be", {**honest, "change": {**honest["change"], "rows": [row] * 4097}}
    yield "a stream of no epoch", {**honest, "change": {**honest["change"], "replaces": {"epoch": -1, "number": 1}}}
    yield "another protocol", {**honest, "protocol": 2}
    yield "no object", [honest]
    yield "nothing", {}


@pytest.mark.parametrize(("body"), [body for _, body in hostile()], ids=[name for name, _ in hostile()])
async def test_what_no_honest_sender_writes_is_refused_and_changes_nothing(world: World, body: Any) -> None:
    cluster = await world.joined_cluster()
    answered = await sync(world, cluster, body)
    assert (answered.status, answered.code) == (422, "body_invalid")
    assert "Dear Sir" not in str(answered.body)
    assert await rows_of(world, cluster) == {}


async def test_a_name_is_refused_while_no_tenant_can_opt_in(world: World) -> None:
    cluster = await world.joined_cluster()
    named = NamedDatasetRow(id=UID, name="payroll", version=1, entries=1, bytes=1, updated_at=1)
    answered = await sync(world, cluster, snapshot(None, named))
    assert (answered.status, answered.code) == (403, "names_not_allowed")
    assert "payroll" not in str(answered.body)


@dataclass
class Model:
    """What must be applied, kept the plainest way."""

    stream: Stream | None = None
    opening: SyncRequest | None = None
    last: SyncRequest | None = None
    sequence: int = 0
    rows: dict[RowKey, Row] = field(default_factory=dict)

    def takes(self, step: SyncRequest) -> bool:
        """Whether `step` is answered with 200; applies it if it is new."""
        change = step.change
        if isinstance(change, Snapshot):
            if change.replaces == self.stream:
                number = 1 if self.stream is None else self.stream.number + 1
                self.stream, self.sequence = Stream(epoch=1, number=number), 0
                self.opening = self.last = step
                self.rows = keyed(*change.rows)
                return True
            return step == self.opening
        if change.stream != self.stream:
            return False
        if change.sequence == self.sequence + 1:
            self.sequence, self.last = change.sequence, step
            for gone in change.removed:
                self.rows.pop(gone, None)
            self.rows |= keyed(*change.upserts)
            return True
        return step == self.last


indexes = st.builds(index, st.integers(0, 3), st.integers(0, 2))
steps = st.one_of(
    st.tuples(st.just("snapshot"), st.lists(indexes, max_size=3, unique_by=lambda row: row.id)),
    st.tuples(st.just("next"), indexes, st.integers(0, 3)),
    st.tuples(st.just("skip"), indexes, st.integers(2, 3)),
    st.tuples(st.just("other"), indexes),
    st.tuples(st.just("again"), st.integers(0, 30)),
)


def made(model: Model, sent: list[SyncRequest], step: tuple[Any, ...]) -> SyncRequest:
    """The message that a step stands for, now."""
    stream = model.stream or Stream(epoch=1, number=1)
    match step:
        case ("snapshot", rows):
            return snapshot(model.stream, *rows)
        case ("next", row, gone) if key(index(gone)) != key(row):
            return delta(stream, model.sequence + 1, row, removed=(key(index(gone)),))
        case ("next", row, _):
            return delta(stream, model.sequence + 1, row)
        case ("skip", row, by):
            return delta(stream, model.sequence + by, row)
        case ("other", row):
            return delta(stream, max(model.sequence, 1), row)
        case ("again", number) if sent:
            return sent[int(number) % len(sent)]
    return snapshot(model.stream)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(steps, st.booleans()), min_size=1, max_size=14))
async def test_duplicates_and_reorderings_leave_what_the_first_of_each_said(
    world: World, taken: list[tuple[tuple[Any, ...], bool]]
) -> None:
    cluster, model = await world.joined_cluster(), Model()
    sent: list[SyncRequest] = []
    for step, second in taken:
        message = made(model, sent, step)
        sent.append(message)
        answered = await sync(world, cluster, message, second=second)
        if model.takes(message):
            assert (answered.status, answered.body["sequence"]) == (200, model.sequence), (step, answered)
            assert stream_of(answered) == model.stream
        else:
            assert answered.status == 409, (step, answered)
            assert answered.body.get("sequence", model.sequence) == model.sequence
    assert await rows_of(world, cluster) == model.rows


def test_the_largest_snapshot_fits_into_a_request() -> None:
    largest = snapshot(Stream(epoch=2**31 - 1, number=2**31 - 1), *map(index, range(MOST_SNAPSHOT_ROWS)))
    assert len(canonical(largest)) < MOST_BYTES


@contextlib.asynccontextmanager
async def half_sent(world: World, cluster: Joiner, length: str) -> AsyncIterator[asyncio.StreamReader]:
    """A sync whose head has come and whose body has not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.first.port)
    head = (
        f"POST /v1/clusters/{cluster.identity}/sync HTTP/1.1",
        "Host: platform.test",
        f"Authorization: Bearer {cluster.service_key}",
        "Content-Type: application/json",
        length,
    )
    writer.write(("\r\n".join(head) + "\r\n\r\n").encode())
    try:
        yield reader
    finally:
        writer.close()


@pytest.mark.parametrize("length", ["Content-Length: 4194304", "Transfer-Encoding: chunked"])
async def test_a_plane_has_few_large_bodies_gathered_at_once_and_its_heartbeats_are_heard(
    world: World, length: str
) -> None:
    cluster = await world.joined_cluster()
    async with contextlib.AsyncExitStack() as open_:
        readers = [await open_.enter_async_context(half_sent(world, cluster, length)) for _ in range(5)]
        lines = [asyncio.create_task(reader.readline()) for reader in readers]

        async def refused() -> bool:
            return sum(line.done() for line in lines) == 3

        await eventually(refused)
        assert all(b" 429 " in line.result() for line in lines if line.done())
        await beats(world.first, cluster)
        assert (await sync(world, cluster, snapshot(None, index(1)))).status == 200
        assert await refused()
        for line in lines:
            line.cancel()
