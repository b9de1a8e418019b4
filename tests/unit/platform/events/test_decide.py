"""When a delivery is tried again, and when its webhook is given up."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.platform.events.decide import (
    GIVEN_UP_AFTER,
    MOST_ATTEMPTS,
    MOST_WAIT,
    Outcome,
    backoff,
    of_status,
    verdict,
)

FAILED = Outcome(500, "refused by the receiver")


def after(outcome: Outcome, attempts: int = 1, failures: int = 0, failing_for: timedelta = timedelta()) -> str:
    decided = verdict(outcome, attempts=attempts, failures=failures, failing_for=failing_for, chance=0.5)
    return f"{decided.state}{' disabled' if decided.disable else ''}"


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    assert of_status(status).delivered


@pytest.mark.parametrize("status", [100, 199, 301, 302, 307, 308, 400, 404, 410, 429, 500, 503])
def test_anything_else_is_not_delivered(status: int) -> None:
    assert not of_status(status).delivered


def test_a_delivery_is_tried_until_its_attempts_are_used_up() -> None:
    assert after(FAILED, attempts=MOST_ATTEMPTS - 1) == "pending"
    assert after(FAILED, attempts=MOST_ATTEMPTS) == "failed"


def test_a_webhook_is_given_up_after_days_without_a_success() -> None:
    assert after(FAILED, failing_for=GIVEN_UP_AFTER - timedelta(seconds=1)) == "pending"
    assert after(FAILED, failing_for=GIVEN_UP_AFTER) == "failed disabled"
    assert after(Outcome(200, ""), failing_for=GIVEN_UP_AFTER) == "delivered"


def test_a_success_lets_the_next_delivery_go_at_once() -> None:
    decided = verdict(Outcome(204, ""), attempts=3, failures=9, failing_for=timedelta(hours=5), chance=0.5)
    assert (decided.rest, decided.wait) == (timedelta(), None)


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_waits_grow_are_spread_and_stay_within_their_bound(failures: int, chance: float) -> None:
    assert timedelta(seconds=12) <= backoff(failures, chance) <= MOST_WAIT * 1.2
    assert backoff(failures, 0) <= backoff(failures, chance) <= backoff(failures, 1)
    assert backoff(failures, chance) <= backoff(failures + 1, chance)


def test_all_attempts_together_last_about_as_long_as_a_webhook_may_fail() -> None:
    together = sum((backoff(attempt, 0.5) for attempt in range(1, MOST_ATTEMPTS)), timedelta())
    assert timedelta(days=1) < together < GIVEN_UP_AFTER


@pytest.mark.parametrize("status", [0, 99, 600, 999])
def test_a_status_that_no_row_could_hold_is_a_failure_like_no_answer(status: int) -> None:
    """As a fault in settling it, the delivery would be tried for ever."""
    outcome = of_status(status)
    assert (outcome.status, outcome.delivered) == (None, False)
