"""scrypt off the event loop: so many at once, so many waiting, one turn after the other for each source.

    Problem busy   the queue is full; nobody is starved by it, for who has a live fast value never comes here

The same secret shown twice at once for one key is derived once. A source has its place in the queue once in each
round, so that one that floods delays itself alone.
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
MOST_OF_ONE_SOURCE = 0.5
"""The share of all places that one source may hold."""
NICENESS = 10


def threads(bounds: Scrypt) -> Executor:
    """As many as derive at once. A core that is short goes to all others first: a guess waits, and no heartbeat."""
    # Of the calling thread alone: niceness is a thread's, on Linux.
    return ThreadPoolExecutor(bounds.at_once, thread_name_prefix="scrypt", initializer=os.nice, initargs=(NICENESS,))


class Slow(Generic[T]):
    """Runs blocking derivations fairly. executor: with as many threads as run at once."""

    def __init__(self, executor: Executor, bounds: Scrypt) -> None:
        self._executor = executor
        self._bounds = bounds
        self._running = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._flights: dict[tuple[str, bytes], asyncio.Task[T]] = {}

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return sum(len(queue) for queue in self._waiting.values())

    async def once(self, key: str, digest: bytes, source: str, derive: Callable[[], T]) -> T:
        """What `derive` gives; who asks the same of one key at the same time shares it. Raises Problem busy."""
        flight = (key, digest)
        task = self._flights.get(flight)
        if task is None:
            task = asyncio.create_task(self.run(source, derive))
            self._flights[flight] = task
            task.add_done_callback(lambda _: self._flights.pop(flight, None))
        # Shielded: one who leaves does not take the answer from the others.
        return await asyncio.shield(task)

    async def run(self, source: str, derive: Callable[[], T]) -> T:
        """What `derive` gives, in its turn. Raises Problem busy."""
        await self._turn(network_of(source))
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, derive)
        finally:
            self._next()

    async def _turn(self, source: str) -> None:
        if self._running < self._bounds.at_once:
            self._running += 1
            return
        queue = self._waiting.setdefault(source, deque())
        most_of_one = max(1, int(self._bounds.waiting * MOST_OF_ONE_SOURCE))
        if self.waiting >= self._bounds.waiting or len(queue) >= most_of_one:
            self._drop_if_empty(source)
            raise Problem(Code.BUSY, retry_after=RETRY_SECONDS)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(place)
        try:
            await place
        except asyncio.CancelledError:
            self._give_up(source, place)
            raise

    def _give_up(self, source: str, place: asyncio.Future[None]) -> None:
        if place.done() and not place.cancelled():
            self._next()  # the turn came together with the end of who waited for it
            return
        if source in self._waiting and place in self._waiting[source]:
            self._waiting[source].remove(place)
            self._drop_if_empty(source)

    def _next(self) -> None:
        """Hand the turn on, to the source whose last one lies back the longest."""
        while self._waiting:
            source, queue = self._waiting.popitem(last=False)
            place = queue.popleft()
            if queue:
                self._waiting[source] = queue
            if not place.done():
                place.set_result(None)
                return
        self._running -= 1

    def _drop_if_empty(self, source: str) -> None:
        if not self._waiting.get(source):
            self._waiting.pop(source, None)
