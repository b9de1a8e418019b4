"""When keys were used last: collected in memory and written together, for nothing waits for it."""

from __future__ import annotations

import asyncio
from itertools import cycle
from typing import LiteralString

import structlog

from bulkhead.platform.database.many import as_json
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, Unavailable, transaction
from bulkhead.platform.keys import sql

log = structlog.get_logger(__name__)

SECONDS = 60.0
PARTS = 60
"""Of all keys, written one after the other: what is written of all at once, everybody else waits for."""


class LastUsed:
    """Ids of keys of one table that were used since they were written. statement: writes it, for a list of ids."""

    def __init__(self, pool: Pool, statement: LiteralString = sql.LAST_USED, *, seconds: float = SECONDS) -> None:
        self._pool = pool
        self._statement = statement
        self._seconds = seconds
        self._parts: tuple[set[str], ...] = tuple(set() for _ in range(PARTS))

    def at(self, key: str) -> None:
        """It was used now."""
        self._parts[hash(key) % PARTS].add(key)

    async def run(self) -> None:
        """Write one part after the other for ever, and all that is left when cancelled."""
        try:
            for part in cycle(self._parts):
                await asyncio.sleep(self._seconds / PARTS)
                await self._write(part)
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Write all of them now."""
        await self._write(*self._parts)

    async def _write(self, *parts: set[str]) -> None:
        """What can not be written now is written with the next."""
        ids = {key for part in parts for key in part}
        if not ids:
            return
        for part in parts:
            part.clear()
        try:
            async with transaction(self._pool, Scope()) as tx:
                await tx.execute(self._statement, (as_json(ids),))
        except BaseException as error:
            # Also of who is cancelled here: it writes all that is left then.
            for key in ids:
                self.at(key)
            if not isinstance(error, Unavailable):
                raise
            log.warning("last_used_not_written", keys=len(ids), error=str(error))
