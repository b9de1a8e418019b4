"""Service keys: revoked at the next call, rotated without a gap, and the way back after a loss."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from uuid import UUID

import pytest

from bulkhead.platform.database.pools import Bounds
from bulkhead.platform.keys import gathering
from bulkhead.protocol import credentials
from tests.integration.platform.clusters.gen import beat
from tests.integration.platform.joining.platform import Joiner, World, ask, replica, works
from tests.integration.platform.meanwhile import while_scrypt_is_waited_for
from tests.integration.platform.server import Database, one


def secret() -> credentials.Secret:
    return credentials.Secret.generate(os.urandom)


async def keys_of(world: World, joiner: Joiner) -> int:
    """How many service keys it has, of those that are neither revoked nor retired."""
    found = await one(
        world.session,
        """SELECT count(*) FROM service_keys
           WHERE identity_id = %s AND revoked_at IS NULL AND (retires_at IS NULL OR retires_at > now())""",
        (joiner.identity,),
    )
    return int(found)


async def test_a_revoked_key_is_refused_at_the_next_call_on_each_replica(world: World) -> None:
    plane = await world.joined_plane(world.organisation)
    assert (await works(world.first, plane)).status == (await works(world.second, plane)).status == 200
    assert (await ask(world.first, "DELETE", f"/v1/data-planes/{plane.identity}/keys", bearer="admin")).status == 204
    assert (await works(world.first, plane)).code == "key_revoked"
    assert (await works(world.second, plane)).code == "key_revoked"


async def test_a_key_that_is_revoked_while_its_secret_waits_for_scrypt_opens_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def revoke() -> None:
        path = f"/v1/data-planes/{plane.identity}/keys"
        assert (await ask(world.second, "DELETE", path, bearer="admin")).status == 204

    plane = await world.joined_plane(world.organisation)
    await world.session.execute("UPDATE service_keys SET fast_until = now() WHERE id = %s", (plane.key_id,))
    while_scrypt_is_waited_for(monkeypatch, revoke)
    assert (await works(world.first, plane)).code == "key_revoked"


async def test_a_pool_of_one_connection_is_enough_to_end_the_keys_of_a_plane(database: Database, world: World) -> None:
    plane = await world.joined_plane(world.organisation)
    async with (
        database.pool("api", Bounds(fewest=1, most=1, wait_seconds=10.0)) as api,
        database.pool("worker") as worker,
        replica(api, worker) as service,
    ):
        assert (await ask(service, "DELETE", f"/v1/data-planes/{plane.identity}/keys", bearer="admin")).status == 204
        assert (await ask(service, "DELETE", f"/v1/data-planes/{UUID(int=7)}/keys", bearer="admin")).status == 404
        assert (await works(service, plane)).code == "key_revoked"


async def test_the_end_of_a_plane_ends_the_keys_of_its_clusters(world: World) -> None:
    plane = await world.joined_plane(world.organisation)
    cluster = Joiner(world.cluster().kind, "acme", plane=plane.identity)
    minted = await plane.mint_for(world.first, cluster)
    await cluster.exchange(world.first, minted.body["token"])
    path = f"/v1/data-planes/{plane.identity}/identity"
    assert (await ask(world.first, "DELETE", path, bearer="admin")).status == 204
    answered = await ask(world.second, "DELETE", f"/v1/clusters/{cluster.identity}", bearer=cluster.service_key)
    assert answered.code == "plane_revoked"


async def test_a_withdrawn_grant_ends_the_keys_of_its_clusters(world: World) -> None:
    plane = await world.joined_plane(world.organisation)
    cluster = Joiner(world.cluster().kind, "acme", plane=plane.identity)
    minted = await plane.mint_for(world.first, cluster)
    await cluster.exchange(world.first, minted.body["token"])
    await world.session.execute("UPDATE plane_grants SET revoked_at = now() WHERE plane_id = %s", (plane.identity,))
    answered = await ask(world.first, "DELETE", f"/v1/clusters/{cluster.identity}", bearer=cluster.service_key)
    assert answered.code == "grant_withdrawn"


async def test_a_key_reaches_its_own_identity_alone(world: World) -> None:
    acme, globex = await world.joined_cluster("acme"), await world.joined_cluster("globex")
    answered = await ask(world.first, "DELETE", f"/v1/clusters/{globex.identity}", bearer=acme.service_key)
    assert (answered.status, answered.code) == (404, "not_found")


async def test_one_wrong_character_and_a_wrong_secret_open_nothing(world: World) -> None:
    plane = world.plane
    mistyped = plane.service_key[:-1] + ("0" if plane.service_key[-1] != "0" else "1")
    assert (await ask(world.first, "GET", "/v1/registration-tokens", bearer=mistyped)).code == "credential_malformed"
    wrong = credentials.ServiceKey(plane.key_id, secret()).reveal()
    assert (await ask(world.first, "GET", "/v1/registration-tokens", bearer=wrong)).code == "key_unknown"
    unknown = credentials.ServiceKey.generate(os.urandom).reveal()
    assert (await ask(world.first, "GET", "/v1/registration-tokens", bearer=unknown)).code == "key_unknown"


async def test_who_fails_without_end_does_not_lock_out_a_good_key_behind_the_same_address(
    database: Database, world: World
) -> None:
    plane = await world.joined_plane(world.organisation)
    wrong = credentials.ServiceKey(plane.key_id, secret()).reveal()
    async with database.pool("api") as api, database.pool("worker") as worker, replica(api, worker) as service:
        for _ in range(80):
            await ask(service, "GET", "/v1/registration-tokens", bearer=wrong)
        assert (await works(service, plane)).status == 200


async def test_who_may_be_guessing_waits_for_the_others_who_may_and_whoever_was_right_before_does_not(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, stranger = [await world.joined_plane(world.organisation) for _ in range(2)]
    wrong = credentials.ServiceKey(known.key_id, secret()).reveal()
    async with database.pool("api") as api, database.pool("worker") as worker, replica(api, worker) as service:
        assert (await works(service, known)).status == 200
        monkeypatch.setattr(gathering, "MOMENT_SECONDS", 600.0)
        guess = asyncio.create_task(ask(service, "GET", "/v1/registration-tokens", bearer=wrong))
        assert (await works(service, known)).status == 200
        assert not guess.done()
        monkeypatch.setattr(gathering, "MOST_TOGETHER", 1)
        assert (await works(service, stranger)).status == 200
        assert (await guess).code == "key_unknown"


async def test_known_keys_that_are_looked_up_together_are_each_told_of_their_own_row_as_it_is_now(
    database: Database, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    working, revoked = [await world.joined_plane(world.organisation) for _ in range(2)]
    async with database.pool("api") as api, database.pool("worker") as worker, replica(api, worker) as service:
        assert [(await works(service, each)).status for each in (working, revoked)] == [200, 200]
        monkeypatch.setattr(gathering, "MOST_ALONE", 0)
        path = f"/v1/data-planes/{revoked.identity}/keys"
        assert (await ask(service, "DELETE", path, bearer="admin")).status == 204
        answers = await asyncio.gather(works(service, working), works(service, revoked))
        assert answers[0].status == 200
        assert answers[1].code == "key_revoked"


async def test_another_pepper_refuses_no_good_key_and_makes_its_own_fast_value(
    database: Database, world: World
) -> None:
    plane = await world.joined_plane(world.organisation)
    async with (
        database.pool("api") as api,
        database.pool("worker") as worker,
        replica(api, worker, pepper=b"q" * 32) as other,
    ):
        assert (await works(other, plane)).status == 200
        await other.verifier.settle()
    pepper = await one(world.session, "SELECT fast_pepper FROM service_keys WHERE id = %s", (plane.key_id,))
    assert (await works(world.second, plane)).status == 200
    await world.second.verifier.settle()
    again = await one(world.session, "SELECT fast_pepper FROM service_keys WHERE id = %s", (plane.key_id,))
    assert again != pepper


async def test_the_way_back_gives_another_key_and_retires_the_lost_one(world: World) -> None:
    cluster = await world.joined_cluster()
    lost = cluster.service_key
    assert (await cluster.rejoin(world.second)).status == 200
    path = f"/v1/clusters/{cluster.identity}"
    assert (await ask(world.first, "DELETE", path, bearer=lost)).code == "key_revoked"
    assert await keys_of(world, cluster) == 1
    told = await one(world.session, "SELECT count(*) FROM events WHERE type = 'cluster.rejoined'")
    assert told >= 1


async def test_the_same_answer_to_a_challenge_again_is_free_and_makes_nothing(world: World) -> None:
    cluster = await world.joined_cluster()
    challenge = (await cluster.challenge(world.first)).body["challenge"]
    new = secret()
    first = await cluster.answer_challenge(world.first, challenge, new)
    again = await cluster.answer_challenge(world.second, challenge, new)
    assert first.body["keyId"] == again.body["keyId"]
    budget = await one(world.session, "SELECT rejoin_budget FROM clusters WHERE id = %s", (cluster.identity,))
    assert budget == 4


async def test_one_challenge_is_open_at_a_time_and_is_answered_once(world: World) -> None:
    cluster = await world.joined_cluster()
    first, second = await cluster.challenge(world.first), await cluster.challenge(world.second)
    assert first.body["challenge"] == second.body["challenge"]
    results = await asyncio.gather(
        cluster.answer_challenge(world.first, first.body["challenge"], secret()),
        cluster.answer_challenge(world.second, first.body["challenge"], secret()),
    )
    assert sorted(result.status for result in results) == [200, 409]


async def test_the_challenge_of_another_identity_is_no_use(world: World) -> None:
    acme, globex = await world.joined_cluster("acme"), await world.joined_cluster("globex")
    challenge = (await globex.challenge(world.first)).body["challenge"]
    assert (await acme.answer_challenge(world.first, challenge, secret())).code == "challenge_invalid"


async def test_five_times_a_day_and_not_a_sixth(world: World) -> None:
    cluster = await world.joined_cluster()
    for _ in range(5):
        assert (await cluster.rejoin(world.first)).status == 200
    assert (await cluster.rejoin(world.first)).code == "rejoin_exhausted"
    await world.session.execute(
        "UPDATE clusters SET rejoin_budget_at = now() - interval '5 hours' WHERE id = %s", (cluster.identity,)
    )
    assert (await cluster.rejoin(world.first)).status == 200


async def test_a_restore_of_the_platform_fences_keys_and_its_way_back_costs_nothing(world: World) -> None:
    cluster = await world.joined_cluster()
    path = f"/v1/clusters/{cluster.identity}/keys"
    await world.session.execute("UPDATE platform_state SET epoch = epoch + 1")
    assert (await cluster.rotate(world.first, secret())).code == "key_fenced"
    assert (await cluster.rejoin(world.first)).status == 200
    budget = await one(world.session, "SELECT rejoin_budget FROM clusters WHERE id = %s", (cluster.identity,))
    assert budget == 5
    assert (await cluster.rotate(world.second, secret())).status == 201, path
    assert (await world.plane.rejoin(world.first)).status == 200


async def test_who_is_not_known_is_told_so(world: World) -> None:
    cluster = world.cluster()
    cluster.identity = "00000000-0000-4000-8000-0000000000ff"
    assert (await cluster.challenge(world.first)).code == "identity_unknown"


async def test_a_new_key_retires_the_old_one_when_it_is_used_and_not_before(world: World) -> None:
    cluster = await world.joined_cluster()
    old = Joiner(cluster.kind, cluster.name, key=cluster.key, identity=cluster.identity)
    old.secret, old.key_id = cluster.secret, cluster.key_id
    new = secret()
    rotated = await cluster.rotate(world.first, new)
    again = await cluster.rotate(world.second, new)
    assert (rotated.status, again.body["keyId"]) == (201, rotated.body["keyId"])
    retires = "SELECT retires_at IS NOT NULL FROM service_keys WHERE id = %s"
    assert await one(world.session, retires, (old.key_id,)) is False
    cluster.key_id, cluster.secret = rotated.body["keyId"], new
    assert (await cluster.rotate(world.second, secret())).status == 201
    assert await one(world.session, retires, (old.key_id,)) is True
    assert (await old.rotate(world.first, secret())).status == 201


async def test_an_identity_has_at_most_four_live_keys(world: World) -> None:
    cluster = await world.joined_cluster()
    answers = [await cluster.rotate(world.first, secret()) for _ in range(4)]
    assert [answer.status for answer in answers] == [201, 201, 201, 409]
    assert answers[-1].code == "key_limit"


async def test_a_cluster_that_goes_says_so_once_and_is_believed_again(world: World) -> None:
    cluster = await world.joined_cluster()
    path = f"/v1/clusters/{cluster.identity}"
    first = await ask(world.first, "DELETE", path, bearer=cluster.service_key)
    again = await ask(world.second, "DELETE", path, bearer=cluster.service_key)
    assert (first.status, again.status) == (200, 200)
    elsewhere = await cluster.rotate(world.first, secret())
    assert (elsewhere.status, elsewhere.code) == (401, "cluster_deleted")
    assert (await cluster.challenge(world.first)).code == "cluster_deleted"


async def test_every_key_ends_and_its_successor_is_asked_for_in_time(world: World) -> None:
    cluster = await world.joined_cluster()
    lives = "SELECT expires_at - created_at FROM service_keys WHERE id = %s"
    assert timedelta(days=72) <= await one(world.session, lives, (cluster.key_id,)) <= timedelta(days=90)
    assert (await beat(world.first, cluster)).body["rotation"] is None
    await world.session.execute(
        "UPDATE service_keys SET expires_at = now() + interval '6 days' WHERE id = %s", (cluster.key_id,)
    )
    assert (await beat(world.first, cluster)).body["rotation"]["replaces"] == cluster.key_id
