"""Which warm database goes to whom: two reconciles side by side must not both choose the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

RESERVED_FOR = timedelta(seconds=60)
"""From the look that shows a warm database to the step that takes it."""


class Reservations:
    """In memory alone: two operators that overlap for a moment may still choose the same, and then one step fails."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._held: dict[str, tuple[str, datetime]] = {}

    def choose(self, uid: str, available: Sequence[str]) -> tuple[str, ...]:
        """One of `available` for `uid`, the same one again until it expires; nothing where all are promised."""
        now = self._clock()
        # What is promised to others stays so even where this look does not show it: it may be older than theirs.
        self._held = {
            name: (whose, until)
            for name, (whose, until) in self._held.items()
            if until > now and (name in available or whose != uid)
        }
        mine = next((name for name, held in self._held.items() if held[0] == uid), None)
        chosen = mine or next((name for name in available if name not in self._held), None)
        if chosen is None:
            return ()
        self._held[chosen] = (uid, now + RESERVED_FOR)
        return (chosen,)

    def promised(self) -> frozenset[str]:
        """Names that are held now."""
        now = self._clock()
        return frozenset(name for name, held in self._held.items() if held[1] > now)
