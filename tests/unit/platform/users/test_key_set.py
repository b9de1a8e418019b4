"""Which key is meant, and how often a provider is asked for its keys."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from bulkhead.platform.outbound import Answer, Outbound, Unreachable
from bulkhead.platform.users.key_set import (
    FRESH_SECONDS,
    LOOK_SECONDS,
    MOST_KEYS,
    OLD_SECONDS,
    KeySets,
    chosen,
)
from bulkhead.protocol.problems import Code, Problem

ISSUER = "https://login.example.com"
JWKS = "https://keys.example.com/jwks"

Jwk = dict[str, Any]


def of(algorithm: str, public: Any, kid: str, **others: Any) -> Jwk:
    algorithms: Any = jwt.get_algorithm_by_name(algorithm)
    return {**algorithms.to_jwk(public, as_dict=True), "kid": kid, **others}


def ed_key(kid: str, **others: Any) -> Jwk:
    return of("EdDSA", ed25519.Ed25519PrivateKey.generate().public_key(), kid, **others)


def rsa_key(kid: str, bits: int = 2048, **others: Any) -> Jwk:
    return of("RS256", rsa.generate_private_key(65537, bits).public_key(), kid, **others)


def ec_key(kid: str) -> Jwk:
    return of("ES256", ec.generate_private_key(ec.SECP256R1()).public_key(), kid)


@dataclass
class Provider:
    """Stands where connections go out, and holds each answer back until `proceed`."""

    keys: list[Any]
    issuer: str = ISSUER
    jwks_uri: Any = JWKS
    up: bool = True
    asked: list[str] = field(default_factory=list)
    proceed: asyncio.Event = field(default_factory=asyncio.Event)
    now: float = 1000.0

    async def get(self, url: str, headers: Mapping[str, str], *, most_bytes: int, seconds: float) -> Answer:
        assert headers
        assert most_bytes <= 1 << 20
        assert seconds < 10
        self.asked.append(url)
        await self.proceed.wait()
        if not self.up:
            raise Unreachable("down")
        if url == JWKS:
            return Answer(200, {}, json.dumps({"keys": self.keys}).encode())
        return Answer(200, {}, json.dumps({"issuer": self.issuer, "jwks_uri": self.jwks_uri}).encode())

    @property
    def looks(self) -> int:
        return self.asked.count(f"{ISSUER}/.well-known/openid-configuration")

    def sets(self) -> KeySets:
        self.proceed.set()
        return KeySets(cast("Outbound", self), clock=lambda: self.now)


async def code(asked: Awaitable[object]) -> Code:
    with pytest.raises(Problem) as raised:
        await asked
    return raised.value.code


def test_the_key_of_the_kid_is_meant() -> None:
    keys = [ed_key("a"), ed_key("b")]
    assert chosen(keys, "b", "EdDSA")
    assert chosen(keys, "c", "EdDSA") is None


def test_without_a_kid_the_only_key_is_meant_and_of_several_none() -> None:
    assert chosen([ed_key("a"), rsa_key("b")], None, "EdDSA")
    assert chosen([ed_key("a"), ed_key("b")], None, "EdDSA") is None


def test_two_keys_of_one_kid_are_none() -> None:
    assert chosen([ed_key("a"), ed_key("a")], "a", "EdDSA") is None


def test_a_key_is_used_with_algorithms_of_its_own_kind_alone() -> None:
    keys = [rsa_key("r"), ec_key("e"), ed_key("d")]
    for kid, algorithm in (("r", "ES256"), ("r", "EdDSA"), ("e", "RS256"), ("e", "ES384"), ("d", "ES256")):
        assert chosen(keys, kid, algorithm) is None
    for kid, algorithm in (("r", "RS256"), ("r", "PS512"), ("e", "ES256"), ("d", "EdDSA")):
        assert chosen(keys, kid, algorithm)


def test_a_shared_secret_in_the_set_is_no_key() -> None:
    assert chosen([{"kty": "oct", "k": "c2VjcmV0", "kid": "a"}], "a", "RS256") is None


@pytest.mark.parametrize("others", [{"use": "enc"}, {"alg": "RS512"}])
def test_a_key_for_something_else_is_not_used(others: Jwk) -> None:
    assert chosen([rsa_key("a", **others)], "a", "RS256") is None


def test_a_short_rsa_key_is_not_used() -> None:
    assert chosen([rsa_key("a", 1024)], "a", "RS256") is None


@pytest.mark.parametrize("broken", [{"x": "!!!"}, {"x": 7}, {"x": ""}])
def test_a_broken_key_is_none(broken: Jwk) -> None:
    assert chosen([ed_key("a", **broken)], "a", "EdDSA") is None


async def test_all_who_ask_at_once_wait_for_one_look() -> None:
    provider = Provider([ed_key("a")])
    sets = provider.sets()
    provider.proceed.clear()
    asking = [asyncio.create_task(sets.key(ISSUER, "a", "EdDSA")) for _ in range(50)]
    async with asyncio.timeout(60):
        while not provider.asked:  # noqa: ASYNC110 - one turn of the loop after the other
            await asyncio.sleep(0)
    asking[0].cancel()
    provider.proceed.set()
    assert all(await asyncio.gather(*asking[1:]))
    assert provider.looks == 1


async def test_kids_that_nobody_has_cause_one_look_a_minute() -> None:
    provider = Provider([ed_key("a")])
    sets = provider.sets()
    await sets.key(ISSUER, "a", "EdDSA")
    for looks in (1, 2):
        for number in range(100):
            assert await code(sets.key(ISSUER, f"kid-{number}", "EdDSA")) is Code.LOGIN_INVALID
        assert provider.looks == looks
        provider.now += LOOK_SECONDS


async def test_a_key_that_the_provider_has_changed_to_is_found() -> None:
    provider = Provider([ed_key("a")])
    sets = provider.sets()
    await sets.key(ISSUER, "a", "EdDSA")
    provider.keys = [ed_key("b")]
    provider.now += LOOK_SECONDS
    assert (await sets.key(ISSUER, "b", "EdDSA")).key_type == "OKP"
    assert await code(sets.key(ISSUER, "a", "EdDSA")) is Code.LOGIN_INVALID


async def test_a_key_that_was_withdrawn_ends_although_nobody_shows_another() -> None:
    provider = Provider([ed_key("a"), ed_key("b")])
    sets = provider.sets()
    await sets.key(ISSUER, "a", "EdDSA")
    provider.keys = [ed_key("b")]
    provider.now += FRESH_SECONDS + 1
    await sets.key(ISSUER, "a", "EdDSA")
    async with asyncio.timeout(60):
        while provider.looks < 2 or sets._known[ISSUER].look:  # noqa: ASYNC110 - one turn of the loop after the other
            await asyncio.sleep(0)
    assert await code(sets.key(ISSUER, "a", "EdDSA")) is Code.LOGIN_INVALID


async def test_known_keys_work_while_the_provider_is_away_but_not_for_ever() -> None:
    provider = Provider([ed_key("a")])
    sets = provider.sets()
    await sets.key(ISSUER, "a", "EdDSA")
    provider.up = False
    provider.now += OLD_SECONDS
    assert (await sets.key(ISSUER, "a", "EdDSA")).key_type == "OKP"
    provider.now += LOOK_SECONDS
    assert await code(sets.key(ISSUER, "a", "EdDSA")) is Code.ISSUER_UNAVAILABLE


async def test_a_provider_that_is_away_is_asked_once_a_minute_and_callers_are_told_when() -> None:
    provider = Provider([ed_key("a")], up=False)
    sets = provider.sets()
    for _ in range(10):
        with pytest.raises(Problem) as raised:
            await sets.key(ISSUER, "a", "EdDSA")
        assert raised.value.code is Code.ISSUER_UNAVAILABLE
        assert raised.value.extension.get("retry_after") == LOOK_SECONDS
    assert provider.looks == 1
    provider.up = True
    provider.now += LOOK_SECONDS
    assert (await sets.key(ISSUER, "a", "EdDSA")).key_type == "OKP"


HOSTILE: dict[str, dict[str, Any]] = {
    "a document of another issuer": {"issuer": "https://evil.example.com"},
    "no key set": {"jwks_uri": None},
    "too many keys": {"keys": [{"kty": "oct"}] * (MOST_KEYS + 1)},
}


@pytest.mark.parametrize("changed", HOSTILE.values(), ids=HOSTILE.keys())
async def test_what_a_provider_must_not_say_gives_no_key(changed: dict[str, Any]) -> None:
    provider = Provider(**{"keys": [ed_key("a")], **changed})
    assert await code(provider.sets().key(ISSUER, "a", "EdDSA")) is Code.ISSUER_UNAVAILABLE


async def test_keys_that_are_no_objects_are_passed_over() -> None:
    provider = Provider(["a", 1, None, ed_key("a")])
    assert (await provider.sets().key(ISSUER, "a", "EdDSA")).key_type == "OKP"


@pytest.mark.parametrize("kid", [1, ["a"], {"a": 1}])
async def test_a_kid_that_is_no_text_asks_nobody(kid: object) -> None:
    provider = Provider([ed_key("a")])
    assert await code(provider.sets().key(ISSUER, kid, "EdDSA")) is Code.LOGIN_INVALID
    assert provider.looks == 0
