"""The metadata stream on a real API server: what its faults really look like."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from bulkhead.kube.children import ChildMeta, ChildStore
from bulkhead.kube.client import KubeClient
from bulkhead.kube.metadata_stream import MetadataStream
from bulkhead.kube.resources import NAMESPACES, SECRETS, Resource
from hack.plane.plane import Plane
from tests.integration.kube.cluster import Json, admin, client_of, config_map, fresh, namespace_in, secret, until
from tests.kinds import CONFIG_MAPS

OURS = {"app.kubernetes.io/managed-by": "bulkhead"}
DEADLINE_SECONDS = 60.0


class Follower:
    """What one stream reported of one namespace."""

    def __init__(self) -> None:
        self.store = ChildStore()
        self.reports: list[tuple[str, str]] = []
        self.latest: dict[str, ChildMeta] = {}
        self._reported = asyncio.Event()

    def take(self, change: str, child: ChildMeta) -> None:
        self.reports.append((change, child.key.name))
        self.latest[child.key.name] = child
        self._reported.set()

    async def reported(self, change: str, name: str) -> ChildMeta:
        """The child, once this was reported of it; a report is used up by that."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (change, name) not in self.reports:
                self._reported.clear()
                await self._reported.wait()
        self.reports.remove((change, name))
        return self.latest[name]


@dataclass
class World:
    """A namespace, a client, and a stream that follows our ConfigMaps in it."""

    client: KubeClient
    namespace: str
    follower: Follower
    stream: MetadataStream
    answers: ChildStore = field(default_factory=ChildStore)
    """What our writes were answered, apart from what the stream shows."""

    async def create(self, name: str, labels: dict[str, str] | None = None) -> None:
        content = config_map(name, labels=OURS if labels is None else labels, data={"a": "1"})
        self.answers.put(CONFIG_MAPS, await self.client.create(CONFIG_MAPS, content, self.namespace))

    async def replace(self, name: str) -> None:
        content = config_map(name, labels=OURS, data={"a": "1"})
        self.answers.put(CONFIG_MAPS, await self.client.replace(CONFIG_MAPS, name, content, self.namespace))

    def left(self, name: str) -> int | None:
        """The ownership that our last write left behind."""
        return self.answers.left(CONFIG_MAPS, name, self.namespace)


@contextlib.asynccontextmanager
async def following(
    plane: Plane, resource: Resource, namespace: str | None
) -> AsyncIterator[tuple[Follower, MetadataStream]]:
    follower = Follower()
    async with client_of(admin(plane)) as client:
        stream = MetadataStream(
            client,
            resource,
            on_child=follower.take,
            jitter=lambda: 0.5,
            label_selector="app.kubernetes.io/managed-by=bulkhead",
            namespace=namespace,
        )
        task = asyncio.create_task(stream.run())
        try:
            await asyncio.wait_for(stream.synced.wait(), DEADLINE_SECONDS)
            yield follower, stream
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def world(plane: Plane) -> AsyncIterator[World]:
    async with (
        client_of(admin(plane)) as client,
        namespace_in(client) as namespace,
        following(plane, CONFIG_MAPS, namespace) as (follower, stream),
    ):
        yield World(client, namespace, follower, stream)


async def test_a_child_is_followed_from_creation_to_deletion(world: World) -> None:
    await world.create("settings")
    await world.follower.reported("ADDED", "settings")
    await world.client.merge_patch(CONFIG_MAPS, "settings", {"data": {"a": "2"}}, world.namespace)
    await world.follower.reported("MODIFIED", "settings")
    await world.client.delete(CONFIG_MAPS, "settings", world.namespace)
    await world.follower.reported("DELETED", "settings")


async def test_what_is_not_ours_is_not_shown(world: World) -> None:
    await world.create("theirs", labels={})
    await world.create("settings")
    await world.follower.reported("ADDED", "settings")
    assert "theirs" not in world.follower.latest


