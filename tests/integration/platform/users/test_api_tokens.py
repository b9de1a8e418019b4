"""People by API token, through the front of the service that ships."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from uuid import uuid4

import pytest
from psycopg import errors

from bulkhead.protocol import credentials
from tests.integration.platform.meanwhile import while_scrypt_is_waited_for
from tests.integration.platform.server import Database
from tests.integration.platform.users.people import (
    ADMINISTERS,
    AUDIT,
    CLUSTER_TOKENS,
    World,
    ask,
    id_of,
    replica,
)
from tests.world import eventually


@pytest.fixture(scope="module")
def hosts() -> Iterator[int]:
    return count(2)


@pytest.fixture
def world(world: World, hosts: Iterator[int]) -> World:
    """The service of the others, from an address of one's own: no test pays for what another got wrong."""
    return replace(world, source=f"127.0.0.{next(hosts)}")


async def test_a_token_opens_what_its_abilities_name_and_nothing_else(world: World) -> None:
    token = await world.token("AUDIT_READ")
    assert (await world.ask(token, AUDIT)).status == 200
    refused = await world.ask(token, CLUSTER_TOKENS)
    assert (refused.status, refused.code) == (403, "ability_missing")


async def test_a_token_sees_its_own_organisation_alone(world: World) -> None:
    mine, others = await world.token("AUDIT_READ"), await world.token("AUDIT_READ")
    await world.set("SELECT seal(10000)")
    targets = {}
    for token in (mine, others):
        page = (await world.ask(token, AUDIT)).body
        targets[token] = {row["target"]["id"] for row in page["rows"]}
    assert id_of(mine) in targets[mine] - targets[others]
    assert id_of(others) in targets[others] - targets[mine]


async def test_what_a_member_may_no_more_a_token_may_not_at_the_next_call(world: World) -> None:
    who, where = await world.member("AUDIT_READ", "CLUSTER_READ")
    token = (await world.granted("token", who, "--name", "laptop")).token
    assert (await world.ask(token, AUDIT)).status == 200
    await world.granted("member", who, "--organisation", where, "--ability", "CLUSTER_READ")
    assert (await world.ask(token, AUDIT)).code == "ability_missing"
    assert (await world.ask(token, CLUSTER_TOKENS)).status == 200


async def test_what_a_member_may_since_the_token_was_made_the_token_may_not(world: World) -> None:
    who, where = await world.member("CLUSTER_READ")
    token = (await world.granted("token", who, "--name", "laptop")).token
    words = ("--ability", "CLUSTER_READ", "--ability", "AUDIT_READ")
    await world.granted("member", who, "--organisation", where, *words)
    assert (await world.ask(token, AUDIT)).code == "ability_missing"


async def test_a_token_ends_with_the_membership_and_a_new_one_does_not_bring_it_back(world: World) -> None:
    who, where = await world.member("AUDIT_READ")
    token = (await world.granted("token", who, "--name", "laptop")).token
    assert (await world.ask(token, AUDIT)).status == 200
    await world.set("UPDATE memberships SET ended_at = now() WHERE subject = %s", who)
    assert (await world.ask(token, AUDIT)).code == "api_token_revoked"
    await world.granted("member", who, "--organisation", where, "--ability", "AUDIT_READ")
    assert (await world.ask(token, AUDIT)).code == "api_token_revoked"


async def test_a_revocation_holds_at_the_next_call_on_another_replica(world: World, database: Database) -> None:
    token = await world.token("AUDIT_READ")
    async with replica(database) as other:
        assert (await ask(other, token, AUDIT)).status == 200
        await world.set("UPDATE api_tokens SET revoked_at = now() WHERE id = %s", id_of(token))
        assert (await ask(other, token, AUDIT)).code == "api_token_revoked"
        assert (await world.ask(token, AUDIT)).code == "api_token_revoked"


async def test_a_token_that_is_revoked_while_its_secret_waits_for_scrypt_opens_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def revoke() -> None:
        await world.set("UPDATE api_tokens SET revoked_at = now() WHERE id = %s", id_of(token))

    token = await world.token("AUDIT_READ")
    while_scrypt_is_waited_for(monkeypatch, revoke)
    assert (await world.ask(token, AUDIT)).code == "api_token_revoked"


