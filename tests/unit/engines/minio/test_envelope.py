"""Sealed bodies: what the official library opens, and a key that does not seal too many."""

from __future__ import annotations

import io
import os

import pytest
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from minio import crypto

from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.minio import envelope
from bulkhead.engines.minio.envelope import LONGEST_BODY, NONCE_BYTES, SALT_BYTES, Envelope

PASSWORD = "an administrator's"


class Derivations:
    """Counts how often a key is derived."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, secret: bytes, salt: bytes) -> bytes:
        self.count += 1
        return crypto._generate_key(secret, salt)


@pytest.fixture
def derivations(monkeypatch: pytest.MonkeyPatch) -> Derivations:
    counted = Derivations()
    monkeypatch.setattr(envelope, "_generate_key", counted)
    return counted


def opened(sealed: bytes, password: str = PASSWORD) -> bytes:
    """As the official library opens it."""
    answer = urllib3.HTTPResponse(body=io.BytesIO(sealed), preload_content=False)
    return crypto.decrypt(answer, password)


def new(randomness: object = os.urandom) -> Envelope:
    return Envelope(Sensitive(PASSWORD), randomness)  # type: ignore[arg-type]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=st.binary(min_size=1, max_size=LONGEST_BODY))
def test_the_official_library_opens_what_is_sealed(body: bytes) -> None:
    assert opened(new().seal(body)) == body


def test_each_body_of_a_key_opens() -> None:
    letters = new()
    assert [opened(letters.seal(body)) for body in (b"one", b"two", b"three")] == [b"one", b"two", b"three"]


def test_another_password_opens_nothing() -> None:
    with pytest.raises(ValueError, match="MAC check failed"):
        opened(new().seal(b"body"), "a stranger's")


def test_a_body_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="one chunk"):
        new().seal(bytes(LONGEST_BODY + 1))


def test_bodies_share_a_key_and_no_nonce(derivations: Derivations) -> None:
    letters = new()
    sealed = [letters.seal(b"body") for _ in range(20)]
    nonces = {each[SALT_BYTES + 1 : SALT_BYTES + 1 + NONCE_BYTES] for each in sealed}
    assert (derivations.count, len(nonces), len({each[:SALT_BYTES] for each in sealed})) == (1, 20, 1)


def test_a_key_that_has_sealed_enough_is_replaced(derivations: Derivations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "BODIES_PER_KEY", 2)
    letters = new()
    salts = [letters.seal(b"body")[:SALT_BYTES] for _ in range(5)]
    assert (derivations.count, len(set(salts))) == (3, 3)


def test_a_key_shows_itself_nowhere() -> None:
    letters = new()
    letters.seal(b"body")
    assert PASSWORD not in repr(vars(letters))
