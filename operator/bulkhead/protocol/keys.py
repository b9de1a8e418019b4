"""Ed25519 keys (RFC 8032): one spelling each, none that is weak, and a fingerprint that people compare.

A public key is 32 bytes in base64url, as the `x` of a JWK (RFC 8037). Refused are encodings of no point, those of a
coordinate beyond the field, and the points of small order: under such a key one signature fits many messages.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bulkhead.protocol.credentials import Random
from bulkhead.protocol.encoding import base64url, from_base64url
from bulkhead.protocol.errors import Malformed

KEY_BYTES = 32
SIGNATURE_BYTES = 64
KEY_TEXT_PATTERN = r"^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]\Z"
"""32 bytes in base64url; the last character carries four bits only."""
FINGERPRINT_BYTES = 20

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P


class PublicKey:
    """A public key that may be trusted to have one owner."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        problem = _weakness(raw)
        if problem:
            raise Malformed(f"not a usable Ed25519 public key: {problem}")
        self.raw: Final = raw

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key that `text` spells. Raises Malformed."""
        if len(text) != len(base64url(bytes(KEY_BYTES))):
            raise Malformed("a public key has 43 characters of base64url")
        return cls(from_base64url(text))

    @property
    def text(self) -> str:
        """The one spelling that every message and every row holds."""
        return base64url(self.raw)

    @property
    def kid(self) -> str:
        """JWK thumbprint (RFC 7638, RFC 8037 appendix A.3): names the key where one of several is meant."""
        return base64url(hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{self.text}"}}'.encode()).digest())

    @property
    def fingerprint(self) -> str:
        """What people read to each other: 160 bits of SHA-256 over the 32 bytes, in eight groups of base32."""
        text = base64.b32encode(hashlib.sha256(self.raw).digest()[:FINGERPRINT_BYTES]).decode()
        return "-".join(text[at : at + 4] for at in range(0, len(text), 4))

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether the owner of this key signed `message`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def __repr__(self) -> str:
        return f"PublicKey({self.text})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.raw == other.raw

    def __hash__(self) -> int:
        return hash(self.raw)


class SigningKey:
    """A private key, shown only to who asks by `reveal`."""

    __slots__ = ("_key", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise ValueError(f"a private key has {KEY_BYTES} bytes")
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public: Final = PublicKey(self._key.public_key().public_bytes_raw())

    @classmethod
    def generate(cls, random: Random) -> Self:
        """A new one."""
        return cls(random(KEY_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The reverse of `reveal`. Raises Malformed."""
        if len(text) != len(base64url(bytes(KEY_BYTES))):
            raise Malformed("a private key has 43 characters of base64url")
        return cls(from_base64url(text))

    def reveal(self) -> str:
        """The private key in base64url. Call it where it is stored, nowhere else."""
        return base64url(self._key.private_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """64 bytes; the same for the same message."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey({self.public.fingerprint})"

    def __reduce__(self) -> str:
        raise TypeError("a private key is not pickled: reveal it where it is stored")


def _weakness(raw: bytes) -> str | None:
    """Why these bytes are no public key of ours; None where they are. Section 5.1.3 of RFC 8032 without the root.

    The curve is x^2 = u / v with u = y^2 - 1 and v = d y^2 + 1. Points of order 1 and 2 have x = 0, of order 4 y = 0,
    and those of order 8 double to y = 0, which is x^2 + y^2 = 0.
    """
    if len(raw) != KEY_BYTES:
        return f"it has {len(raw)} bytes, not {KEY_BYTES}"
    y = int.from_bytes(raw, "little") & (1 << 255) - 1
    if y >= _P:
        return "its coordinate lies beyond the field"
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    if u * y * (u + v * y * y) % _P == 0:
        return "it is a point of small order"
    if pow(u * v, (_P - 1) // 2, _P) != 1:
        return "it is no point of the curve"
    return None
