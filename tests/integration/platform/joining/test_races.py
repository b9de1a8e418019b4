"""What happens between a proof and what it opens, on two replicas that know nothing of each other."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

import pytest

from bulkhead.platform.keys.verify import Outcome
from bulkhead.protocol import credentials
from bulkhead.protocol.keys import SigningKey
from bulkhead.protocol.proofs import IdentityKind
from bulkhead.protocol.registration import TenantRef
from tests.integration.platform.joining.platform import Joiner, Replica, World, replica, tenant_uid
from tests.integration.platform.server import Database, one

Derive = Callable[[bytes, str, datetime], Awaitable[Outcome]]


def secret() -> credentials.Secret:
    return credentials.Secret.generate(os.urandom)


@dataclass
class Derivations:
    """Holds the derivations of new secrets back, after what was asked of the database before them."""

    wanted: int
    begun: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def before(self, derive: Derive) -> Derive:
        async def derived(digest: bytes, source: str, now: datetime) -> Outcome:
            self.begun += 1
            if self.begun >= self.wanted:
                self.reached.set()
            async with asyncio.timeout(60):
                await self.released.wait()
            return await derive(digest, source, now)

        return derived


@contextlib.asynccontextmanager
async def held(*replicas: Replica, wanted: int) -> AsyncIterator[Derivations]:
    """Within, derivations wait until they are released; `reached` once `wanted` of them do."""
    gate = Derivations(wanted)
    with pytest.MonkeyPatch.context() as patch:
        for each in replicas:
            patch.setattr(each.verifier, "hash_of", gate.before(each.verifier.hash_of))
        try:
            yield gate
        finally:
            gate.released.set()


async def live_keys(world: World, joiner: Joiner) -> int:
    found = await one(
        world.session,
        """SELECT count(*) FROM service_keys
           WHERE identity_id = %s AND revoked_at IS NULL AND (retires_at IS NULL OR retires_at > now())""",
        (joiner.identity,),
    )
    return int(found)


async def test_two_tokens_that_make_one_identity_at_the_same_time_make_it_once(world: World) -> None:
    cluster = world.cluster()
    first, second = await world.token_for(cluster), await world.token_for(cluster)
    async with held(world.first, world.second, wanted=2) as derivations:
        calls = asyncio.gather(cluster.exchange(world.first, first), cluster.exchange(world.second, second))
        await derivations.reached.wait()
        derivations.released.set()
        results = await calls
    assert [result.status for result in results] == [201, 201]
    assert await live_keys(world, cluster) == 1


async def test_the_same_rotation_at_the_same_time_gives_one_key(world: World) -> None:
    cluster, new = await world.joined_cluster(), secret()
    async with held(world.first, world.second, wanted=2) as derivations:
        calls = asyncio.gather(cluster.rotate(world.first, new), cluster.rotate(world.second, new))
        await derivations.reached.wait()
        derivations.released.set()
        first, second = await calls
    assert (first.status, second.status) == (201, 201)
    assert first.body["keyId"] == second.body["keyId"]


async def test_the_same_answer_to_a_challenge_at_the_same_time_gives_one_key_and_costs_once(world: World) -> None:
    cluster, new = await world.joined_cluster(), secret()
    challenge = (await cluster.challenge(world.first)).body["challenge"]
    async with held(world.first, world.second, wanted=2) as derivations:
        calls = asyncio.gather(
            cluster.answer_challenge(world.first, challenge, new),
            cluster.answer_challenge(world.second, challenge, new),
        )
        await derivations.reached.wait()
        derivations.released.set()
        first, second = await calls
    assert (first.status, second.status) == (200, 200)
    assert first.body["keyId"] == second.body["keyId"]
    assert await one(world.session, "SELECT rejoin_budget FROM clusters WHERE id = %s", (cluster.identity,)) == 4


async def test_keys_that_are_ended_during_a_rotation_leave_none_behind(world: World) -> None:
    cluster = await world.joined_cluster()
    async with held(world.first, wanted=1) as derivations:
        rotation = asyncio.create_task(cluster.rotate(world.first, secret()))
        await derivations.reached.wait()
        assert (await world.as_user("DELETE", f"/v1/clusters/{cluster.identity}/keys")).status == 204
        derivations.released.set()
        assert (await rotation).code == "key_revoked"
    assert await live_keys(world, cluster) == 0


async def test_who_held_the_former_key_pair_does_not_come_back_while_it_is_replaced(world: World) -> None:
    cluster = await world.joined_cluster()
    thief = Joiner(cluster.kind, cluster.name, cluster.plane, cluster.uid, cluster.key, identity=cluster.identity)
    async with held(world.first, wanted=1) as derivations:
        back = asyncio.create_task(thief.rejoin(world.first))
        await derivations.reached.wait()
        cluster.key, cluster.secret = SigningKey.generate(os.urandom), secret()
        assert (await cluster.exchange(world.second, await world.token_for(cluster))).status == 201
        derivations.released.set()
        assert (await back).code == "proof_invalid"
    assert await live_keys(world, cluster) == 1
    assert (await cluster.rotate(world.second, secret())).status == 201


async def test_an_identity_that_is_ended_during_its_way_back_is_not_given_a_key(world: World) -> None:
    cluster = await world.joined_cluster()
    async with held(world.first, wanted=1) as derivations:
        back = asyncio.create_task(cluster.rejoin(world.first))
        await derivations.reached.wait()
        assert (await world.as_user("DELETE", f"/v1/clusters/{cluster.identity}/identity")).status == 204
        derivations.released.set()
        assert (await back).code == "identity_revoked"


async def test_of_two_tenants_that_come_under_one_mapped_name_one_is_bound(world: World) -> None:
    plane = await world.joined_plane(world.organisation)
    await world.map(plane, "initech", world.organisation)
    asked = [TenantRef(name="initech", uid=str(uuid4())) for _ in range(8)]
    results = await asyncio.gather(
        *(
            plane.mint_for(service, Joiner(IdentityKind.CLUSTER, "initech", plane.identity), tenant=tenant)
            for tenant, service in zip(asked, (world.first, world.second) * 4, strict=True)
        )
    )
    assert [result.status for result in results].count(201) == 1
    assert {result.code for result in results if result.status != 201} == {"tenant_changed"}


async def user_token(world: World, cluster: Joiner) -> str:
    asked = {
        "protocol": 1,
        "kind": "cluster",
        "name": cluster.name,
        "seconds": 600,
        "plane": cluster.plane,
        "uid": cluster.uid,
        "tenant": {"name": cluster.name, "uid": tenant_uid(cluster.name)},
    }
    answered = await world.as_user("POST", "/v1/registration-tokens", asked)
    assert answered.status == 201, answered
    return str(answered.body["token"])


async def test_a_member_of_one_organisation_claims_no_cluster_on_a_plane_that_serves_others_too(world: World) -> None:
    plane = await world.joined_plane(world.organisation)
    alone = Joiner(IdentityKind.CLUSTER, "acme", plane=plane.identity)
    assert (await alone.exchange(world.first, await user_token(world, alone))).status == 201
    await world.grant(await world.another_organisation(), plane)
    await world.map(plane, "acme", world.organisation)
    foreign = Joiner(IdentityKind.CLUSTER, "acme", plane=plane.identity)
    assert (await foreign.exchange(world.first, await user_token(world, foreign))).code == "organisation_ambiguous"


async def test_a_tenant_that_was_mapped_to_another_organisation_since_is_not_let_in_by_an_older_token(
    world: World,
) -> None:
    other = await world.another_organisation()
    plane = await world.joined_plane(world.organisation, other)
    await world.map(plane, "acme", world.organisation)
    cluster = Joiner(IdentityKind.CLUSTER, "acme", plane=plane.identity)
    minted = await plane.mint_for(world.first, cluster)
    await world.session.execute(
        "UPDATE tenant_organisations SET organisation_id = %s WHERE plane_id = %s", (other, plane.identity)
    )
    assert (await cluster.exchange(world.first, minted.body["token"])).code == "token_revoked"


async def test_a_source_without_a_try_left_is_refused_without_a_row_and_let_in_all_the_same(
    database: Database, world: World
) -> None:
    cluster, good = await world.joined_cluster(), world.cluster()
    used = await world.token_for(cluster)
    assert (await cluster.exchange(world.first, used)).status == 201
    cluster.secret = secret()
    before = await world.refusals("token_used")
    async with database.pool("api") as api, database.pool("worker") as worker, replica(api, worker) as service:
        assert (await cluster.exchange(service, used)).code == "token_used"
        for _ in range(200):
            service.failures.failed("127.0.0.1")
        assert (await cluster.exchange(service, used)).code == "rate_limited"
        assert await world.refusals("token_used") == before + 1
        assert (await good.exchange(service, await world.token_for(good))).status == 201
