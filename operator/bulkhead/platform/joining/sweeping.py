"""What joining leaves behind and nobody asks for any more: tokens and challenges of more than 30 days ago."""

from __future__ import annotations

import asyncio

import structlog

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, Unavailable, transaction
from bulkhead.platform.joining import sql

log = structlog.get_logger(__name__)

SECONDS = 300.0


async def run(worker: Pool) -> None:
    """Sweep for ever. What can not be asked now is asked the next time."""
    while True:
        try:
            await sweep(worker)
        except Unavailable as error:
            log.warning("joining_not_swept", error=str(error))
        await asyncio.sleep(SECONDS)


async def sweep(worker: Pool) -> None:
    """Delete what is old. Raises Unavailable."""
    for statement in (sql.SWEEP_TOKENS, sql.SWEEP_CHALLENGES):
        async with transaction(worker, Scope()) as tx:
            await tx.execute(statement)
