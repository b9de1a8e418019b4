"""`bulkhead platform grant`, as somebody types it who never saw it before."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from tests.integration.platform.server import Database, rows
from tests.integration.platform.users.people import ADMINISTERS, CLUSTER_TOKENS, World, grant, id_of


async def acts(world: World, target: str) -> list[str]:
    """What the audit holds about a target, in order."""
    found = await rows(
        world.session,
        """SELECT action, convert_from(entry, 'UTF8')::jsonb->'actor'->>'kind' FROM audit_intake
           WHERE convert_from(entry, 'UTF8')::jsonb->'target'->>'id' = %s
              OR convert_from(entry, 'UTF8')::jsonb->'target'->>'name' = %s ORDER BY id""",
        (target, target),
    )
    assert {actor for _, actor in found} <= {"command_line"}
    return [action for action, _ in found]


async def test_from_nothing_to_a_token_that_administers_the_platform(world: World) -> None:
    await world.granted("organisation", "first")
    await world.granted("member", "root", "--organisation", "first", "--ability", "CLUSTER_READ")
    await world.granted("admin", "root")
    said = await world.granted("token", "root", "--name", "laptop", "--platform-admin")
    assert "may CLUSTER_READ, administer the platform" in said.out
    assert (await world.ask(said.token, ADMINISTERS)).status == 200
    assert await acts(world, "first") == ["organisation.created"]
    assert await acts(world, "root") == ["member.added", "platform_admin.added"]
    assert await acts(world, id_of(said.token)) == ["api_token.minted"]


async def test_the_secret_of_a_token_is_shown_once_and_kept_nowhere(world: World) -> None:
    token = await world.token("CLUSTER_READ")
    secret = token.split("_")[2]
    found = await rows(world.session, "SELECT t::text FROM api_tokens t UNION ALL SELECT a::text FROM audit_intake a")
    assert not [text for (text,) in found if secret in text]


async def test_to_say_it_twice_changes_nothing_and_is_recorded_once(world: World) -> None:
    who, where = await world.member("CLUSTER_READ")
    plane = await world.rows.plane()
    commands = (
        ("organisation", where),
        ("member", who, "--organisation", where, "--ability", "CLUSTER_READ"),
        ("admin", who),
        ("plane", str(plane), "--organisation", where),
        ("tenant", "acme", "--plane", str(plane), "--organisation", where),
        ("issuer", f"https://{where}.example.com", "--audience", "bulkhead", "--organisation", where),
    )
    for words in commands:
        await world.granted(*words)
    count = await world.value("SELECT count(*) FROM audit_intake")
    for words in commands:
        said = await world.granted(*words)
        assert "was so already" in said.out
        assert ": granted" not in said.out
    assert await world.value("SELECT count(*) FROM audit_intake") == count


async def test_a_member_whose_abilities_change_has_exactly_those_that_were_said_last(world: World) -> None:
    who, where = await world.member("CLUSTER_READ", "CLUSTER_WRITE")
    await world.granted("member", who, "--organisation", where, "--ability", "AUDIT_READ")
    assert await world.value("SELECT abilities FROM memberships WHERE subject = %s", who) == ["AUDIT_READ"]
    assert await acts(world, who) == ["member.added", "member.changed"]


async def test_a_grant_that_was_withdrawn_can_be_given_again(world: World) -> None:
    _, where = await world.member("CLUSTER_READ")
    plane = await world.rows.plane()
    await world.granted("plane", str(plane), "--organisation", where)
    await world.set("UPDATE plane_grants SET revoked_at = now() WHERE plane_id = %s", plane)
    assert ": granted" in (await world.granted("plane", str(plane), "--organisation", where)).out
    assert await world.value("SELECT revoked_at IS NULL FROM plane_grants WHERE plane_id = %s", plane)


async def test_another_organisations_tenant_is_not_taken_away(world: World) -> None:
    _, mine = await world.member("CLUSTER_READ")
    _, others = await world.member("CLUSTER_READ")
    plane = await world.rows.plane()
    for where in (mine, others):
        await world.granted("plane", str(plane), "--organisation", where)
    await world.granted("tenant", "acme", "--plane", str(plane), "--organisation", mine)
    refused = await world.grant("tenant", "acme", "--plane", str(plane), "--organisation", others)
    assert (refused.status, refused.out) == (1, "")
    assert "another organisation" in refused.err


async def test_a_member_of_another_organisation_is_not_taken_away(world: World) -> None:
    who, _ = await world.member("CLUSTER_READ")
    _, others = await world.member("CLUSTER_READ")
    refused = await world.grant("member", who, "--organisation", others, "--ability", "CLUSTER_READ")
    assert refused.status == 1
    assert "another organisation" in refused.err


WRONG = {
    "an organisation that there is not": (
        ("member", "ada", "--organisation", "nowhere", "--ability", "CLUSTER_READ"),
        "no organisation 'nowhere'",
    ),
    "a plane that never joined": (("plane", str(UUID(int=1)), "--organisation", "{where}"), "has joined"),
    "a tenant of a plane without a grant": (
        ("tenant", "acme", "--plane", str(UUID(int=1)), "--organisation", "{where}"),
        "grant the plane",
    ),
    "an issuer that there is not": (("admin", "ada", "--issuer", "https://nobody.example.com"), "no issuer"),
    "a token of who is no member": (("token", "nobody", "--name", "x"), "`grant member` comes first"),
    "a token that can do more than its member": (
        ("token", "{who}", "--name", "x", "--ability", "AUDIT_READ"),
        "lacks AUDIT_READ",
    ),
    "a token that administers for who does not": (
        ("token", "{who}", "--name", "x", "--platform-admin"),
        "`grant admin` comes first",
    ),
}


@pytest.mark.parametrize(("words", "told"), WRONG.values(), ids=WRONG.keys())
async def test_what_is_in_the_way_is_told_and_nothing_is_changed(
    world: World, words: tuple[str, ...], told: str
) -> None:
    who, where = await world.member("CLUSTER_READ")
    count = await world.value("SELECT count(*) FROM audit_intake")
    refused = await world.grant(*(word.format(who=who, where=where) for word in words))
    assert refused.status == 1, refused
    assert told in refused.err
    assert len(refused.err.splitlines()) == 1
    assert await world.value("SELECT count(*) FROM audit_intake") == count


MISTYPED = (
    ("plane", "not-a-uuid", "--organisation", "x"),
    ("member", "ada", "--organisation", "x", "--ability", "EVERYTHING"),
    ("token", "ada", "--name", "x", "--days", "0"),
    ("token", "ada", "--name", "x", "--source", "robot"),
    ("organisation", "line\nbreak"),
    ("issuer", "ftp://login.example.com", "--audience", "a", "--organisation", "x"),
    ("issuer", "https://u:p@login.example.com", "--audience", "a", "--organisation", "x"),
)


@pytest.mark.parametrize("words", MISTYPED, ids=[" ".join(words)[:30] for words in MISTYPED])
async def test_what_is_mistyped_is_refused_before_the_database_is_asked(world: World, words: tuple[str, ...]) -> None:
    refused = await world.grant(*words)
    assert refused.status == 2
    assert "usage: bulkhead platform grant" in refused.err


async def test_the_help_leads_a_newcomer_to_the_first_token(world: World) -> None:
    said = await world.granted("--help")
    steps = ("grant organisation", "grant member", "grant admin", "grant token", "grant plane", "grant issuer")
    places = [said.out.index(step) for step in steps]
    assert places == sorted(places)


async def test_a_database_that_was_never_migrated_is_told_so(database: Database) -> None:
    async with database.server.empty_database() as empty:
        refused = await grant(empty, "organisation", str(uuid4()))
        assert refused.status == 1
        assert "bulkhead platform migrate" in refused.err


async def test_who_administers_the_platform_no_more_does_so_at_no_further_call(world: World) -> None:
    who, _ = await world.member("CLUSTER_READ")
    await world.granted("admin", who)
    token = (await world.granted("token", who, "--name", "root", "--platform-admin")).token
    assert (await world.ask(token, ADMINISTERS)).status == 200
    assert "ended" in (await world.granted("admin", who, "--end")).out
    assert (await world.ask(token, ADMINISTERS)).code == "ability_missing"
    assert (await world.ask(token, CLUSTER_TOKENS)).status == 200
    assert "is none" in (await world.granted("admin", who, "--end")).out
    assert await acts(world, who) == ["member.added", "platform_admin.added", "platform_admin.ended"]
