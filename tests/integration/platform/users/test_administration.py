"""What platform admins do by the API, and what nobody else can."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from bulkhead.platform.audit.export import RevocationLine, Revoked, lines
from bulkhead.platform.users.granting import Given, Granting
from tests.integration.platform.server import Database
from tests.integration.platform.users.people import AUDIT, Answered, World
from tests.integration.platform.users.people import world as made


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="module")
async def world(database: Database, exported: Path) -> AsyncIterator[World]:
    async with made(database, ALLOWED_ADDRESSES="127.0.0.0/8", EXPORT_DIRECTORY=str(exported)) as one:
        yield one


@pytest.fixture(scope="module")
async def admin(world: World) -> str:
    return await world.admin_token()


def kept(exported: Path, what: Revoked) -> set[str]:
    """Ids of what the export says was revoked."""
    found = lines(exported)
    return {line.id for line in found if isinstance(line, RevocationLine) and line.what is what}


async def organisation(world: World, admin: str) -> str:
    answered = await world.ask(admin, "/v1/organisations", "POST", {"name": f"acme {uuid4()}"})
    assert answered.status == 201, answered
    return str(answered.body["id"])


async def put_member(world: World, admin: str, where: str, **others: Any) -> Answered:
    body = {"issuer": "urn:bulkhead:local", "subject": f"ada {uuid4()}", "abilities": ["AUDIT_READ"], **others}
    return await world.ask(admin, f"/v1/organisations/{where}/members", "PUT", body)


async def test_an_organisation_is_made_once_and_listed(world: World, admin: str) -> None:
    body = {"name": f"acme {uuid4()}"}
    first = await world.ask(admin, "/v1/organisations", "POST", body)
    again = await world.ask(admin, "/v1/organisations", "POST", body)
    assert (first.status, again.status) == (201, 200)
    assert first.body["id"] == again.body["id"]
    listed = (await world.ask(admin, "/v1/organisations?limit=200")).body["organisations"]
    assert first.body in listed


async def test_a_grant_of_a_plane_is_given_listed_withdrawn_and_kept_beyond_the_database(
    world: World, admin: str, exported: Path
) -> None:
    where, plane = await organisation(world, admin), str(await world.rows.plane())
    path = f"/v1/grants/{plane}/organisations/{where}"
    assert [(await world.ask(admin, path, "PUT")).status for _ in range(2)] == [204, 204]
    (grant,) = (await world.ask(admin, f"/v1/grants/{plane}")).body["grants"]
    assert (grant["organisation"], grant["withdrawnAt"]) == (where, None)
    assert (await world.ask(admin, path, "DELETE")).status == 204
    assert (await world.ask(admin, path, "DELETE")).status == 404
    (grant,) = (await world.ask(admin, f"/v1/grants/{plane}")).body["grants"]
    assert grant["withdrawnAt"]
    assert plane in kept(exported, Revoked.PLANE_GRANT)


async def test_a_tenant_is_mapped_only_where_its_plane_is_granted_and_taken_from_nobody(
    world: World, admin: str
) -> None:
    mine, others = await organisation(world, admin), await organisation(world, admin)
    plane = str(await world.rows.plane())
    path = f"/v1/grants/{plane}/tenants/acme"
    assert (await world.ask(admin, path, "PUT", {"organisation": mine})).code == "grant_missing"
    for where in (mine, others):
        await world.ask(admin, f"/v1/grants/{plane}/organisations/{where}", "PUT")
    assert (await world.ask(admin, path, "PUT", {"organisation": mine})).status == 204
    assert (await world.ask(admin, path, "PUT", {"organisation": others})).code == "conflict"
    (tenant,) = (await world.ask(admin, f"/v1/grants/{plane}/tenants")).body["tenants"]
    assert (tenant["tenant"], tenant["organisation"], tenant["bound"]) == ("acme", mine, False)
    assert (await world.ask(admin, path, "DELETE")).status == 204
    assert (await world.ask(admin, path, "PUT", {"organisation": others})).status == 204


async def test_a_membership_that_is_ended_takes_its_tokens_along_and_is_kept_beyond_the_database(
    world: World, admin: str, exported: Path
) -> None:
    who, _ = await world.member("AUDIT_READ")
    token = (await world.granted("token", who, "--name", "laptop")).token
    where = await world.value("SELECT organisation_id::text FROM memberships WHERE subject = %s", who)
    (member,) = (await world.ask(admin, f"/v1/organisations/{where}/members")).body["members"]
    assert (await world.ask(token, AUDIT)).status == 200
    path = f"/v1/organisations/{where}/members/{member['id']}"
    assert (await world.ask(admin, path, "DELETE")).status == 204
    assert (await world.ask(token, AUDIT)).code == "api_token_revoked"
    assert member["id"] in kept(exported, Revoked.MEMBERSHIP)
    assert (await world.ask(admin, path, "DELETE")).status == 404


async def test_a_member_is_set_to_what_was_said_last(world: World, admin: str) -> None:
    where = await organisation(world, admin)
    issuer = "https://login.example.com"
    body = {"url": issuer, "audiences": ["bulkhead"], "organisations": [where]}
    assert (await world.ask(admin, "/v1/issuers", "PUT", body)).status == 200
    first = await put_member(world, admin, where, issuer=issuer, subject="ada")
    assert first.status == 200, first
    second = await put_member(world, admin, where, issuer=issuer, subject="ada", abilities=["CLUSTER_READ"])
    assert second.body["abilities"] == ["CLUSTER_READ"]
    assert second.body["id"] == first.body["id"]


async def test_a_member_of_another_organisation_is_not_taken_away(world: World, admin: str) -> None:
    mine, others = await organisation(world, admin), await organisation(world, admin)
    issuer = f"https://{uuid4()}.example.com"
    body = {"url": issuer, "audiences": ["bulkhead"], "organisations": [mine, others]}
    await world.ask(admin, "/v1/issuers", "PUT", body)
    assert (await put_member(world, admin, mine, issuer=issuer, subject="ada")).status == 200
    assert (await put_member(world, admin, others, issuer=issuer, subject="ada")).code == "conflict"


async def test_an_issuer_names_members_only_where_it_may_speak(world: World, admin: str) -> None:
    where, issuer = await organisation(world, admin), f"https://{uuid4()}.example.com"
    await world.ask(admin, "/v1/issuers", "PUT", {"url": issuer, "audiences": ["bulkhead"]})
    assert (await put_member(world, admin, where, issuer=issuer)).code == "conflict"


async def test_an_issuer_is_changed_and_disabled_and_that_is_kept_beyond_the_database(
    world: World, admin: str, exported: Path
) -> None:
    url = f"https://{uuid4()}.example.com"
    put = await world.ask(admin, "/v1/issuers", "PUT", {"url": url, "audiences": ["a"]})
    assert (put.body["algorithms"], put.body["disabledAt"]) == (["RS256", "ES256"], None)
    changed = await world.ask(admin, "/v1/issuers", "PUT", {"url": url, "audiences": ["b"], "algorithms": ["EdDSA"]})
    assert (changed.body["id"], changed.body["audiences"]) == (put.body["id"], ["b"])
    assert (await world.ask(admin, f"/v1/issuers/{put.body['id']}", "DELETE")).status == 204
    assert put.body["id"] in kept(exported, Revoked.ISSUER)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an address of ours": ({"url": "https://169.254.169.254/"}, "address_refused"),
    "a private address": ({"url": "https://10.0.0.1/"}, "address_refused"),
    "another scheme": ({"url": "file:///etc/passwd"}, "address_refused"),
    "a password": ({"url": "https://u:p@login.example.com"}, "address_refused"),
    "no signature": ({"algorithms": ["none"]}, "body_invalid"),
    "a shared secret": ({"algorithms": ["HS256"]}, "body_invalid"),
    "no audience": ({"audiences": []}, "body_invalid"),
    "an organisation that there is not": ({"organisations": [str(UUID(int=1))]}, "not_found"),
}


@pytest.mark.parametrize(("others", "code"), REFUSED.values(), ids=REFUSED.keys())
async def test_an_issuer_that_could_not_be_believed_is_refused(
    world: World, admin: str, others: dict[str, Any], code: str
) -> None:
    body = {"url": "https://login2.example.com", "audiences": ["bulkhead"], **others}
    assert (await world.ask(admin, "/v1/issuers", "PUT", body)).code == code


async def test_what_there_is_not_is_told_so(world: World, admin: str) -> None:
    nowhere, where = str(UUID(int=1)), await organisation(world, admin)
    calls: tuple[tuple[str, str, dict[str, Any] | None], ...] = (
        (f"/v1/grants/{nowhere}/organisations/{where}", "PUT", None),
        (f"/v1/grants/{nowhere}/organisations/{nowhere}", "PUT", None),
        (f"/v1/grants/{nowhere}/tenants/acme", "DELETE", None),
        (f"/v1/issuers/{nowhere}", "DELETE", None),
        (f"/v1/organisations/{where}/members/{nowhere}", "DELETE", None),
    )
    for path, method, body in calls:
        assert (await world.ask(admin, path, method, body)).status == 404, path
    assert (await put_member(world, admin, nowhere)).status == 404


STRANGE: tuple[dict[str, Any], ...] = (
    {"name": "a\0b"},
    {"issuer": "urn:\0"},
    {"subject": "a\nb"},
    {"abilities": ["ALL"]},
)


@pytest.mark.parametrize("others", STRANGE)
async def test_what_no_database_takes_is_refused_before_it(world: World, admin: str, others: dict[str, Any]) -> None:
    refused = await put_member(world, admin, await organisation(world, admin), **others)
    assert refused.code == "body_invalid"


async def test_every_act_is_recorded_for_whom_it_concerns(world: World, admin: str) -> None:
    where, plane = await organisation(world, admin), str(await world.rows.plane())
    path = f"/v1/grants/{plane}/organisations/{where}"
    await world.ask(admin, path, "PUT")
    await world.ask(admin, path, "DELETE")
    acts = await world.value("SELECT array_agg(action ORDER BY id) FROM audit_intake WHERE organisation_id = %s", where)
    assert acts == ["organisation.created", "plane.granted", "plane.grant_withdrawn"]


async def test_no_member_whatever_they_may_administers_anything(world: World) -> None:
    token = await world.token(
        "CLUSTER_READ", "CLUSTER_WRITE", "DATASET_READ", "DATASET_WRITE", "TOKEN_ADMIN", "AUDIT_READ"
    )
    for path in ("/v1/organisations", "/v1/issuers", f"/v1/grants/{UUID(int=1)}"):
        assert (await world.ask(token, path)).code == "ability_missing"


async def test_a_provider_that_is_believed_again_brings_back_nobody(world: World, admin: str, exported: Path) -> None:
    mine, others = await organisation(world, admin), await organisation(world, admin)
    url = f"https://{uuid4()}.example.com"
    body = {"url": url, "audiences": ["bulkhead"], "organisations": [mine, others]}
    issuer = (await world.ask(admin, "/v1/issuers", "PUT", body)).body["id"]
    for where, who in ((mine, "ada"), (others, "bob")):
        assert (await put_member(world, admin, where, issuer=url, subject=who)).status == 200
    assert (await world.ask(admin, f"/v1/issuers/{issuer}", "DELETE")).status == 204
    assert issuer in kept(exported, Revoked.ISSUER_ORGANISATION)

    again = await world.ask(admin, "/v1/issuers", "PUT", {**body, "organisations": [mine]})
    assert (again.body["id"], again.body["organisations"]) == (issuer, [mine])
    assert (await world.ask(admin, f"/v1/organisations/{mine}/members")).body["members"] == []
    assert (await put_member(world, admin, others, issuer=url, subject="bob")).code == "conflict"
    assert (await put_member(world, admin, mine, issuer=url, subject="ada")).status == 200
    living = "SELECT count(*) FROM memberships WHERE issuer_id = %s AND organisation_id = %s AND ended_at IS NULL"
    assert await world.value(living, issuer, mine) == 1


async def test_a_provider_that_is_disabled_before_it_is_bound_speaks_for_nobody_once_it_is_believed_again(
    world: World, admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(granting: Granting, issuer: UUID, organisation: UUID, url: str) -> Given:
        assert (await world.ask(admin, f"/v1/issuers/{issuer}", "DELETE")).status == 204
        return await speaks_for(granting, issuer, organisation, url)

    speaks_for = Granting.speaks_for
    body = {"url": f"https://{uuid4()}.example.com", "audiences": ["bulkhead"]}
    with monkeypatch.context() as overtaken:
        overtaken.setattr(Granting, "speaks_for", late)
        where = await organisation(world, admin)
        assert (await world.ask(admin, "/v1/issuers", "PUT", {**body, "organisations": [where]})).code == "not_found"
    assert (await world.ask(admin, "/v1/issuers", "PUT", body)).body["organisations"] == []


async def test_nobody_disables_a_provider_that_is_being_bound(
    world: World, admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def looked_at(granting: Granting, issuer: UUID, organisation: UUID, url: str) -> Given:
        bound = await speaks_for(granting, issuer, organisation, url)
        free = "SELECT count(*) FROM (SELECT FROM issuers WHERE id = %s FOR NO KEY UPDATE SKIP LOCKED) free"
        found.append(await world.value(free, issuer))
        return bound

    found: list[int] = []
    speaks_for = Granting.speaks_for
    monkeypatch.setattr(Granting, "speaks_for", looked_at)
    body = {"url": f"https://{uuid4()}.example.com", "audiences": ["bulkhead"]}
    where = await organisation(world, admin)
    assert (await world.ask(admin, "/v1/issuers", "PUT", {**body, "organisations": [where]})).status == 200
    assert found == [0]


async def test_to_name_an_organisation_of_a_provider_again_ends_no_membership(world: World, admin: str) -> None:
    where, url = await organisation(world, admin), f"https://{uuid4()}.example.com"
    body = {"url": url, "audiences": ["bulkhead"], "organisations": [where]}
    await world.ask(admin, "/v1/issuers", "PUT", body)
    assert (await put_member(world, admin, where, issuer=url, subject="ada")).status == 200
    await world.ask(admin, "/v1/issuers", "PUT", {**body, "audiences": ["other"]})
    members = (await world.ask(admin, f"/v1/organisations/{where}/members")).body["members"]
    assert [each["subject"] for each in members] == ["ada"]


async def test_a_provider_speaks_for_an_organisation_no_more_and_for_others_still(
    world: World, admin: str, exported: Path
) -> None:
    mine, others = await organisation(world, admin), await organisation(world, admin)
    url = f"https://{uuid4()}.example.com"
    body = {"url": url, "audiences": ["bulkhead"], "organisations": [mine, others]}
    issuer = (await world.ask(admin, "/v1/issuers", "PUT", body)).body["id"]
    assert (await put_member(world, admin, mine, issuer=url, subject="ada")).status == 200
    path = f"/v1/issuers/{issuer}/organisations/{mine}"
    assert [(await world.ask(admin, path, "DELETE")).status for _ in range(2)] == [204, 404]
    assert issuer in kept(exported, Revoked.ISSUER_ORGANISATION)
    known = await world.value("SELECT count(*) FROM membership(%s, 'ada')", url)
    assert known == 0
    assert (await put_member(world, admin, others, issuer=url, subject="bob")).status == 200
    await world.ask(admin, "/v1/issuers", "PUT", body)
    assert (await world.ask(admin, f"/v1/organisations/{mine}/members")).body["members"] == []
