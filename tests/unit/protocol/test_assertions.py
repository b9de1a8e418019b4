"""Assertions and the keys behind them: what a Data API believes, and how its trust moves from key to key."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkhead.protocol import assertions, documents, jws
from bulkhead.protocol.assertions import LEEWAY, LIFETIME, Assertion, Jwk, Jwks, KeyUse, Link, Method
from bulkhead.protocol.encoding import base64url
from bulkhead.protocol.errors import AssertionInvalid, Malformed, NotCurrent, Untrusted
from bulkhead.protocol.jws import Typ
from bulkhead.protocol.keys import SigningKey
from tests.unit.protocol import gen

TEXT = assertions.sign(gen.assertion(), gen.KEY)
KEYS = [SigningKey(gen.seeded(f"key {number}")) for number in range(8)]


def verified(text: str = TEXT, trusted: Jwks | None = None, **changed: Any) -> Assertion:
    """`text` as the cluster `gen.UID` sees it, at a request to `gen.TARGET`."""
    request: dict[str, Any] = {
        "platform": gen.PLATFORM,
        "cluster": gen.UID,
        "method": "GET",
        "target": gen.TARGET,
        "now": gen.NOW,
    }
    return assertions.verify(text, trusted or gen.jwks(gen.KEY), **{**request, **changed})


def followed(trusted: Jwks, *links: Link, platform: str = gen.PLATFORM, use: KeyUse = KeyUse.ASSERTION) -> Jwks:
    return assertions.follow(trusted, links, platform=platform, use=use)


def link(predecessor: SigningKey, successor: SigningKey, use: KeyUse = KeyUse.ASSERTION) -> Link:
    return assertions.link(predecessor, successor.public, platform=gen.PLATFORM, use=use)


def test_an_assertion_opens_the_request_that_it_was_made_for() -> None:
    assert verified() == gen.assertion()


@pytest.mark.parametrize(
    "other",
    [
        {"platform": gen.OTHER_PLATFORM},
        {"cluster": gen.OTHER_UID},
        {"method": "DELETE"},
        {"method": "get"},
        {"target": b"/v1/datasets"},
        {"target": gen.TARGET + b"0"},
        {"target": b"/v1/Datasets?limit=10"},
        {"target": b""},
    ],
)
def test_it_opens_no_other_request(other: dict[str, Any]) -> None:
    with pytest.raises(AssertionInvalid):
        verified(**other)


def test_no_changed_character_passes() -> None:
    for at, was in enumerate(TEXT):
        for character in "A_.=z".replace(was, ""):
            with pytest.raises(AssertionInvalid):
                verified(TEXT[:at] + character + TEXT[at + 1 :])


def test_a_key_that_is_not_trusted_opens_nothing() -> None:
    with pytest.raises(AssertionInvalid, match="trusted"):
        verified(trusted=gen.jwks(gen.OTHER_KEY))


def test_a_key_can_not_borrow_the_name_of_another() -> None:
    header = jws._NamingHeader(alg="EdDSA", typ=Typ.ASSERTION, kid=gen.KEY.public.kid)
    covered = f"{base64url(documents.encode(header))}.{base64url(documents.canonical(gen.assertion()))}"
    forged = f"{covered}.{base64url(gen.OTHER_KEY.sign(covered.encode()))}"
    with pytest.raises(AssertionInvalid, match="trusted"):
        verified(forged, gen.jwks(gen.KEY, gen.OTHER_KEY))


@pytest.mark.parametrize("typ", [typ for typ in Typ if typ is not Typ.ASSERTION])
def test_a_signature_of_another_purpose_is_no_assertion(typ: Typ) -> None:
    with pytest.raises(AssertionInvalid):
        verified(jws.sign(documents.canonical(gen.assertion()), typ, gen.KEY))


@given(st.integers(min_value=-10 * LIFETIME, max_value=10 * LIFETIME))
@example(-LEEWAY - 1)
@example(-LEEWAY)
@example(LIFETIME + LEEWAY - 1)
@example(LIFETIME + LEEWAY)
def test_it_holds_for_its_minute_and_a_minute_of_skew_on_either_side(late: int) -> None:
    now = gen.NOW + late
    if -LEEWAY <= late < LIFETIME + LEEWAY:
        assert verified(now=now) == gen.assertion()
    else:
        with pytest.raises(NotCurrent):
            verified(now=now)


def test_a_long_life_can_not_be_claimed() -> None:
    with pytest.raises(NotCurrent):
        verified(assertions.sign(gen.assertion(exp=gen.NOW + 3600), gen.KEY))


def test_a_stranger_learns_nothing_of_the_clock() -> None:
    with pytest.raises(AssertionInvalid) as caught:
        verified(trusted=gen.jwks(gen.OTHER_KEY), now=0)
    assert not isinstance(caught.value, NotCurrent)


def test_safe_methods_are_those_of_rfc_9110() -> None:
    assert {method for method in Method if method.safe} == {Method.GET, Method.HEAD, Method.OPTIONS}


def test_an_ability_is_listed_once() -> None:
    with pytest.raises(Malformed):
        msgspec.structs.replace(gen.assertion(), abilities=(*gen.assertion().abilities,) * 2)


@given(st.integers(min_value=1, max_value=7))
def test_trust_follows_a_chain_to_its_newest_key_and_keeps_the_one_before(length: int) -> None:
    links = tuple(link(before, after) for before, after in itertools.pairwise(KEYS[: length + 1]))
    assert followed(gen.jwks(KEYS[0]), *links) == gen.jwks(*KEYS[length - 1 : length + 1])


@given(st.integers(min_value=0, max_value=6))
def test_an_answer_that_comes_twice_or_is_late_changes_nothing(known: int) -> None:
    links = tuple(link(before, after) for before, after in itertools.pairwise(KEYS))
    at_end = followed(gen.jwks(KEYS[0]), *links)
    assert followed(at_end, *links[-2:]) == at_end
    assert followed(gen.jwks(KEYS[known]), *links[known:]) == at_end


def test_a_link_must_be_signed_by_the_newest_trusted_key() -> None:
    trusted = gen.jwks(KEYS[0], KEYS[1])
    for foreign in (link(KEYS[0], KEYS[3]), link(KEYS[2], KEYS[3]), link(KEYS[3], KEYS[3])):
        with pytest.raises(Untrusted):
            followed(trusted, foreign)


def test_a_gap_in_the_chain_is_refused_and_no_part_of_it_believed() -> None:
    trusted = gen.jwks(KEYS[0])
    with pytest.raises(Untrusted):
        followed(trusted, link(KEYS[0], KEYS[1]), link(KEYS[2], KEYS[3]))
    assert trusted == gen.jwks(KEYS[0])


def test_a_key_can_not_be_slipped_in_before_a_trusted_one() -> None:
    """Anybody can sign a trusted key with a key of their own."""
    with pytest.raises(Untrusted):
        followed(gen.jwks(KEYS[1]), link(KEYS[5], KEYS[6]), link(KEYS[6], KEYS[1]))
    assert followed(gen.jwks(KEYS[1]), link(KEYS[6], KEYS[1])) == gen.jwks(KEYS[1])


def test_a_link_is_for_one_key_one_platform_and_one_use() -> None:
    true = link(KEYS[0], KEYS[1])
    swapped = Link(key=Jwk.of(KEYS[2].public), signature=true.signature)
    trusted = gen.jwks(KEYS[0])
    with pytest.raises(Untrusted):
        followed(trusted, swapped)
    with pytest.raises(Untrusted):
        followed(trusted, true, platform=gen.OTHER_PLATFORM)
    with pytest.raises(Untrusted):
        followed(trusted, true, use=KeyUse.AUDIT_HEAD)
    with pytest.raises(Untrusted):
        followed(trusted, link(KEYS[0], KEYS[1], KeyUse.AUDIT_HEAD))


@pytest.mark.parametrize("typ", [typ for typ in Typ if typ is not Typ.SUCCESSION])
def test_a_signature_of_another_purpose_is_no_link(typ: Typ) -> None:
    claims = assertions.Succession(
        purpose="succession",
        platform=gen.PLATFORM,
        use=KeyUse.ASSERTION,
        predecessor=KEYS[0].public.kid,
        successor=KEYS[1].public,
    )
    other = Link(key=Jwk.of(KEYS[1].public), signature=jws.sign(documents.canonical(claims), typ, KEYS[0]))
    with pytest.raises(Untrusted):
        followed(gen.jwks(KEYS[0]), other)


def test_no_changed_character_of_a_link_passes() -> None:
    true = link(KEYS[0], KEYS[1])
    for at, was in enumerate(true.signature):
        character = "A" if was != "A" else "z"
        broken = msgspec.structs.replace(true, signature=true.signature[:at] + character + true.signature[at + 1 :])
        with pytest.raises(Untrusted):
            followed(gen.jwks(KEYS[0]), broken)


def test_a_kid_that_is_not_its_keys_thumbprint_is_refused() -> None:
    document = gen.plain(gen.jwks(KEYS[0]))
    document["keys"][0]["kid"] = KEYS[1].public.kid
    with pytest.raises(Malformed, match="thumbprint"):
        documents.decode(Jwks, msgspec.json.encode(document))


def test_a_key_is_listed_once() -> None:
    with pytest.raises(Malformed):
        gen.jwks(KEYS[0], KEYS[0])
