"""Leader election on a real API server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from bulkhead.kube.client import KubeClient
from bulkhead.kube.lease import LeaderElection, LeadershipLost, LeaseTiming
from bulkhead.kube.resources import LEASES
from hack.plane.plane import Plane
from tests.integration.kube.cluster import Json, admin, client_of, namespace_in
from tests.world import eventually

FAST = LeaseTiming(duration=2.0, renew_deadline=1.2, renew_every=0.4, retry_every=0.2, request=0.4)
PATIENT = LeaseTiming(duration=20.0, renew_deadline=15.0, renew_every=0.2, retry_every=0.1, request=5.0)
"""A machine that stands still for seconds costs nobody the lease."""
SECONDS = 60.0


class Ground:
    """Where candidates meet."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self.client = client
        self.namespace = namespace

    def candidate(self, identity: str, timing: LeaseTiming = FAST) -> LeaderElection:
        return LeaderElection(
            self.client,
            namespace=self.namespace,
            name="bulkhead",
            identity=identity,
            now=lambda: datetime.now(UTC),
            clock=time.monotonic,
            timing=timing,
        )

    async def holder(self) -> str:
        return str((await self._spec()).get("holderIdentity"))

    async def renewed_at(self) -> str:
        return str((await self._spec())["renewTime"])

    async def _spec(self) -> Json:
        spec: Json = (await self.client.get(LEASES, "bulkhead", self.namespace))["spec"]
        return spec


@pytest.fixture
async def ground(plane: Plane) -> AsyncIterator[Ground]:
    async with client_of(admin(plane)) as client, namespace_in(client) as namespace:
        yield Ground(client, namespace)


async def test_one_leads_and_hands_over_when_it_leaves(ground: Ground) -> None:
    one, two = ground.candidate("one", PATIENT), ground.candidate("two", PATIENT)
    times: set[str] = set()

    async def renewed() -> bool:
        times.add(await ground.renewed_at())
        return waiting.done() or len(times) > 3

    await one.acquire()
    waiting = asyncio.create_task(two.acquire())
    holding = asyncio.create_task(one.hold(lambda: None))
    await eventually(renewed)
    assert not waiting.done()
    holding.cancel()
    await asyncio.gather(holding, return_exceptions=True)
    await one.release()
    await asyncio.wait_for(waiting, SECONDS)
    assert await ground.holder() == "two"


async def test_a_leader_that_vanished_is_followed(ground: Ground) -> None:
    await ground.candidate("one").acquire()
    await asyncio.wait_for(ground.candidate("two").acquire(), SECONDS)
    assert await ground.holder() == "two"


async def test_of_many_that_try_at_once_one_leads(ground: Ground) -> None:
    elections = [ground.candidate(str(number), PATIENT) for number in range(8)]
    tasks = [asyncio.create_task(election.acquire()) for election in elections]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert sum(election.leading for election in elections) == 1
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_leader_whose_api_server_is_away_stops_in_time(ground: Ground, plane: Plane) -> None:
    # Far from the deadline: a machine that stands still for seconds has not stopped too late.
    timing = replace(FAST, duration=20.0)
    election = ground.candidate("one", timing)
    await election.acquire()
    lost = asyncio.Event()
    holding = asyncio.create_task(election.hold(lost.set))
    await plane.api.stop()
    try:
        await asyncio.wait_for(lost.wait(), timing.duration)
        assert not election.leading
        with pytest.raises(LeadershipLost):
            await holding
    finally:
        await plane.api.start()
