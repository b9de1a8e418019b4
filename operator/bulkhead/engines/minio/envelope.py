"""The envelope of encrypted admin bodies, as a build of the server for FIPS 140 seals them.

    salt (32 bytes) | cipher (1) | nonce (8) | body | tag (16)

The library derives the key by Argon2id: 64 MiB and a tenth of a second of CPU, on either end and for one body at a
time, which is more than all else that a new tenant costs. Any server also opens what was derived by PBKDF2 (madmin-go,
encrypt.go); it tells them apart by the cipher. Nothing is lost by it: whoever could read the body has the signature of
the request too, a plain HMAC under the same password, which is guessed at with less work than either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from minio.crypto import _get_cipher

from bulkhead.api.sensitive import Sensitive

SALT_BYTES = 32
NONCE_BYTES = 8
LONGEST_BODY = 16 * 1024
"""What one chunk holds. Nothing longer is sent."""
ROUNDS = 8192

_AES_GCM = 0
_PBKDF2_AES_GCM = 2
_LAST_CHUNK = b"\x80"


def sealed(body: bytes, password: Sensitive, randomness: Callable[[int], bytes]) -> bytes:
    """`body` as the admin API of a server that knows `password` takes it. Raises ValueError where it is too long.

    randomness: gives so many unpredictable bytes
    """
    if len(body) > LONGEST_BODY:
        raise ValueError("a body for one chunk alone")
    salt, nonce = randomness(SALT_BYTES), randomness(NONCE_BYTES)
    key = hashlib.pbkdf2_hmac("sha256", password.reveal().encode(), salt, ROUNDS)
    # As madmin-go does: each chunk vouches for the tag of an empty chunk 0 and for whether it is the last.
    beginning = _get_cipher(_AES_GCM, key, nonce + _numbered(0)).digest()
    cipher = _get_cipher(_AES_GCM, key, nonce + _numbered(1))
    cipher.update(_LAST_CHUNK + beginning)
    text, tag = cipher.encrypt_and_digest(body)
    return salt + bytes((_PBKDF2_AES_GCM,)) + nonce + text + tag


def _numbered(chunk: int) -> bytes:
    return chunk.to_bytes(4, "little")
