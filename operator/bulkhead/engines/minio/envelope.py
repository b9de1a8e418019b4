"""The envelope of encrypted admin bodies, sealed with a key that is derived once and not anew for each body.

    salt (32 bytes) | cipher (1) | nonce (8) | body | tag (16)

The library derives a key by Argon2id for every call: 64 MiB, and more CPU than all else that a new tenant costs us. But
the sender chooses the salt, so many bodies may share one, and with it the key, as long as no nonce comes twice: nonces
are random, and a key seals few bodies. To the server it is all the same.
"""

from __future__ import annotations

from collections.abc import Callable

from minio.crypto import _generate_key, _get_cipher

from bulkhead.api.sensitive import Sensitive

SALT_BYTES = 32
NONCE_BYTES = 8
BODIES_PER_KEY = 1000
"""That two of so many nonces are the same is less likely than one in 10^13."""
LONGEST_BODY = 16 * 1024
"""What one chunk holds. Nothing longer is sent."""

_AES_GCM = 0
_LAST_CHUNK = b"\x80"


class Envelope:
    """Seals bodies for a server that knows `password`; for one thread at a time. `randomness`: so many random bytes."""

    def __init__(self, password: Sensitive, randomness: Callable[[int], bytes]) -> None:
        self._password = password
        self._randomness = randomness
        self._salt = self._key = b""
        self._left = 0

    def seal(self, body: bytes) -> bytes:
        """`body` as the admin API takes it; the first one of a key takes 64 MiB for a moment. Raises ValueError where
        it is too long."""
        if len(body) > LONGEST_BODY:
            raise ValueError("a body for one chunk alone")
        self._keep_key_fresh()
        nonce = self._randomness(NONCE_BYTES)
        # As madmin-go does: each chunk vouches for the tag of an empty chunk 0 and for whether it is the last.
        beginning = _get_cipher(_AES_GCM, self._key, nonce + _numbered(0)).digest()
        cipher = _get_cipher(_AES_GCM, self._key, nonce + _numbered(1))
        cipher.update(_LAST_CHUNK + beginning)
        sealed, tag = cipher.encrypt_and_digest(body)
        return self._salt + bytes((_AES_GCM,)) + nonce + sealed + tag

    def _keep_key_fresh(self) -> None:
        if not self._left:
            self._salt = self._randomness(SALT_BYTES)
            self._key = _generate_key(self._password.reveal().encode(), self._salt)
            self._left = BODIES_PER_KEY
        self._left -= 1


def _numbered(chunk: int) -> bytes:
    return chunk.to_bytes(4, "little")