async def test_a_child_that_loses_our_label_is_reported_as_deleted(world: World) -> None:
    await world.create("settings")
    removal = {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}
    await world.client.merge_patch(CONFIG_MAPS, "settings", removal, world.namespace)
    await world.follower.reported("DELETED", "settings")


async def test_the_stream_shows_the_ownership_that_the_answer_to_our_write_told(world: World) -> None:
    await world.create("settings")
    child = await world.follower.reported("ADDED", "settings")
    assert child.ownership
    assert child.ownership == world.left("settings")


@pytest.mark.parametrize("patch", [{"data": {"a": None}}, {"data": {"a": "2"}}, {"data": {"b": "2"}}], ids=str)
async def test_what_somebody_else_wrote_shows_until_we_replace_it(world: World, plane: Plane, patch: Json) -> None:
    await world.create("settings")
    before = await world.follower.reported("ADDED", "settings")
    namespace = f"--namespace={world.namespace}"
    await plane.kubectl("patch", "configmap", "settings", namespace, "--type=merge", "-p", json.dumps(patch))
    changed = await world.follower.reported("MODIFIED", "settings")
    assert changed.ownership != before.ownership
    await world.replace("settings")
    replaced = await world.follower.reported("MODIFIED", "settings")
    assert replaced.ownership == world.left("settings")
    await world.replace("settings")
    assert world.left("settings") == replaced.ownership, "a write that changes nothing"


async def test_no_value_of_a_secret_is_sent(plane: Plane) -> None:
    async with client_of(admin(plane)) as client, namespace_in(client) as namespace:
        made = await client.create(SECRETS, secret("before", password="x"), namespace)
        version = made["metadata"]["resourceVersion"]
        await client.create(SECRETS, secret("binding", password="hunter2"), namespace)
        shown = b""
        async with client.watch(SECRETS, namespace, resource_version=version, seconds=60) as lines:
            async for line in lines:
                shown += line
                if b"binding" in line:
                    break
        assert b"binding" in shown
        assert b"aHVudGVyMg" not in shown


async def test_a_cluster_scoped_kind_is_followed(plane: Plane) -> None:
    async with following(plane, NAMESPACES, None) as (follower, _), client_of(admin(plane)) as client:
        name = fresh("tenant")
        content = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": OURS}}
        await client.create(NAMESPACES, content)
        await follower.reported("ADDED", name)
        await client.delete(NAMESPACES, name)
        await follower.reported("DELETED", name)


async def test_an_api_server_that_restarted_has_forgotten_and_is_listed_again(world: World, plane: Plane) -> None:
    await world.create("kept")
    await world.create("vanishing")
    await world.follower.reported("ADDED", "kept")
    await world.follower.reported("ADDED", "vanishing")
    await plane.api.stop()
    await plane.api.start()
    async with client_of(admin(plane)) as client:

        async def is_deleted() -> bool:
            await client.delete(CONFIG_MAPS, "vanishing", world.namespace)
            return True

        await until(is_deleted)
    await world.follower.reported("DELETED", "vanishing")
    assert ("ADDED", "kept") not in world.follower.reports


async def test_a_version_that_etcd_has_compacted_is_survived(world: World, plane: Plane) -> None:
    await world.create("settings")
    await world.follower.reported("ADDED", "settings")
    # As after a long time without a connection: the server knows nothing of that age any more.
    await plane.api.stop()
    world.stream._version = "1"
    await plane.api.start()
    async with client_of(admin(plane)) as client:
        assert await is_forgotten(client, version="1")
        await client.create(CONFIG_MAPS, config_map("later", labels=OURS), world.namespace)
    await world.follower.reported("ADDED", "later")
    assert world.follower.reports.count(("ADDED", "settings")) == 0


async def is_forgotten(client: KubeClient, version: str) -> bool:
    async with client.watch(CONFIG_MAPS, resource_version=version, seconds=5) as lines:
        return b'"code":410' in await anext(lines)
