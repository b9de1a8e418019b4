"""Once everything is as it should be, nothing is written: not after the last tenant, and not by a restart."""

from __future__ import annotations

import logging
import os
from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.operator.audit import calls
from tests.integration.operator.engines import Admins
from tests.integration.operator.writes import (
    LEASES,
    mark,
    nothing_is_written_for,
    surveys_since,
    told_since,
    until_still,
)
from tests.world import World, metrics_of

log = logging.getLogger(__name__)

TENANTS_VARIABLE = "BULKHEAD_QUIET_TENANTS"
TENANTS = int(os.environ.get(TENANTS_VARIABLE, "20"))
"""The promise is about 200: `make faults` keeps it."""
TENANT_SECONDS = 3.0
"""Room for each on a slow machine."""
QUIET_SECONDS = 30.0
MOST = 19
"""Calls of one verb on one kind of object, of a restart and that time, however many tenants there are; of the pages of
a list the first counts, for one holds a hundred. Measured: 13 times `get secrets`, six of them for each look at the
plane; 7 lists of Secrets, one of them for each survey; 2 of each other kind. One call for each tenant would be 20 more
of a kind."""
STARTING = ["started", "leading", "plane_opened"]
"""All that an operator tells of a start where nothing is to be done."""


async def changes_of_this_process(world: World) -> float:
    """What passed the one seam of all mutations since it was started."""
    families = list(text_string_to_metric_families(await metrics_of(world.operator)))
    changes = next(family for family in families if family.name == "bulkhead_mutations")
    return sum(sample.value for sample in changes.samples if sample.name.endswith("_total"))


async def test_a_restart_with_many_tenants_writes_nothing_at_all(world: World, admins: Admins) -> None:
    slugs = [f"quiet-{number}" for number in range(TENANTS)]
    for slug in slugs:
        await world.tenant(slug)
    for slug in slugs:
        await world.ready(slug, seconds=TENANT_SECONDS * TENANTS)
    await until_still(world, admins)

    moment = await mark(world, admins)
    await nothing_is_written_for(QUIET_SECONDS, moment, world, admins)
    assert told_since(moment, world) == []
    assert surveys_since(moment, world) > 0
    await world.operator.stop()
    moment = await mark(world, admins)
    await world.operator.start()
    await world.plane_ready()
    await nothing_is_written_for(QUIET_SECONDS, moment, world, admins)
    assert await changes_of_this_process(world) == 0
    assert [line["event"] for line in told_since(moment, world)] == STARTING
    assert surveys_since(moment, world) > 0
    asked = [call for call in calls(world.plane.audit_log, since=moment.audit) if call.resource != LEASES]
    counted = Counter((call.verb, call.resource) for call in asked if not call.continues)
    log.info("calls of a restart with %d tenants and half a minute: %s", TENANTS, dict(counted))
    assert {each: count for each, count in counted.items() if count > MOST} == {}
    await world.remove_tenants(*slugs, seconds=TENANT_SECONDS * TENANTS)
