"""People by their identity provider, through the front of the service that ships."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.integration.platform.server import Database
from tests.integration.platform.users.people import ADMINISTERS, AUDIT, CLUSTER_TOKENS, World, ask, replica
from tests.integration.platform.users.people import world as made
from tests.integration.platform.users.provider import (
    AUDIENCE,
    Provider,
    another_key,
    logged_in,
    real_provider,
)
from tests.integration.platform.users.provider import provider as running_provider

LOOPBACK = {"ALLOWED_ADDRESSES": "127.0.0.0/8"}

Make = Callable[[Provider], str]


@pytest.fixture(scope="module")
async def world(database: Database) -> AsyncIterator[World]:
    async with made(database, **LOOPBACK) as one:
        yield one


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with running_provider() as one:
        yield one


async def believed(world: World, issuer: str, *abilities: str, subject: str = "ada") -> str:
    """The name of a new organisation, with this issuer and one member of it."""
    where = f"acme-{uuid4()}"
    await world.granted("organisation", where)
    await world.granted("issuer", issuer, "--audience", AUDIENCE, "--organisation", where)
    words = [word for ability in abilities or ("AUDIT_READ",) for word in ("--ability", ability)]
    await world.granted("member", subject, "--issuer", issuer, "--organisation", where, *words)
    return where


async def test_who_logs_in_at_a_real_provider_is_who_the_platform_knows(world: World) -> None:
    async with real_provider() as issuer:
        await believed(world, issuer, "AUDIT_READ", subject="grace")
        token = await logged_in(issuer, "grace")
        assert (await world.ask(token, AUDIT)).status == 200
        assert (await world.ask(token, CLUSTER_TOKENS)).code == "ability_missing"
        stranger = await logged_in(issuer, "mallory")
        assert (await world.ask(stranger, AUDIT)).code == "membership_missing"
        elsewhere = await logged_in(issuer, "grace", client="another-application")
        refused = await world.ask(elsewhere, AUDIT)
        assert (refused.status, refused.code) == (401, "login_invalid")


async def test_a_member_who_is_ended_is_refused_at_the_next_call(world: World, provider: Provider) -> None:
    await believed(world, provider.url)
    token = provider.token()
    assert (await world.ask(token, AUDIT)).status == 200
    await world.set(
        """UPDATE memberships SET ended_at = now() FROM issuers i WHERE i.id = issuer_id AND i.url = %s""", provider.url
    )
    assert (await world.ask(token, AUDIT)).code == "membership_missing"


@pytest.mark.parametrize(
    "statement",
    [
        """UPDATE issuer_organisations SET ended_at = now()
           WHERE issuer_id = (SELECT id FROM issuers WHERE url = %s)""",
        "UPDATE issuers SET disabled_at = now() WHERE url = %s",
    ],
    ids=["may no more speak for the organisation", "is disabled"],
)
async def test_an_issuer_that_is_ended_opens_nothing(world: World, provider: Provider, statement: str) -> None:
    await believed(world, provider.url)
    assert (await world.ask(provider.token(), AUDIT)).status == 200
    await world.set(statement, provider.url)
    assert (await world.ask(provider.token(), AUDIT)).code in {"membership_missing", "login_invalid"}


async def test_the_same_subject_at_another_issuer_is_another_person(world: World, provider: Provider) -> None:
    await believed(world, provider.url, subject="ada")
    async with running_provider() as other:
        await believed(world, other.url, "CLUSTER_READ", subject="eve")
        assert (await world.ask(other.token(sub="ada"), AUDIT)).code == "membership_missing"


async def test_a_platform_admin_is_one_by_login_too_and_nobody_else_is(world: World, provider: Provider) -> None:
    await believed(world, provider.url)
    assert (await world.ask(provider.token(), ADMINISTERS)).code == "ability_missing"
    await world.granted("admin", "ada", "--issuer", provider.url)
    assert (await world.ask(provider.token(), ADMINISTERS)).status == 200
    await world.granted("admin", "root", "--issuer", provider.url)
    assert (await world.ask(provider.token(sub="root"), ADMINISTERS)).status == 200
    assert (await world.ask(provider.token(sub="root"), AUDIT)).code == "membership_missing"


async def test_claims_about_the_organisation_and_abilities_are_not_believed(world: World, provider: Provider) -> None:
    await believed(world, provider.url, "CLUSTER_READ")
    token = provider.token(abilities=["AUDIT_READ"], organisation=str(uuid4()), platform_admin=True)
    assert (await world.ask(token, AUDIT)).code == "ability_missing"
    assert (await world.ask(token, ADMINISTERS)).code == "ability_missing"


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def unsigned(provider: Provider, **head: Any) -> str:
    return f"{part({'alg': 'none', 'kid': provider.kid, **head})}.{part(provider.claims())}."


def signed_with_the_public_key(provider: Provider) -> str:
    """As if the algorithm were HMAC and the published key its secret."""
    text = f"{part({'alg': 'HS256', 'kid': provider.kid})}.{part(provider.claims())}"
    secret = provider.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    mac = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def changed_afterwards(provider: Provider) -> str:
    head, _, signature = provider.token().split(".")
    return f"{head}.{part(provider.claims(sub='root'))}.{signature}"


STRANGER = rsa.generate_private_key(65537, 2048)

BAD: dict[str, Make] = {
    "no signature": unsigned,
    "no signature, spelt otherwise": lambda p: unsigned(p, alg="nOnE"),
    "HMAC with the public key": signed_with_the_public_key,
    "a key of nobody": lambda p: p.token(key=STRANGER),
    "a kid that there is not": lambda p: p.token(head={"kid": "../../jwks"}),
    "a kid that is no text": lambda p: f"{part({'alg': 'RS256', 'kid': ['first']})}.{part(p.claims())}.eA",
    "a key that the token brings along": lambda p: p.token(
        key=STRANGER, head={"jku": "https://evil.example.com/jwks", "x5u": "https://evil.example.com/x5u"}
    ),
    "an algorithm that the issuer does not sign with": lambda p: p.token(key=another_key(), algorithm="EdDSA"),
    "another algorithm for the same key": lambda p: p.token(algorithm="RS512"),
    "claims that were changed": changed_afterwards,
    "another audience": lambda p: p.token(aud="another"),
    "an audience like it": lambda p: p.token(aud=f"{AUDIENCE}/admin"),
    "no audience": lambda p: p.token(aud=None),
    "another issuer": lambda p: p.token(iss="https://login.example.com"),
    "the issuer with a slash": lambda p: p.token(iss=f"{p.url}/"),
    "the issuer that nobody signs for": lambda p: p.token(iss="urn:bulkhead:local"),
    "an issuer that is no text": lambda p: f"{part({'alg': 'RS256'})}.{part(p.claims(iss=7))}.eA",
    "an issuer that no database takes": lambda p: f"{part({'alg': 'RS256'})}.{part(p.claims(iss=chr(0) + 'x'))}.eA",
    "an issuer of half a character": lambda p: f"{part({'alg': 'RS256'})}.{part(p.claims(iss=chr(0xD800)))}.eA",
    "no issuer": lambda p: f"{part({'alg': 'RS256'})}.{part(p.claims(iss=None))}.eA",
    "a time that is over": lambda p: p.token(exp=int(time.time()) - 61),
    "no time": lambda p: p.token(exp=None),
    "a time that is no number": lambda p: f"{p.token(exp=float('nan'))}",
    "a time to come": lambda p: p.token(nbf=int(time.time()) + 120),
    "made in the future": lambda p: p.token(iat=int(time.time()) + 120),
    "no subject": lambda p: p.token(sub=None),
    "a subject of many characters": lambda p: p.token(sub="a" * 256),
    "a subject that no database takes": lambda p: p.token(sub="ada\0"),
    "a subject of half a character": lambda p: p.token(sub="\ud800"),
    "a logout token": lambda p: p.token(head={"typ": "logout+jwt"}),
    "a head that asks for more": lambda p: p.token(head={"crit": ["exp"]}),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD.keys())
async def test_a_token_that_does_not_prove_it_opens_nothing(world: World, provider: Provider, make: Make) -> None:
    await believed(world, provider.url)
    assert (await world.ask(provider.token(), AUDIT)).status == 200
    refused = await world.ask(make(provider), AUDIT)
    assert refused.status == 401, refused
    assert refused.code in {"login_invalid", "credential_malformed"}


NO_JWT = {
    "one part too few": "eyJhbGciOiJSUzI1NiJ9.e30",
    "one part too many": "eyJhbGciOiJSUzI1NiJ9.e30.x.y",
    "claims that are a list": f"{part({'alg': 'RS256'})}.{part([1])}.eA",
    "a head that is a list": f"{part(['alg'])}.{part({})}.eA",
    "deeply nested": f"{part({'alg': 'RS256'})}.{base64.urlsafe_b64encode(b'[' * 4000).decode().rstrip('=')}.eA",
    "a number of many digits": f"{part({'alg': 'RS256'})}."
    f"{base64.urlsafe_b64encode(b'{' + b'1' * 5000).decode().rstrip('=')}.eA",
    "huge": f"{part({'alg': 'RS256'})}.{'e' * 60000}.eA",
}


@pytest.mark.parametrize("token", NO_JWT.values(), ids=NO_JWT.keys())
async def test_what_is_no_jwt_is_told_so(world: World, token: str) -> None:
    refused = await world.ask(token, AUDIT)
    assert (refused.status, refused.code) in {(401, "credential_malformed"), (431, "headers_too_large"), (431, "")}


async def test_a_provider_that_is_away_is_told_so_and_tokens_work_without_it(world: World, provider: Provider) -> None:
    where = await believed(world, provider.url)
    provider.up = False
    refused = await world.ask(provider.token(), AUDIT)
    assert (refused.status, refused.code) == (503, "issuer_unavailable")
    assert int(refused.headers["Retry-After"]) <= 60
    await world.granted("member", "worker", "--organisation", where, "--ability", "AUDIT_READ")
    await world.set("DELETE FROM api_tokens WHERE name = 'standby'")
    token = (await world.granted("token", "worker", "--name", "standby")).token
    assert (await world.ask(token, AUDIT)).status == 200
    assert provider.looks == 1


async def test_keys_that_are_known_outlast_a_provider_that_goes_away(world: World, provider: Provider) -> None:
    await believed(world, provider.url)
    assert (await world.ask(provider.token(), AUDIT)).status == 200
    provider.up = False
    assert (await world.ask(provider.token(), AUDIT)).status == 200


async def test_each_replica_asks_once_however_many_wrong_keys_are_named(
    world: World, provider: Provider, database: Database
) -> None:
    await believed(world, provider.url)
    async with replica(database, **LOOPBACK) as other:
        for port in (world.port, other):
            for number in range(5):
                answered = await ask(port, provider.token(head={"kid": f"wrong-{number}"}), AUDIT)
                assert answered.code == "login_invalid"
    assert provider.looks == 2


async def test_a_provider_on_a_private_address_is_not_connected_to_unless_it_is_allowed(
    world: World, provider: Provider, database: Database
) -> None:
    await believed(world, provider.url)
    async with replica(database) as guarded:
        assert (await ask(guarded, provider.token(), AUDIT)).code == "issuer_unavailable"
    assert provider.looks == 0
