"""The world that tests of the operator act in: a plane with Bulkhead installed, and a user who applies and looks.

The user is a cluster administrator; the operator never is, it runs under the role that ships.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp

from bulkhead.api.meta import API_VERSION
from bulkhead.kube.access import from_kubeconfig
from bulkhead.kube.client import KubeClient, Unrecorded
from bulkhead.kube.errors import KubeError, NotFound
from bulkhead.kube.resources import DATA_CLUSTERS, DATA_PLANES, OWN_KINDS, SECRETS, TENANTS, Resource
from hack.plane import installation
from hack.plane.installation import Installation, Operator
from hack.plane.plane import Part, Plane, PlaneOptions

T = TypeVar("T")
Json = dict[str, Any]

SECONDS = 60.0
"""How long a test waits for what should take a second: these machines are shared."""
APPLY = "?fieldManager=kubectl&force=true&fieldValidation=Strict"
APPLIED = "application/apply-patch+yaml"
POLL_SECONDS = 0.02
POLL_SHARE = 0.1
"""Of what was waited so far: how much later than it could the next look may come. Looking costs both sides."""


async def eventually(look: Callable[[], Awaitable[T]], *, seconds: float = SECONDS) -> T:
    """What `look` gives once it gives something true. What it raises or gives last is in the failure."""
    last: object = None
    now = asyncio.get_running_loop().time
    began = now()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                try:
                    found = await look()
                    if found:
                        return found
                    last = found
                except (AssertionError, KubeError, TimeoutError) as error:  # of `look`: our own comes as CancelledError
                    last = error
                await asyncio.sleep(max(POLL_SECONDS, POLL_SHARE * (now() - began)))
    raise AssertionError(f"not so within {seconds:.0f} s; last: {last!r}")


async def metrics_of(operator: Operator) -> str:
    """What an operator measures of itself now, in the text format of Prometheus."""
    async with aiohttp.ClientSession() as session, session.get(f"{operator.url}/metrics") as response:
        return await response.text()


@dataclass(frozen=True, slots=True)
class World:
    """A plane, what is installed on it, and a user.

    Its operators are forked from a process that has imported the program, for most of what a start costs is imports;
    hack/plane/prepared.py says what is not the same. The demo, as tests/integration/test_demo.py runs it, and the
    benchmarks start the real command line.
    """

    plane: Plane
    installed: Installation
    operator: Operator
    kube: KubeClient

    @classmethod
    @contextlib.asynccontextmanager
    async def on(cls, plane: Plane, **options: Any) -> AsyncIterator[World]:
        """Install Bulkhead on `plane` and run its operator for the time of the block."""
        installed = replace(await installation.install(plane, **options), prepared=True)
        operator = installed.operator(arguments=("--drift-seconds=5", "--heartbeat-seconds=1"))
        access = from_kubeconfig([plane.kubeconfig])
        async with access.open_session() as session:
            kube = KubeClient(session, access.server, Unrecorded(), observe=lambda *_: None, jitter=random.random)
            await operator.start()
            try:
                yield cls(plane, installed, operator, kube)
            finally:
                if operator.running:
                    await operator.stop()

    @classmethod
    @contextlib.asynccontextmanager
    async def whole(cls) -> AsyncIterator[World]:
        """One with everything on it but workloads, in use by its operator."""
        parts = frozenset(Part) - {Part.WORKLOADS}
        async with Plane.start(PlaneOptions(fsync=False, parts=parts)) as plane, cls.on(plane) as world:
            await world.plane_ready()
            yield world

    async def apply(self, kind: str, name: str, spec: Mapping[str, Any], **metadata: Any) -> None:
        """What `kubectl apply --server-side` asks for, of one of our kinds: hundreds of times, so without kubectl."""
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name, **metadata}, "spec": dict(spec)}
        (resource,) = (each for each in OWN_KINDS if each.kind == kind)
        status, answer = await self.plane.api.request("PATCH", resource.path(name) + APPLY, body, content_type=APPLIED)
        assert status in {HTTPStatus.OK, HTTPStatus.CREATED}, answer

    async def tenant(self, name: str, **spec: Any) -> None:
        """Apply a Tenant; with its data to be erased at the end, unless `deletionPolicy` says otherwise."""
        await self.apply("Tenant", name, {"deletionPolicy": "Delete", **spec})

    async def ready_tenants(self, *names: str, **spec: Any) -> None:
        """Apply Tenants and wait until each one's DataCluster is ready."""
        for name in names:
            await self.tenant(name, **spec)
        for name in names:
            await self.ready(name)

    async def delete(self, resource: Resource, name: str) -> None:
        """`kubectl delete`, without waiting."""
        await self.kube.delete(resource, name)

    async def gone(
        self, resource: Resource, name: str, namespace: str | None = None, *, seconds: float = SECONDS
    ) -> None:
        """Wait until there is no such object."""

        async def absent() -> bool:
            try:
                found = await self.kube.get_metadata(resource, name, namespace)
            except NotFound:
                return True
            raise AssertionError(json.dumps(found["metadata"], indent=1))

        await eventually(absent, seconds=seconds)

    async def remove_tenants(self, *names: str, seconds: float = SECONDS) -> None:
        """Delete Tenants and wait until they are gone."""
        for name in names:
            await self.delete(TENANTS, name)
        for name in names:
            await self.gone(TENANTS, name, seconds=seconds)

    async def data_cluster(self, name: str) -> Json:
        return await self.kube.get(DATA_CLUSTERS, name)

    async def condition(self, resource: Resource, name: str, kind: str) -> Json:
        """One condition of an object, an empty one where it has none of that type."""
        status = (await self.kube.get(resource, name)).get("status", {})
        return next((each for each in status.get("conditions", ()) if each["type"] == kind), {})

    async def ready(self, name: str, *, seconds: float = SECONDS) -> Json:
        """Wait until a DataCluster is ready for what its spec says now."""
        return await eventually(partial(self.current, name), seconds=seconds)

    async def current(self, name: str) -> Json:
        """A DataCluster that is ready for what its spec says now. AssertionError: it is not."""
        cluster = await self.data_cluster(name)
        status = cluster.get("status", {})
        conditions = {each["type"]: each for each in status.get("conditions", ())}
        assert status.get("observedGeneration") == cluster["metadata"]["generation"], json.dumps(status, indent=1)
        assert conditions.get("Ready", {}).get("status") == "True", json.dumps(status, indent=1)
        return cluster

    async def reason(self, resource: Resource, name: str, kind: str, reason: str) -> Json:
        """Wait until a condition has this reason."""

        async def has_reason() -> Json | None:
            found = await self.condition(resource, name, kind)
            if found.get("reason") == reason:
                return found
            raise AssertionError(json.dumps(found))

        found = await eventually(has_reason)
        assert found is not None
        return found

    async def plane_ready(self, name: str = "default") -> None:
        """Wait until every engine of the DataPlane is in use."""

        async def is_ready() -> bool:
            found = await self.condition(DATA_PLANES, name, "Ready")
            assert found.get("status") == "True", found
            return True

        await eventually(is_ready)

    async def secret(self, name: str, namespace: str) -> dict[str, str]:
        """Values of a Secret."""
        found = await self.kube.get(SECRETS, name, namespace)
        return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}

    async def bindings(self, slug: str) -> dict[str, dict[str, str]]:
        """Every Service Binding of a DataCluster, by the name of its Secret."""
        names = ("postgres-binding", "object-store-binding", "vectors-binding", "search-binding")
        return {name: await self.secret(name, f"tenant-{slug}") for name in names}

    def log(self) -> str:
        """What the operator logged so far."""
        return self.operator.log_file.read_text()
