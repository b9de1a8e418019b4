"""The operator's loop tells a real service what changed of a cluster, once, whatever becomes of an answer."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from bulkhead.api.record import Registration
from bulkhead.api.sensitive import Sensitive
from bulkhead.protocol.documents import decode
from bulkhead.protocol.proofs import IdentityKind
from bulkhead.protocol.sync import MOST_BYTES, Delta, Snapshot, SyncRequest
from bulkhead.registration.beats import Beats, Member, Told
from bulkhead.registration.report import Rows
from tests.integration.platform.clusters.gen import heartbeat
from tests.integration.platform.clusters.test_sync import index, keyed, rows_of
from tests.integration.platform.joining.platform import Joiner, Replica, World
from tests.integration.platform.server import one
from tests.world import eventually

PERIOD_SECONDS = 0.1


@dataclass
class Way:
    """A way to a replica that loses the answer to the next sync when it is told to."""

    service: Replica
    url: str = ""
    loses: bool = False
    beats: int = 0
    syncs: list[Snapshot | Delta] = field(default_factory=list)

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, service: Replica) -> AsyncIterator[Way]:
        way = cls(service)
        app = web.Application(client_max_size=MOST_BYTES)
        app.router.add_route("*", "/{path:.*}", way._pass)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            way.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield way
        finally:
            await runner.cleanup()

    async def _pass(self, request: web.Request) -> web.Response:
        body, syncs = await request.read(), request.path.endswith("/sync")
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.service.url}{request.path}", data=body, headers=request.headers) as answer,
        ):
            content = await answer.read()
        if syncs:
            self.syncs.append(decode(SyncRequest, body, most=MOST_BYTES).change)
        else:
            self.beats += 1
        if syncs and self.loses and request.transport is not None:
            self.loses = False
            request.transport.abort()
        return web.Response(status=answer.status, body=content, content_type=answer.content_type)


@contextlib.asynccontextmanager
async def telling(cluster: Joiner, way: Way, rows: Callable[[], Rows]) -> AsyncIterator[None]:
    """The loop as the operator runs it, of one cluster, far faster."""
    beats = Beats(
        describe=lambda _: Told(heartbeat(), rows()),
        look=lambda *_: None,
        clock=time.monotonic,
        wall=time.time,
        jitter=random.random,
        period=PERIOD_SECONDS,
    )
    await beats.connect("default", way.url, None)
    beats.enrol(member(cluster, way.url))
    running = asyncio.create_task(beats.run(nobody))
    try:
        yield
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await beats.close()


async def nobody() -> AsyncIterator[Member]:
    members: tuple[Member, ...] = ()
    for each in members:
        yield each


def member(cluster: Joiner, url: str) -> Member:
    registration = Registration(
        platform=url,
        private_key=Sensitive(cluster.key.reveal()),
        secret=Sensitive(cluster.secret.reveal()),
        identity=cluster.identity,
        key_id=cluster.key_id,
    )
    subject = ("DataCluster", cluster.name)
    kind = IdentityKind.CLUSTER
    return Member(
        subject=subject, uid=cluster.uid, kind=kind, plane="default", registration=registration, acknowledged=""
    )


async def test_a_change_arrives_once_and_nothing_is_told_without_one(world: World) -> None:
    cluster, rows = await world.joined_cluster(), keyed(index(1))

    async def arrived() -> bool:
        return await rows_of(world, cluster) == rows

    async def went_on() -> bool:
        return way.beats > before + 3

    async with Way.to(world.first) as way, telling(cluster, way, lambda: rows):
        await eventually(arrived)
        before = way.beats
        await eventually(went_on)
        assert [type(each) for each in way.syncs] == [Snapshot]
        rows = keyed(index(1, 5), index(2))
        await eventually(arrived)
        rows = keyed(index(2))
        await eventually(arrived)
        before = way.beats
        await eventually(went_on)
    _, added, removed = way.syncs
    assert isinstance(added, Delta)
    assert isinstance(removed, Delta)
    assert (keyed(*added.upserts), removed.upserts) == (keyed(index(1, 5), index(2)), ())


async def test_a_delta_whose_answer_is_lost_is_told_again_and_counts_once(world: World) -> None:
    cluster, rows = await world.joined_cluster(), keyed(index(1))

    async def arrived() -> bool:
        return await rows_of(world, cluster) == rows

    async def told_again() -> bool:
        return len(way.syncs) > 2

    async with Way.to(world.first) as way, telling(cluster, way, lambda: rows):
        await eventually(arrived)
        way.loses, rows = True, keyed(index(1, 5))
        await eventually(told_again)
        rows = keyed(index(1, 5), index(2))
        await eventually(arrived)
    _, lost, again, then = way.syncs
    assert lost == again
    assert isinstance(then, Delta)
    assert then.upserts == (index(2),)
    assert await one(world.session, "SELECT sequence FROM streams WHERE cluster_id = %s", (cluster.identity,)) == 2
