"""API tokens as people manage them: nobody gets more by one than they had, and what ends ends at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.integration.platform.server import Database, rows
from tests.integration.platform.users.people import AUDIT, CLUSTER_TOKENS, Answered, World, ask, id_of, replica
from tests.world import eventually

TOKENS = "/v1/tokens"
ALL = ("AUDIT_READ", "CLUSTER_READ", "TOKEN_ADMIN")


async def mint(world: World, bearer: str, *abilities: str, **others: Any) -> Answered:
    body = {"name": "child", "abilities": list(abilities), "seconds": 3600, **others}
    return await world.ask(bearer, TOKENS, "POST", body)


async def minted(world: World, bearer: str, *abilities: str, **others: Any) -> str:
    answered = await mint(world, bearer, *abilities, **others)
    assert answered.status == 201, answered
    return str(answered.body["token"])


async def rotate(world: World, bearer: str, token: str, **others: Any) -> Answered:
    return await world.ask(bearer, f"{TOKENS}/{id_of(token)}/rotation", "POST", others)


async def test_what_is_minted_opens_what_was_asked_for_at_once(world: World) -> None:
    token = await minted(world, await world.token(*ALL), "AUDIT_READ")
    assert (await world.ask(token, AUDIT)).status == 200
    assert (await world.ask(token, CLUSTER_TOKENS)).code == "ability_missing"


async def test_nobody_mints_an_ability_that_they_lack(world: World) -> None:
    parent = await world.token("TOKEN_ADMIN", "CLUSTER_READ")
    for asked in (("AUDIT_READ",), ("CLUSTER_READ", "DATASET_WRITE")):
        refused = await mint(world, parent, *asked)
        assert (refused.status, refused.code) == (403, "ability_missing")


async def test_what_the_membership_lost_can_not_be_minted_any_more(world: World) -> None:
    who, where = await world.member(*ALL)
    parent = (await world.granted("token", who, "--name", "laptop")).token
    words = ("--ability", "TOKEN_ADMIN", "--ability", "CLUSTER_READ")
    await world.granted("member", who, "--organisation", where, *words)
    assert (await mint(world, parent, "AUDIT_READ")).code == "ability_missing"


async def test_without_the_ability_nobody_mints_lists_rotates_or_revokes(world: World) -> None:
    token = await world.token("AUDIT_READ", "CLUSTER_READ")
    answers = [
        await mint(world, token, "AUDIT_READ"),
        await world.ask(token, TOKENS),
        await rotate(world, token, token),
        await world.ask(token, f"{TOKENS}/{id_of(token)}", "DELETE"),
    ]
    assert {each.code for each in answers} == {"ability_missing"}


async def test_a_program_mints_for_programs_of_its_kind_alone(world: World) -> None:
    person = await world.token(*ALL)
    worker = await minted(world, person, *ALL, source="worker")
    assert (await mint(world, worker, "AUDIT_READ", source="worker")).status == 201
    for source in ("human", "mcp"):
        assert (await mint(world, worker, "AUDIT_READ", source=source)).code == "ability_missing"


async def test_what_is_minted_ends_with_its_minter_at_the_latest(world: World) -> None:
    parent = await world.token(*ALL)
    child = await minted(world, await minted(world, parent, *ALL, seconds=600), *ALL, seconds=86400)
    left = await world.value("SELECT expires_at - now() < interval '601 s' FROM api_tokens WHERE id = %s", id_of(child))
    assert left


async def test_with_a_token_all_that_it_minted_is_revoked_to_the_last(world: World, database: Database) -> None:
    owner = await world.token(*ALL)
    line = [await minted(world, owner, *ALL)]
    for _ in range(3):
        line.append(await minted(world, line[-1], *ALL))
    beside = await minted(world, owner, *ALL)
    async with replica(database) as other:
        assert (await ask(other, line[-1], AUDIT)).status == 200
        assert (await world.ask(owner, f"{TOKENS}/{id_of(line[0])}", "DELETE")).status == 204
        for token in line:
            assert (await ask(other, token, AUDIT)).code == "api_token_revoked"
        for token in (owner, beside):
            assert (await ask(other, token, AUDIT)).status == 200
    told = await rows(world.session, "SELECT data->>'token' FROM events WHERE type = 'api_token.revoked'")
    assert {id_of(token) for token in line} <= {token for (token,) in told}


async def test_what_is_being_minted_while_its_minter_is_revoked_is_revoked_too(
    world: World, database: Database
) -> None:
    who, _ = await world.member(*ALL)
    owner, minter, child = [(await world.granted("token", who, "--name", "laptop")).token for _ in range(3)]
    async with database.superuser() as minting:
        await minting.execute("BEGIN")
        await minting.execute("SELECT FROM api_tokens WHERE id = %s FOR SHARE", (id_of(minter),))
        await minting.execute("UPDATE api_tokens SET minted_by_token = %s WHERE id = %s", (id_of(minter), id_of(child)))
        revoking = asyncio.create_task(world.ask(owner, f"{TOKENS}/{id_of(minter)}", "DELETE"))
        await eventually(lambda: world.value("SELECT count(*) FROM pg_locks WHERE NOT granted"))
        await minting.execute("COMMIT")
        assert (await revoking).status == 204
    assert await world.value("SELECT revoked_at IS NOT NULL FROM api_tokens WHERE id = %s", id_of(child))


async def test_to_revoke_twice_is_as_to_revoke_once(world: World) -> None:
    owner = await world.token(*ALL)
    path = f"{TOKENS}/{id_of(await minted(world, owner, 'AUDIT_READ'))}"
    assert [(await world.ask(owner, path, "DELETE")).status for _ in range(2)] == [204, 204]
    told = "SELECT count(*) FROM events WHERE type = 'api_token.revoked' AND data->>'token' = %s"
    assert await world.value(told, path.rpartition("/")[2]) == 1


async def test_another_organisations_token_is_not_there(world: World) -> None:
    mine, others = await world.token(*ALL), await world.token(*ALL)
    assert (await world.ask(mine, f"{TOKENS}/{id_of(others)}", "DELETE")).status == 404
    assert (await rotate(world, mine, others)).status == 404
    listed = (await world.ask(mine, TOKENS)).body["tokens"]
    assert [each["id"] for each in listed] == [id_of(mine)]


async def test_what_can_be_no_id_is_not_there(world: World) -> None:
    owner = await world.token(*ALL)
    for id_ in ("%00", "%F0%9F%94%91", "A" * 32, f"{id_of(owner)}0"):
        assert (await world.ask(owner, f"{TOKENS}/{id_}", "DELETE")).status in {400, 404}


async def test_a_list_holds_no_value_and_comes_in_pages(world: World) -> None:
    owner = await world.token(*ALL)
    made = [id_of(owner)] + [id_of(await minted(world, owner, "AUDIT_READ")) for _ in range(4)]
    found: list[str] = []
    after = ""
    while True:
        page = (await world.ask(owner, f"{TOKENS}?limit=2{after}")).body
        found += [each["id"] for each in page["tokens"]]
        assert not [each for each in page["tokens"] if {"token", "hash", "salt"} & each.keys()]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert found == made


async def test_a_rotated_token_has_two_secrets_until_the_grace_is_over(world: World) -> None:
    old = await world.token(*ALL)
    assert (await world.ask(old, AUDIT)).status == 200
    rotated = await rotate(world, old, old, grace=600)
    assert rotated.status == 200, rotated
    new = rotated.body["token"]
    assert id_of(new) == id_of(old)
    assert new != old
    for token in (old, new, old):
        assert (await world.ask(token, AUDIT)).status == 200
    await world.set("UPDATE api_tokens SET previous_until = now() WHERE id = %s", id_of(old))
    assert (await world.ask(old, AUDIT)).code == "api_token_unknown"
    assert (await world.ask(new, AUDIT)).status == 200


async def test_without_grace_the_former_secret_ends_at_once(world: World) -> None:
    old = await world.token(*ALL)
    new = (await rotate(world, old, old, grace=0)).body["token"]
    assert (await world.ask(old, AUDIT)).code == "api_token_unknown"
    assert (await world.ask(new, AUDIT)).status == 200


async def test_a_rotation_whose_answer_was_lost_is_made_again_with_the_secret_that_is_known(world: World) -> None:
    known = await world.token(*ALL)
    lost = (await rotate(world, known, known)).body["token"]
    new = (await rotate(world, known, known)).body["token"]
    assert (await world.ask(known, AUDIT)).status == 200
    assert (await world.ask(new, AUDIT)).status == 200
    assert (await world.ask(lost, AUDIT)).code == "api_token_unknown"


async def test_of_rotations_at_once_one_secret_stays(world: World) -> None:
    known = await world.token(*ALL)
    answers = await asyncio.gather(*(rotate(world, known, known) for _ in range(4)))
    made = [each.body["token"] for each in answers if each.status == 200]
    assert made
    good = [token for token in made if (await world.ask(token, AUDIT)).status == 200]
    assert len(good) == 1


async def test_nobody_takes_over_a_token_by_rotating_it(world: World) -> None:
    who, where = await world.member(*ALL)
    mine = (await world.granted("token", who, "--name", "laptop")).token
    beside = (await world.granted("token", who, "--name", "another")).token
    child = await minted(world, mine, *ALL)
    colleague = f"{who}-2"
    words = [word for ability in ALL for word in ("--ability", ability)]
    await world.granted("member", colleague, "--organisation", where, *words)
    other = (await world.granted("token", colleague, "--name", "laptop")).token
    for bearer, token in ((other, mine), (child, mine), (mine, beside), (beside, child)):
        assert (await rotate(world, bearer, token)).status == 404
    assert (await rotate(world, mine, child)).status == 200


async def test_a_program_does_not_rotate_what_a_person_uses(world: World) -> None:
    worker = await minted(world, await world.token(*ALL), *ALL, source="worker")
    person = await minted(world, await world.token(*ALL), *ALL)
    assert (await rotate(world, worker, person)).status == 404


async def test_a_member_has_a_bounded_number_of_living_tokens(world: World) -> None:
    owner = await world.token(*ALL)
    await world.set(
        """INSERT INTO api_tokens (id, organisation_id, membership_id, name, abilities, source, scrypt_n, scrypt_r,
                                   scrypt_p, salt, hash, epoch, expires_at)
           SELECT md5(id || n), organisation_id, membership_id, name, abilities, source, scrypt_n, scrypt_r, scrypt_p,
                  salt, hash, epoch, expires_at
           FROM api_tokens, generate_series(1, 49) n WHERE id = %s""",
        id_of(owner),
    )
    assert (await mint(world, owner, "AUDIT_READ")).code == "limit_reached"


WRONG: dict[str, dict[str, Any]] = {
    "no ability": {"abilities": []},
    "an ability that there is not": {"abilities": ["PLATFORM_ADMIN"]},
    "a life that is too long": {"seconds": 367 * 86400},
    "a life that is over": {"seconds": 0},
    "no name": {"name": ""},
    "a name of control characters": {"name": "a\nb"},
    "another's membership": {"membership": "x"},
    "platform administration": {"platformAdmin": True},
}


@pytest.mark.parametrize("others", WRONG.values(), ids=WRONG.keys())
async def test_what_is_not_of_the_form_is_refused(world: World, others: dict[str, Any]) -> None:
    owner = await world.token(*ALL)
    body = {"name": "child", "abilities": ["AUDIT_READ"], "seconds": 600, **others}
    assert (await world.ask(owner, TOKENS, "POST", body)).code == "body_invalid"


async def test_values_are_in_no_audit_row_and_no_event(world: World) -> None:
    owner = await world.token(*ALL)
    child = await minted(world, owner, *ALL)
    new = (await rotate(world, child, child)).body["token"]
    await world.ask(owner, f"{TOKENS}/{id_of(child)}", "DELETE")
    found = await rows(
        world.session, "SELECT convert_from(entry, 'UTF8') FROM audit_intake UNION ALL SELECT data::text FROM events"
    )
    for token in (owner, child, new):
        assert not [text for (text,) in found if token.split("_")[2] in text]
