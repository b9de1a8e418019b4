"""What the front asks at each request: whether this caller may ask once more."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

import structlog

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, Unavailable, transaction
from bulkhead.platform.http.limits import Allowance
from bulkhead.platform.http.route import Admin, Anonymous, Joined, Principal, TokenHolder, User
from bulkhead.platform.quota import limits, sql
from bulkhead.platform.quota.buckets import Buckets
from bulkhead.platform.quota.leases import Leases

log = structlog.get_logger(__name__)

SWEEP_SECONDS = 60.0


class Callers:
    """The quota of every kind of caller. Who has shown nothing yet is limited by source, where it fails."""

    def __init__(self, leases: Leases, buckets: Buckets) -> None:
        self._leases = leases
        self._buckets = buckets

    async def __call__(self, principal: Principal) -> Sequence[Allowance]:
        """Counts one request. Raises Unavailable."""
        match principal:
            case User(organisation_id=organisation):
                mine = await self._leases.take(organisation, _person(principal), limits.USER)
                if mine.remaining < 0:
                    return (mine,)  # who asks too much takes nothing from the others of the organisation
                return mine, await self._leases.take(organisation, "organisation", limits.ORGANISATION)
            case Joined(kind="plane"):
                return (self._buckets.take(str(principal.identity_id), limits.PLANE),)
            case Joined():
                return (self._buckets.take(str(principal.identity_id), limits.CLUSTER),)
            case Admin():
                return (self._buckets.take(_person(principal), limits.ADMIN),)
            case TokenHolder():
                return (self._buckets.take(str(principal.token_id), limits.TOKEN),)
            case Anonymous():
                return ()


async def sweep(worker: Pool) -> None:
    """Delete blocks of windows that nobody asks for any more, for ever."""
    while True:
        try:
            async with transaction(worker, Scope()) as tx:
                await tx.execute(sql.SWEEP)
        except Unavailable as error:
            log.warning("quota_not_swept", error=str(error))
        await asyncio.sleep(SWEEP_SECONDS)


def _person(principal: User | Admin) -> str:
    """A digest: issuer and subject are long, and of nobody's concern here."""
    return hashlib.sha256(f"{principal.issuer}\0{principal.subject}".encode()).hexdigest()
