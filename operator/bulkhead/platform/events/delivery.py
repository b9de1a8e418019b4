"""The worker that turns events into deliveries and carries them to their webhooks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import psycopg
import structlog
from psycopg import AsyncConnection

from bulkhead.platform.audit.actors import PLATFORM
from bulkhead.platform.audit.entry import Action, Details, Target, TargetKind
from bulkhead.platform.audit.record import record
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, transaction
from bulkhead.platform.destinations import Refused
from bulkhead.platform.events import signature, sql
from bulkhead.platform.events.decide import GIVEN_UP_AFTER, Outcome, Verdict, of_status, verdict
from bulkhead.platform.events.emit import EventData, EventType, emit
from bulkhead.platform.outbound import Outbound, Unreachable
from bulkhead.platform.signing.sealing import Sealed, Sealing, Unsealable
from bulkhead.protocol.documents import Answer

log = structlog.get_logger(__name__)

Tx = AsyncConnection[Any]

LEASE = timedelta(seconds=60)
REQUEST_SECONDS = 15.0
"""Well below the lease: whoever still sends is the only one who does."""
BATCH_EVENTS = 200
AT_ONCE = 32
"""Requests of one replica at a time."""
MOST_OF_ONE = 2
"""Of one organisation at a time, on all replicas."""
IDLE_SECONDS = 1.0
SWEEP_SECONDS = 300.0


class Envelope(Answer, frozen=True, kw_only=True):
    """What a webhook is sent. id: the same in each attempt; created_at: Unix seconds"""

    id: str
    type: str
    organisation: str
    created_at: int
    data: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Taken:
    """One delivery, of a webhook that nobody else sends to for as long as the lease."""

    webhook: UUID
    lease: UUID
    delivery: UUID
    organisation: UUID
    url: str
    secrets: tuple[Sealed, ...]
    failures: int
    failing_for: timedelta
    attempts: int
    event: UUID
    body: bytes
    now: int


class Deliveries:
    """One replica's share of the work.

    new_id: of a lease; chance: from 0 to 1, for the jitter
    """

    def __init__(
        self,
        pool: Pool,
        *,
        outbound: Outbound,
        sealing: Sealing,
        new_id: Callable[[], UUID],
        chance: Callable[[], float],
    ) -> None:
        self._pool = pool
        self._outbound = outbound
        self._sealing = sealing
        self._new_id = new_id
        self._chance = chance

    async def run(self) -> None:
        """Work until cancelled. What is under way then is sent again by whoever finds its lease over."""
        hands = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            group.create_task(_repeat(self.dispatch, BATCH_EVENTS, IDLE_SECONDS))
            group.create_task(_repeat(self.tidy, 1, SWEEP_SECONDS))
            group.create_task(_repeat(lambda: self._hand_out(group, hands), 1, IDLE_SECONDS))

    async def dispatch(self) -> int:
        """Make a delivery of each new event for every webhook that asks for it. Returns how many events."""
        async with transaction(self._pool, Scope()) as tx:
            row = await (await tx.execute(sql.DISPATCH, (BATCH_EVENTS,))).fetchone()
            return int(row[0]) if row else 0

    async def deliver(self) -> int:
        """Send what is due longest. Returns 1, or 0 where nothing is. No transaction is open meanwhile."""
        taken = await self._take()
        if taken is None:
            return 0
        await self._carry(taken)
        return 1

    async def tidy(self) -> int:
        """End what waits for disabled webhooks, drop what is old, seal secrets anew. Returns how many of them."""
        async with transaction(self._pool, Scope()) as tx:
            await tx.execute(sql.END_DISABLED)
            await tx.execute(sql.SWEEP)
        async with transaction(self._pool, Scope()) as tx:
            stale = await (await tx.execute(sql.STALE, {"current": self._sealing.current})).fetchall()
            for webhook, *sealed in stale:
                await tx.execute(sql.SEAL_ANEW, (*self._anew(webhook, *sealed), webhook))
            return len(stale)

    async def _hand_out(self, group: asyncio.TaskGroup, hands: asyncio.Semaphore) -> int:
        """Take one delivery as soon as a hand is free to carry it."""
        await hands.acquire()
        taken = None
        try:
            taken = await self._take()
        finally:
            if taken is None:
                hands.release()
        if taken is None:
            return 0
        group.create_task(self._carry_off(taken, hands))
        return 1

    async def _carry_off(self, taken: Taken, hands: asyncio.Semaphore) -> None:
        """What can not be settled now is sent again once its lease is over."""
        try:
            await self._carry(taken)
        except psycopg.Error as error:
            log.warning("events_delayed", error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - what one delivery meets must not end those of all
            log.critical("delivery_broke", webhook=str(taken.webhook), error=type(error).__name__)
        finally:
            hands.release()

    async def _carry(self, taken: Taken) -> None:
        outcome = await self._send(taken)
        decided = verdict(
            outcome,
            attempts=taken.attempts + 1,
            failures=taken.failures,
            failing_for=taken.failing_for,
            chance=self._chance(),
        )
        await self._settle(taken, outcome, decided)

    async def _take(self) -> Taken | None:
        lease = self._new_id()
        async with transaction(self._pool, Scope()) as tx:
            claimed = await (
                await tx.execute(sql.CLAIM, {"lease": lease, "seconds": LEASE, "most": MOST_OF_ONE})
            ).fetchone()
            if claimed is None:
                return None
            webhook, url, secret, under, previous, previous_under, both, failures, failing_for = claimed
            due = await (await tx.execute(sql.DUE, (webhook,))).fetchone()
            if due is None:
                await tx.execute(sql.RELEASE, (webhook, lease))
                return None
        delivery, attempts, event, organisation, kind, data, created_at, now = due
        envelope = Envelope(
            id=str(event),
            type=kind,
            organisation=str(organisation),
            created_at=created_at,
            data=msgspec.Raw(data.encode()),
        )
        secrets = (Sealed(bytes(secret), under), *([Sealed(bytes(previous), previous_under)] if both else []))
        return Taken(
            webhook=webhook,
            lease=lease,
            delivery=delivery,
            organisation=organisation,
            url=url,
            secrets=secrets,
            failures=failures,
            failing_for=failing_for,
            attempts=attempts,
            event=event,
            body=msgspec.json.encode(envelope),
            now=now,
        )

    async def _send(self, taken: Taken) -> Outcome:
        try:
            secrets = [self._sealing.open(sealed, place(taken.webhook)) for sealed in taken.secrets]
        except Unsealable as error:
            log.critical("webhook_secret_unsealable", reason=str(error))
            return Outcome(None, "its secret can not be opened")
        headers = {
            "Content-Type": "application/json",
            **signature.headers(secrets, event=str(taken.event), at=taken.now, body=taken.body),
        }
        try:
            answer = await self._outbound.post(taken.url, taken.body, headers, seconds=REQUEST_SECONDS)
        except Refused:
            return Outcome(None, "address not permitted")
        except Unreachable as error:
            return Outcome(None, str(error))
        return of_status(answer.status)

    async def _settle(self, taken: Taken, outcome: Outcome, decided: Verdict) -> None:
        async with transaction(self._pool, Scope()) as tx:
            values = {
                "webhook": taken.webhook,
                "lease": taken.lease,
                "rest": decided.rest,
                "delivered": outcome.delivered,
                "failures": taken.failures,
                "disable": decided.disable,
            }
            settled = await (await tx.execute(sql.SETTLE_WEBHOOK, values)).fetchone()
            if settled is None:
                return
            await tx.execute(
                sql.SETTLE_DELIVERY,
                {
                    "delivery": taken.delivery,
                    "state": decided.state,
                    "status": outcome.status,
                    "error": outcome.error or None,
                    "wait": decided.wait,
                },
            )
            if settled[0]:
                await _tell_disabled(tx, taken)

    def _anew(
        self, webhook: UUID, secret: bytes, under: str, previous: bytes | None, previous_under: str | None
    ) -> tuple[bytes, str, bytes | None, str | None]:
        sealed = self._reseal(webhook, Sealed(bytes(secret), under))
        if previous is None or previous_under is None:
            return sealed.text, sealed.under, None, None
        former = self._reseal(webhook, Sealed(bytes(previous), previous_under))
        return sealed.text, sealed.under, former.text, former.under

    def _reseal(self, webhook: UUID, sealed: Sealed) -> Sealed:
        return self._sealing.seal(self._sealing.open(sealed, place(webhook)), place(webhook))


def place(webhook: UUID) -> str:
    """Of a webhook's secrets, for the sealing."""
    return f"webhooks/{webhook}"


async def _tell_disabled(tx: Tx, taken: Taken) -> None:
    reason = f"failed for {GIVEN_UP_AFTER.days} days"
    target = Target(kind=TargetKind.WEBHOOK, id=str(taken.webhook))
    details = Details(host=urlsplit(taken.url).hostname or "", reason=reason)
    await record(tx, taken.organisation, PLATFORM, Action.WEBHOOK_DISABLED, target, details)
    await emit(tx, taken.organisation, EventType.WEBHOOK_DISABLED, EventData(webhook=str(taken.webhook), reason=reason))


async def _repeat(act: Callable[[], Awaitable[int]], full: int, seconds: float) -> None:
    """`act` again at once while there was as much to do as it takes in one go."""
    while True:
        try:
            done = await act()
        except psycopg.Error as error:
            log.warning("events_delayed", error=type(error).__name__)
            done = 0
        except Unsealable as error:
            log.critical("webhook_secret_unsealable", reason=str(error))
            done = 0
        if done < full:
            await asyncio.sleep(seconds)
