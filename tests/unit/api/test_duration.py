"""Durations and timestamps of the API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.api.duration import seconds
from bulkhead.api.timestamp import rfc3339


@given(st.integers(0, 99_999), st.integers(0, 99_999), st.integers(0, 99_999))
def test_the_parts_of_a_duration_add_up(hours: int, minutes: int, rest: int) -> None:
    assert seconds(f"{hours}h{minutes}m{rest}s") == hours * 3600 + minutes * 60 + rest


@pytest.mark.parametrize("text", ["", "24", "-1h", "1.5h", "1d", "1h\n", " 1h", "1m1h", "h", "\u0661h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        seconds(text)


def test_a_timestamp_is_in_utc() -> None:
    assert rfc3339(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))) == "2025-12-31T23:00:00Z"
    assert rfc3339(datetime(2026, 1, 1, microsecond=9, tzinfo=UTC)) == "2026-01-01T00:00:00Z"


def test_a_timestamp_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        rfc3339(datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test
