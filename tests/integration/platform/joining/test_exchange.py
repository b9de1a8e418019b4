"""A token is exchanged once, and a lost answer strands nobody."""

from __future__ import annotations

import asyncio
import os
from typing import LiteralString
from uuid import UUID

import pytest

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.joining.minting import MOST_CLUSTERS, MOST_OPEN, MOST_WAITING
from bulkhead.platform.joining.sweeping import sweep
from bulkhead.protocol import credentials
from bulkhead.protocol.keys import SigningKey
from bulkhead.protocol.proofs import IdentityKind
from bulkhead.protocol.registration import TenantRef, TokenRequest, cluster_id, plane_id
from tests.integration.platform.joining.platform import Joiner, World, ask, tenant_uid, works
from tests.integration.platform.server import one, rows


async def test_a_plane_joins_and_its_key_works_at_once_on_every_replica(world: World) -> None:
    plane = await world.joined_plane(world.organisation)
    assert plane.identity == plane_id(plane.uid)
    assert (await works(world.first, plane)).status == 200
    assert (await works(world.second, plane)).status == 200


async def test_a_cluster_joins_with_a_token_of_its_plane(world: World) -> None:
    cluster = world.cluster()
    answered = await cluster.exchange(world.first, await world.token_for(cluster))
    assert answered.status == 201
    assert answered.body["identity"] == cluster_id(world.plane.identity, cluster.uid)
    assert answered.body["signingKeys"]["keys"]
    row = await one(world.session, "SELECT organisation_id FROM clusters WHERE id = %s", (cluster.identity,))
    assert row == world.organisation


async def test_the_same_call_again_gets_the_same_answer_and_makes_nothing(world: World) -> None:
    cluster = world.cluster()
    token = await world.token_for(cluster)
    first = await cluster.exchange(world.first, token)
    again = await cluster.exchange(world.second, token)
    assert (first.status, again.status) == (201, 201)
    assert again.body["keyId"] == first.body["keyId"]
    keys = await one(world.session, "SELECT count(*) FROM service_keys WHERE identity_id = %s", (cluster.identity,))
    assert keys == 1


async def test_the_same_call_again_is_answered_after_the_tokens_time(world: World) -> None:
    cluster = world.cluster()
    token = await world.token_for(cluster)
    first = await cluster.exchange(world.first, token)
    await world.session.execute(
        "UPDATE registration_tokens SET created_at = now() - interval '70 min', expires_at = now() - interval '1 hour'"
        " WHERE identity_id = %s",
        (cluster.identity,),
    )
    assert (await cluster.exchange(world.first, token)).body["keyId"] == first.body["keyId"]


async def test_a_token_whose_time_is_over_opens_nothing(world: World) -> None:
    cluster = world.cluster()
    token = await world.token_for(cluster)
    await world.session.execute(
        "UPDATE registration_tokens SET created_at = now() - interval '70 min', expires_at = now() - interval '1 hour'"
        " WHERE uid = %s",
        (cluster.uid,),
    )
    assert (await cluster.exchange(world.first, token)).code == "token_expired"


async def test_of_two_that_race_with_one_token_one_wins_and_the_other_leaves_a_trace(world: World) -> None:
    cluster = world.cluster()
    token = await world.token_for(cluster)
    rival = Joiner(IdentityKind.CLUSTER, cluster.name, plane=cluster.plane, uid=cluster.uid, key=cluster.key)
    before = await world.refusals("token_used")
    results = await asyncio.gather(cluster.exchange(world.first, token), rival.exchange(world.second, token))
    assert sorted(result.status for result in results) == [201, 409]
    assert next(result.code for result in results if result.status == 409) == "token_used"
    assert await world.refusals("token_used") == before + 1


async def test_a_repeat_after_the_key_was_revoked_revives_nothing(world: World) -> None:
    cluster = world.cluster()
    token = await world.token_for(cluster)
    await cluster.exchange(world.first, token)
    assert (await world.as_user("DELETE", f"/v1/clusters/{cluster.identity}/keys")).status == 204
    assert (await cluster.exchange(world.first, token)).code == "key_revoked"


@pytest.mark.parametrize(
    ("claim", "value"),
    [
        ("name", "globex"),
        ("uid", "00000000-0000-4000-8000-000000000001"),
        ("plane", "00000000-0000-4000-8000-000000000002"),
    ],
)
async def test_a_token_is_good_for_what_it_was_made_for_alone(world: World, claim: str, value: str) -> None:
    cluster = world.cluster()
    answered = await cluster.exchange(world.first, await world.token_for(cluster), **{claim: value})
    assert answered.code == "token_wrong_cluster"


