"""Acts of requests that run at the same time, written into the audit together: one transaction for all that wait.

Each waits for the commit that holds its own row, so what is told to have been recorded is on disk. While one
transaction is on its way the next acts gather; nobody waits for somebody else to come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from bulkhead.platform.audit.entry import Entry
from bulkhead.platform.audit.record import Row, write_all
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, Unavailable, transaction

MOST_ROWS = 500
"""Of one transaction."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """kept: done once the row is committed, or could not be"""

    row: Row
    kept: asyncio.Future[None]


class Intake:
    """Writes by the worker's log-in, which may write for every organisation: whose an act is says the credential that
    its request came with.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def write(self, entry: Entry) -> None:
        """Record an act that has no transaction of its own; returns once it is committed.

        Raises:
            Malformed: a text is longer than a row may hold.
            Unavailable: it may be recorded or not.
        """
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(Row.of(entry), kept))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        await kept

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                taken, self._waiting = self._waiting[:MOST_ROWS], self._waiting[MOST_ROWS:]
                # Who does not wait any more does not act either.
                await self._keep([each for each in taken if not each.kept.done()])
        finally:
            self._writing = None

    async def _keep(self, waiting: Sequence[_Waiting]) -> None:
        try:
            await self._insert(waiting)
        except Unavailable as error:
            for each in waiting:
                _fail(each, Unavailable(str(error)))
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told
            await self._keep_one_by_one(waiting, error)
        else:
            for each in waiting:
                if not each.kept.done():
                    each.kept.set_result(None)

    async def _keep_one_by_one(self, waiting: Sequence[_Waiting], error: Exception) -> None:
        """What is wrong with one row is nothing to the others."""
        if len(waiting) == 1:
            _fail(waiting[0], error)
            return
        for each in waiting:
            await self._keep([each])

    async def _insert(self, waiting: Sequence[_Waiting]) -> None:
        async with transaction(self._pool, Scope()) as tx:
            await write_all(tx, [each.row for each in waiting])


def _fail(each: _Waiting, error: Exception) -> None:
    if not each.kept.done():
        each.kept.set_exception(error)
