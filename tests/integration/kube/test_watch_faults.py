"""What ends or silences Kopf does not end or silence us."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bulkhead.kube.client import KubeClient
from bulkhead.kube.resources import OWN_KINDS, TENANTS, Resource
from bulkhead.kube.watch import KopfWatch, WatchEnded
from hack.plane.plane import Plane
from tests.integration.kube.cluster import admin, client_of, fresh
from tests.integration.kube.fault_proxy import FaultProxy
from tests.integration.kube.test_own_kinds import observing, served, tenant

DEADLINE_SECONDS = 60.0
LEADER_CHANGED = {
    "type": "ERROR",
    "object": {"kind": "Status", "code": 500, "message": "etcdserver: leader changed", "reason": "InternalError"},
}


@pytest.fixture
async def client(plane: Plane) -> AsyncIterator[KubeClient]:
    async with client_of(admin(plane)) as client:
        await served(client)
        yield client


@pytest.fixture
async def proxy(plane: Plane) -> AsyncIterator[FaultProxy]:
    async with FaultProxy.before(admin(plane)) as proxy:
        yield proxy


@pytest.mark.parametrize("kinds", [(TENANTS,), OWN_KINDS], ids=["while others begin", "while all run"])
async def test_an_error_in_the_stream_ends_kopf_and_not_the_watching(
    client: KubeClient, proxy: FaultProxy, kinds: tuple[Resource, ...]
) -> None:
    async with observing(proxy.access) as observer:
        for resource in kinds:
            await proxy.watched(resource.plural)
        await proxy.say(TENANTS.plural, LEADER_CHANGED)
        name = fresh("acme")
        await client.create(TENANTS, tenant(name))
        await observer.until("there", name)


async def test_when_kopf_ends_no_other_task_is_cancelled(client: KubeClient, proxy: FaultProxy) -> None:
    del client  # which only made sure that our kinds are served
    watch = KopfWatch(
        resources=OWN_KINDS,
        server=proxy.access.server,
        open_session=proxy.access.open_session,
        sink=lambda *_: None,
        jitter=lambda: 0.5,
    )
    watching = asyncio.create_task(watch.run())
    await proxy.watched(TENANTS.plural)
    bystander = asyncio.create_task(asyncio.Event().wait())
    await proxy.say(TENANTS.plural, LEADER_CHANGED)
    with pytest.raises(WatchEnded):
        await asyncio.wait_for(watching, DEADLINE_SECONDS)
    assert not bystander.done()
    bystander.cancel()


async def test_a_watch_that_went_silent_is_noticed_by_what_a_list_shows(client: KubeClient, proxy: FaultProxy) -> None:
    async with observing(proxy.access, relist_seconds=0.5, grace_seconds=1.0) as observer:
        await proxy.watched(TENANTS.plural)
        first = fresh("acme")
        await client.create(TENANTS, tenant(first))
        await observer.until("there", first)
        proxy.freeze()
        await client.create(TENANTS, tenant(fresh("unseen")))
        proxy.thaw()
        await proxy.watched(TENANTS.plural, count=2)
        assert len(observer.sessions) >= 2