async def test_a_token_of_a_plane_makes_no_cluster(world: World) -> None:
    cluster = world.cluster()
    token = await world.plane_token(Joiner(IdentityKind.PLANE, cluster.name))
    assert (await cluster.exchange(world.first, token)).code == "token_wrong_cluster"


async def test_a_token_that_a_plane_minted_is_good_for_one_key_pair_alone(world: World) -> None:
    cluster = world.cluster()
    token = await world.token_for(cluster)
    cluster.key = SigningKey.generate(os.urandom)
    assert (await cluster.exchange(world.first, token)).code == "token_wrong_cluster"


async def test_a_proof_for_another_token_or_platform_opens_nothing(world: World) -> None:
    cluster = world.cluster()
    token, other = await world.token_for(cluster), await world.token_for(cluster)
    digest = credentials.RegistrationToken.parse(other).digest.hex()
    assert (await cluster.exchange(world.first, token, token=digest)).code == "proof_invalid"
    assert (await cluster.exchange(world.first, token, platform="https://evil.example.com")).code == "proof_invalid"


async def test_a_token_that_there_is_not_opens_nothing(world: World) -> None:
    token = credentials.RegistrationToken.generate(os.urandom).reveal()
    assert (await world.cluster().exchange(world.first, token)).code == "token_unknown"


async def test_a_revoked_token_opens_nothing(world: World) -> None:
    cluster = world.cluster()
    token = await world.token_for(cluster)
    listed = (await works(world.first, world.plane)).body["tokens"]
    waiting = next(each for each in listed if each["uid"] == cluster.uid)
    path = f"/v1/registration-tokens/{waiting['id']}"
    assert (await ask(world.first, "DELETE", path, bearer=world.plane.service_key)).status == 204
    assert (await cluster.exchange(world.first, token)).code == "token_revoked"


async def test_an_identity_that_was_ended_joins_with_no_token(world: World) -> None:
    cluster = await world.joined_cluster()
    assert (await world.as_user("DELETE", f"/v1/clusters/{cluster.identity}/identity")).status == 204
    assert ("cluster-identity", cluster.identity) in world.first.kept
    assert (await cluster.exchange(world.first, await world.token_for(cluster))).code == "identity_revoked"
    cluster.key = SigningKey.generate(os.urandom)
    assert (await cluster.exchange(world.first, await world.token_for(cluster))).code == "identity_revoked"


async def test_a_plane_binds_its_own_cluster_anew_and_the_former_key_is_retired(world: World) -> None:
    cluster = await world.joined_cluster()
    former = cluster.service_key
    cluster.key = SigningKey.generate(os.urandom)
    cluster.secret = credentials.Secret.generate(os.urandom)
    assert (await cluster.exchange(world.first, await world.token_for(cluster))).status == 201
    path = f"/v1/clusters/{cluster.identity}"
    assert (await ask(world.second, "DELETE", path, bearer=former)).code == "key_revoked"
    rebound = await one(world.session, "SELECT count(*) FROM audit_intake WHERE action = 'cluster.rebound'")
    assert rebound >= 1


async def test_a_user_does_not_replace_the_key_of_a_cluster(world: World) -> None:
    cluster = await world.joined_cluster()
    other = Joiner(IdentityKind.CLUSTER, cluster.name, plane=cluster.plane, uid=cluster.uid)
    asked = {
        "protocol": 1,
        "kind": "cluster",
        "name": cluster.name,
        "seconds": 600,
        "plane": cluster.plane,
        "uid": cluster.uid,
        "tenant": {"name": "acme", "uid": tenant_uid("acme")},
    }
    answered = await world.as_user("POST", "/v1/registration-tokens", asked)
    assert answered.status == 201, answered
    assert (await other.exchange(world.first, answered.body["token"])).code == "identity_bound"


async def test_who_is_known_in_another_organisation_is_not_moved(world: World) -> None:
    elsewhere = await world.another_organisation()
    plane = await world.joined_plane(world.organisation)
    cluster = Joiner(IdentityKind.CLUSTER, "acme", plane=plane.identity)
    minted = await plane.mint_for(world.first, cluster)
    assert (await cluster.exchange(world.first, minted.body["token"])).status == 201
    await world.grant(elsewhere, plane)
    await world.map(plane, "acme", elsewhere)
    minted = await plane.mint_for(world.first, cluster)
    assert (await cluster.exchange(world.first, minted.body["token"])).code == "cluster_elsewhere"


