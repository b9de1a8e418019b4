"""How often an identity may re-join: five times, coming back over a day. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

MOST = 5.0
DAY_SECONDS = 86400.0
PER_SECOND = MOST / DAY_SECONDS


@dataclass(frozen=True, slots=True)
class Charged:
    """It may; `left` is what its row is to hold."""

    left: float


@dataclass(frozen=True, slots=True)
class Exhausted:
    """It may not for so many seconds."""

    seconds: int


def charge(budget: float, seconds: float, *, fenced: bool) -> Charged | Exhausted:
    """What one re-join makes of a budget that was written `seconds` ago.

    fenced: it follows a restore of the platform, which is no fault of who re-joins, and costs nothing
    """
    now = min(MOST, budget + max(0.0, seconds) * PER_SECOND)
    if fenced:
        return Charged(now)
    if now < 1.0:
        return Exhausted(math.ceil((1.0 - now) / PER_SECOND))
    return Charged(now - 1.0)
