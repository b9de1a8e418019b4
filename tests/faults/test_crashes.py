"""The operator is killed before and after every change that it makes, and ends where an undisturbed one ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import pytest

from bulkhead.app import PLANE_DELAY_SECONDS
from bulkhead.kube.access import from_kubeconfig
from bulkhead.kube.errors import NotFound
from bulkhead.kube.resources import DATA_CLUSTERS, DATA_PLANES, LEASES, TENANTS
from hack.plane.installation import NAMESPACE, Operator
from hack.plane.process import is_stopped
from tests.faults.dying_operator import UNCOUNTED
from tests.faults.end_state import differences, end_state, kubernetes_state
from tests.faults.joining import Joining, Platform, Reference
from tests.faults.reaper import reaping
from tests.world import World, eventually, metrics_of

STRIDE = int(os.environ.get("BULKHEAD_FAULT_STRIDE", "7"))
"""Every n-th change; 1 is the whole proof (`make faults`), more is what fits beside all other tests."""
QUIET_SECONDS = float(os.environ.get("BULKHEAD_QUIET_SECONDS", "30"))


SETTLED_SECONDS = 0.5
RARELY = 5
"""Times more rarely, of crashes that take long."""


@dataclass(slots=True)
class Stage:
    """A world whose operators come and go."""

    world: World
    running: Operator | None = None
    count: int = 0

    @property
    def orders(self) -> Path:
        """Where an operator reads at which change it dies."""
        return self.world.plane.root / "orders"

    async def run(self) -> None:
        """Start another operator in place of the one before; it dies when it is ordered to."""
        await self.stop()
        self.count += 1
        self.orders.write_text("")
        program = ("tests.faults.dying_operator", str(self.orders))
        quiet = ("--drift-seconds=3600", "--heartbeat-seconds=1")
        self.running = self.world.installed.operator(f"operator-{self.count}", program=program, arguments=quiet)
        await self.running.start()

    async def stop(self) -> None:
        """End the operator that runs, and its Lease: nobody waits for it to run out."""
        if self.running is not None and self.running.running:
            await self.running.kill()
        self.running = None
        with contextlib.suppress(NotFound):
            await self.world.kube.delete(LEASES, "bulkhead-operator", NAMESPACE)

    async def changes(self) -> tuple[int, bool]:
        """Changes that the running operator has made, and whether it has more to look at: it began a moment ago, or
        something waits."""
        assert self.running is not None
        lines = (await metrics_of(self.running)).splitlines()
        values = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}
        made = (name for name in values if name.startswith("bulkhead_mutations_total{") and UNCOUNTED not in name)
        waits = values["bulkhead_queue_depth"] + values["bulkhead_queue_running"] > 0
        return sum(int(values[name]) for name in made), waits or not values["bulkhead_leading"]

    async def quiet(self, seconds: float) -> int:
        """Wait until nothing was changed for so long; returns the changes made by then."""
        last, since = -1, asyncio.get_running_loop().time()
        async with asyncio.timeout(seconds + 30):
            while asyncio.get_running_loop().time() - since < seconds:
                made, busy = await self.changes()
                if busy or made != last:
                    last, since = made, asyncio.get_running_loop().time()
                await asyncio.sleep(0.1)
        return last

    async def dead(
        self, *, or_ready: str = "", or_gone: str = "", or_once: Callable[[], Awaitable[object]] | None = None
    ) -> str:
        """Wait until the operator has died, or until the Tenant `or_ready` is ready or `or_once` is so, and nothing is
        changed any more, or the Tenant `or_gone` is gone: how often a status says what is waited for varies with time,
        so the last changes of the undisturbed run may never come. Returns what the operator said about its death."""
        assert self.running is not None
        operator = self.running

        async def has_ended() -> bool:
            return (
                not operator.running
                or bool(or_ready and await self._is_ready(or_ready))
                or bool(or_gone and await self._is_gone(or_gone))
                or bool(or_once and await self._is_at_rest(or_once))
            )

        await eventually(has_ended)
        return next((line for line in operator.log_file.read_text().splitlines() if line.startswith("dying ")), "")

    async def _is_ready(self, tenant: str) -> bool:
        if (await self.world.condition(TENANTS, tenant, "Ready")).get("reason") != "Ready":
            return False
        with contextlib.suppress(aiohttp.ClientError):  # it died while it was asked
            await self.quiet(SETTLED_SECONDS)
        return True

    async def _is_at_rest(self, once: Callable[[], Awaitable[object]]) -> bool:
        if not await once():
            return False
        with contextlib.suppress(aiohttp.ClientError):  # it died while it was asked
            await self.quiet(SETTLED_SECONDS)
        return True

    async def _is_gone(self, tenant: str) -> bool:
        try:
            await self.world.kube.get_metadata(TENANTS, tenant)
        except NotFound:
            return True
        return False

    async def uid(self, slug: str) -> str:
        return str((await self.world.data_cluster(slug))["metadata"]["uid"])

    async def state(self, slug: str) -> Any:
        return await end_state(self.world, slug, await self.uid(slug))

    async def like(self, wanted: Any, slug: str, uid: str, said: str) -> None:
        """Wait until everything of a DataCluster is as `wanted`."""

        async def alike() -> bool:
            found = differences(await end_state(self.world, slug, uid), wanted)
            assert not found, "\n".join((said, *found))
            return True

        await eventually(alike)


@pytest.fixture(scope="module")
async def stage() -> AsyncIterator[Stage]:
    """A plane of its own, without warm databases unless a pass asks for them: what the plane itself prepares meanwhile
    would be counted too."""
    async with World.whole() as world:
        plane = world.plane
        await world.operator.kill()
        await plane.kubectl(
            "patch", "dp", "default", "--type=merge", "-p", '{"spec": {"postgres": {"warmDatabases": 0}}}'
        )
        await plane.controller_manager.stop()
        access = from_kubeconfig([plane.kubeconfig])
        async with access.open_session() as session, reaping(world.kube, session, access.server):
            stage = Stage(world)
            await stage.run()
            await stage.quiet(SETTLED_SECONDS)
            yield stage
            await stage.stop()


@dataclass(frozen=True, slots=True)
class Way:
    """One of the ways in which a tenant comes and goes."""

    name: str
    policy: str = "Delete"
    warm: int = 0
    """Databases that the plane keeps ready, to be renamed."""

    @property
    def still_seconds(self) -> float:
        """How long it is quiet before the plane, too, has nothing more to make."""
        return PLANE_DELAY_SECONDS + SETTLED_SECONDS if self.warm else SETTLED_SECONDS


WAYS = (Way("erased"), Way("kept", policy="Retain"), Way("warm", warm=2))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
async def test_every_crash_while_provisioning_and_deleting_leads_to_the_undisturbed_end(stage: Stage, way: Way) -> None:
    await stage.run()
    await keep_warm(stage, way.warm)
    before = await stage.quiet(way.still_seconds)
    reference_name = f"{way.name}reference"
    await stage.world.tenant(reference_name, deletionPolicy=way.policy)
    await stage.world.ready(reference_name)
    await stage.world.reason(TENANTS, reference_name, "Ready", "Ready")
    provisioning = await stage.quiet(SETTLED_SECONDS) - before
    reference = await stage.state(reference_name)
    reference_uid = await stage.uid(reference_name)
    before = await stage.quiet(way.still_seconds)
    await stage.world.remove_tenants(reference_name)
    deleting = await stage.quiet(SETTLED_SECONDS) - before
    left = await end_state(stage.world, reference_name, reference_uid)
    assert provisioning > 20, "a tenant is more changes than that: the seam was gone around"

    crashes = list(share(way, provisioning))
    for number, die in enumerate(crashes):
        slug = f"{way.name}{number}"
        await stage.quiet(way.still_seconds)
        stage.orders.write_text(die)
        await stage.world.tenant(slug, deletionPolicy=way.policy)
        said = await stage.dead(or_ready=slug)
        await stage.run()
        await stage.world.ready(slug)
        await stage.like(reference, slug, await stage.uid(slug), said)

    for number, die in enumerate(share(way, deleting)):
        slug = f"{way.name}{number % len(crashes)}"
        uid = await stage.uid(slug)
        await stage.quiet(way.still_seconds)
        stage.orders.write_text(die)
        await stage.world.delete(TENANTS, slug)
        said = await stage.dead(or_gone=slug)
        await stage.run()
        await stage.world.gone(TENANTS, slug)
        await stage.like(left, slug, uid, said)
        assert await remembered(stage, uid) == (way.policy == "Retain"), said
    await keep_warm(stage, way.warm)
    await keep_warm(stage, 0)


async def test_after_all_of_it_nothing_is_changed_any_more(stage: Stage) -> None:
    await stage.run()
    assert await stage.quiet(QUIET_SECONDS) == 0


def share(way: Way, changes: int) -> Iterator[str]:
    """The crashes of one way: all of them in the whole proof, else those of `moments` spread over the ways."""
    for number, moment in enumerate(moments(changes)):
        if STRIDE == 1 or number // 2 % len(WAYS) == WAYS.index(way):
            yield moment


_WARM = r"""
SELECT (SELECT count(*) FROM pg_database d WHERE datname LIKE 'bh\_warm\_%'
        AND datallowconn AND shobj_description(d.oid, 'pg_database') IS NOT NULL),
       (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'bh\_warm\_%')