async def test_no_row_holds_the_secret_or_its_bare_digest(world: World) -> None:
    cluster = await world.joined_cluster()
    dump = str(
        await one(
            world.session,
            """SELECT concat((SELECT json_agg(t) FROM service_keys t), (SELECT json_agg(t) FROM registration_tokens t),
                             (SELECT json_agg(t) FROM clusters t), (SELECT json_agg(t) FROM audit_intake t))""",
        )
    )
    assert cluster.identity in dump
    assert cluster.secret.digest.hex() not in dump
    assert cluster.secret.reveal() not in dump


async def test_a_mapping_tells_the_organisation_where_a_plane_serves_several(world: World) -> None:
    other = await world.another_organisation()
    plane = await world.joined_plane(world.organisation, other)
    cluster = Joiner(IdentityKind.CLUSTER, "initech", plane=plane.identity)
    assert (await plane.mint_for(world.first, cluster)).code == "organisation_ambiguous"
    await world.map(plane, "initech", other)
    minted = await plane.mint_for(world.first, cluster)
    assert (await cluster.exchange(world.first, minted.body["token"])).status == 201
    row = await one(world.session, "SELECT organisation_id FROM clusters WHERE id = %s", (cluster.identity,))
    assert row == other


async def test_a_tenant_that_is_made_anew_under_a_mapped_name_is_nobodys(world: World) -> None:
    plane = await world.joined_plane(world.organisation)
    await world.map(plane, "initech", world.organisation)
    assert (await plane.mint_for(world.first, Joiner(IdentityKind.CLUSTER, "initech", plane.identity))).status == 201
    successor = Joiner(IdentityKind.CLUSTER, "initech", plane.identity)
    tenant = TenantRef(name="initech", uid="00000000-0000-4000-8000-00000000000b")
    assert (await plane.mint_for(world.first, successor, tenant=tenant)).code == "tenant_changed"


async def test_a_plane_mints_nothing_before_its_key_is_confirmed(world: World) -> None:
    plane = await world.joined_plane(world.organisation, self_confirming=False)
    cluster = Joiner(IdentityKind.CLUSTER, "acme", plane=plane.identity)
    assert (await plane.mint_for(world.first, cluster)).code == "plane_unconfirmed"
    path = f"/v1/data-planes/{plane.identity}/confirmation"
    wrong = await ask(world.first, "POST", path, bearer="admin", body={"protocol": 1, "fingerprint": "ABCD"})
    assert wrong.code == "conflict"
    right = {"protocol": 1, "fingerprint": plane.key.public.fingerprint}
    assert (await ask(world.first, "POST", path, bearer="admin", body=right)).status == 204
    assert (await plane.mint_for(world.second, cluster)).status == 201


async def test_a_plane_mints_for_its_own_clusters_within_its_grants_and_for_15_minutes_alone(world: World) -> None:
    foreign = str(UUID(int=7))
    assert (await world.plane.mint_for(world.first, world.cluster(), plane=foreign)).code == "token_wrong_cluster"
    assert (await world.plane.mint_for(world.first, world.cluster(), seconds=901)).code == "body_invalid"
    assert (await world.plane.mint_for(world.first, world.cluster(), public_key=None)).code == "body_invalid"
    ungranted = await world.joined_plane()
    cluster = Joiner(IdentityKind.CLUSTER, "acme", plane=ungranted.identity)
    assert (await ungranted.mint_for(world.first, cluster)).code == "grant_missing"


async def test_tokens_of_people_keep_no_plane_from_asking_for_its_cluster(world: World) -> None:
    cluster = world.cluster()
    asked = TokenRequest(
        protocol=1,
        kind=IdentityKind.CLUSTER,
        name=cluster.name,
        seconds=7 * 86400,
        plane=world.plane.identity,
        uid=cluster.uid,
        tenant=TenantRef(name=cluster.name, uid=tenant_uid(cluster.name)),
    )
    for _ in range(MOST_OPEN):
        assert (await world.as_user("POST", "/v1/registration-tokens", asked)).status == 201
    assert (await world.as_user("POST", "/v1/registration-tokens", asked)).code == "limit_reached"
    assert (await cluster.exchange(world.first, await world.token_for(cluster))).status == 201


async def made_up(world: World, plane: Joiner, statement: LiteralString, number: int) -> None:
    values = {"organisation": world.organisation, "plane": plane.identity, "number": number}
    await world.session.execute(statement, values)


