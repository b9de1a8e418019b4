"""Heartbeats: who is online, who is not any more, and that each is told once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from bulkhead.platform.clusters.decide import MOST_APPLIED
from bulkhead.platform.clusters.liveness import LEASE_SECONDS
from bulkhead.platform.database.pools import Bounds, pool
from bulkhead.platform.database.scope import Unavailable
from bulkhead.protocol.heartbeat import OFFLINE_AFTER
from tests.integration.platform.clusters.gen import (
    beat,
    beats,
    events,
    last_seen,
    listened_for,
    online,
    pass_silence,
)
from tests.integration.platform.joining.platform import Joiner, World, ask, replica
from tests.integration.platform.link import Link
from tests.integration.platform.server import Database, one, rows
from tests.integration.platform.service import over
from tests.world import eventually

LONG = OFFLINE_AFTER + 1


@pytest.fixture
async def cluster(world: World) -> AsyncIterator[Joiner]:
    """One that has joined. Afterwards no replica holds a lease, and nobody is online."""
    joined = await world.joined_cluster()
    try:
        yield joined
    finally:
        for each in (world.first, world.second):
            each.clock.seconds = 0.0
            await each.liveness.end()
        await world.session.execute("DELETE FROM replicas")
        await world.session.execute("UPDATE liveness SET online = false")


async def listening(world: World) -> None:
    """Both replicas have listened for longer than any silence that counts."""
    await world.first.liveness.flush()
    await world.second.liveness.flush()
    await listened_for(world, LONG)


async def writers(world: World, cluster: Joiner) -> list[tuple[str]]:
    """The transactions that wrote each row of a cluster last."""
    found = await rows(
        world.session,
        """SELECT xmin::text FROM liveness WHERE identity_id = %s UNION ALL
           SELECT xmin::text FROM clusters WHERE id = %s UNION ALL
           SELECT xmin::text FROM service_keys WHERE identity_id = %s""",
        (cluster.identity,) * 3,
    )
    return [(writer,) for (writer,) in found]


async def compare(world: World) -> int:
    """All replicas look for the silent at the same time. Returns how many they found together."""
    return sum(await asyncio.gather(*(each.liveness.compare() for each in (world.first, world.second) * 3)))


async def test_who_is_heard_is_online_at_once_and_told_once_whoever_hears_it(world: World, cluster: Joiner) -> None:
    assert not await online(world, cluster)
    both = await asyncio.gather(*(beat(each, cluster) for each in (world.first, world.second) * 4))
    assert [each.status for each in both] == [200] * 8
    assert await online(world, cluster)
    assert await events(world, cluster) == ["cluster.online"]


async def test_a_plane_that_comes_and_goes_is_told_to_each_organisation_that_it_is_granted(
    world: World, cluster: Joiner
) -> None:
    other = await world.another_organisation()
    plane = await world.joined_plane(world.organisation, other)
    await beats(world.first, plane)
    assert await events(world, plane) == ["plane.online"] * 2
    await listening(world)
    await pass_silence(world, plane, LONG)
    await compare(world)
    assert await events(world, plane) == ["plane.online"] * 2 + ["plane.offline"] * 2
    assert not await online(world, cluster)


async def test_who_administers_the_platform_sees_which_planes_are_online(world: World) -> None:
    plane, silent = [await world.joined_plane(world.organisation) for _ in range(2)]
    await beats(world.first, plane)
    listed = (await ask(world.first, "GET", "/v1/data-planes?limit=100", bearer="admin")).body["planes"]
    shown = {each["id"]: (each["online"], each["lastSeen"] is not None) for each in listed}
    assert (shown[plane.identity], shown[silent.identity]) == ((True, True), (False, False))


async def test_a_heartbeat_of_somebody_online_writes_nothing_until_the_flush(world: World, cluster: Joiner) -> None:
    await beats(world.first, cluster)
    seen, written = await last_seen(world, cluster), await writers(world, cluster)
    await beats(world.first, cluster)
    assert await writers(world, cluster) == written
    await world.first.liveness.flush()
    assert await last_seen(world, cluster) > seen


async def test_a_flush_that_comes_late_takes_nothing_back(world: World, cluster: Joiner) -> None:
    await beats(world.first, cluster)
    await beats(world.first, cluster, release="0.1.0")
    await beats(world.second, cluster, release="0.2.0")
    await world.second.liveness.flush()
    seen = await last_seen(world, cluster)
    await world.first.liveness.flush()
    assert await last_seen(world, cluster) == seen
    reading = await world.as_user("GET", f"/v1/clusters/{cluster.identity}")
    assert reading.body["report"]["release"] == "0.2.0"


async def test_a_flush_that_waits_for_a_connection_writes_what_is_heard_meanwhile(
    world: World, cluster: Joiner, database: Database
) -> None:
    async with (
        database.pool("api") as api,
        database.pool("worker", Bounds(fewest=1, most=1)) as worker,
        replica(api, worker) as third,
    ):

        async def waits() -> bool:
            return bool(worker.get_stats().get("requests_waiting"))

        await beats(third, cluster)
        seen = await last_seen(world, cluster)
        async with worker.connection():
            flushing = asyncio.create_task(third.liveness.flush())
            await eventually(waits)
            await beats(third, cluster)
        await flushing
        assert await last_seen(world, cluster) > seen
        await third.liveness.end()


async def test_silence_ends_in_one_event_however_many_replicas_notice_and_a_word_ends_it(
    world: World, cluster: Joiner
) -> None:
    await beats(world.first, cluster)
    await listening(world)
    assert await compare(world) == 0
    await pass_silence(world, cluster, LONG)
    assert await compare(world) == 1
    assert not await online(world, cluster)
    assert await events(world, cluster) == ["cluster.online", "cluster.offline"]
    await beats(world.second, cluster)
    assert await online(world, cluster)
    assert await events(world, cluster) == ["cluster.online", "cluster.offline", "cluster.online"]


async def test_after_a_restart_of_all_replicas_silence_counts_from_the_restart(world: World, cluster: Joiner) -> None:
    await beats(world.first, cluster)
    await listening(world)
    await world.first.liveness.end()
    await world.second.liveness.end()
    await pass_silence(world, cluster, 10 * LONG)
    await world.first.liveness.flush()
    assert await compare(world) == 0
    assert await online(world, cluster)
    await listened_for(world, LONG)
    assert await compare(world) == 1


async def test_a_replica_that_lives_and_has_not_written_holds_every_verdict_back(world: World, cluster: Joiner) -> None:
    await beats(world.first, cluster)
    await listening(world)
    await pass_silence(world, cluster, OFFLINE_AFTER + 2)
    stuck = timedelta(seconds=LEASE_SECONDS - 5)
    await world.session.execute(
        "UPDATE replicas SET flushed_at = flushed_at - %s WHERE id = (SELECT min(id::text)::uuid FROM replicas)",
        (stuck,),
    )
    assert await compare(world) == 0
    # Once its lease lapsed it hears nobody, and nobody waits for it.
    await world.session.execute(
        "UPDATE replicas SET flushed_at = flushed_at - interval '6 s' WHERE flushed_at < now() - interval '20 s'"
    )
    assert await compare(world) == 1


async def test_a_replica_that_could_not_write_for_too_long_takes_no_heartbeat(world: World, cluster: Joiner) -> None:
    await beats(world.first, cluster)
    world.first.clock.seconds = LEASE_SECONDS + 1
    refused = await beat(world.first, cluster)
    assert (refused.status, refused.code) == (503, "unavailable")
    await world.first.liveness.flush()
    assert (await beat(world.first, cluster)).status == 200


async def test_a_lease_that_lapsed_begins_anew(world: World, cluster: Joiner) -> None:
    await beats(world.first, cluster)
    await world.first.liveness.flush()
    await world.session.execute(
        "UPDATE replicas SET started_at = started_at - interval '1 h', flushed_at = flushed_at - interval '1 min'"
    )
    await world.first.liveness.flush()
    assert await one(world.session, "SELECT count(*) FROM replicas WHERE started_at > now() - interval '1 min'") == 1
    assert await one(world.session, "SELECT count(*) FROM replicas") == 1
    await pass_silence(world, cluster, LONG)
    assert await compare(world) == 0


async def test_an_outage_of_the_database_is_no_verdict_on_anybody(
    world: World, cluster: Joiner, database: Database
) -> None:
    # Less than a request has in all: it is the database that is told to be out of reach, not the time that is up.
    postgres, few = database.server.postgres, Bounds(fewest=1, most=2, wait_seconds=3.0)
    async with (
        Link.to(postgres.host, postgres.port) as link,
        pool(over(database.dsn("api"), link.port), "api", few) as api,
        pool(over(database.dsn("worker"), link.port), "worker", few) as worker,
        replica(api, worker) as third,
    ):
        await beats(third, cluster)
        await third.liveness.flush()
        seen = await last_seen(world, cluster)
        await beats(third, cluster)
        link.cut()
        refused = await beat(third, cluster)
        assert (refused.status, refused.code) == (503, "unavailable")
        with pytest.raises(Unavailable):
            await third.liveness.flush()
        # The outage was long: its lease lapsed meanwhile, and by then everybody was silent.
        await pass_silence(world, cluster, 10 * LONG)
        await world.session.execute(
            "UPDATE replicas SET started_at = started_at - interval '1 h', flushed_at = flushed_at - interval '1 h'"
        )
        link.mend()
        while True:
            try:
                await third.liveness.flush()
                break
            except Unavailable:
                continue
        # What was heard before the outage is written after it.
        assert await last_seen(world, cluster) > seen
        await pass_silence(world, cluster, 10 * LONG)
        assert await third.liveness.compare() == 0
        assert await online(world, cluster)
        await third.liveness.end()


async def test_a_replica_that_ends_writes_what_it_heard_and_gives_its_lease_back(world: World, cluster: Joiner) -> None:
    await beats(world.first, cluster)
    seen = await last_seen(world, cluster)
    running = asyncio.create_task(world.first.liveness.run())
    async with asyncio.timeout(60):
        while not await one(world.session, "SELECT count(*) FROM replicas"):  # noqa: ASYNC110 - no lease tells of itself
            await asyncio.sleep(0.01)
    await beats(world.first, cluster)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await last_seen(world, cluster) > seen
    assert await one(world.session, "SELECT count(*) FROM replicas") == 0


async def test_a_cluster_that_was_deleted_goes_without_a_word(world: World, cluster: Joiner) -> None:
    await beats(world.first, cluster)
    await listening(world)
    await ask(world.first, "DELETE", f"/v1/clusters/{cluster.identity}", bearer=cluster.service_key)
    await pass_silence(world, cluster, LONG)
    assert await compare(world) == 1
    assert await events(world, cluster) == ["cluster.online"]


async def test_a_heartbeat_is_of_its_own_identity_and_kind(world: World, cluster: Joiner) -> None:
    other = await world.joined_cluster("globex")
    body = {"protocol": 1}
    path = f"/v1/clusters/{other.identity}/heartbeat"
    answered = await ask(world.first, "POST", path, bearer=cluster.service_key, body=body)
    assert (answered.status, answered.code) == (404, "not_found")
    path = f"/v1/data-planes/{cluster.identity}/heartbeat"
    answered = await ask(world.first, "POST", path, bearer=cluster.service_key, body=body)
    assert (answered.status, answered.code) == (403, "credential_wrong_kind")


@pytest.mark.parametrize("applied", [MOST_APPLIED + 1, 2**31 - 1])
async def test_no_cluster_can_leave_the_platform_without_a_generation_to_go_to(
    world: World, cluster: Joiner, applied: int
) -> None:
    """And what a platform once had it apply does not silence it for ever."""
    assert (await beat(world.first, cluster, applied_generation=applied)).status == 200
    assert await online(world, cluster)
    known = "SELECT applied_generation FROM clusters WHERE id = %s"
    assert await one(world.session, known, (cluster.identity,)) == MOST_APPLIED
