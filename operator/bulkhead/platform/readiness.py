"""Whether this replica may be given requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0
"""Between two looks."""
WITHIN_SECONDS = 3.0
"""A look that takes longer says that the database does not answer."""


class Readiness:
    """What was seen at the last look. Who asks causes none, so that nobody reaches the database by asking often.

    look: why no request can be served, as a sentence; empty: they can
    """

    def __init__(self, look: Callable[[], Awaitable[str]]) -> None:
        self._look = look
        self._reasons: list[Callable[[], str]] = []
        self._problem = "nothing was looked at yet"
        self._draining = False

    def check(self) -> str:
        """Why no request should come here now, as a sentence; empty: they should."""
        return "this replica is about to end" if self._draining else self._problem

    def mind(self, reason: Callable[[], str]) -> None:
        """Ask this too at each look: why not, as a sentence; empty: nothing."""
        self._reasons.append(reason)

    @property
    def draining(self) -> bool:
        """Whether `drain` was called."""
        return self._draining

    def drain(self) -> None:
        """From now on for ever: none should."""
        self._draining = True

    async def look(self) -> str:
        """Look once; what is seen is what `check` says. An exception of `look` is a fault and passes."""
        before = self._problem
        try:
            async with asyncio.timeout(WITHIN_SECONDS):
                self._problem = await self._look() or next(filter(None, (reason() for reason in self._reasons)), "")
        except TimeoutError:
            self._problem = f"the database does not answer within {WITHIN_SECONDS:g} s"
        if self._problem != before:
            log.warning("unready" if self._problem else "ready", reason=self._problem)
        return self._problem

    async def until_ready(self) -> None:
        """Look until there is nothing in the way."""
        while await self.look():  # noqa: ASYNC110 - the database tells nobody that it is there
            await asyncio.sleep(LOOK_SECONDS)

    async def watch(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()