async def test_a_plane_that_makes_up_clusters_without_end_is_told_where_it_ends(world: World) -> None:
    plane = await world.joined_plane(world.organisation)
    waiting: LiteralString = """
        INSERT INTO registration_tokens (digest, kind, organisation_id, plane_id, uid, name, tenant, tenant_uid,
                                         bound_key, minted_by, minted_by_plane, epoch, expires_at)
        SELECT sha256(n::text::bytea || uuid_send(gen_random_uuid())), 'cluster', %(organisation)s, %(plane)s,
               gen_random_uuid(), 'acme', 'acme', gen_random_uuid(), sha256(n::text::bytea), 'somebody', by_plane, 1,
               now() + interval '10 minutes'
        FROM generate_series(1, %(number)s) n CROSS JOIN (VALUES (true), (false)) AS minted (by_plane)"""
    await made_up(world, plane, waiting, MOST_WAITING)
    cluster = Joiner(IdentityKind.CLUSTER, "acme", plane=plane.identity)
    refused = await plane.mint_for(world.first, cluster)
    assert (refused.status, refused.code) == (409, "limit_reached")
    assert f"{MOST_WAITING} tokens of this plane wait" in refused.body["detail"]
    assert (await world.plane.mint_for(world.first, world.cluster())).status == 201
    asked = TokenRequest(
        protocol=1,
        kind=IdentityKind.CLUSTER,
        name="acme",
        seconds=60,
        plane=plane.identity,
        uid=cluster.uid,
        tenant=TenantRef(name="acme", uid=tenant_uid("acme")),
    )
    assert (await world.as_user("POST", "/v1/registration-tokens", asked)).code == "limit_reached"
    await world.session.execute(
        "UPDATE registration_tokens SET revoked_at = now() WHERE plane_id = %s", (plane.identity,)
    )
    assert (await plane.mint_for(world.first, cluster)).status == 201

    clusters: LiteralString = """
        INSERT INTO clusters (id, organisation_id, plane_id, uid, name, tenant, tenant_uid, public_key, epoch,
                              deleted_at)
        SELECT gen_random_uuid(), %(organisation)s, %(plane)s, gen_random_uuid(), 'acme', 'acme', gen_random_uuid(),
               sha256(n::text::bytea), 1, CASE WHEN n > 10 THEN now() END
        FROM generate_series(1, %(number)s) n"""
    await made_up(world, plane, clusters, MOST_CLUSTERS)
    refused = await plane.mint_for(world.first, cluster)
    assert refused.code == "limit_reached"
    assert f"at most {MOST_CLUSTERS} clusters" in refused.body["detail"]
    left = "UPDATE clusters SET deleted_at = now() - interval '2 days' WHERE plane_id = %s AND deleted_at IS NOT NULL"
    await world.session.execute(left, (plane.identity,))
    assert (await plane.mint_for(world.first, cluster)).status == 201


async def test_whoever_joins_or_comes_back_is_told_to_those_who_asked_to_be_told(world: World) -> None:
    plane = await world.joined_plane(world.organisation)
    cluster = Joiner(IdentityKind.CLUSTER, "acme", plane=plane.identity)
    await cluster.exchange(world.first, (await plane.mint_for(world.first, cluster)).body["token"])
    assert (await plane.rejoin(world.first)).status == 200
    told = "SELECT count(*) FROM events WHERE organisation_id = %s AND type = %s AND data->>%s = %s"
    joined = (world.organisation, "cluster.joined", "cluster", cluster.identity)
    rejoined = (world.organisation, "plane.rejoined", "plane", plane.identity)
    assert [await one(world.session, told, values) for values in (joined, rejoined)] == [1, 1]


async def test_what_is_read_of_anybody_is_small(world: World) -> None:
    for path in ("/v1/registrations/challenge", "/v1/registrations/rejoin"):
        body = {"protocol": 1, "proof": "x" * 9000}
        assert (await ask(world.first, "POST", path, body=body)).code == "body_too_large"


OLD_TOKEN: LiteralString = """
    UPDATE registration_tokens
    SET used_at = used_at - interval '31 days', created_at = created_at - interval '31 days',
        expires_at = expires_at - interval '31 days'
    WHERE identity_id = %s"""
OLD_CHALLENGE: LiteralString = """
    UPDATE challenges
    SET used_at = used_at - interval '31 days', created_at = created_at - interval '31 days',
        expires_at = expires_at - interval '31 days'
    WHERE identity_id = %s"""


async def test_what_waited_for_nobody_is_swept_and_nothing_that_is_younger(world: World, worker: Pool) -> None:
    cluster = await world.joined_cluster()
    assert (await cluster.rejoin(world.first)).status == 200
    count = "SELECT (SELECT count(*) FROM registration_tokens), (SELECT count(*) FROM challenges)"
    await sweep(worker)
    before = await rows(world.session, count)
    for statement in (OLD_TOKEN, OLD_CHALLENGE):
        await world.session.execute(statement, (cluster.identity,))
    await sweep(worker)
    ((tokens, challenges),) = before
    assert await rows(world.session, count) == [(tokens - 1, challenges - 1)]
