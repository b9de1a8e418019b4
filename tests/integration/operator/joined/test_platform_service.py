"""The operator and the platform service as they ship, joined with each other: neither takes the other down."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

import pytest

from bulkhead.kube.resources import DATA_CLUSTERS, DATA_PLANES
from bulkhead.platform import fence
from bulkhead.protocol.credentials import RegistrationToken
from bulkhead.protocol.registration import plane_id
from hack.plane import installation
from tests.integration.platform.rows import Rows
from tests.integration.platform.server import Client, Database, PlatformServer, one
from tests.integration.platform.service import Service, settings
from tests.world import World, eventually

SLUG = "served"
LOST_SECONDS = 60.0
FORGET: tuple[LiteralString, ...] = (
    "DELETE FROM challenges WHERE identity_id = %s",
    "DELETE FROM registration_tokens WHERE identity_id = %s",
    "DELETE FROM service_keys WHERE identity_id = %s",
    "DELETE FROM documents WHERE cluster_id = %s",
    "DELETE FROM streams WHERE cluster_id = %s",
    "DELETE FROM liveness WHERE identity_id = %s",
    "DELETE FROM clusters WHERE id = %s",
)
"""What a database that was restored to before a cluster joined does not hold."""


@dataclass
class Served:
    """A platform whose process comes and goes."""

    database: Database
    session: Client
    environment: dict[str, str]
    running: contextlib.AsyncExitStack

    async def start(self) -> None:
        service = await self.running.enter_async_context(Service.started(self.environment))
        await service.port()

    async def kill(self) -> None:
        await self.running.aclose()

    async def of_cluster(self, column: LiteralString) -> Any:
        return await one(self.session, f"SELECT {column} FROM clusters WHERE name = %s", (SLUG,))  # noqa: S608 - ours


@pytest.fixture(scope="module")
async def served(world: World) -> AsyncIterator[Served]:
    """One that the plane has joined, and one tenant."""
    async with (
        PlatformServer.running("18") as server,
        server.migrated_database() as database,
        database.superuser() as session,
        contextlib.AsyncExitStack() as running,
    ):
        port = world.plane.site.ports.reserve()
        url = f"http://127.0.0.1:{port}"
        served = Served(database, session, settings(database, URL=url, LISTEN=f"127.0.0.1:{port}"), running)
        await served.start()
        await join_plane(world, session, url)
        await world.ready_tenants(SLUG)
        yield served
        await world.remove_tenants(SLUG, seconds=60.0)
        assert await served.of_cluster("deleted_at") is not None
        await use(world, None)


async def join_plane(world: World, session: Client, url: str) -> None:
    """What an administrator does: a token for the plane, and a grant for what it joins as."""
    token, rows = RegistrationToken.generate(os.urandom), Rows(session)
    until = datetime.now(UTC) + timedelta(hours=1)
    await rows.plane_token(digest=token.digest, name="default", self_confirming=True, expires_at=until)
    await installation.apply(world.plane, installation.secret("service-token", {"token": token.reveal()}))
    await use(world, {"url": url, "registrationTokenSecretRef": {"name": "service-token"}})
    await world.reason(DATA_PLANES, "default", "Connected", "Ready")
    uid = (await world.kube.get(DATA_PLANES, "default"))["metadata"]["uid"]
    await rows.grant(await rows.organisation(), UUID(plane_id(uid)))


async def use(world: World, platform: dict[str, Any] | None) -> None:
    patch = json.dumps({"spec": {"platform": platform}})
    await world.plane.kubectl("patch", "dp", "default", "--type=merge", "-p", patch)


async def told(world: World, kind: str, status: str) -> dict[str, Any]:
    """Wait until a condition of the DataCluster has this status."""

    async def so() -> dict[str, Any]:
        found = await world.condition(DATA_CLUSTERS, SLUG, kind)
        assert found.get("status") == status, found
        return found

    return await eventually(so, seconds=LOST_SECONDS)


async def test_a_tenant_is_registered_and_connected_by_itself(world: World, served: Served) -> None:
    await told(world, "Registered", "True")
    await told(world, "Connected", "True")
    known = (await world.data_cluster(SLUG))["status"]["platform"]["clusterId"]
    assert str(await served.of_cluster("id")) == known


async def test_without_the_platforms_process_the_tenant_works_and_the_connection_comes_back(
    world: World, served: Served
) -> None:
    await told(world, "Connected", "True")
    await served.kill()
    lost = await told(world, "Connected", "False")
    assert (lost["reason"], "can not be reached" in lost["message"]) == ("PlatformUnavailable", True)
    await world.ready(SLUG)
    await served.start()
    await told(world, "Connected", "True")


async def test_what_the_platform_wants_is_applied_and_reported(world: World, served: Served) -> None:
    await served.session.execute(
        "UPDATE clusters SET desired_state = 'suspended', desired_generation = desired_generation + 1 WHERE name = %s",
        (SLUG,),
    )
    await told(world, "Suspended", "True")

    async def reported() -> bool:
        return bool(await served.of_cluster("applied_generation") == await served.of_cluster("desired_generation"))

    await eventually(reported, seconds=LOST_SECONDS)
    assert await synced(served, "Suspended")
    await served.session.execute(
        "UPDATE clusters SET desired_state = 'active', desired_generation = desired_generation + 1 WHERE name = %s",
        (SLUG,),
    )
    await told(world, "Suspended", "False")
    await world.ready(SLUG)
    assert await synced(served, "Active")


async def synced(served: Served, phase: str) -> bool:
    """Wait until the platform was told of this change of the cluster's metadata."""

    async def so() -> bool:
        found = await one(
            served.session,
            "SELECT body->>'phase' FROM documents WHERE kind = 'cluster' AND cluster_id = %s",
            (await served.of_cluster("id"),),
        )
        assert found == phase
        return True

    return await eventually(so, seconds=LOST_SECONDS)


async def test_keys_that_a_fence_voided_are_made_anew_by_themselves(world: World, served: Served) -> None:
    await told(world, "Connected", "True")
    outcome = await fence.fence(served.database.dsn("maintenance"), None, None, while_serving=True)
    assert outcome.keys == 2

    async def rejoined() -> bool:
        return bool(await served.of_cluster("epoch") == outcome.epoch)

    await eventually(rejoined, seconds=LOST_SECONDS)
    await told(world, "Connected", "True")
    await world.ready(SLUG)


async def test_a_platform_that_was_restored_to_before_it_knew_the_tenant_is_joined_again_under_the_same_id(
    world: World, served: Served
) -> None:
    known = await served.of_cluster("id")
    async with served.session.transaction():
        for statement in FORGET:
            await served.session.execute(statement, (known,))

    async def known_again() -> bool:
        found = await one(served.session, "SELECT count(*) FROM clusters WHERE id = %s", (known,))
        return bool(found == 1)

    await eventually(known_again, seconds=LOST_SECONDS)
    await told(world, "Connected", "True")
    await world.ready(SLUG)
