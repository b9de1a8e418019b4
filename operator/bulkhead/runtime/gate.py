"""The gate to one engine: so many calls at once, and none while it is down.

A breaker opens when a call and then a ping got no answer. Then nobody waits for it any more: keys that need it
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
    """Pings that failed in a row."""

    def failed(self) -> Breaker:
        """Neither a call nor a ping got an answer."""
        return self if self.is_open else Breaker(is_open=True, failures=1)

    def ping_failed(self) -> Breaker:
        """It is still down."""
        return replace(self, failures=self.failures + 1)

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
        self._limit = limit
        self._closed = False
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
                await self._doubt(str(error))
                raise
        return result

    def park(self, key: K) -> None:
        """Tell `on_recovered` of the key once the engine is back, which may be at once."""
        if self.is_open:
            self._parked.add(key)
            return
        self._on_recovered((key,))

    async def close(self) -> None:
        """Let nobody in any more, wait for who is inside, end the prober, and release what is parked: whoever takes
        this gate's place must see those keys."""
        self._closed = True
        for _ in range(self._limit):
            await self._slots.acquire()
        if self._prober:
            self._prober.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._prober
        self._breaker = Breaker()  # nobody finds out any more: what is parked from here on is released at once
        self._release()

    def _refuse_while_open(self) -> None:
        if self.is_open:
            raise BreakerOpen(f"{self.target} is down: {self._why}")
        if self._closed:
            raise BreakerOpen(f"{self.target} is reached in another way now")

    async def _doubt(self, why: str) -> None:
        """One call got no answer in time. Whether that is the engine or what was asked of it (a lock that a tenant
        holds, a database of its own that is slow), a ping tells: one tenant must not close the engine to all."""
        if self.is_open or self._closed or await self._answers():
            return
        self._trip(why)

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
        self._breaker = Breaker()
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
