"""Sealed bodies: what the official library opens, once it has the key."""

from __future__ import annotations

import hashlib
import io
import os

import pytest
import urllib3
from hypothesis import given
from hypothesis import strategies as st
from minio import crypto

from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.minio.envelope import LONGEST_BODY, NONCE_BYTES, ROUNDS, SALT_BYTES, sealed

PASSWORD = "an administrator's"


def seal(body: bytes) -> bytes:
    return sealed(body, Sensitive(PASSWORD), os.urandom)


def opened(letter: bytes, password: str = PASSWORD) -> bytes:
    """As the official library opens it, but for the key, which it derives by Argon2id alone."""
    salt, cipher, rest = letter[:SALT_BYTES], letter[SALT_BYTES], letter[SALT_BYTES + 1 :]
    assert cipher == 2, "AES-GCM under PBKDF2, as madmin-go calls it"
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ROUNDS)
    answer = urllib3.HTTPResponse(body=io.BytesIO(salt + b"\x00" + rest), preload_content=False)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(crypto, "_generate_key", lambda *_: key)
        return crypto.decrypt(answer, password)


@given(body=st.binary(min_size=1, max_size=LONGEST_BODY))
def test_the_official_library_opens_what_is_sealed(body: bytes) -> None:
    assert opened(seal(body)) == body


def test_another_password_opens_nothing() -> None:
    with pytest.raises(ValueError, match="MAC check failed"):
        opened(seal(b"body"), "a stranger's")


def test_a_body_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="one chunk"):
        seal(bytes(LONGEST_BODY + 1))


def test_no_two_bodies_share_salt_or_nonce() -> None:
    letters = [seal(b"body") for _ in range(20)]
    assert len({each[:SALT_BYTES] for each in letters}) == 20
    assert len({each[SALT_BYTES + 1 : SALT_BYTES + 1 + NONCE_BYTES] for each in letters}) == 20