"""


async def keep_warm(stage: Stage, wanted: int) -> None:
    """Wait until exactly so many databases are ready, each with its group, and none half made is left."""
    warm = json.dumps({"spec": {"postgres": {"warmDatabases": wanted}}})
    await stage.world.plane.kubectl("patch", "dp", "default", "--type=merge", "-p", warm)

    async def are_warm() -> bool:
        async with await psycopg.AsyncConnection.connect(stage.world.plane.postgres.dsn()) as connection:
            found = await (await connection.execute(_WARM)).fetchone()
        assert found == (wanted, wanted), found
        return True

    await eventually(are_warm)
    await stage.quiet(PLANE_DELAY_SECONDS + SETTLED_SECONDS)  # what its tenants remember of it follows


async def remembered(stage: Stage, uid: str) -> bool:
    """Whether there is a record of what was kept, and then that no secret is left in it."""
    try:
        record = json.loads((await stage.world.secret(f"record-{uid}", NAMESPACE))["record"])
    except NotFound:
        return False
    credentials = [held for holding in record["holdings"].values() for held in holding["credentials"]]
    assert credentials, record
    assert not any(held.get("value") or held.get("verifier") for held in credentials)
    return bool(record["retained_at"])


async def test_every_crash_while_an_index_is_made_that_is_then_taken_off_the_spec_is_remembered(stage: Stage) -> None:
    await stage.run()
    await search_for(stage, "undecided", *LISTED)
    before = await stage.quiet(SETTLED_SECONDS)
    await search_for(stage, "undecided", *LISTED, "notes")
    adding = await stage.quiet(SETTLED_SECONDS) - before
    assert adding > 5, "an index is more changes than that"

    for number, die in enumerate(moments(adding)):
        slug = f"undecided{number}"
        await search_for(stage, slug, *LISTED)
        await stage.quiet(SETTLED_SECONDS)
        stage.orders.write_text(die)
        await apply_search(stage, slug, *LISTED, "notes")
        said = await stage.dead(or_once=partial(stage.world.current, slug))
        await apply_search(stage, slug, *LISTED)
        await stage.run()
        await stage.world.ready(slug)
        uid = await stage.uid(slug)
        indexes = (await stage.state(slug))["meilisearch"]["indexes"]
        record = await stage.world.secret(f"record-{uid}", NAMESPACE)
        remembered = json.loads(record["record"])["holdings"]["search"]["provisioned"]
        assert ("SLUG_notes" in indexes) is (f"index/{slug}_notes" in remembered), said
        await stage.world.delete(DATA_CLUSTERS, slug)
        await stage.world.gone(DATA_CLUSTERS, slug)
        assert (await end_state(stage.world, slug, uid))["meilisearch"] == {"indexes": {}, "keys": []}, said


LISTED = ("entries", "datasets")


async def search_for(stage: Stage, slug: str, *indexes: str) -> None:
    """A DataCluster that has exactly these indexes."""
    await stage.world.tenant(slug, dataClusters=[])
    await apply_search(stage, slug, *indexes)
    await stage.world.ready(slug)


async def apply_search(stage: Stage, slug: str, *indexes: str) -> None:
    """By hand, so that no Tenant has a say in it."""
    spec = {"tenantRef": {"name": slug}, "deletionPolicy": "Delete", "search": {"indexes": indexes}}
    await stage.world.apply("DataCluster", slug, spec)


@pytest.fixture(scope="module")
async def joining(stage: Stage) -> AsyncIterator[Joining]:
    async with Platform.serving(stage.world.plane.site.ports.reserve()) as platform:
        yield Joining(stage.world, platform)


@pytest.fixture(scope="module")
async def reference(stage: Stage, joining: Joining) -> Reference:
    """What joining and leaving take, and come to, where nothing is disturbed."""
    await stage.run()
    before = await stage.quiet(SETTLED_SECONDS)
    await joining.begin("joining")
    await eventually(partial(joining.is_joined, "joining"))
    joined = await stage.quiet(SETTLED_SECONDS)
    uid = await stage.uid("joining")
    state = await kubernetes_state(stage.world, "joining", uid)
    await joining.joined("joining", state, "undisturbed")
    await joining.leave("joining")
    await joining.gone("joining", "undisturbed")
    return Reference(joined - before, await stage.quiet(SETTLED_SECONDS) - joined, state)


async def test_an_operator_that_was_stopped_while_it_joined_until_another_led_changes_nothing_more(
    stage: Stage, joining: Joining, reference: Reference
) -> None:
    await stage.run()
    await joining.begin_plane("overtaken")
    await stage.world.reason(DATA_PLANES, "overtaken", "Connected", "Ready")
    await stage.quiet(SETTLED_SECONDS)
    assert stage.running is not None
    overtaken = stage.running
    stage.orders.write_text("stop:Exchange")
    await stage.world.tenant("overtaken", dataPlaneRef={"name": "overtaken"})
    await eventually(lambda: asyncio.to_thread(is_stopped, overtaken.pid))
    another = stage.world.installed.operator("operator-another", arguments=("--heartbeat-seconds=1",))
    await another.start()
    await joining.joined("overtaken", reference.state, "by another")

    await overtaken.resume()
    await stage.dead()
    assert "changing after the stop" not in overtaken.log_file.read_text()
    await joining.joined("overtaken", reference.state, "by both")
    await another.stop()


async def test_every_crash_while_joining_and_leaving_ends_with_one_identity_and_at_last_without_a_key(
    stage: Stage, joining: Joining, reference: Reference
) -> None:
    assert (reference.joining > 20, reference.leaving > 5) == (True, True), "it is more changes than that"
    crashes = zip_longest(moments(reference.joining, RARELY), moments(reference.leaving, RARELY), fillvalue="")
    await stage.run()
    for number, (while_joining, while_leaving) in enumerate(crashes):
        name = f"joining{number}"
        stage.orders.write_text(while_joining)
        await joining.begin(name)
        said = await stage.dead(or_once=partial(joining.is_joined, name))
        await stage.run()
        await joining.joined(name, reference.state, said)

        stage.orders.write_text(while_leaving)
        await joining.leave(name)
        said = await stage.dead(or_once=partial(joining.is_gone, name))
        await stage.run()
        await joining.gone(name, said)


async def test_who_is_deleted_after_a_crash_while_it_joined_leaves_no_key_behind(
    stage: Stage, joining: Joining, reference: Reference
) -> None:
    await stage.run()
    for number, while_joining in enumerate(moments(reference.joining, RARELY)):
        name = f"leaving{number}"
        stage.orders.write_text(while_joining)
        await joining.begin(name)
        said = await stage.dead(or_once=partial(joining.is_joined, name))
        await stage.stop()
        await joining.leave(name)
        await stage.run()
        await joining.gone(name, said)


def moments(changes: int, times: int = 1) -> Iterator[str]:
    """Before and after every change, or every n-th, or so many times more rarely."""
    for number in range(1, changes + 1, STRIDE if STRIDE == 1 else STRIDE * times):
        yield f"before:{number}"
        yield f"after:{number}"
