"""Writing into the audit: in the transaction of the act itself, so that neither is without the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from msgspec.structs import replace
from psycopg import AsyncConnection

from bulkhead.platform.audit import sql
from bulkhead.platform.audit.entry import Action, Actor, Details, Entry, Target, written
from bulkhead.platform.database.many import as_json
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, transaction

Tx = AsyncConnection[Any]

NOTHING = Details()


@dataclass(frozen=True, slots=True)
class Row:
    """An entry as it is written."""

    organisation: str | None
    action: str
    text: str

    @classmethod
    def of(cls, entry: Entry) -> Row:
        """Raises Malformed where a text is longer than a row may hold."""
        return cls(entry.organisation, entry.action.value, written(entry))


async def record(
    tx: Tx, organisation: UUID | None, actor: Actor, action: Action, target: Target, details: Details = NOTHING
) -> None:
    """Record an act, within its transaction.

    organisation: who may read it; None: the platform's own affairs, which platform admins and planes record

    Raises:
        Malformed: a text is longer than a row may hold.
        psycopg.errors.InsufficientPrivilege: the transaction's scope is not of this organisation.
    """
    whose = str(organisation) if organisation else None
    entry = Entry(action=action, organisation=whose, actor=actor, target=target, details=details)
    await write(tx, entry)


async def write(tx: Tx, entry: Entry) -> None:
    """As `record`."""
    await write_all(tx, [Row.of(entry)])


async def write_all(tx: Tx, rows: Sequence[Row]) -> None:
    """Record acts in this order, within one transaction."""
    await tx.execute(sql.RECORD, (as_json(rows),))


@dataclass(frozen=True, slots=True)
class Refusals:
    """Writes the audit row of a Problem, whose own transaction was rolled back. By the worker's log-in: who was refused
    may have no scope at all.
    """

    pool: Pool

    async def __call__(self, entry: object, source: str) -> None:
        """`entry` from the address `source`. TypeError where a Problem carries something else than an Entry."""
        if not isinstance(entry, Entry):
            raise TypeError(f"a Problem's audit is an Entry, not {type(entry).__name__}")
        async with transaction(self.pool, Scope()) as tx:
            await write(tx, located(entry, source))


def located(entry: Entry, source: str) -> Entry:
    """`entry` with the address that the call came from, where its actor has none."""
    if entry.actor.address:
        return entry
    return replace(entry, actor=replace(entry.actor, address=source))
