"""When somebody was last heard: collected in memory, written together, and compared with what was to be expected.

A replica holds a lease, which each of its flushes renews. While it lasts, what this replica hears is known to the
others within seconds; once it lapsed, the replica takes no heartbeat, and nobody takes its silence for somebody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from uuid import UUID

import structlog

from bulkhead.platform.clusters import sql
from bulkhead.platform.clusters.report import Report
from bulkhead.platform.database.many import as_json
from bulkhead.platform.database.pools import Connection, Pool
from bulkhead.platform.database.scope import Scope, Unavailable, transaction
from bulkhead.protocol.heartbeat import OFFLINE_AFTER
from bulkhead.protocol.problems import Code, Problem

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 1.0
"""Short, so that there is little to write: what is written at once of many, everybody else waits for."""
COMPARE_FLUSHES = 5
"""Flushes from one look for the silent to the next."""
LEASE_SECONDS = 30
"""Without a flush, after which a replica hears nobody. Less than what is left of the silence that counts when two
heartbeats of it are missed."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The last heartbeat of somebody who was online. at: by the database's clock"""

    at: datetime
    report: Report


class Liveness:
    """One replica's ears.

    name: of this replica, for people
    new_id: of a lease
    clock: monotonic seconds
    closed: whether nobody is heard here until further notice; the lease lapses then, so nobody counts as silent
    """

    def __init__(
        self,
        pool: Pool,
        *,
        name: str,
        new_id: Callable[[], UUID],
        clock: Callable[[], float],
        seconds: float = FLUSH_SECONDS,
        closed: Callable[[], bool] = lambda: False,
    ) -> None:
        self._pool = pool
        self._name = name
        self._new_id = new_id
        self._clock = clock
        self._seconds = seconds
        self._closed = closed
        self._lease = new_id()
        self._flushed = clock()
        self._heard: dict[UUID, Heard] = {}

    def listen(self) -> None:
        """Raise Problem unavailable where what is heard now might never be known."""
        if self._clock() - self._flushed > LEASE_SECONDS:
            raise Problem(Code.UNAVAILABLE, "this replica can not write what it hears", retry_after=1)

    def heard(self, identity: UUID, at: datetime, report: Report) -> None:
        """Somebody who is online was heard at `at`, by the database's clock."""
        self._heard[identity] = Heard(at, report)

    async def run(self) -> None:
        """Write and compare for ever; when cancelled, write once more and give the lease back."""
        try:
            for number in count():
                await self._attempt(compare=number % COMPARE_FLUSHES == 0)
                await asyncio.sleep(self._seconds)
        finally:
            await self.end()

    async def flush(self) -> None:
        """Write what was heard and renew the lease, in one transaction. Raises Unavailable; nothing is lost then."""
        begun = self._clock()
        heard: dict[UUID, Heard] = {}
        try:
            async with transaction(self._pool, Scope()) as tx:
                # Only now: the lease says that all is written which was heard before the transaction began.
                heard, self._heard = self._heard, {}
                await _write(tx, heard)
                await self._renew(tx)
        except BaseException:
            self._heard = heard | self._heard
            raise
        self._flushed = begun

    async def compare(self) -> int:
        """Take offline who is silent, and tell. Returns how many. Raises Unavailable."""
        async with transaction(self._pool, Scope()) as tx:
            cursor = await tx.execute(sql.GO_OFFLINE, {"lease": LEASE_SECONDS, "silence": OFFLINE_AFTER})
            row = await cursor.fetchone()
        count = int(row[0]) if row else 0
        if count:
            log.info("went_offline", identities=count)
        return count

    async def end(self) -> None:
        """Write what was heard, and listen no more."""
        try:
            await self.flush()
            async with transaction(self._pool, Scope()) as tx:
                await tx.execute(sql.END_LEASE, {"id": self._lease})
        except Unavailable as error:
            log.warning("last_seen_not_written", identities=len(self._heard), error=str(error))

    async def _attempt(self, *, compare: bool) -> None:
        if self._closed():
            return
        try:
            await self.flush()
            if compare:
                await self.compare()
        except Unavailable as error:
            log.warning("last_seen_delayed", identities=len(self._heard), error=str(error))

    async def _renew(self, tx: Connection) -> None:
        lease = {"id": self._lease, "lease": LEASE_SECONDS}
        if await (await tx.execute(sql.RENEW_LEASE, lease)).fetchone():
            return
        await tx.execute(sql.END_LEASE, {"id": self._lease})
        await tx.execute(sql.END_LAPSED_LEASES)
        self._lease = self._new_id()
        await tx.execute(sql.BEGIN_LEASE, {"id": self._lease, "name": self._name})


async def _write(tx: Connection, heard: dict[UUID, Heard]) -> None:
    if not heard:
        return
    beats = ({"id": identity, "at": each.at, "report": each.report} for identity, each in heard.items())
    await tx.execute(sql.FLUSH, {"heard": as_json(beats)})
