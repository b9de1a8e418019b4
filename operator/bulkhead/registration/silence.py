"""Whether the platform answers at all. While it does not, one call at a time finds out, and nobody else waits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from bulkhead.registration.errors import PlatformError, Refused, Silent

FAILURES = 5
"""Calls in a row without an answer of the platform, after which it counts as silent."""
PROBE_SECONDS = 10.0
"""Between the end of one probe and the next."""

Subject = tuple[str, str]
"""Kind and name of the object that a registration belongs to."""


class Silence:
    """clock: monotonic seconds. on_end: told, once the platform answers again, whom to look at: those that waited."""

    def __init__(self, clock: Callable[[], float], on_end: Callable[[set[Subject]], None]) -> None:
        self._clock = clock
        self._on_end = on_end
        self._failures = 0
        self._probing = False
        self._probe_at = 0.0
        self._waiting: set[Subject] = set()
        self.why = "the platform does not answer"
        """What the call came to with which the silence began: said of all, it stays the same until that is over."""

    @property
    def silent(self) -> bool:
        return self._failures >= FAILURES

    @property
    def closed(self) -> bool:
        """Whether a call would not be made now."""
        return self.silent and (self._probing or self._clock() < self._probe_at)

    def wait(self, subject: Subject) -> None:
        """Have `subject` looked at once the platform answers again."""
        self._waiting.add(subject)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Around one call. Raises Silent without a call while the platform is silent, but for the probe whose turn it
        is."""
        probe = self.silent
        if self.closed:
            raise Silent(self.why)
        self._probing = self._probing or probe
        try:
            yield
        except Refused:
            self._heard()
            raise
        except PlatformError as error:
            self._failures += 1
            self.why = self.why if probe else str(error)
            self._probe_at = self._clock() + PROBE_SECONDS
            raise
        else:
            self._heard()
        finally:
            if probe:
                self._probing = False

    def _heard(self) -> None:
        self._failures = 0
        if self._waiting:
            waited, self._waiting = self._waiting, set()
            self._on_end(waited)
