"""Secrets that rest in the database and can not be read there: AES-256-GCM under a key that is not in it.

Authenticated along with the text are the id of the key and the row that it belongs to. So whoever can write the
database can destroy what is sealed, and not put one row's secret, or a former one, into another row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bulkhead.protocol.credentials import Random

KEY_BYTES = 32
NONCE_BYTES = 12
"""Random: one key may seal 2^32 texts (NIST SP 800-38D, section 8.3), more than there ever are keys and webhooks."""

_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


class Unsealable(Exception):
    """What is sealed can not be opened: its key is not in the settings, or it is not what was sealed for this row."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """What a row holds.

    text: nonce, encrypted secret, tag
    under: id of the key that opens it
    """

    text: bytes
    under: str


class Sealing:
    """The keys that seal, by id.

    keys: 32 bytes each. The first seals; the others open what was sealed before it took their place. ValueError where
        one is of another length or its id is not short and plain
    """

    def __init__(self, keys: Mapping[str, bytes], *, random: Random) -> None:
        if not keys:
            raise ValueError("there is no key to seal with")
        for name, key in keys.items():
            if not _KEY_ID.fullmatch(name):
                raise ValueError("the id of a sealing key has 1 to 64 of A-Z a-z 0-9 . _ -")
            if len(key) != KEY_BYTES:
                raise ValueError(f"the sealing key {name} must have {KEY_BYTES} bytes")
        self._ciphers = {name: AESGCM(key) for name, key in keys.items()}
        self.current: Final = next(iter(keys))
        self._random = random

    def seal(self, secret: bytes, row: str) -> Sealed:
        """`secret` for the row named `row`, such as "webhooks/{id}"."""
        nonce = self._random(NONCE_BYTES)
        text = self._ciphers[self.current].encrypt(nonce, secret, _context(self.current, row))
        return Sealed(nonce + text, self.current)

    def open(self, sealed: Sealed, row: str) -> bytes:
        """What was sealed for `row`. Raises Unsealable."""
        cipher = self._ciphers.get(sealed.under)
        if cipher is None:
            raise Unsealable(
                f"{row} is sealed under the key {sealed.under}, which is not in the settings: add it again"
            )
        nonce, text = sealed.text[:NONCE_BYTES], sealed.text[NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, text, _context(sealed.under, row))
        except (InvalidTag, ValueError):
            raise Unsealable(
                f"{row} does not hold what was sealed for it under the key {sealed.under}: "
                "the row was changed, or another key has that id now"
            ) from None

    def stale(self, sealed: Sealed) -> bool:
        """Whether it should be sealed anew, so that its key can be given up."""
        return sealed.under != self.current

    def __repr__(self) -> str:
        return f"Sealing({', '.join(self._ciphers)})"


def _context(key: str, row: str) -> bytes:
    return f"bulkhead sealed\n{key}\n{row}".encode()
