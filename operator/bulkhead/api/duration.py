"""Durations in specs: hours, minutes and seconds as in Go, without fractions or signs."""

from __future__ import annotations

import re

DURATION_PATTERN = r"^([0-9]{1,5}h)?([0-9]{1,5}m)?([0-9]{1,5}s)?\Z"
"""Narrower than Go's: what it accepts, CEL's `duration()` and `seconds` read alike."""

_UNITS = (3600, 60, 1)


def seconds(text: str) -> int:
    """Seconds in `text`, such as 86400 for `24h`. Raises ValueError where it is no duration."""
    match = re.fullmatch(DURATION_PATTERN, text)
    if not text or match is None:
        raise ValueError(f'"{text}" is not a duration such as "24h" or "1h30m"')
    return sum(int(part[:-1]) * unit for part, unit in zip(match.groups(), _UNITS, strict=True) if part)