async def test_what_a_member_may_no_more_since_the_secret_waits_for_scrypt_the_token_may_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def take() -> None:
        await world.granted("member", who, "--organisation", where, "--ability", "CLUSTER_READ")

    who, where = await world.member("AUDIT_READ", "CLUSTER_READ")
    token = (await world.granted("token", who, "--name", "laptop")).token
    while_scrypt_is_waited_for(monkeypatch, take)
    assert (await world.ask(token, AUDIT)).code == "ability_missing"


@pytest.mark.parametrize(("grace", "status"), [("0", 401), ("1 hour", 200)])
async def test_a_secret_that_is_rotated_while_it_waits_for_scrypt_opens_what_a_former_one_does(
    world: World, monkeypatch: pytest.MonkeyPatch, grace: str, status: int
) -> None:
    async def rotate() -> None:
        await world.set(
            """UPDATE api_tokens SET rotation = rotation + 1, rotated_at = now(), hash = %s,
                   previous_until = now() + %s::interval
               WHERE id = %s""",
            os.urandom(32),
            grace,
            id_of(token),
        )

    token = await world.token("AUDIT_READ")
    await world.set("UPDATE api_tokens SET value_used_at = now() WHERE id = %s", id_of(token))
    while_scrypt_is_waited_for(monkeypatch, rotate)
    assert (await world.ask(token, AUDIT)).status == status


async def test_a_token_ends_when_its_time_is_over(world: World) -> None:
    token = await world.token("AUDIT_READ")
    await world.set(
        "UPDATE api_tokens SET created_at = now() - interval '2 days', expires_at = now() WHERE id = %s", id_of(token)
    )
    refused = await world.ask(token, AUDIT)
    assert (refused.status, refused.code) == (401, "api_token_expired")


async def test_a_token_of_a_former_life_of_the_platform_opens_nothing(world: World) -> None:
    token = await world.token("AUDIT_READ")
    await world.set("UPDATE platform_state SET epoch = epoch + 1")
    assert (await world.ask(token, AUDIT)).code == "api_token_revoked"
    await world.set("UPDATE api_tokens SET epoch = epoch + 1")
    assert (await world.ask(token, AUDIT)).status == 200


async def test_another_secret_under_a_known_id_is_as_unknown_as_an_id_that_there_is_not(world: World) -> None:
    token = await world.token("AUDIT_READ")
    guessed = credentials.ApiToken(id_of(token), credentials.Secret.generate(os.urandom)).reveal()
    nowhere = credentials.ApiToken.generate(os.urandom).reveal()
    answers = [await world.ask(each, AUDIT) for each in (guessed, nowhere)]
    assert {(each.status, each.code) for each in answers} == {(401, "api_token_unknown")}
    assert (await world.ask(token, AUDIT)).status == 200


async def test_the_outcome_of_a_slow_comparison_is_kept_so_that_the_next_costs_none(world: World) -> None:
    token = await world.token("AUDIT_READ")
    assert (await world.ask(token, AUDIT)).status == 200

    async def kept() -> bool:
        return bool(await world.value("SELECT fast_value IS NOT NULL FROM api_tokens WHERE id = %s", id_of(token)))

    await eventually(kept)
    assert await world.value("SELECT value_used_at IS NOT NULL FROM api_tokens WHERE id = %s", id_of(token))
    assert (await world.ask(token, AUDIT)).status == 200


async def test_the_former_secret_opens_what_the_current_one_does_until_the_grace_is_over(world: World) -> None:
    token = await world.token("AUDIT_READ")
    newer = credentials.ApiToken(id_of(token), credentials.Secret.generate(os.urandom))
    donor = await world.token("AUDIT_READ")
    await world.set(
        """UPDATE api_tokens t SET rotation = 1, rotated_at = now(), previous_scrypt_n = t.scrypt_n,
               previous_scrypt_r = t.scrypt_r, previous_scrypt_p = t.scrypt_p, previous_salt = t.salt,
               previous_hash = t.hash, previous_until = now() + interval '1 hour', salt = d.salt, hash = d.hash,
               fast_value = NULL, fast_pepper = NULL, fast_until = NULL
           FROM api_tokens d WHERE t.id = %s AND d.id = %s""",
        id_of(token),
        id_of(donor),
    )
    current = credentials.ApiToken(id_of(token), credentials.ApiToken.parse(donor).secret).reveal()
    for each in (token, current, token):
        assert (await world.ask(each, AUDIT)).status == 200
    assert (await world.ask(newer.reveal(), AUDIT)).code == "api_token_unknown"
    await world.set("UPDATE api_tokens SET previous_until = now() WHERE id = %s", id_of(token))
    assert (await world.ask(token, AUDIT)).code == "api_token_unknown"
    assert (await world.ask(current, AUDIT)).status == 200


