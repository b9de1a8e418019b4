"""A plane and its data clusters join the platform by themselves, and need it for nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from bulkhead.kube.resources import DATA_CLUSTERS, DATA_PLANES, TENANTS
from bulkhead.protocol.assertions import Jwks
from bulkhead.protocol.documents import decode
from bulkhead.protocol.heartbeat import Desired
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.sync import Phase
from hack.plane import installation
from hack.plane.installation import NAMESPACE
from tests.integration.operator.engines import Admins
from tests.integration.operator.writes import mark, until_still, written_since
from tests.scripted_platform import Identity, ScriptedPlatform, refused
from tests.world import World, eventually

SLUG = "connected"
BEAT_SECONDS = 30.0
"""Far longer than any period between two heartbeats: these machines are shared."""
LOST_SECONDS = 60.0


@pytest.fixture(scope="module")
async def platform(world: World) -> AsyncIterator[ScriptedPlatform]:
    """One that the plane has joined, with one tenant; taken out of the spec again afterwards."""
    async with ScriptedPlatform.serving() as platform:
        token = installation.secret("platform-token", {"token": platform.plane_token()})
        await installation.apply(world.plane, token)
        await spec(world, {"url": platform.url, "registrationTokenSecretRef": {"name": "platform-token"}})
        await world.ready_tenants(SLUG)
        yield platform
        await world.remove_tenants(SLUG, seconds=60.0)
        await spec(world, None)


async def spec(world: World, platform: dict[str, Any] | None) -> None:
    patch = json.dumps({"spec": {"platform": platform}})
    await world.plane.kubectl("patch", "dp", "default", "--type=merge", "-p", patch)


async def told(
    world: World, kind: str, status: str, reason: str = "", *, seconds: float = BEAT_SECONDS
) -> dict[str, Any]:
    """Wait until a condition of the DataCluster says this."""

    async def so() -> dict[str, Any]:
        found = await world.condition(DATA_CLUSTERS, SLUG, kind)
        assert (found.get("status"), reason or found.get("reason")) == (status, found.get("reason")), found
        return found

    return await eventually(so, seconds=seconds)


async def once(look: Callable[[], bool], *, seconds: float = BEAT_SECONDS) -> None:
    """Wait until the platform holds something."""

    async def holds() -> bool:
        return look()

    await eventually(holds, seconds=seconds)


async def record(world: World) -> dict[str, Any]:
    uid = (await world.data_cluster(SLUG))["metadata"]["uid"]
    found: dict[str, Any] = json.loads((await world.secret(f"record-{uid}", NAMESPACE))["record"])
    return found


def cluster(platform: ScriptedPlatform) -> Identity:
    return platform.named(SLUG)


async def test_plane_and_data_cluster_are_registered_and_connected_without_a_hand(
    world: World, platform: ScriptedPlatform
) -> None:
    await told(world, "Registered", "True")
    await told(world, "Connected", "True")
    plane = await world.reason(DATA_PLANES, "default", "Connected", "Ready")
    assert plane["status"] == "True"
    status = (await world.kube.get(DATA_PLANES, "default"))["status"]
    assert status["platform"]["fingerprint"] == platform.named("default").claims.public_key.fingerprint
    found = await world.data_cluster(SLUG)
    assert found["status"]["platform"]["clusterId"] in platform.identities
    assert found["status"]["phase"] == "Active"


async def test_the_data_api_is_given_the_keys_that_vouch_for_the_platform(
    world: World, platform: ScriptedPlatform
) -> None:
    async def given() -> bool:
        values = await world.secret("data-api-secrets", f"tenant-{SLUG}")
        assert "PLATFORM_JWKS" in values, "the Secret is there before the platform has answered"
        trusted = decode(Jwks, values["PLATFORM_JWKS"].encode())
        return trusted.newest.x == platform.signing[-1].public and values["PLATFORM_URL"] == platform.url

    await eventually(given)
    platform.succeed()
    await eventually(given, seconds=2 * BEAT_SECONDS)
    newest = platform.signing[-1].public.kid
    await once(lambda: cluster(platform).heartbeats[-1].acknowledged_key == newest, seconds=2 * BEAT_SECONDS)


async def test_the_platform_is_told_what_there_is_and_only_when_it_changed(platform: ScriptedPlatform) -> None:
    await once(lambda: bool(cluster(platform).rows))
    before = len(cluster(platform).syncs)
    beats = len(cluster(platform).heartbeats)
    await once(lambda: len(cluster(platform).heartbeats) > beats + 1, seconds=2 * BEAT_SECONDS)
    assert len(cluster(platform).syncs) == before
    assert cluster(platform).heartbeats[-1].phase is Phase.ACTIVE


async def test_the_platform_suspends_and_resumes(world: World, platform: ScriptedPlatform) -> None:
    cluster(platform).desired = Desired(generation=1, suspended=True)
    await told(world, "Suspended", "True")
    ready = await world.condition(DATA_CLUSTERS, SLUG, "Ready")
    assert "by the platform" in ready["message"]
    assert (await world.data_cluster(SLUG))["spec"].get("suspended", False) is False
    await once(lambda: cluster(platform).heartbeats[-1].phase is Phase.SUSPENDED)
    assert cluster(platform).heartbeats[-1].applied_generation == 1

    cluster(platform).desired = Desired(generation=0, suspended=False)
    beats = len(cluster(platform).heartbeats)
    await once(lambda: len(cluster(platform).heartbeats) > beats)
    await told(world, "Suspended", "True")

    cluster(platform).desired = Desired(generation=2, suspended=False)
    await world.ready(SLUG, seconds=BEAT_SECONDS)
    await told(world, "Suspended", "False")


async def test_a_service_key_is_rotated_when_the_platform_asks(world: World, platform: ScriptedPlatform) -> None:
    before = tuple(cluster(platform).keys)
    cluster(platform).rotate = True
    await once(lambda: not set(before) & set(cluster(platform).keys), seconds=2 * BEAT_SECONDS)
    assert len(cluster(platform).keys) == 1
    await told(world, "Connected", "True")


async def test_what_only_looks_like_a_refusal_changes_nothing(world: World, platform: ScriptedPlatform) -> None:
    before = await record(world)
    answers = [
        web.Response(status=401),
        web.Response(status=404, text="<html>not found</html>", content_type="text/html"),
        web.Response(status=410),
        web.json_response({"code": "cluster_deleted", "status": 410}, status=410),
    ]
    calls = len(platform.calls)
    platform.instead = lambda *_: answers[len(platform.calls) % len(answers)]
    await once(lambda: len(platform.calls) > calls + 3, seconds=LOST_SECONDS)
    platform.instead = lambda *_: None
    assert await record(world) == before
    await world.ready(SLUG)


async def test_a_deletion_that_the_platform_claims_is_said_and_nothing_more(
    world: World, platform: ScriptedPlatform
) -> None:
    cluster(platform).refusal = Code.CLUSTER_DELETED
    found = await told(world, "Registered", "False", "PlatformRefused")
    assert "cluster_deleted" in found["message"]
    await world.ready(SLUG)
    assert (await world.data_cluster(SLUG))["metadata"].get("deletionTimestamp") is None
    cluster(platform).refusal = None


async def test_a_restart_writes_nothing_and_goes_on_beating(
    world: World, platform: ScriptedPlatform, admins: Admins
) -> None:
    await world.operator.stop()
    cluster(platform).refusal = None
    await world.operator.start()
    await world.plane_ready()
    await told(world, "Connected", "True")
    await until_still(world, admins)
    await world.operator.stop()
    moment = await mark(world, admins)
    beats = len(cluster(platform).heartbeats)
    await world.operator.start()
    await once(lambda: len(cluster(platform).heartbeats) > beats)
    await world.plane_ready()
    assert await written_since(moment, world, admins) == []


async def test_an_operator_that_is_told_to_end_while_it_waits_for_the_platform_ends_in_order_and_joins_later(
    world: World, platform: ScriptedPlatform
) -> None:
    beats, exchanges = platform.posted("/heartbeat"), platform.posted("/registrations")
    platform.holds = lambda _, path: path.endswith(("/heartbeat", "/registrations"))
    await world.tenant("interrupted")
    await once(lambda: platform.posted("/registrations") > exchanges and platform.posted("/heartbeat") > beats)
    before = world.log().count('"stopping"')
    ending = asyncio.create_task(world.operator.stop())
    await once(lambda: world.log().count('"stopping"') > before)
    platform.holds = lambda *_: False
    platform.released.set()
    await ending
    assert world.operator.ended_with == 0, "it was killed at the end of its time, or broke"
    assert "Traceback" not in world.log()

    await world.operator.start()
    await world.reason(DATA_CLUSTERS, "interrupted", "Connected", "Ready")
    assert [each.claims.name for each in platform.identities.values()].count("interrupted") == 1
    await world.remove_tenants("interrupted")
    assert platform.named("interrupted").deleted


async def test_a_restored_platform_that_fenced_all_keys_is_joined_again(
    world: World, platform: ScriptedPlatform
) -> None:
    before = await record(world)
    platform.fence()
    platform.instead = lambda *_: None
    await once(lambda: cluster(platform).refusal is None, seconds=60.0)
    await told(world, "Connected", "True")

    async def joined_again() -> dict[str, Any]:
        found = await record(world)
        assert found["registration"]["secret"] != before["registration"]["secret"]
        return found

    after = await eventually(joined_again)
    assert after["registration"]["identity"] == before["registration"]["identity"]
    await world.ready(SLUG)


async def test_without_the_platform_everything_works_and_it_is_said(world: World, platform: ScriptedPlatform) -> None:
    await platform.stop()
    found = await told(world, "Connected", "False", "PlatformUnavailable", seconds=LOST_SECONDS)
    assert "can not be reached" in found["message"]
    cluster_ = await world.ready(SLUG)
    assert cluster_["status"]["phase"] == "Offline"
    await told(world, "Registered", "True")
    await world.tenant("during-outage")
    await world.ready("during-outage")

    await platform.start()
    await told(world, "Connected", "True", seconds=LOST_SECONDS)
    assert (await world.ready(SLUG))["status"]["phase"] == "Active"

    async def joined() -> bool:
        return (await world.condition(DATA_CLUSTERS, "during-outage", "Registered")).get("status") == "True"

    await eventually(joined, seconds=LOST_SECONDS)
    await world.remove_tenants("during-outage")


async def test_no_secret_of_it_is_anywhere_but_in_the_records(world: World, platform: ScriptedPlatform) -> None:
    held = (await record(world))["registration"]
    secrets = {*platform.secrets, held["private_key"], held["secret"]}
    secrets |= {each.split("_")[2] for each in platform.secrets if each.count("_") == 3}
    objects = await world.plane.kubectl("get", "dataplanes,dataclusters,tenants,events", "-A", "--output=json")
    texts = [world.log(), objects, json.dumps(await world.secret("data-api-secrets", f"tenant-{SLUG}"))]
    listed = json.loads(await world.plane.kubectl("get", "secrets", "-A", "--output=json"))
    texts.append(json.dumps([each["metadata"] for each in listed["items"]]))
    assert all(len(secret) > 12 for secret in secrets)
    assert [secret for secret in secrets for text in texts if secret in text] == []


async def test_a_deletion_is_told_to_the_platform(world: World, platform: ScriptedPlatform) -> None:
    await world.ready_tenants("leaving")

    async def joined() -> bool:
        return (await world.condition(DATA_CLUSTERS, "leaving", "Registered")).get("status") == "True"

    await eventually(joined)
    await world.remove_tenants("leaving")
    assert platform.named("leaving").deleted


async def test_a_platform_that_refuses_to_hear_of_a_deletion_delays_it_and_says_so(
    world: World, platform: ScriptedPlatform
) -> None:
    await world.ready_tenants("unheard")

    async def joined() -> bool:
        return (await world.condition(DATA_CLUSTERS, "unheard", "Registered")).get("status") == "True"

    await eventually(joined)
    platform.instead = lambda method, _: refused(Problem(Code.UNAVAILABLE)) if method == "DELETE" else None
    await world.delete(TENANTS, "unheard")
    found = await world.reason(DATA_CLUSTERS, "unheard", "Registered", "Deleting")
    assert "not told yet" in found["message"]
    platform.instead = lambda *_: None
    await world.gone(TENANTS, "unheard", seconds=60.0)
    assert platform.named("unheard").deleted
