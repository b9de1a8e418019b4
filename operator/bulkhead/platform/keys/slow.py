"""scrypt off the event loop: so many at once, so many waiting, one turn after the other for each source.

    Problem busy   the queue is full or slow; nobody is starved by it, for who has a live fast value never comes here

The same secret shown twice at once for one key is derived once. A source has its place in the queue once in each
round, so that one that floods delays itself alone. Sources that have failed lately come after all others.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Generic, TypeVar

from bulkhead.platform.http.limits import network_of
from bulkhead.platform.settings import Scrypt
from bulkhead.protocol.problems import Code, Problem

T = TypeVar("T")

RETRY_SECONDS = 5
WAIT_SECONDS = 5.0
"""In the queue: less than any route has for its request."""
MOST_OF_ONE = 0.5
"""The share of all places that one source may hold, and that all suspects may."""
NICENESS = 10
RESTS = 15.0
"""Times as long as a derivation took that came to nothing, until the next. Twice as long with each in a row: who goes
on guessing, from however many addresses, gets less and less of the cores that heartbeats need."""
MOST_DOUBLINGS = 4


def threads(bounds: Scrypt) -> Executor:
    """As many as derive at once. A core that is short goes to all others first: a guess waits, and no heartbeat."""
    # Of the calling thread alone: niceness is a thread's, on Linux.
    return ThreadPoolExecutor(bounds.at_once, thread_name_prefix="scrypt", initializer=os.nice, initargs=(NICENESS,))


def _never(_: object) -> bool:
    return False


_Queue = OrderedDict[str, deque[asyncio.Future[None]]]


class Slow(Generic[T]):
    """Runs blocking derivations fairly. executor: with as many threads as run at once."""

    def __init__(self, executor: Executor, bounds: Scrypt) -> None:
        self._executor = executor
        self._bounds = bounds
        self._running = 0
        self._vain = 0
        self._resting: list[float] = []
        self._waiting: _Queue = OrderedDict()
        self._suspects: _Queue = OrderedDict()
        self._flights: dict[tuple[str, bytes], asyncio.Task[T]] = {}

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return sum(len(places) for queue in (self._waiting, self._suspects) for places in queue.values())

    async def once(
        self,
        key: str,
        digest: bytes,
        source: str,
        derive: Callable[[], T],
        *,
        suspect: bool = False,
        is_vain: Callable[[T], bool] = _never,
    ) -> T:
        """As `run`; who asks the same of one key at the same time shares what is derived."""
        flight = (key, digest)
        task = self._flights.get(flight)
        if task is None:
            task = asyncio.create_task(self.run(source, derive, suspect=suspect, is_vain=is_vain))
            self._flights[flight] = task
            task.add_done_callback(lambda ended: self._landed(flight, ended))
        # Shielded: one who leaves does not take the answer from the others.
        return await asyncio.shield(task)

    def _landed(self, flight: tuple[str, bytes], ended: asyncio.Task[T]) -> None:
        self._flights.pop(flight, None)
        # Where all have left, nobody else asks for what it raised, and asyncio would log that.
        _ = ended.cancelled() or ended.exception()

    async def run(
        self,
        source: str,
        derive: Callable[[], T],
        *,
        suspect: bool = False,
        is_vain: Callable[[T], bool] = _never,
    ) -> T:
        """What `derive` gives, in its turn. Raises Problem busy.

        suspect: whether the source has failed lately; is_vain: whether what was derived is of no use to anybody
        """
        await self._turn(network_of(source), self._suspects if suspect else self._waiting)
        loop = asyncio.get_running_loop()
        begun, rest = loop.time(), 0.0
        try:
            derived = await loop.run_in_executor(self._executor, derive)
            rest = self._rests(vain=is_vain(derived)) * (loop.time() - begun)
            return derived
        finally:
            self._rest(loop.time() + rest)

    def _rest(self, until: float) -> None:
        """Hand the turn on then."""
        self._resting.append(until)

        def rested() -> None:
            self._resting.remove(until)
            self._next()

        asyncio.get_running_loop().call_at(until, rested)

    def _rests(self, *, vain: bool) -> float:
        """How many times the length of a derivation is waited after it."""
        rests = RESTS * 2**self._vain if vain else 0.0
        self._vain = min(self._vain + 1, MOST_DOUBLINGS) if vain else 0
        return rests

    async def _turn(self, source: str, queue: _Queue) -> None:
        if self._running < self._bounds.at_once:
            self._running += 1
            return
        self._refuse_in_vain()
        places = queue.setdefault(source, deque())
        most_of_one = max(1, int(self._bounds.waiting * MOST_OF_ONE))
        most = self._bounds.waiting if queue is self._waiting else most_of_one
        if self.waiting >= most or len(places) >= most_of_one:
            _drop_if_empty(queue, source)
            raise Problem(Code.BUSY, retry_after=RETRY_SECONDS)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        places.append(place)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await place
        except TimeoutError:
            self._give_up(queue, source, place)
            raise Problem(Code.BUSY, retry_after=RETRY_SECONDS) from None
        except asyncio.CancelledError:
            self._give_up(queue, source, place)
            raise

    def _refuse_in_vain(self) -> None:
        """Raise Problem busy where all rest for longer than anybody may wait."""
        if len(self._resting) < self._bounds.at_once:
            return
        seconds = min(self._resting) - asyncio.get_running_loop().time()
        if seconds > WAIT_SECONDS:
            # By when there is a place to wait in: who came after the turn was given on would never be next.
            raise Problem(Code.BUSY, retry_after=int(seconds - WAIT_SECONDS) + 1)

    def _give_up(self, queue: _Queue, source: str, place: asyncio.Future[None]) -> None:
        if place.done() and not place.cancelled():
            self._next()  # the turn came together with the end of who waited for it
            return
        if source in queue and place in queue[source]:
            queue[source].remove(place)
            _drop_if_empty(queue, source)

    def _next(self) -> None:
        """Hand the turn on, to the source whose last one lies back the longest."""
        while queue := self._waiting or self._suspects:
            source, places = queue.popitem(last=False)
            place = places.popleft()
            if places:
                queue[source] = places
            if not place.done():
                place.set_result(None)
                return
        self._running -= 1


def _drop_if_empty(queue: _Queue, source: str) -> None:
    if not queue.get(source):
        queue.pop(source, None)
