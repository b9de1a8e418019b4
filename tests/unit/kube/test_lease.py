"""Leader election in virtual time, against a Lease in memory that keeps the API server's rule of versions."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from bulkhead.kube.client import KubeClient
from bulkhead.kube.errors import AlreadyExists, Conflict, NotFound, Unavailable
from bulkhead.kube.lease import LeaderElection, LeadershipLost
from bulkhead.kube.resources import Resource
from tests.unit.runtime.virtual_time import in_virtual_time, now

Json = dict[str, Any]

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class LeaseServer:
    """What two candidates share. `before` runs ahead of each request, and may fail it or make it wait."""

    def __init__(self) -> None:
        self.lease: Json | None = None
        self.writes = 0
        self.reads = 0

    def client(self, before: Callable[[], Awaitable[None]] | None = None) -> KubeClient:
        return cast("KubeClient", _Connection(self, before or _at_once))

    @property
    def spec(self) -> Json:
        assert self.lease is not None
        spec: Json = self.lease["spec"]
        return spec

    def store(self, content: Json) -> Json:
        self.writes += 1
        self.lease = copy.deepcopy(content)
        self.lease["metadata"]["resourceVersion"] = str(self.writes)
        return copy.deepcopy(self.lease)


class _Connection:
    """The three requests that an election makes."""

    def __init__(self, server: LeaseServer, before: Callable[[], Awaitable[None]]) -> None:
        self._server = server
        self._before = before

    async def get(self, _: Resource, name: str, __: str) -> Json:
        await self._before()
        self._server.reads += 1
        if self._server.lease is None:
            raise NotFound(name)
        return copy.deepcopy(self._server.lease)

    async def create(self, _: Resource, content: Json, __: str) -> Json:
        await self._before()
        if self._server.lease is not None:
            raise AlreadyExists("taken")
        return self._server.store(content)

    async def replace(self, _: Resource, __: str, content: Json, ___: str) -> Json:
        await self._before()
        if self._server.lease is None:
            raise NotFound("gone")
        if content["metadata"]["resourceVersion"] != self._server.lease["metadata"]["resourceVersion"]:
            raise Conflict("changed")
        return self._server.store(content)


async def _at_once() -> None:
    pass


class Link:
    """A connection that can be cut, or slowed down."""

    def __init__(self) -> None:
        self.cut = False
        self.delay = 0.0

    async def __call__(self) -> None:
        await asyncio.sleep(self.delay)
        if self.cut:
            raise Unavailable("no route")


def candidate(server: LeaseServer, identity: str, link: Link | None = None) -> LeaderElection:
    return LeaderElection(
        server.client(link),
        namespace="bulkhead-system",
        name="bulkhead",
        identity=identity,
        now=lambda: EPOCH + timedelta(seconds=now()),
        clock=now,
    )


async def leader(server: LeaseServer, identity: str = "one", link: Link | None = None) -> LeaderElection:
    election = candidate(server, identity, link)
    await election.acquire()
    return election


class Loss:
    """Holds a lease, and notes when it was lost."""

    def __init__(self, election: LeaderElection) -> None:
        self.at: float | None = None
        self._task = asyncio.create_task(election.hold(self._note))

    def _note(self) -> None:
        self.at = now()

    async def noticed(self) -> float:
        with pytest.raises(LeadershipLost):
            await self._task
        assert self.at is not None
        return self.at

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@in_virtual_time
async def test_the_first_candidate_makes_the_lease_and_leads() -> None:
    server = LeaseServer()
    election = await leader(server)
    assert election.leading
    assert server.spec == {
        "holderIdentity": "one",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-01-01T00:00:00.000000Z",
        "renewTime": "2026-01-01T00:00:00.000000Z",
        "leaseTransitions": 0,
    }


@in_virtual_time
async def test_the_second_candidate_waits_while_the_first_renews() -> None:
    server = LeaseServer()
    loss = Loss(await leader(server))
    second = asyncio.create_task(candidate(server, "two").acquire())
    await asyncio.sleep(300)
    assert not second.done()
    second.cancel()
    await loss.end()


@in_virtual_time
async def test_a_lease_is_renewed_with_one_write_every_four_seconds() -> None:
    server = LeaseServer()
    loss = Loss(await leader(server))
    before = server.reads
    await asyncio.sleep(61)
    await loss.end()
    assert (server.writes, server.reads - before) == (1 + 15, 0)


@in_virtual_time
async def test_a_crashed_leader_is_followed_after_the_duration() -> None:
    server = LeaseServer()
    await leader(server)
    await leader(server, "two")
    assert 15.0 <= now() <= 17.0
    assert (server.spec["holderIdentity"], server.spec["leaseTransitions"]) == ("two", 1)


@in_virtual_time
async def test_times_in_the_record_are_not_believed() -> None:
    server = LeaseServer()
    loss = Loss(await leader(server))
    election = candidate(server, "two")
    election._now = lambda: EPOCH + timedelta(days=365)
    ahead = asyncio.create_task(election.acquire())
    await asyncio.sleep(100)
    assert not ahead.done()
    ahead.cancel()
    await loss.end()


@in_virtual_time
async def test_a_lease_that_was_given_back_is_taken_at_once() -> None:
    server = LeaseServer()
    first = await leader(server)
    second = asyncio.create_task(leader(server, "two"))
    await asyncio.sleep(1)
    await first.release()
    await second
    assert now() <= 2.0


@in_virtual_time
async def test_who_gave_it_back_no_longer_leads() -> None:
    election = await leader(LeaseServer())
    await election.release()
    assert not election.leading


@in_virtual_time
async def test_giving_it_back_is_no_loss() -> None:
    election = await leader(LeaseServer())
    lost: list[float] = []
    holding = asyncio.create_task(election.hold(lambda: lost.append(now())))
    await asyncio.sleep(1)
    await election.release()
    await holding
    assert lost == []


@in_virtual_time
async def test_a_renewal_that_is_under_way_does_not_take_back_what_is_given_back() -> None:
    server, link = LeaseServer(), Link()
    election = await leader(server, link=link)
    loss = Loss(election)
    link.delay = 2.0
    await asyncio.sleep(5)
    await election.release()
    await asyncio.sleep(30)
    assert (server.spec["holderIdentity"], loss.at) == ("", None)


@in_virtual_time
async def test_a_lease_that_is_not_ours_is_not_given_back() -> None:
    server = LeaseServer()
    await leader(server)
    await candidate(server, "two").release()
    assert server.spec["holderIdentity"] == "one"


@in_virtual_time
async def test_releasing_while_the_server_is_away_is_no_error() -> None:
    link = Link()
    election = await leader(LeaseServer(), link=link)
    link.cut = True
    await election.release()
    assert not election.leading


@in_virtual_time
async def test_a_short_outage_costs_nothing() -> None:
    server, link = LeaseServer(), Link()
    election = await leader(server, link=link)
    loss = Loss(election)
    await asyncio.sleep(3)
    link.cut = True
    await asyncio.sleep(4)
    link.cut = False
    await asyncio.sleep(60)
    assert (election.leading, loss.at) == (True, None)
    await loss.end()


@in_virtual_time
async def test_one_answer_that_never_comes_costs_nothing() -> None:
    server, link = LeaseServer(), Link()
    election = await leader(server, link=link)
    loss = Loss(election)
    await asyncio.sleep(3)
    link.delay = 1000.0
    await asyncio.sleep(2)
    link.delay = 0.0
    await asyncio.sleep(60)
    assert election.leading
    await loss.end()


@pytest.mark.parametrize(("cut", "delay"), [(True, 0.0), (True, 1.5), (False, 1000.0)], ids=["cut", "slow", "silent"])
def test_who_can_not_renew_stops_leading_before_another_begins(cut: bool, delay: float) -> None:  # noqa: FBT001 - a table
    @in_virtual_time
    async def run() -> None:
        server, link = LeaseServer(), Link()
        loss = Loss(await leader(server, link=link))
        second = asyncio.create_task(leader(server, "two"))
        link.cut, link.delay = cut, delay
        assert await loss.noticed() == pytest.approx(10.0)
        await second
        assert now() >= 15.0

    run()


@in_virtual_time
async def test_a_renewal_counts_from_when_it_was_sent() -> None:
    link = Link()
    link.delay = 0.6
    election = await leader(LeaseServer(), link=link)
    assert now() == pytest.approx(1.2)
    await asyncio.sleep(8.9)
    assert not election.leading


@in_virtual_time
async def test_a_process_that_was_stopped_does_not_believe_that_it_leads() -> None:
    election = await leader(LeaseServer())
    await asyncio.sleep(20)
    assert not election.leading


@in_virtual_time
async def test_a_lease_that_another_took_is_lost_at_the_next_renewal() -> None:
    server = LeaseServer()
    election = await leader(server)
    loss = Loss(election)
    await asyncio.sleep(1)
    assert server.lease is not None
    server.store({**server.lease, "spec": {**server.spec, "holderIdentity": "thief"}})
    assert await loss.noticed() <= 8.0
    assert server.spec["holderIdentity"] == "thief"


@in_virtual_time
async def test_a_lease_that_was_deleted_is_made_again() -> None:
    server = LeaseServer()
    election = await leader(server)
    loss = Loss(election)
    await asyncio.sleep(1)
    server.lease = None
    await asyncio.sleep(30)
    assert election.leading
    await loss.end()


@in_virtual_time
async def test_of_two_that_try_at_once_one_leads() -> None:
    server = LeaseServer()
    one, two = candidate(server, "one"), candidate(server, "two")
    tasks = [asyncio.create_task(election.acquire()) for election in (one, two)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    assert [one.leading, two.leading].count(True) == 1
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
