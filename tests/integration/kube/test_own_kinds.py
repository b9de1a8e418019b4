"""Our own kinds, watched by Kopf on a real API server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest

from bulkhead.api.data_cluster import DataCluster
from bulkhead.api.data_plane import DataPlane
from bulkhead.api.plan import Plan
from bulkhead.api.tenant import Tenant
from bulkhead.kube.access import Access
from bulkhead.kube.client import KubeClient
from bulkhead.kube.own_kinds import OwnKinds
from bulkhead.kube.resources import DATA_CLUSTERS, DATA_PLANES, OWN_KINDS, PLANS, TENANTS, Resource
from bulkhead.kube.store import ObjectStore
from bulkhead.kube.watch import EventSink, KopfWatch
from hack.plane.plane import Plane
from tests.integration.kube.cluster import (
    Json,
    admin,
    client_of,
    fresh,
    install_own_kinds,
    remove_own_kinds,
    until,
)

DEADLINE_SECONDS = 60.0


@dataclass
class Observer:
    """Stores that are kept up to date, and what they were told."""

    client: KubeClient
    kinds: OwnKinds
    tenants: ObjectStore[Tenant]
    changes: list[tuple[Resource, str]]
    changed: asyncio.Event
    sessions: list[aiohttp.ClientSession]

    async def until(self, condition: str, name: str) -> None:
        """Wait until the tenant is `there`, `gone`, or has that display name."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not self._holds(condition, name):
                self.changed.clear()
                await self.changed.wait()

    def _holds(self, condition: str, name: str) -> bool:
        known = self.tenants.get(name)
        if condition in ("there", "gone"):
            return (known is None) == (condition == "gone")
        return isinstance(known, Tenant) and known.spec.display_name == condition


@contextlib.asynccontextmanager
async def observing(
    access: Access, *, relist_seconds: float = 600.0, grace_seconds: float = 60.0
) -> AsyncIterator[Observer]:
    """An observer for the time of the block; it may not be in sync yet."""
    changes: list[tuple[Resource, str]] = []
    changed = asyncio.Event()
    sessions: list[aiohttp.ClientSession] = []

    def note(resource: Resource, name: str) -> None:
        changes.append((resource, name))
        changed.set()

    def open_session() -> aiohttp.ClientSession:
        sessions.append(access.open_session(connections=16))
        return sessions[-1]

    def watch_for(sink: EventSink) -> KopfWatch:
        return KopfWatch(
            resources=OWN_KINDS, server=access.server, open_session=open_session, sink=sink, jitter=lambda: 0.5
        )

    tenants = ObjectStore(TENANTS, Tenant)
    stores = (
        tenants,
        ObjectStore(PLANS, Plan),
        ObjectStore(DATA_PLANES, DataPlane),
        ObjectStore(DATA_CLUSTERS, DataCluster),
    )
    async with client_of(access) as client:
        kinds = OwnKinds(
            client,
            stores,
            watch_for=watch_for,
            on_change=note,
            jitter=lambda: 0.5,
            relist_seconds=relist_seconds,
            grace_seconds=grace_seconds,
        )
        task = asyncio.create_task(kinds.run())
        try:
            yield Observer(client, kinds, tenants, changes, changed, sessions)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def observer(plane: Plane) -> AsyncIterator[Observer]:
    """An observer that is in sync, on a plane that serves our kinds."""
    access = admin(plane)
    async with client_of(access) as client:
        await served(client)
    async with observing(access) as running:
        await asyncio.wait_for(running.kinds.synced.wait(), DEADLINE_SECONDS)
        yield running


async def served(client: KubeClient) -> None:
    """Install what is missing, and wait for it."""
    wanted = {resource.plural for resource in OWN_KINDS}
    if not wanted <= await client.served(TENANTS.group, TENANTS.version):
        await install_own_kinds(client)
    await until_served(client, wanted)


