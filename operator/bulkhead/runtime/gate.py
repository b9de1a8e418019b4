"""The way into one engine: so many at once, and nobody while it is down.

An engine that does not answer closes its gate. Who then wants in is parked and told so at once; one prober asks with
back-off whether it is back, and when it is the parked come back together. So a dead engine costs one ping at a time,
not one time-out for each of a thousand tenants.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_PROBE_SECONDS = 1.0
LONGEST_PROBE_SECONDS = 30.0


class Gate(Generic[K]):
    """Admission to one engine.

    unavailable: the exception type that says "it did not answer"; others do not close the gate
    ping: one cheap call that raises while the engine is down
    release: gets the parked keys when the engine is back
    pause: how to wait, with jitter; injected so that tests need no time
    """

    def __init__(
        self,
        *,
        limit: int,
        unavailable: type[Exception],
        ping: Callable[[], Awaitable[None]],
        release: Callable[[K], None],
        pause: Callable[[float], Awaitable[None]],
    ) -> None:
        self._slots = asyncio.Semaphore(limit)
        self._unavailable = unavailable
        self._ping = ping
        self._release = release
        self._pause = pause
        self._parked: set[K] = set()
        self._why = ""
        self._prober: asyncio.Task[None] | None = None

    @property
    def down(self) -> bool:
        """Whether the engine did not answer when it was last asked."""
        return self._prober is not None

    @contextlib.asynccontextmanager
    async def entered(self, key: K) -> AsyncIterator[None]:
        """Hold a place while working for `key`. Raises the unavailable exception at once while the engine is down."""
        self._refuse_while_down(key)
        async with self._slots:
            self._refuse_while_down(key)
            try:
                yield
            except self._unavailable as error:
                self._close(key, str(error))
                raise

    async def close(self) -> None:
        """Stop probing; the engine is no longer used."""
        if self._prober is not None:
            self._prober.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._prober

    def _refuse_while_down(self, key: K) -> None:
        if self.down:
            self._parked.add(key)
            raise self._unavailable(self._why)

    def _close(self, key: K, why: str) -> None:
        self._parked.add(key)
        self._why = why
        if self._prober is None:
            self._prober = asyncio.create_task(self._probe())

    async def _probe(self) -> None:
        wait = FIRST_PROBE_SECONDS
        await self._pause(wait)
        while not await self._answers():
            wait = min(2 * wait, LONGEST_PROBE_SECONDS)
            await self._pause(wait)
        self._open()

    async def _answers(self) -> bool:
        try:
            await self._ping()
        except self._unavailable:
            return False
        except Exception:  # noqa: BLE001 - "no" is an answer too; who wants in is told it
            return True
        return True

    def _open(self) -> None:
        self._prober = None
        parked, self._parked = self._parked, set()
        for key in parked:
            self._release(key)
