"""How a secret rests: scrypt over its digest, with the parameters beside it. Some 40 ms and 16 MiB each time."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

SALT_BYTES = 16
HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class Parameters:
    """What it costs. n, r, p: as RFC 7914 calls them."""

    n: int
    r: int
    p: int

    @property
    def most_memory(self) -> int:
        """Bytes that OpenSSL may take: twice what it needs, which is a little more than 128 n r."""
        return 256 * self.n * self.r


CURRENT = Parameters(n=2**14, r=8, p=1)
"""Of what is hashed from now on (protocol 3); what rests under others is hashed anew when it is shown next."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """A secret as it rests."""

    parameters: Parameters
    salt: bytes = field(repr=False)
    hash: bytes = field(repr=False)

    def fits(self, digest: bytes) -> bool:
        """Whether this is the secret with that SHA-256. Blocks: see the module."""
        return hmac.compare_digest(self.hash, _derived(digest, self.salt, self.parameters))

    @property
    def columns(self) -> dict[str, object]:
        """As statements name them."""
        parameters = self.parameters
        return {"n": parameters.n, "r": parameters.r, "p": parameters.p, "salt": self.salt, "hash": self.hash}


def hashed(digest: bytes, salt: bytes) -> Hashed:
    """The secret with that SHA-256, as it is to rest. Blocks: see the module."""
    return Hashed(CURRENT, salt, _derived(digest, salt, CURRENT))


def _derived(digest: bytes, salt: bytes, parameters: Parameters) -> bytes:
    return hashlib.scrypt(
        digest,
        salt=salt,
        n=parameters.n,
        r=parameters.r,
        p=parameters.p,
        maxmem=parameters.most_memory,
        dklen=HASH_BYTES,
    )