def tenant(name: str, display_name: str = "") -> Json:
    return {
        "apiVersion": TENANTS.api_version,
        "kind": TENANTS.kind,
        "metadata": {"name": name},
        "spec": {"displayName": display_name},
    }


async def test_a_change_is_in_the_store_and_told_of(observer: Observer) -> None:
    name = fresh("acme")
    await observer.client.create(TENANTS, tenant(name, "before"))
    await observer.until("before", name)
    await observer.client.merge_patch(TENANTS, name, {"spec": {"displayName": "after"}})
    await observer.until("after", name)
    await observer.client.delete(TENANTS, name)
    await observer.until("gone", name)
    assert set(observer.changes) >= {(TENANTS, name)}


async def test_what_was_there_before_is_told_of_once(plane: Plane) -> None:
    name = fresh("early")
    async with client_of(admin(plane)) as client:
        await served(client)
        await client.create(TENANTS, tenant(name))
        async with observing(admin(plane)) as observer:
            await asyncio.wait_for(observer.kinds.synced.wait(), DEADLINE_SECONDS)
            later = fresh("later")
            await client.create(TENANTS, tenant(later))
            # Kopf lists before it watches: once it shows this one, it has shown the other one too.
            await observer.until("there", later)
            assert observer.changes.count((TENANTS, name)) == 1


async def test_the_watch_patches_nothing(observer: Observer) -> None:
    name = fresh("acme")
    await observer.client.create(TENANTS, tenant(name))
    await observer.until("there", name)
    found = await observer.client.get(TENANTS, name)
    assert "annotations" not in found["metadata"]
    assert "finalizers" not in found["metadata"]
    assert {entry["manager"] for entry in found["metadata"]["managedFields"]} == {"bulkhead"}


async def test_the_watch_leaves_no_thread_and_no_session_behind(plane: Plane) -> None:
    async with client_of(admin(plane)) as client:
        await served(client)
    async with observing(admin(plane)) as observer:
        name = fresh("acme")
        await asyncio.wait_for(observer.kinds.synced.wait(), DEADLINE_SECONDS)
        await observer.client.create(TENANTS, tenant(name))
        await observer.until("there", name)
    assert observer.sessions
    assert all(session.closed for session in observer.sessions)


async def test_an_api_server_that_restarts_is_followed_again(plane: Plane, observer: Observer) -> None:
    before = fresh("before")
    await observer.client.create(TENANTS, tenant(before))
    await observer.until("there", before)
    await plane.api.stop()
    await plane.api.start()
    after = fresh("after")
    async with client_of(admin(plane)) as client:
        await served(client)
        await client.create(TENANTS, tenant(after))
    await observer.until("there", after)


async def test_definitions_that_come_late_are_waited_for(plane: Plane) -> None:
    async with client_of(admin(plane)) as client:
        await gone(client)
        async with observing(admin(plane)) as observer:
            await asyncio.sleep(0)
            assert not observer.kinds.synced.is_set()
            await served(client)
            await asyncio.wait_for(observer.kinds.synced.wait(), DEADLINE_SECONDS)
            name = fresh("acme")
            await client.create(TENANTS, tenant(name))
            await observer.until("there", name)


async def test_definitions_that_go_and_come_back_are_followed_again(plane: Plane, observer: Observer) -> None:
    name = fresh("acme")
    await observer.client.create(TENANTS, tenant(name))
    await observer.until("there", name)
    async with client_of(admin(plane)) as client:
        await gone(client)
        await observer.until("gone", name)
        await served(client)
        await client.create(TENANTS, tenant(name, "again"))
        await observer.until("again", name)


async def gone(client: KubeClient) -> None:
    """Remove our kinds, and wait until they are."""
    await remove_own_kinds(client)
    await until_served(client, set())


async def until_served(client: KubeClient, wanted: set[str]) -> None:
    async def is_so() -> bool:
        return await client.served(TENANTS.group, TENANTS.version) == wanted

    await until(is_so)
