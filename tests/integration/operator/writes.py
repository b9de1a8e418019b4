"""Everything that an operator writes, to the API server and to the engines, as their own logs tell it."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass

from tests.integration.operator.audit import Call, calls
from tests.integration.operator.engines import Admins
from tests.world import World, eventually

LEASES = "leases"
WRITING = re.compile(
    r"(?:statement|execute [^:]*): +(?:CREATE|ALTER|DROP|GRANT|REVOKE|COMMENT|INSERT|UPDATE|DELETE|TRUNCATE|REASSIGN)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment, by what every log held then."""

    audit: int
    postgres: int
    tasks: int


async def mark(world: World, admins: Admins) -> Mark:
    plane = world.plane
    tasks = (await admins.search.ask("GET", "/tasks?limit=1")).body["total"]
    return Mark(plane.audit_log.stat().st_size, plane.postgres.log_file.stat().st_size, tasks)


async def written_since(moment: Mark, world: World, admins: Admins) -> list[str]:
    """Every write of the operator to anything; the Lease, which it must renew, apart."""
    asked = calls(world.plane.audit_log, since=moment.audit)
    objects = [f"{call.verb} {call.resource} {call.name}" for call in asked if call.mutating and not renewal(call)]
    with world.plane.postgres.log_file.open(errors="replace") as log:
        log.seek(moment.postgres)
        statements = [line.strip() for line in log if WRITING.search(line)]
    now = await mark(world, admins)
    return [*objects, *statements, *(["a task of the search engine"] * (now.tasks - moment.tasks))]


def renewal(call: Call) -> bool:
    return call.resource == LEASES


async def nothing_is_written_for(seconds: float, moment: Mark, world: World, admins: Admins) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert await written_since(moment, world, admins) == []
        await asyncio.sleep(1.0)


async def until_still(world: World, admins: Admins) -> None:
    """Wait until two looks in a row, further apart than any planned follow-up, show no write between them."""

    async def still() -> bool:
        moment = await mark(world, admins)
        await asyncio.sleep(7.0)
        written = await written_since(moment, world, admins)
        assert written == []
        return True

    await eventually(still, seconds=60.0)
