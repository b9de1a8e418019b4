"""`bulkhead platform verify-audit`: reads the chain once, beside its export, and says whether it is what was signed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection, IsolationLevel

from bulkhead.platform.audit import sql
from bulkhead.platform.audit.export import AnyLine, Damaged, EpochLine, HeadLine, KeyLine, lines
from bulkhead.platform.audit.verification import Chain, Key, Lost, Report, Row, Trusted, trust
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.keys import PublicKey

CONNECT_SECONDS = 5
BATCH_ROWS = 2000

Connection = AsyncConnection[tuple[Any, ...]]


class NoVerdict(Exception):
    """The database can not be asked, the export can not be read, or a key in one of them is none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What verifying found.

    waiting, waited: acts that are recorded and not in the chain yet, and for how long the oldest is
    export: whether there was one
    torn: files of the export whose last line a crash has cut
    """

    report: Report
    trusted: Trusted
    waiting: int
    waited: timedelta
    export: bool
    torn: tuple[str, ...]


async def verify(dsn: str, export: Path | None, *, first_key: str = "") -> Outcome:
    """Verify the chain of the database that `dsn` reaches, by a log-in of bulkhead_platform_maintenance.

    first_key: fingerprint that the first signing key must have; empty: not asked for

    Raises:
        NoVerdict: see there.
    """
    try:
        return await _verify(dsn, export, first_key)
    except (psycopg.Error, Damaged, Malformed, OSError) as error:
        raise NoVerdict(str(error).strip()) from error


async def _verify(dsn: str, export: Path | None, first_key: str) -> Outcome:
    torn: list[str] = []
    exported = list(lines(export, torn=lambda path: torn.append(path.name))) if export else []
    async with await psycopg.AsyncConnection.connect(
        dsn, connect_timeout=CONNECT_SECONDS, application_name="bulkhead verify-audit"
    ) as connection:
        # One moment of all tables, so that nothing that is sealed meanwhile looks torn off.
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        trusted = trust(_keys(exported), await _database_keys(connection), first_key)
        chain = Chain(trusted, _statements(exported), await _heads(connection), _losses(exported))
        async with connection.cursor("chain") as cursor:
            cursor.itersize = BATCH_ROWS
            await cursor.execute(sql.CHAIN)
            async for row in cursor:
                chain.row(_row(row))
        waiting, waited = await _waiting(connection)
    return Outcome(chain.report(), trusted, waiting, waited, export is not None, tuple(torn))


def lines_for_people(outcome: Outcome) -> Iterator[str]:
    """The outcome, with the verdict last."""
    report, first = outcome.report, outcome.trusted.first
    yield f"rows        {report.rows}"
    yield f"keys        {len(outcome.trusted.keys)}, the first {first.fingerprint if first else 'is missing'}"
    yield f"heads       {report.database_heads} in the database, {report.exported_heads} exported"
    yield f"covered     {_covered(outcome)}"
    yield f"waiting     {_waiting_text(outcome)}"
    for loss in report.losses:
        yield f"lost        what was after row {loss.after}: a restore, accepted by the fence of epoch {loss.epoch}"
    for name in outcome.torn:
        yield f"torn        the last line of {name}: its writer crashed, and nothing was answered as done by it"
    for finding in report.findings:
        yield f"WRONG       {finding.text}"
    if report.unlisted:
        yield f"WRONG       and {report.unlisted} more"
    yield f"verdict     {'intact' if report.intact else 'NOT INTACT'}"


def _covered(outcome: Outcome) -> str:
    report = outcome.report
    if not outcome.export:
        return (
            f"to row {report.vouched} by a head in the database; there is no export: "
            "whoever writes the database could have cut off heads and rows together"
        )
    after = report.rows - report.covered
    if not report.covered:
        return "nothing: no exported head speaks of a row that is there"
    at = f"{datetime.fromtimestamp(report.covered_at, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return f"to row {report.covered} by a head exported on {at}; the {after} after it could be cut unseen"


def _waiting_text(outcome: Outcome) -> str:
    if not outcome.waiting:
        return "nothing"
    return f"{outcome.waiting} recorded and not in the chain yet, the oldest for {outcome.waited.total_seconds():.0f} s"


def _keys(exported: list[AnyLine]) -> Iterator[Key]:
    return (Key(PublicKey.parse(line.key), line.link or "") for line in exported if isinstance(line, KeyLine))


def _statements(exported: list[AnyLine]) -> Iterator[str]:
    return (line.statement for line in exported if isinstance(line, HeadLine))


def _losses(exported: list[AnyLine]) -> tuple[Lost, ...]:
    epochs = (line for line in exported if isinstance(line, EpochLine))
    found = {Lost(line.epoch, line.after) for line in epochs if line.after is not None}
    return tuple(sorted(found, key=lambda loss: loss.epoch))


async def _database_keys(connection: Connection) -> list[Key]:
    rows = await (await connection.execute(sql.KEYS)).fetchall()
    return [Key(PublicKey(bytes(public)), link) for public, link in rows]


async def _heads(connection: Connection) -> list[str]:
    return [statement for (statement,) in await (await connection.execute(sql.HEADS)).fetchall()]


async def _waiting(connection: Connection) -> tuple[int, timedelta]:
    row = await (await connection.execute(sql.WAITING)).fetchone()
    if row is None:
        raise Malformed("a count has a row")
    number, oldest, now = row
    return number, now - oldest if oldest else timedelta()


def _row(row: tuple[Any, ...]) -> Row:
    sequence, previous, digest, text, organisation, at, action = row
    return Row(sequence, bytes(previous), bytes(digest), bytes(text), organisation, at, action)
