"""Pauses between attempts."""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """Doubling pauses, in seconds, each shortened by up to half at random so that many who failed together do not
    come back together.

    jitter: a random number in [0, 1)
    """

    def __init__(self, *, first: float, longest: float, jitter: Callable[[], float]) -> None:
        self._first = first
        self._longest = longest
        self._jitter = jitter
        self._next = first

    def pause(self) -> float:
        """How long to wait now; the next one is twice as long."""
        base, self._next = self._next, min(self._next * 2, self._longest)
        return base * (1 - 0.5 * self._jitter())

    def reset(self) -> None:
        """Something worked: start over."""
        self._next = self._first
