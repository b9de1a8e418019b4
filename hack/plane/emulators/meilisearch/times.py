"""Instants with nanoseconds, as the wire shows them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

Clock = Callable[[], int]
"""Nanoseconds since the epoch."""

SECOND = 1_000_000_000
_DAY = 86_400
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(?:(Z)|([+-])(\d\d):(\d\d))")
_NAIVE = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Instant:
    """A point in time that remembers the offset it was written with, because the server shows it again."""

    nanos: int
    offset_minutes: int = 0

    def __str__(self) -> str:
        local = datetime.fromtimestamp(self.nanos // SECOND, UTC) + timedelta(minutes=self.offset_minutes)
        fraction = f".{self.nanos % SECOND:09d}".rstrip("0").rstrip(".")
        return f"{local:%Y-%m-%dT%H:%M:%S}{fraction}{_offset(self.offset_minutes)}"


def _offset(minutes: int) -> str:
    if minutes == 0:
        return "Z"
    sign = "-" if minutes < 0 else "+"
    return f"{sign}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def show(nanos: int) -> str:
    """The RFC 3339 text, in UTC, without trailing zeros of the fraction."""
    return str(Instant(nanos))


def parse_rfc3339(text: str) -> Instant:
    """Read a fully specified date-time; raises ValueError for anything else."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(text)
    day, clock, fraction, _, sign, hours, minutes = match.groups()
    offset = (int(hours) * 60 + int(minutes)) * (-1 if sign == "-" else 1) if sign else 0
    moment = datetime.fromisoformat(f"{day}T{clock}+00:00") - timedelta(minutes=offset)
    nanos = int(moment.timestamp()) * SECOND + int((fraction or "").ljust(9, "0") or 0)
    return Instant(nanos, offset)


def parse_day(text: str) -> int:
    """Midnight UTC of a YYYY-MM-DD, in nanoseconds; raises ValueError."""
    if len(text) != len("YYYY-MM-DD"):
        raise ValueError(text)
    day = date.fromisoformat(text)
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * SECOND


def parse_lenient(text: str) -> Instant:
    """What `expiresAt` accepts: RFC 3339, a date-time without offset (UTC), or a day."""
    try:
        return parse_rfc3339(text)
    except ValueError:
        naive = _NAIVE.fullmatch(text)
    if naive is None:
        return Instant(parse_day(text))
    return parse_rfc3339(f"{naive[1]}T{naive[2]}Z")


def show_duration(nanos: int) -> str:
    """ISO 8601, with as many digits of the fraction as it needs in threes."""
    seconds, rest = divmod(nanos, SECOND)
    days, seconds = divmod(seconds, _DAY)
    text = "P" + (f"{days}D" if days else "")
    if days and not seconds and not rest:
        return text
    if rest == 0:
        return f"{text}T{seconds}S"
    for digits in (3, 6, 9):
        unit = 10 ** (9 - digits)
        if rest % unit == 0:
            return f"{text}T{seconds}.{rest // unit:0{digits}d}S"
    return text
