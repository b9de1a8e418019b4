"""The three secrets that are carried as Bearer, and what may be shown of them.

    {prefix}_{id}_{secret}_{checksum}        bhk_0f3c…(32)_4kT9…(43)_1Zb0Qe

    prefix     bht registration token, bhk service key, oat API token
    id         16 bytes in hexadecimal: names the row, may be shown
    secret     32 bytes in base62
    checksum   CRC-32 of all before the last "_", in base62

Base62 has neither "_" nor "-", so a double click takes the whole. CRC-32 finds every error within 32 bits in a row:
each changed character and each swap of two neighbours, the prefix and the checksum itself included. The length is
fixed, so each truncation is found too. Who mistypes is told so before anything is looked up.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from collections.abc import Callable
from typing import ClassVar, Final, Self

from bulkhead.protocol.encoding import base62, from_base62
from bulkhead.protocol.errors import Malformed

Random = Callable[[int], bytes]
"""Gives that many unpredictable bytes, as `os.urandom` does."""

SECRET_BYTES = 32
SECRET_DIGITS = 43
"""62^43 is just above 2^256."""
ID_DIGITS = 32
CHECKSUM_DIGITS = 6
LENGTH = 3 + 1 + ID_DIGITS + 1 + SECRET_DIGITS + 1 + CHECKSUM_DIGITS
"""Characters of every credential."""

SCAN_PATTERN = r"(?:bht|bhk|oat)_[0-9a-f]{32}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}"
"""For secret scanners (RE2 and Python alike). The checksum tells a real one from a look-alike."""

_SHAPE = re.compile(r"(bht|bhk|oat)_([0-9a-f]{32})_([0-9A-Za-z]{43})_([0-9A-Za-z]{6})", re.ASCII)
_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_SHOWN = re.compile(r"(bht|bhk|oat)_([0-9a-f]{32})_[0-9A-Za-z_-]+", re.ASCII)


class Secret:
    """32 secret bytes, shown only to who asks by `reveal`."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        if len(value) != SECRET_BYTES:
            raise ValueError(f"a secret has {SECRET_BYTES} bytes")
        self._value = value

    @classmethod
    def generate(cls, random: Random) -> Self:
        """A new one."""
        return cls(random(SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The reverse of `reveal`. Raises Malformed."""
        if len(text) != SECRET_DIGITS:
            raise Malformed(f"a secret has {SECRET_DIGITS} characters")
        return cls(from_base62(text, SECRET_BYTES))

    def reveal(self) -> str:
        """The secret part of a credential. Call it where it is stored or sent, nowhere else."""
        return base62(self._value, SECRET_DIGITS)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the 32 bytes: what proofs speak of and what the platform's records derive from."""
        return hashlib.sha256(self._value).digest()

    def __repr__(self) -> str:
        return "Secret(***)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled: reveal it where it is stored")


class Credential:
    """What a Bearer carries. `str`, `repr` and `format` show the label alone."""

    __slots__ = ("id", "secret")

    PREFIX: ClassVar[str]
    CALLED: ClassVar[str]
    """What people call it, in messages."""

    def __init__(self, id_: str, secret: Secret) -> None:
        if not _ID.fullmatch(id_):
            raise Malformed(f"the id of {self.CALLED} is {ID_DIGITS} hexadecimal digits")
        self.id: Final = id_
        self.secret: Final = secret

    @classmethod
    def generate(cls, random: Random) -> Self:
        """A new one, with an id of its own."""
        return cls(new_id(random), Secret.generate(random))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The credential of this kind that `text` spells. Raises Malformed, also for one of another kind."""
        found = parse(text)
        if not isinstance(found, cls):
            raise Malformed(f"this is {found.CALLED}, where {cls.CALLED} belongs")
        return found

    def reveal(self) -> str:
        """The whole text. Call it where it is handed to its owner or sent to the platform, nowhere else."""
        body = f"{self.PREFIX}_{self.id}_{self.secret.reveal()}"
        return f"{body}_{_checksum(body)}"

    @property
    def label(self) -> str:
        """Prefix and id: what a log or an audit row may show."""
        return f"{self.PREFIX}_{self.id}"

    @property
    def digest(self) -> bytes:
        """SHA-256 of the secret, see `Secret.digest`."""
        return self.secret.digest

    def __repr__(self) -> str:
        return f"{self.label}_***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Credential) and self.label == other.label and self.secret == other.secret

    def __hash__(self) -> int:
        return hash((self.label, self.secret))


class RegistrationToken(Credential):
    """Lets one plane or cluster join, once."""

    __slots__ = ()

    PREFIX: ClassVar[str] = "bht"
    CALLED: ClassVar[str] = "a registration token"


class ServiceKey(Credential):
    """Whose it is: a plane or a cluster that has joined. Its id is the key id that the platform gave."""

    __slots__ = ()

    PREFIX: ClassVar[str] = "bhk"
    CALLED: ClassVar[str] = "a service key"


class ApiToken(Credential):
    """Whose it is: a user, or a program that acts for one."""

    __slots__ = ()

    PREFIX: ClassVar[str] = "oat"
    CALLED: ClassVar[str] = "an API token"


AnyCredential = RegistrationToken | ServiceKey | ApiToken

_KINDS: dict[str, type[AnyCredential]] = {kind.PREFIX: kind for kind in (RegistrationToken, ServiceKey, ApiToken)}


def parse(text: str) -> AnyCredential:
    """The credential that `text` spells, of whichever kind. Raises Malformed; the work is bounded by `LENGTH`."""
    if len(text) != LENGTH:
        raise Malformed(f"a credential has {LENGTH} characters: it was cut, or something was added")
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        raise Malformed("not of the form bht_…, bhk_… or oat_… with id, secret and checksum")
    prefix, id_, secret, checksum = shape.groups()
    if _checksum(text[: -CHECKSUM_DIGITS - 1]) != checksum:
        raise Malformed("the checksum does not fit: a character was changed")
    return _KINDS[prefix](id_, Secret.parse(secret))


def new_id(random: Random) -> str:
    """The id of a new credential: 128 random bits, so that nobody finds one by trying."""
    return random(ID_DIGITS // 2).hex()


def masked(text: str) -> str:
    """`text` with the secret of each credential in it left out, for what others write into a log."""
    return _SHOWN.sub(r"\1_\2_***", text)


def _checksum(text: str) -> str:
    return base62(zlib.crc32(text.encode()).to_bytes(4, "big"), CHECKSUM_DIGITS)
