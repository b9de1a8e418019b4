"""What spares scrypt for a bounded time after it succeeded: HMAC-SHA256 under a pepper that is not in the database.

Pure. A value under a pepper that is known says all: what does not fit it is wrong. One under another pepper, or whose
time is over, says nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto

from bulkhead.platform.settings import Keys

LIFETIME = timedelta(hours=24)
SPREAD = 0.2
"""By which share the lifetime varies either way, so that what was made together does not end together."""
RENEWED_WITHIN = 0.2
"""The last share of its lifetime in which a value that is used is made anew, off the path of the answer."""

_DUMMY = bytes(32)


class Answer(Enum):
    """What a value says of the secret that was shown."""

    FITS = auto()
    FITS_AND_ENDS_SOON = auto()
    DIFFERS = auto()
    NONE_LIVE = auto()


@dataclass(frozen=True, slots=True)
class Fast:
    """As it rests beside the scrypt record. pepper: id of the key that it was made with."""

    value: bytes = field(repr=False)
    pepper: str
    until: datetime


def columns(fast: Fast | None) -> dict[str, object]:
    """As statements name them; nulls where there is none."""
    if fast is None:
        return dict.fromkeys(("fast_value", "fast_pepper", "fast_until"))
    return {"fast_value": fast.value, "fast_pepper": fast.pepper, "fast_until": fast.until}


def read(value: bytes | None, pepper: str | None, until: datetime | None) -> Fast | None:
    """What those columns hold."""
    return None if value is None or pepper is None or until is None else Fast(value, pepper, until)


def made(digest: bytes, peppers: Keys, now: datetime, random: Callable[[], float]) -> Fast:
    """The value for the secret with that SHA-256. random: from 0 to 1."""
    lifetime = LIFETIME * (1 + SPREAD * (2 * random() - 1))
    return Fast(_value(peppers.current.value, digest), peppers.current.id, now + lifetime)


def asked(found: Fast | None, digest: bytes, peppers: Keys, now: datetime) -> Answer:
    """What `found` says of the secret with that SHA-256."""
    if found is None or found.until <= now:
        return Answer.NONE_LIVE
    pepper = peppers.named(found.pepper)
    if pepper is None:
        return Answer.NONE_LIVE
    if not hmac.compare_digest(found.value, _value(pepper.value, digest)):
        return Answer.DIFFERS
    soon = found.until - now < LIFETIME * RENEWED_WITHIN or pepper is not peppers.current
    return Answer.FITS_AND_ENDS_SOON if soon else Answer.FITS


def compare_nothing(digest: bytes, peppers: Keys) -> None:
    """As much work as `asked` does, for an id that there is not."""
    hmac.compare_digest(_DUMMY, _value(peppers.current.value, digest))


def _value(pepper: bytes, digest: bytes) -> bytes:
    return hmac.new(pepper, digest, hashlib.sha256).digest()
