"""The log stream of the experimental logs route: open, and silent."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass(slots=True)
class LogStream:
    """At most one listener at a time."""

    _ended: asyncio.Event | None = None

    @property
    def is_open(self) -> bool:
        """True while someone listens."""
        return self._ended is not None

    def open(self) -> AsyncIterator[bytes]:
        """Take the one place, until the listener leaves or someone ends it."""
        self._ended = asyncio.Event()
        return self._lines(self._ended)

    async def _lines(self, ended: asyncio.Event) -> AsyncIterator[bytes]:
        try:
            await ended.wait()
            yield b""
        finally:
            if self._ended is ended:
                self._ended = None

    def end(self) -> None:
        """Send the listener away, if there is one."""
        if self._ended is not None:
            self._ended.set()
