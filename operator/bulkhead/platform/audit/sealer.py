"""The worker that moves recorded acts into the chain, and signs how far it goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import structlog
from psycopg import AsyncConnection

from bulkhead.platform.audit import heads, sql, standing
from bulkhead.platform.audit.export import Export, Unwritable
from bulkhead.platform.audit.heads import Head
from bulkhead.platform.audit.look import look
from bulkhead.platform.audit.standing import Exported
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, transaction
from bulkhead.platform.signing.keys import SigningKeys
from bulkhead.platform.signing.ring import Broken, Ring
from bulkhead.platform.signing.sealing import Unsealable

log = structlog.get_logger(__name__)

Tx = AsyncConnection[Any]

MOST_ROWS = 500
"""Of one transaction of `seal`."""
SEAL_SECONDS = 1.0
SIGN_SECONDS = 60.0
LOOK_SECONDS = 10.0


class Sealer:
    """One replica's share of the work; of several at once one seals and one signs, whichever comes first.

    keys: that sign heads, of the worker's log-in
    export: None: the service runs without one
    known: what the export held at the start, which the database was found to be no less than
    """

    def __init__(self, pool: Pool, *, keys: SigningKeys, export: Export | None, known: Exported) -> None:
        self._pool = pool
        self._keys = keys
        self._export = export
        self._known = known
        self._shortfall = ""
        self._looking = asyncio.Lock()

    @property
    def shortfall(self) -> str:
        """Why this replica must not serve any more: its database was exchanged for an older one. Empty: it was not."""
        return self._shortfall

    async def run(self) -> None:
        """Work until cancelled, then seal and sign what is there. What fails is logged and tried again at its turn."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_repeat(self.seal, SEAL_SECONDS))
                group.create_task(_repeat(self.sign, SIGN_SECONDS))
                group.create_task(_repeat(self.look, LOOK_SECONDS))
        finally:
            await _attempt(self.seal)
            await _attempt(self.sign)

    async def seal(self) -> int:
        """Move all that is recorded by now into the chain. Returns how many rows; 0 also while another replica does."""
        moved = 0
        while batch := await self._seal_batch():
            moved += batch
            if batch < MOST_ROWS:
                break
        return moved

    async def look(self) -> None:
        """Find out whether the database is still the one that was seen before, and whether an export that took no line
        takes one again: nothing else might ever ask it, for who is not ready is given nothing to revoke.
        """
        async with transaction(self._pool, Scope()) as tx:
            shortfall = await self._look(tx)
        if self._export and self._export.trouble and not (shortfall or self._shortfall):
            await self._export.epoch(self._known.epoch)

    async def sign(self) -> Head | None:
        """Sign and export the chain's last row. None where that is done, where another replica does it, or where the
        database was exchanged.

        The export comes before the commit: what is signed and not exported could be cut unseen, and the database never
        knows more than the export.
        """
        # Kept for certain before its first use: a key that the export alone knows would be a second first one.
        async with transaction(self._pool, Scope()) as tx:
            ring = await self._keys.keep(tx)
        async with transaction(self._pool, Scope()) as tx:
            if not await _one(tx, sql.TRY_SIGNING):
                return None
            shortfall = await self._look(tx)
            row = await (await tx.execute(sql.UNSIGNED)).fetchone()
            if shortfall or self._shortfall or row is None:
                return None
            sequence, link, epoch, now = row
            head = Head(epoch=epoch, sequence=sequence, hash=bytes(link).hex(), at=now)
            statement = heads.sign(head, self._keys.opened(ring.newest))
            await tx.execute(sql.SIGNED, (sequence, link, ring.newest.kid, statement))
            await self._keep(ring, statement)
            return head

    async def _seal_batch(self) -> int:
        async with transaction(self._pool, Scope()) as tx:
            return int(await _one(tx, sql.SEAL, MOST_ROWS))

    async def _look(self, tx: Tx) -> str:
        """The shortfall of what `tx` sees."""
        # One after the other: an answer is about what was known when it was asked for, and the latest is the one that
        # holds.
        async with self._looking:
            database = await look(tx, self._known.head)
            raised = database.epoch > self._known.epoch
            shortfall = "" if raised else standing.shortfall(self._known, database)
            if shortfall and not self._shortfall:
                log.critical("database_restored", reason=shortfall)
            self._shortfall = shortfall
            if not shortfall:
                self._known = standing.seen(self._known, database)
            return shortfall

    async def _keep(self, ring: Ring, statement: str) -> None:
        if self._export is None:
            return
        for row in ring.rows:
            if row.kid not in self._known.kids:
                await self._export.key(row.kid, row.public.text, row.link)
        self._known = standing.knowing(self._known, ring.kids)
        await self._export.head(statement)


async def _repeat(act: Callable[[], Awaitable[object]], seconds: float) -> None:
    while True:
        await _attempt(act)
        await asyncio.sleep(seconds)


async def _attempt(act: Callable[[], Awaitable[object]]) -> None:
    try:
        await act()
    except (psycopg.Error, Unwritable) as error:
        log.warning("audit_delayed", error=type(error).__name__)
    except (Unsealable, Broken, LookupError) as error:
        log.critical("audit_heads_unsigned", reason=str(error))


async def _one(tx: Tx, statement: str, *values: object) -> Any:
    row = await (await tx.execute(statement, values)).fetchone()
    return row[0] if row else None
