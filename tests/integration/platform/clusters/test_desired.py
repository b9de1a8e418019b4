"""What is wanted of a cluster: told until it is applied, and never older than what it has."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, transaction
from bulkhead.platform.signing.keys import SigningKeys
from bulkhead.platform.signing.sealing import Sealing
from bulkhead.protocol.assertions import KeyUse, Link, follow
from bulkhead.protocol.documents import canonical, decode
from tests.integration.platform.clusters.gen import beats, events
from tests.integration.platform.joining.platform import URL, Answered, Joiner, World, ask
from tests.integration.platform.server import one


@pytest.fixture
async def cluster(world: World) -> Joiner:
    return await world.joined_cluster()


async def want(world: World, cluster: Joiner, *, suspended: bool) -> Answered:
    body = {"protocol": 1, "suspended": suspended}
    return await world.as_user("PATCH", f"/v1/clusters/{cluster.identity}", body)


async def desired(world: World, cluster: Joiner) -> Any:
    """As a user reads it."""
    answered = await world.as_user("GET", f"/v1/clusters/{cluster.identity}")
    assert answered.status == 200, answered
    return answered.body["desired"]


async def test_a_suspension_is_told_until_it_is_applied(world: World, cluster: Joiner) -> None:
    assert (await beats(world.first, cluster, applied_generation=1))["desired"] == {
        "generation": 1,
        "suspended": False,
    }
    answered = await want(world, cluster, suspended=True)
    assert answered.body["desired"] == {"generation": 2, "suspended": True, "applied": 1, "progress": "pending"}
    assert (await beats(world.second, cluster, applied_generation=1))["desired"] == {
        "generation": 2,
        "suspended": True,
    }
    await beats(world.first, cluster, applied_generation=2)
    assert (await desired(world, cluster))["progress"] == "applied"


async def test_what_is_wanted_already_changes_nothing_and_is_told_to_nobody(world: World, cluster: Joiner) -> None:
    kinds = ("cluster.suspended", "cluster.resumed")
    await want(world, cluster, suspended=True)
    again = await want(world, cluster, suspended=True)
    assert again.body["desired"]["generation"] == 2
    assert await events(world, cluster, *kinds) == ["cluster.suspended"]
    await want(world, cluster, suspended=False)
    assert await events(world, cluster, *kinds) == ["cluster.suspended", "cluster.resumed"]
    audited = await one(
        world.session,
        """SELECT string_agg(action, ' ' ORDER BY id) FROM audit_intake
           WHERE action LIKE 'cluster.%%e_' AND convert_from(entry, 'UTF8')::jsonb->'target'->>'id' = %s""",
        (cluster.identity,),
    )
    assert audited == "cluster.joined cluster.suspended cluster.resumed"


async def test_a_platform_that_was_restored_keeps_quiet_until_somebody_decides_again(
    world: World, cluster: Joiner
) -> None:
    answer = await beats(world.first, cluster, applied_generation=7)
    assert answer["desired"] is None
    assert await desired(world, cluster) == {
        "generation": 1,
        "suspended": False,
        "applied": 7,
        "progress": "restored",
    }
    # The same state as is remembered: the cluster may have another one.
    answered = await want(world, cluster, suspended=False)
    assert answered.body["desired"]["generation"] == 8
    assert (await beats(world.first, cluster, applied_generation=7))["desired"] == {
        "generation": 8,
        "suspended": False,
    }


async def test_a_user_reaches_the_clusters_of_the_own_organisation_alone(world: World, cluster: Joiner) -> None:
    stranger = f"user.{await world.another_organisation()}"
    path = f"/v1/clusters/{cluster.identity}"
    body = {"protocol": 1, "suspended": True}
    assert (await ask(world.first, "GET", path, bearer=stranger)).code == "not_found"
    assert (await ask(world.first, "PATCH", path, bearer=stranger, body=body)).code == "not_found"
    assert (await ask(world.first, "GET", "/v1/clusters", bearer=stranger)).body == {"clusters": [], "next": None}
    assert (await desired(world, cluster))["suspended"] is False


async def test_clusters_are_listed_in_pages_without_those_that_are_deleted(world: World) -> None:
    made = {(await world.joined_cluster(f"paged-{number}")).identity for number in range(3)}
    gone = await world.joined_cluster("gone")
    await ask(world.first, "DELETE", f"/v1/clusters/{gone.identity}", bearer=gone.service_key)
    found, after = [], ""
    while True:
        query = {"limit": "2"} | ({"after": after} if after else {})
        page = await ask(world.first, "GET", "/v1/clusters", bearer=f"user.{world.organisation}", **query)
        found += [each["id"] for each in page.body["clusters"]]
        after = page.body["next"]
        if after is None:
            break
    assert len(found) == len(set(found))
    assert set(found) >= made
    assert gone.identity not in found
    deleted = await world.as_user("GET", f"/v1/clusters/{gone.identity}")
    assert deleted.body["deletedAt"] is not None
    assert (await want(world, gone, suspended=True)).code == "not_found"


async def test_a_new_signing_key_is_announced_until_it_is_acknowledged(
    world: World, cluster: Joiner, api: Pool
) -> None:
    keys = SigningKeys(
        KeyUse.ASSERTION,
        platform=URL,
        sealing=Sealing({"kek": b"k" * 32}, random=os.urandom),
        random=os.urandom,
        lifetime=timedelta(0),
    )
    before = world.first.announced.ring
    assert before is not None
    async with transaction(api, Scope()) as tx:
        world.first.announced.ring = ring = await keys.keep(tx)
    trusted = before.newest.kid
    answer = await beats(world.first, cluster, acknowledged_key=trusted)
    links = tuple(decode(Link, canonical(link)) for link in answer["succession"])
    followed = follow(before.jwks, links, platform=URL, use=KeyUse.ASSERTION)
    assert followed.newest.kid == ring.newest.kid != trusted
    assert await acknowledged(world, cluster) == trusted
    answer = await beats(world.first, cluster, acknowledged_key=ring.newest.kid)
    assert answer["succession"] == []
    assert await acknowledged(world, cluster) == ring.newest.kid


async def acknowledged(world: World, cluster: Joiner) -> Any:
    return await one(world.session, "SELECT acknowledged_kid FROM clusters WHERE id = %s", (UUID(cluster.identity),))


async def test_a_key_that_ends_soon_wants_a_successor_and_one_that_has_it_does_not(
    world: World, cluster: Joiner
) -> None:
    assert (await beats(world.first, cluster))["rotation"] is None
    await world.session.execute(
        "UPDATE service_keys SET expires_at = now() + interval '6 d' WHERE id = %s", (cluster.key_id,)
    )
    ends = await one(
        world.session,
        "SELECT extract(epoch FROM expires_at)::bigint FROM service_keys WHERE id = %s",
        (cluster.key_id,),
    )
    rotation = (await beats(world.first, cluster))["rotation"]
    assert rotation["replaces"] == cluster.key_id
    assert abs(rotation["before"] - ends) <= 1
    await world.session.execute(
        "UPDATE service_keys SET retires_at = now() + interval '1 min' WHERE id = %s", (cluster.key_id,)
    )
    assert (await beats(world.first, cluster))["rotation"] is None
