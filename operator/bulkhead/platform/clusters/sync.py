"""`POST /v1/clusters/{id}/sync`: one step of a cluster's stream, applied once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from bulkhead.platform.clusters import sql, streams
from bulkhead.platform.clusters.streams import Applied, Apply, Open, Repeat
from bulkhead.platform.database.many import as_json
from bulkhead.platform.http.route import Call, Joined
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.sync import (
    MOST_SNAPSHOT_ROWS,
    Delta,
    NamedDatasetRow,
    Row,
    RowKey,
    Snapshot,
    Stream,
    SyncAnswer,
    SyncRequest,
    key,
)

Tx = AsyncConnection[Any]
SyncCall = Call[Joined, SyncRequest]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A cluster's row, locked, and its stream's; None: it has none."""

    platform_epoch: int
    now: int
    epoch: int | None
    number: int | None
    replaced_epoch: int | None
    replaced_number: int | None
    snapshot_digest: bytes | None
    sequence: int | None
    digest: bytes | None

    @property
    def applied(self) -> Applied | None:
        stream = _stream(self.epoch, self.number)
        if stream is None or self.snapshot_digest is None or self.sequence is None or self.digest is None:
            return None
        return Applied(
            stream=stream,
            replaced=_stream(self.replaced_epoch, self.replaced_number),
            snapshot=self.snapshot_digest.hex(),
            sequence=self.sequence,
            digest=self.digest.hex(),
        )


async def step(call: SyncCall) -> SyncAnswer:
    """What is applied now. Raises Problem, with what was applied before."""
    _refuse_names(call.body.change)
    tx = await call.tx()
    cluster = call.caller.identity_id
    found = await _locked(tx, cluster)
    applied = found.applied
    decision = streams.decide(applied, call.body, found.platform_epoch)
    match decision, call.body.change:
        case Open(stream=stream), Snapshot() as snapshot:
            await _open(tx, call, stream, snapshot)
            return SyncAnswer(stream=stream, sequence=0, server_time=found.now)
        case Apply(), Delta() as delta:
            await _apply(tx, call, delta)
            return SyncAnswer(stream=delta.stream, sequence=delta.sequence, server_time=found.now)
        case Repeat(), _ if applied is not None:
            return SyncAnswer(stream=applied.stream, sequence=applied.sequence, server_time=found.now)
    raise AssertionError("a decision is of the change that it was made for")


def _refuse_names(change: Snapshot | Delta) -> None:
    """No tenant can opt in to names here yet, so nobody's are taken."""
    rows = change.rows if isinstance(change, Snapshot) else change.upserts
    if any(isinstance(row, NamedDatasetRow) for row in rows):
        raise Problem(Code.NAMES_NOT_ALLOWED)


async def _locked(tx: Tx, cluster: UUID) -> _Found:
    """Two statements: what the second reads was committed before the lock was had."""
    row = await (await tx.execute(sql.LOCK_CLUSTER, (cluster,))).fetchone()
    if row is None or row[0]:
        raise Problem(Code.CLUSTER_DELETED)
    async with tx.cursor(row_factory=class_row(_Found)) as cursor:
        await cursor.execute(sql.STREAM, (cluster,))
        found = await cursor.fetchone()
    if found is None:
        raise Problem(Code.INTERNAL)
    return found


async def _open(tx: Tx, call: SyncCall, stream: Stream, snapshot: Snapshot) -> None:
    replaces = snapshot.replaces
    await tx.execute(
        sql.OPEN_STREAM,
        {
            "cluster": call.caller.identity_id,
            "organisation": call.caller.organisation_id,
            "epoch": stream.epoch,
            "number": stream.number,
            "replaced_epoch": replaces.epoch if replaces else None,
            "replaced_number": replaces.number if replaces else None,
            "digest": bytes.fromhex(call.body.digest),
        },
    )
    await tx.execute(sql.KEEP_DOCUMENTS, _named(call, map(key, snapshot.rows)))
    await _write(tx, call, snapshot.rows)


async def _apply(tx: Tx, call: SyncCall, delta: Delta) -> None:
    cluster = call.caller.identity_id
    await tx.execute(
        sql.ADVANCE_STREAM,
        {"cluster": cluster, "sequence": delta.sequence, "digest": bytes.fromhex(call.body.digest)},
    )
    if delta.removed:
        await tx.execute(sql.REMOVE_DOCUMENTS, _named(call, delta.removed))
    await _write(tx, call, delta.upserts)
    row = await (await tx.execute(sql.COUNT_DOCUMENTS, (cluster,))).fetchone()
    if row is None or row[0] > MOST_SNAPSHOT_ROWS:
        raise Problem(Code.LIMIT_REACHED, f"a cluster has at most {MOST_SNAPSHOT_ROWS} rows")


async def _write(tx: Tx, call: SyncCall, rows: tuple[Row, ...]) -> None:
    if rows:
        keyed = zip(map(key, rows), rows, strict=True)
        new = as_json({"kind": named.kind, "id": named.id, "body": row} for named, row in keyed)
        of = {"cluster": call.caller.identity_id, "organisation": call.caller.organisation_id}
        await tx.execute(sql.WRITE_DOCUMENTS, {**of, "rows": new})


def _named(call: SyncCall, keys: Iterable[RowKey]) -> dict[str, Any]:
    return {"cluster": call.caller.identity_id, "keys": as_json(keys)}


def _stream(epoch: int | None, number: int | None) -> Stream | None:
    return None if epoch is None or number is None else Stream(epoch=epoch, number=number)
