"""Where a database stands, asked of it, and whether it may serve beside an export."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection

from bulkhead.platform.audit import sql
from bulkhead.platform.audit.heads import Head
from bulkhead.platform.audit.standing import Database

Tx = AsyncConnection[Any]


class Restored(Exception):
    """The database shows less than the export knows. The message says what to do."""


async def look(tx: Tx, head: Head | None) -> Database:
    """Where it stands. head: the furthest that is known; LookupError where the database was never migrated."""
    row = await (await tx.execute(sql.STANDING, (head.sequence if head else None,))).fetchone()
    if row is None:
        raise LookupError("the database has no platform_state")
    epoch, sequence, last, at_head = row
    return Database(epoch, sequence, bytes(last), at_head if at_head is None else bytes(at_head))
