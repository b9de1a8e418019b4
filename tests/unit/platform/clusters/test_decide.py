"""What a heartbeat is answered, and what a change of desired state does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.platform.clusters.decide import MOST_APPLIED, ROTATE_BEFORE, Progress, Standing, rotation
from bulkhead.protocol.heartbeat import Desired

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "0" * 32

issued = st.integers(1, MOST_APPLIED)
applied = st.integers(0, MOST_APPLIED)


@pytest.mark.parametrize(
    ("generation", "progress", "told"),
    [
        (4, Progress.PENDING, Desired(generation=5, suspended=True)),
        (5, Progress.APPLIED, Desired(generation=5, suspended=True)),
        (6, Progress.RESTORED, None),
    ],
)
def test_a_cluster_is_told_what_is_wanted_unless_it_applied_something_newer(
    generation: int, progress: Progress, told: Desired | None
) -> None:
    standing = Standing(issued=5, suspended=True, applied=generation)
    assert (standing.progress, standing.desired) == (progress, told)


@given(st.builds(Standing, issued, st.booleans(), applied), st.sampled_from([False, True]))
def test_a_change_goes_beyond_all_that_was_issued_and_applied(standing: Standing, wanted: object) -> None:
    suspended = bool(wanted)
    generation = standing.changed(suspended=suspended)
    if generation is None:
        assert suspended == standing.suspended
        assert standing.applied <= standing.issued
    else:
        assert max(standing.issued, standing.applied) < generation < 2**31
        changed = Standing(generation, suspended, standing.applied)
        assert changed.desired == Desired(generation=generation, suspended=suspended)


def test_a_key_wants_a_successor_in_its_last_days_alone_and_only_while_it_has_none() -> None:
    late, early = NOW + ROTATE_BEFORE, NOW + ROTATE_BEFORE + timedelta(seconds=1)
    assert rotation(KEY, expires_at=None, retires_at=None, now=NOW) is None
    assert rotation(KEY, expires_at=early, retires_at=None, now=NOW) is None
    assert rotation(KEY, expires_at=late, retires_at=NOW, now=NOW) is None
    wanted = rotation(KEY, expires_at=late, retires_at=None, now=NOW)
    assert wanted is not None
    assert (wanted.replaces, wanted.before) == (KEY, int(late.timestamp()))
