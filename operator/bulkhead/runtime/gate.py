"""The gate to one engine: so many calls at once, and none while it is down.

A breaker opens at the first call that the engine did not answer. Then nobody waits for it any more: keys that need it
are parked, one prober pings it at growing intervals, and its first answer releases them all. So an engine that is down
costs one ping now and then, whatever the number of tenants.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Hashable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

FIRST_PING_SECONDS = 0.5
LONGEST_PING_SECONDS = 30.0
PING_TIMEOUT_SECONDS = 5.0


class BreakerOpen(Exception):
    """The engine is known to be down, so it was not called. The text says since what."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """State of the breaker, and how it changes. Pure."""

    is_open: bool = False
    failures: int = 0
    """Pings that failed, and trips without one successful call in between: an engine that answers pings but no calls is
    let in less and less often."""

    def failed(self) -> Breaker:
        """A call got no answer."""
        return self if self.is_open else replace(self, is_open=True, failures=self.failures + 1)

    def succeeded(self) -> Breaker:
        """A call got an answer. One that was under way when the breaker opened does not close it."""
        return self if self.is_open else Breaker()

    def ping_failed(self) -> Breaker:
        """It is still down."""
        return replace(self, failures=self.failures + 1)

    def ping_succeeded(self) -> Breaker:
        """It is back, on trial: `failures` stay until a call succeeds."""
        return replace(self, is_open=False)

    def pause(self, jitter: float) -> float:
        """Seconds until the next ping."""
        doubled = FIRST_PING_SECONDS * 2.0 ** min(self.failures - 1, 30)
        return min(doubled, LONGEST_PING_SECONDS) * (1 - 0.5 * jitter)


class Gate(Generic[K]):
    """The way to one engine.

    ping: a cheap call; what is not `unavailable` counts as an answer
    unavailable: what is raised when the engine does not answer
    limit: calls at once
    on_recovered: told which keys can go on
    on_change: told whether the engine is down, when that changes
    jitter: a random number in [0, 1)
    """

    def __init__(
        self,
        target: str,
        *,
        ping: Callable[[], Awaitable[None]],
        unavailable: type[Exception],
        limit: int,
        on_recovered: Callable[[Collection[K]], None],
        on_change: Callable[[bool], None],
        jitter: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.target = target
        self._ping = ping
        self._unavailable = unavailable
        self._slots = asyncio.Semaphore(limit)
        self._on_recovered = on_recovered
        self._on_change = on_change
        self._jitter = jitter
        self._sleep = sleep
        self._breaker = Breaker()
        self._why = ""
        self._parked: set[K] = set()
        self._prober: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the engine is known to be down."""
        return self._breaker.is_open

    @property
    def why(self) -> str:
        """What the engine failed with last; empty where it never did."""
        return self._why

    @property
    def parked(self) -> int:
        """Keys that wait for the engine."""
        return len(self._parked)

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` when there is room. Raises BreakerOpen instead while the engine is down."""
        self._refuse_while_open()
        async with self._slots:
            # It may have opened while we waited for room.
            self._refuse_while_open()
            try:
                result = await work()
            except self._unavailable as error:
                self._trip(str(error))
                raise
        self._breaker = self._breaker.succeeded()
        return result

    def park(self, key: K) -> None:
        """Tell `on_recovered` of the key once the engine is back, which may be at once."""
        if self.is_open:
            self._parked.add(key)
            return
        self._on_recovered((key,))

    async def close(self) -> None:
        """End the prober and release what is parked: whoever takes this gate's place must see those keys."""
        if self._prober:
            self._prober.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._prober
        self._release()

    def _refuse_while_open(self) -> None:
        if self.is_open:
            raise BreakerOpen(f"{self.target} is down: {self._why}")

    def _trip(self, why: str) -> None:
        if self.is_open:
            return
        self._breaker = self._breaker.failed()
        self._why = why
        self._prober = asyncio.get_running_loop().create_task(self._probe(), name=f"prober of {self.target}")
        self._on_change(self.is_open)

    async def _probe(self) -> None:
        await self._sleep(self._breaker.pause(self._jitter()))
        while not await self._answers():
            self._breaker = self._breaker.ping_failed()
            await self._sleep(self._breaker.pause(self._jitter()))
        self._breaker = self._breaker.ping_succeeded()
        self._release()
        self._on_change(self.is_open)

    async def _answers(self) -> bool:
        try:
            async with asyncio.timeout(PING_TIMEOUT_SECONDS):
                await self._ping()
        except (self._unavailable, TimeoutError) as error:
            self._why = str(error) or self._why
            return False
        except Exception:  # noqa: BLE001 - it answered, with a no: the keys themselves will say what is wrong
            return True
        return True

    def _release(self) -> None:
        released, self._parked = self._parked, set()
        if released:
            self._on_recovered(released)
