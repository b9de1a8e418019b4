from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.engines.release import release_of

NUMBERS = st.integers(0, 10**6)


@given(NUMBERS, NUMBERS, NUMBERS, st.sampled_from(["", "-dev", "-rc.1", "+build"]))
def test_releases_compare_as_numbers(major: int, minor: int, patch: int, rest: str) -> None:
    assert release_of(f"{major}.{minor}.{patch}{rest}") == (major, minor, patch)


@pytest.mark.parametrize("text", ["", "1", "1.2", "x1.2.3", "nightly"])
def test_what_is_no_release_has_none(text: str) -> None:
    assert release_of(text) is None
