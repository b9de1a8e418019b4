"""What is known of the inside of databases: a look in there is a log-in, most of the time that a look takes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from bulkhead.engines.postgres.databases import CreateExtension, DropDatabase, Furnish, NameDatabase, UseWarm
from bulkhead.engines.postgres.seen import Inside
from bulkhead.engines.postgres.statement import Statement

KNOWN_FOR = timedelta(minutes=10)
"""What a tenant does to its own schemas meanwhile harms nobody, and is repaired after that."""


class Interiors:
    """In memory alone: whoever starts anew looks again."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._known: dict[str, tuple[Inside, datetime]] = {}

    def recall(self, database: str) -> Inside | None:
        """What was seen or made in there lately."""
        known = self._known.get(database)
        return known[0] if known and known[1] > self._clock() else None

    def remember(self, database: str, inside: Inside) -> Inside:
        """Keep what was seen, and return it."""
        now = self._clock()
        self._known = {name: known for name, known in self._known.items() if known[1] > now}
        self._known[database] = (inside, now + KNOWN_FOR)
        return inside

    def note(self, step: Statement) -> None:
        """After `step`, which may have changed what is known."""
        match step:
            case UseWarm():
                # Its stamp said that it was furnished, see `FurnishWarm`.
                schemas = {"public": step.name}
                self.remember(step.name, Inside(schemas=schemas, extensions=frozenset(), extensions_usable=True))
            case Furnish() | CreateExtension():
                self._known.pop(step.database, None)
            case NameDatabase() | DropDatabase():
                # A namesake of before may have been known: whatever has the name now is another one.
                self._known.pop(step.name, None)
