"""The password of a login, and the verifier that Postgres is given instead of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

from bulkhead.api.sensitive import Sensitive

ITERATIONS = 4096
"""As Postgres does itself (`scram_iterations`). The password has 192 random bits, so more would add nothing."""
_PASSWORD_BYTES = 24
_SALT_BYTES = 16


def new_password(randomness: Callable[[int], bytes]) -> Sensitive:
    """32 characters that stand for themselves in a URI, a shell and a connection string."""
    return Sensitive(base64.urlsafe_b64encode(randomness(_PASSWORD_BYTES)).decode())


def scram_verifier(password: Sensitive, randomness: Callable[[int], bytes]) -> str:
    """What `pg_authid.rolpassword` holds (RFC 5803). `password` must be ASCII, so SASLprep changes nothing in it."""
    salt = randomness(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.reveal().encode("ascii"), salt, ITERATIONS)
    stored_key = hashlib.sha256(_hmac(salted, b"Client Key")).digest()
    return f"SCRAM-SHA-256${ITERATIONS}:{_b64(salt)}${_b64(stored_key)}:{_b64(_hmac(salted, b'Server Key'))}"


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
