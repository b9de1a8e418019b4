"""Once everything is as it should be, nothing is written: not after the last tenant, and not by a restart."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections import Counter
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.operator.audit import Call, calls
from tests.integration.operator.engines import Admins
from tests.world import World, eventually, metrics_of

log = logging.getLogger(__name__)

TENANTS_VARIABLE = "BULKHEAD_QUIET_TENANTS"
TENANTS = int(os.environ.get(TENANTS_VARIABLE, "40"))
"""The promise is about 200: `BULKHEAD_QUIET_TENANTS=200` keeps it on a machine that has the time."""
TENANT_SECONDS = 3.0
"""Room for each on a slow machine."""
QUIET_SECONDS = 30.0
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


async def changes_of_this_process(world: World) -> float:
    """What passed the one seam of all mutations since it was started."""
    families = list(text_string_to_metric_families(await metrics_of(world.operator)))
    changes = next(family for family in families if family.name == "bulkhead_mutations")
    return sum(sample.value for sample in changes.samples if sample.name.endswith("_total"))


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


async def test_a_restart_with_many_tenants_writes_nothing_at_all(world: World, admins: Admins) -> None:
    slugs = [f"quiet-{number}" for number in range(TENANTS)]
    for slug in slugs:
        await world.tenant(slug)
    for slug in slugs:
        await world.ready(slug, seconds=TENANT_SECONDS * TENANTS)
    await until_still(world, admins)

    moment = await mark(world, admins)
    await nothing_is_written_for(QUIET_SECONDS, moment, world, admins)
    await world.operator.stop()
    moment = await mark(world, admins)
    await world.operator.start()
    await world.plane_ready()
    await nothing_is_written_for(QUIET_SECONDS, moment, world, admins)
    assert await changes_of_this_process(world) == 0
    asked = Counter((call.verb, call.resource) for call in calls(world.plane.audit_log, since=moment.audit))
    log.info("calls of a restart with %d tenants and half a minute: %s", TENANTS, dict(asked))
    assert sum(count for (_, resource), count in asked.items() if resource != LEASES) < TENANTS + 40
    await world.remove_tenants(*slugs, seconds=TENANT_SECONDS * TENANTS)
