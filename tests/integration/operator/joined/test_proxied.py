"""A user's request through the platform and the gateway into a tenant's own database, all of it as it ships."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from bulkhead.kube.resources import DATA_CLUSTERS, DATA_PLANES
from hack.plane import installation
from hack.plane.gateway import Gateway
from hack.plane.platform import Platform
from tests.world import World, eventually

SLUG = "proxied"
LATER = "admitted-later"
JOIN_SECONDS = 60.0


@dataclass(frozen=True)
class Route:
    """A platform that the plane has joined, its gateway, and the token of a user who may read."""

    platform: Platform
    token: str

    async def ask(self, cluster: str, path: str) -> tuple[int, Any]:
        """Status and body of a GET through the proxy."""
        context = ssl.create_default_context(cadata=self.platform.ca_pem)
        url = f"{self.platform.url}/v1/clusters/{cluster}/proxy{path}"
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {self.token}"}) as session,
            session.get(url, ssl=context) as response,
        ):
            return response.status, await response.json(content_type=None)


@pytest.fixture(scope="module")
async def route(world: World) -> AsyncIterator[Route]:
    platform = await Platform.install(world.plane)
    gateway = Gateway(world.plane.site, platform=platform.url)
    replica = platform.replica()
    await replica.start()
    await gateway.start()
    following = asyncio.create_task(gateway.follow(world.plane.api))
    try:
        yield await joined(world, platform, gateway)
        await world.remove_tenants(SLUG, seconds=JOIN_SECONDS)
    finally:
        await use(world, None)
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        await gateway.stop()
        await replica.stop()


async def joined(world: World, platform: Platform, gateway: Gateway) -> Route:
    """What an administrator does, by the command line where it can be done there."""
    await platform.run("grant", "organisation", SLUG)
    admin = await user(platform, "ada", "CLUSTER_READ", admin=True)
    reader = await user(platform, "grace", "DATASET_READ")
    plane_token = (await platform.run("token", "default", "--self-confirming")).strip()
    await installation.apply(world.plane, installation.secret("proxied-token", {"token": plane_token}))
    reached = {"url": platform.url, "caSecretRef": {"name": "engines-ca"}}
    await use(world, {**reached, "registrationTokenSecretRef": {"name": "proxied-token"}})
    await world.reason(DATA_PLANES, "default", "Connected", "Ready")
    plane = (await world.kube.get(DATA_PLANES, "default"))["status"]["platform"]["planeId"]
    await platform.run("grant", "plane", plane, "--organisation", SLUG)
    await aim(platform, gateway, plane, admin)
    await world.ready_tenants(SLUG)
    return Route(platform, reader)


async def user(platform: Platform, name: str, ability: str, *, admin: bool = False) -> str:
    """A member with one ability; returns a token."""
    await platform.run("grant", "member", name, "--organisation", SLUG, "--ability", ability)
    if admin:
        await platform.run("grant", "admin", name)
    printed = await platform.run("grant", "token", name, "--name=test", *(["--platform-admin"] if admin else []))
    return printed.strip().rpartition("\n")[2]


async def aim(platform: Platform, gateway: Gateway, plane: str, token: str) -> None:
    body = {
        "protocol": 1,
        "address": gateway.address,
        "ca": gateway.ca_pem,
        "clientCertificate": gateway.client.certificate,
        "clientKey": gateway.client.key,
    }
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.put(
            f"{platform.url}/v1/data-planes/{plane}/target",
            json=body,
            ssl=ssl.create_default_context(cadata=platform.ca_pem),
        ) as response,
    ):
        assert response.status == 200, await response.text()


async def use(world: World, platform: dict[str, Any] | None) -> None:
    patch = json.dumps({"spec": {"platform": platform}})
    await world.plane.kubectl("patch", "dp", "default", "--type=merge", "-p", patch)


async def read(world: World, route: Route, slug: str) -> dict[str, Any]:
    """The row of a tenant, once its cluster has joined and the gateway serves it."""

    async def answered() -> dict[str, Any]:
        identity = (await world.data_cluster(slug))["status"].get("platform", {}).get("clusterId", "")
        assert identity, await world.condition(DATA_CLUSTERS, slug, "Registered")
        status, said = await route.ask(identity, "/row")
        assert status == 200, said
        return dict(said)

    return await eventually(answered, seconds=JOIN_SECONDS)


async def test_a_users_request_reads_the_tenants_database_by_the_tenants_own_log_in(world: World, route: Route) -> None:
    row = await read(world, route, SLUG)
    assert row["database"] == SLUG
    assert row["user"] == (await world.secret("data-api-secrets", f"tenant-{SLUG}"))["POSTGRES_USERNAME"]


async def test_a_tenant_that_comes_later_is_served_too(world: World, route: Route) -> None:
    await world.ready_tenants(LATER)
    assert (await read(world, route, LATER))["database"] == LATER
    await world.remove_tenants(LATER, seconds=JOIN_SECONDS)


async def test_the_request_is_in_an_audit_that_is_intact(world: World, route: Route) -> None:
    await read(world, route, SLUG)
    said = await route.platform.run("verify-audit")
    assert said.rstrip().endswith("intact")
