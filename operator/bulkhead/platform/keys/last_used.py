"""When keys were used last: collected in memory and written together, for nothing waits for it."""

from __future__ import annotations

import asyncio
from typing import LiteralString

import structlog

from bulkhead.platform.database.many import as_json
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, Unavailable, transaction
from bulkhead.platform.keys import sql

log = structlog.get_logger(__name__)

SECONDS = 60.0


class LastUsed:
    """Ids of keys of one table that were used since the last flush. statement: writes it, for a list of ids."""

    def __init__(self, pool: Pool, statement: LiteralString = sql.LAST_USED, *, seconds: float = SECONDS) -> None:
        self._pool = pool
        self._statement = statement
        self._seconds = seconds
        self._ids: set[str] = set()

    def at(self, key: str) -> None:
        """It was used now."""
        self._ids.add(key)

    async def run(self) -> None:
        """Flush for ever, and once more when cancelled."""
        try:
            while True:
                await asyncio.sleep(self._seconds)
                await self.flush()
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Write them. What can not be written now is written with the next."""
        ids, self._ids = self._ids, set()
        if not ids:
            return
        try:
            async with transaction(self._pool, Scope()) as tx:
                await tx.execute(self._statement, (as_json(ids),))
        except Unavailable as error:
            self._ids |= ids
            log.warning("last_used_not_written", keys=len(ids), error=str(error))
