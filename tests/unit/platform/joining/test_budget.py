from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bulkhead.platform.joining.budget import DAY_SECONDS, MOST, Charged, Exhausted, charge


def test_five_times_at_once_and_not_a_sixth() -> None:
    left = MOST
    for _ in range(5):
        charged = charge(left, 0, fenced=False)
        assert isinstance(charged, Charged)
        left = charged.left
    assert charge(left, 0, fenced=False) == Exhausted(int(DAY_SECONDS / 5))


def test_after_a_restore_it_costs_nothing_and_is_never_refused() -> None:
    assert charge(0.0, 0, fenced=True) == Charged(0.0)


@given(st.floats(0, MOST), st.floats(0, 10 * DAY_SECONDS))
def test_who_waits_as_long_as_it_is_told_may(budget: float, seconds: float) -> None:
    charged = charge(budget, seconds, fenced=False)
    if isinstance(charged, Exhausted):
        assert isinstance(charge(budget, seconds + charged.seconds, fenced=False), Charged)
    else:
        assert 0 <= charged.left <= MOST - 1


@given(st.floats(-1e6, 0))
def test_a_clock_that_went_back_takes_nothing_away(seconds: float) -> None:
    assert charge(2.0, seconds, fenced=False) == Charged(1.0)
