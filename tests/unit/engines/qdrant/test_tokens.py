from __future__ import annotations

from datetime import timedelta

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.api.record import Credential
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.errors import Insecure, Refused
from bulkhead.engines.qdrant import tokens
from tests.unit.engines.qdrant import gen

DAY = 24 * 3600


def issued(*, lifetime: int = DAY) -> Credential:
    return tokens.issue(gen.KEY, uid=gen.UID, collection="acme_entries", generation=1, now=gen.NOW, lifetime=lifetime)


def test_a_token_opens_the_points_of_one_collection_for_a_time_while_its_subject_is_registered() -> None:
    claims = jwt.decode(issued().value.reveal(), gen.KEY.reveal(), algorithms=["HS256"], options={"verify_exp": False})
    assert claims == {
        "sub": f"{gen.UID}/1",
        "subject": f"{gen.UID}/1",
        "exp": int(gen.NOW.timestamp()) + DAY,
        "access": [{"collection": "acme_entries", "access": "prw"}],
        "value_exists": {
            "collection": "bulkhead_tokens",
            "matches": [{"key": "tokens", "value": f"{gen.UID}/1"}],
        },
    }


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"access": []},
        {"access": "m"},
        {"access": "r"},
        {"access": [{"collection": "a", "access": "rw"}]},
        {"access": [{"collection": "a", "access": "r"}]},
        {"access": [{"collection": "", "access": "prw"}]},
        {"access": [{"collection": "a", "access": "prw", "payload": {}}]},
        {"access": [{"collection": "a", "access": "prw"}, {"collection": "b", "access": "prw"}]},
        {"exp": None},
        {"exp": 0},
        {"value_exists": None},
        {"value_exists": {"collection": "bulkhead_tokens", "matches": []}},
        {"value_exists": {"collection": "another", "matches": [{"key": "tokens", "value": "u/1"}]}},
        {"value_exists": {"collection": "bulkhead_tokens", "matches": [{"key": "tokens", "value": ""}]}},
    ],
)
def test_claims_that_open_anything_else_never_leave(claims: dict[str, object]) -> None:
    whole = {
        "exp": 1,
        "access": [{"collection": "a", "access": "prw"}],
        "value_exists": {"collection": "bulkhead_tokens", "matches": [{"key": "tokens", "value": "u/1"}]},
    }
    tokens._require_confined(whole)
    changed = {**whole, **claims} if claims else {}
    with pytest.raises(ValueError, match="must not leave"):
        tokens._require_confined(changed)


@pytest.mark.parametrize("missing", ["exp", "access", "value_exists"])
def test_claims_that_lack_one_never_leave(missing: str) -> None:
    claims = jwt.decode(issued().value.reveal(), options={"verify_signature": False})
    with pytest.raises(ValueError, match="must not leave"):
        tokens._require_confined({name: value for name, value in claims.items() if name != missing})


@pytest.mark.parametrize(("collection", "subject"), [("", "u/1"), ("acme_entries", "")])
def test_a_token_for_nothing_or_nobody_is_not_minted(collection: str, subject: str) -> None:
    with pytest.raises(ValueError, match="must not leave"):
        tokens.mint(gen.KEY, collection=collection, subject=subject, expires_at=1)


@pytest.mark.parametrize("key", ["", "k" * 31])
def test_a_key_that_could_be_guessed_signs_nothing(key: str) -> None:
    with pytest.raises(Insecure, match="32 bytes"):
        tokens.mint(Sensitive(key), collection="a", subject="u/1", expires_at=1)


def test_a_key_that_looks_like_a_public_one_signs_nothing() -> None:
    key = Sensitive("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8Zk4bZ")
    with pytest.raises(Refused) as raised:
        tokens.mint(key, collection="a", subject="u/1", expires_at=1)
    assert key.reveal() not in str(raised.value)


def test_a_token_is_renewed_at_two_thirds_of_its_life() -> None:
    credential = issued()
    assert tokens.holds(credential, gen.KEY, gen.NOW + timedelta(hours=15, minutes=59), DAY)
    assert not tokens.holds(credential, gen.KEY, gen.NOW + timedelta(hours=16), DAY)


def test_a_token_signed_with_another_key_is_issued_again() -> None:
    assert not tokens.holds(issued(), Sensitive("n" * 40), gen.NOW, DAY)


def test_a_token_longer_than_what_is_allowed_now_is_issued_again() -> None:
    assert not tokens.holds(issued(), gen.KEY, gen.NOW, 3600)


def test_a_replica_whose_clock_is_behind_keeps_the_token() -> None:
    assert tokens.holds(issued(), gen.KEY, gen.NOW - timedelta(seconds=30), DAY)


@given(st.integers(-5, 10**9))
def test_no_lifetime_is_over_a_day_or_so_short_that_it_is_over_at_once(lifetime: int) -> None:
    assert 60 <= tokens.bounded(lifetime) <= DAY


def test_a_generation_keeps_its_identity_through_renewal() -> None:
    assert issued().identity == issued(lifetime=60).identity == f"{gen.UID}/1"


def test_the_fingerprint_says_nothing_of_the_key() -> None:
    fingerprint = tokens.key_fingerprint(gen.KEY)
    assert len(fingerprint) == 16
    assert fingerprint not in gen.KEY.reveal()


def test_a_credential_does_not_show_its_token() -> None:
    credential = issued()
    assert credential.value.reveal() not in repr(credential)


def test_each_owner_has_a_point_of_its_own() -> None:
    owners = [gen.stamp(), gen.stamp(uid="other"), gen.stamp(installation="elsewhere")]
    assert len({tokens.point_id(owner) for owner in owners}) == 3
