"""When a delivery is tried again, and when a webhook is given up: pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

FIRST_RETRY = timedelta(seconds=15)
MOST_WAIT = timedelta(hours=6)
MOST_ATTEMPTS = 16
"""Some three days, with the waits below."""
GIVEN_UP_AFTER = timedelta(days=3)
"""Of failures without one success between them, after which a webhook is disabled."""
JITTER = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one attempt.

    status: of the answer; None: there was none
    error: our word for what went wrong; empty: it was delivered
    """

    status: int | None
    error: str

    @property
    def delivered(self) -> bool:
        """Whether the receiver took it."""
        return not self.error


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from an outcome.

    state: of the delivery
    wait: until its next attempt; None: there is none
    rest: of the webhook, before anything else is sent to it
    disable: whether the webhook is given up
    """

    state: str
    wait: timedelta | None
    rest: timedelta
    disable: bool


def of_status(status: int) -> Outcome:
    """What an answer means. A redirect is not followed, so it is a failure; so is a status that HTTP does not have."""
    if not 100 <= status <= 599:
        return Outcome(None, "answered with no status of HTTP")
    if 200 <= status < 300:
        return Outcome(status, "")
    return Outcome(status, "redirected" if 300 <= status < 400 else "refused by the receiver")


def verdict(outcome: Outcome, *, attempts: int, failures: int, failing_for: timedelta, chance: float) -> Verdict:
    """What to do after an attempt.

    attempts: of this delivery, this one counted
    failures: of this webhook in a row before this one
    failing_for: since the first of them
    chance: from 0 to 1
    """
    if outcome.delivered:
        return Verdict("delivered", None, timedelta(), disable=False)
    disable = failing_for >= GIVEN_UP_AFTER
    rest = backoff(failures + 1, chance)
    if disable or attempts >= MOST_ATTEMPTS:
        return Verdict("failed", None, rest, disable=disable)
    return Verdict("pending", backoff(attempts, chance), rest, disable=False)


def backoff(failures: int, chance: float) -> timedelta:
    """Doubled by each failure, bounded, and spread so that what failed together does not come back together."""
    wait: timedelta = min(FIRST_RETRY * 2 ** min(failures - 1, 20), MOST_WAIT)
    spread: timedelta = wait * (1 - JITTER + 2 * JITTER * chance)
    return spread
