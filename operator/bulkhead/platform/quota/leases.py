"""Limits that all replicas share: each leases blocks of a window from the database and counts within them.

A caller can overshoot by what is leased beyond the limit, which is less than a block; what replicas have leased and not
used is at most replicas x block. One statement is asked for each block, not for each request.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, transaction
from bulkhead.platform.http.limits import Allowance
from bulkhead.platform.quota import sql
from bulkhead.platform.quota.limits import Limit

MOST_SUBJECTS = 65536


@dataclass(slots=True)
class _Window:
    """What this replica has of a subject.

    left: of its block; granted: to all replicas, as last heard; ends: monotonic; spent: there is no further block
    """

    left: int = 0
    granted: int = 0
    ends: float = -math.inf
    spent: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Leases:
    """clock: seconds, monotonic"""

    def __init__(self, pool: Pool, *, clock: Callable[[], float], subjects: int = MOST_SUBJECTS) -> None:
        self._pool = pool
        self._clock = clock
        self._subjects = subjects
        self._windows: OrderedDict[tuple[UUID, str], _Window] = OrderedDict()

    async def take(self, organisation: UUID, subject: str, limit: Limit) -> Allowance:
        """One request. A `remaining` below nought: it is one too many. Raises Unavailable."""
        window = self._window(organisation, subject)
        async with window.lock:
            if self._clock() >= window.ends or (not window.left and not window.spent):
                await self._lease(organisation, subject, limit, window)
            reset = max(1, math.ceil(window.ends - self._clock()))
            if not window.left:
                return Allowance(limit.name, limit.quota, limit.seconds, -1, reset)
            window.left -= 1
            unleased = max(0, limit.quota - window.granted)
            return Allowance(limit.name, limit.quota, limit.seconds, unleased + window.left, reset)

    def _window(self, organisation: UUID, subject: str) -> _Window:
        window = self._windows.setdefault((organisation, subject), _Window())
        self._windows.move_to_end((organisation, subject))
        if len(self._windows) > self._subjects:
            self._windows.popitem(last=False)
        return window

    async def _lease(self, organisation: UUID, subject: str, limit: Limit, window: _Window) -> None:
        values = {
            "organisation": organisation,
            "subject": subject,
            "seconds": limit.seconds,
            "block": limit.block,
            "limit": limit.quota,
        }
        async with transaction(self._pool, Scope(organisation=organisation)) as tx:
            row = await (await tx.execute(sql.LEASE, values)).fetchone()
        if row is None:
            raise RuntimeError("a statement that answers one row answered none")
        granted, seconds = row
        # What was left of a window that is over is over with it.
        window.ends = self._clock() + seconds
        window.spent = granted is None
        window.left = 0 if granted is None else limit.block
        window.granted = limit.quota if granted is None else granted
