"""Everything that an operator writes: to the API server and to the engines, as their own logs tell it, and to its own
log."""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path

from tests.integration.operator.audit import Call, calls
from tests.integration.operator.engines import Admins
from tests.world import Json, World, eventually

LEASES = "leases"
WRITING = re.compile(
    r"(?:statement|execute [^:]*): +(?:CREATE|ALTER|DROP|GRANT|REVOKE|COMMENT|INSERT|UPDATE|DELETE|TRUNCATE|REASSIGN)",
    re.IGNORECASE,
)
SURVEYING = "'pg_database'::regclass WHERE starts_with(c.description,"
"""A part of the statement that looks at all tenants of Postgres, and of no other."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment, by what every log held then."""

    audit: int
    postgres: int
    operator: int
    tasks: int


async def mark(world: World, admins: Admins) -> Mark:
    plane = world.plane
    tasks = (await admins.search.ask("GET", "/tasks?limit=1")).body["total"]
    return Mark(
        audit=plane.audit_log.stat().st_size,
        postgres=plane.postgres.log_file.stat().st_size,
        operator=world.operator.log_file.stat().st_size,
        tasks=tasks,
    )


async def written_since(moment: Mark, world: World, admins: Admins) -> list[str]:
    """Every write of the operator to anything; the Lease, which it must renew, apart."""
    asked = calls(world.plane.audit_log, since=moment.audit)
    objects = [f"{call.verb} {call.resource} {call.name}" for call in asked if call.mutating and not renewal(call)]
    statements = [
        line.strip() for line in _grown(world.plane.postgres.log_file, moment.postgres) if WRITING.search(line)
    ]
    now = await mark(world, admins)
    return [*objects, *statements, *(["a task of the search engine"] * (now.tasks - moment.tasks))]


def told_since(moment: Mark, world: World) -> list[Json]:
    """Every line that the operator logged."""
    return [json.loads(line) for line in _grown(world.operator.log_file, moment.operator)]


def surveys_since(moment: Mark, world: World) -> int:
    """How often all tenants were looked at in bulk."""
    return sum(SURVEYING in line for line in _grown(world.plane.postgres.log_file, moment.postgres))


def _grown(log: Path, size: int) -> list[str]:
    """Lines of a log that came after it had that size."""
    with log.open(errors="replace") as opened:
        opened.seek(size)
        return opened.readlines()


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