async def test_a_token_that_was_made_for_it_administers_the_platform_while_its_owner_may(world: World) -> None:
    token = await world.admin_token()
    assert (await world.ask(token, ADMINISTERS)).status == 200
    await world.set("UPDATE platform_admins SET ended_at = now()")
    refused = await world.ask(token, ADMINISTERS)
    assert (refused.status, refused.code) == (403, "ability_missing")


async def test_any_other_token_of_a_platform_admin_does_not(world: World) -> None:
    who, _ = await world.member("CLUSTER_READ")
    await world.granted("admin", who)
    token = (await world.granted("token", who, "--name", "for a program")).token
    assert (await world.ask(token, ADMINISTERS)).code == "ability_missing"
    assert (await world.ask(token, CLUSTER_TOKENS)).status == 200


async def test_who_serves_requests_can_not_make_a_token_that_administers_the_platform(world: World) -> None:
    token = await world.admin_token()
    async with world.database.session("api") as api:
        await api.execute(
            "SELECT set_config('bulkhead.organisation', organisation_id::text, false) FROM api_token(%s)",
            (id_of(token),),
        )
        copied = """
            INSERT INTO api_tokens (id, organisation_id, membership_id, name, abilities, source, scrypt_n, scrypt_r,
                                    scrypt_p, salt, hash, epoch, expires_at, platform_admin)
            SELECT %s, organisation_id, membership_id, 'x', abilities, source, scrypt_n, scrypt_r, scrypt_p, salt,
                   hash, epoch, expires_at, %s
            FROM api_token(%s)"""
        with pytest.raises(errors.InsufficientPrivilege):
            await api.execute(copied, (os.urandom(16).hex(), True, id_of(token)))
        await api.execute(copied, (os.urandom(16).hex(), False, id_of(token)))


async def test_a_credential_of_another_kind_is_told_so(world: World) -> None:
    key = credentials.ServiceKey.generate(os.urandom).reveal()
    token = credentials.RegistrationToken.generate(os.urandom).reveal()
    for bearer, path in ((key, AUDIT), (key, ADMINISTERS), (token, AUDIT), (token, CLUSTER_TOKENS)):
        refused = await world.ask(bearer, path)
        assert (refused.status, refused.code) == (403, "credential_wrong_kind"), path
    assert (await world.ask(key, CLUSTER_TOKENS)).code == "key_unknown"


async def test_a_credential_of_no_form_is_told_so(world: World) -> None:
    mistyped = (await world.token("AUDIT_READ"))[:-1] + "~"
    for bearer in ("hunter2", mistyped, "oat_", "oat_a.b.c"):
        assert (await world.ask(bearer, AUDIT)).code == "credential_malformed"


async def test_many_at_once_with_a_new_token_are_all_served(world: World) -> None:
    token = await world.token("AUDIT_READ")
    answers = await asyncio.gather(*(world.ask(token, AUDIT) for _ in range(20)))
    assert {each.status for each in answers} == {200}


async def test_whoever_has_a_long_name_at_a_provider_with_a_long_one_mints_like_everybody(world: World) -> None:
    who, where = await world.member("CLUSTER_WRITE", subject="s" * 255)
    token = (await world.granted("token", who, "--name", "laptop")).token
    organisation = await world.value("SELECT id FROM organisations WHERE name = %s", where)
    issuer, plane = await world.rows.issuer(organisation, url=f"https://{'i' * 500}"), await world.rows.plane()
    await world.set("UPDATE memberships SET issuer_id = %s WHERE subject = %s", issuer, who)
    await world.rows.grant(organisation, plane)
    body = {
        "kind": "cluster",
        "name": "acme",
        "seconds": 60,
        "plane": str(plane),
        "uid": str(uuid4()),
        "tenant": {"name": "acme", "uid": str(uuid4())},
    }
    assert (await world.ask(token, CLUSTER_TOKENS, "POST", body)).status == 201
