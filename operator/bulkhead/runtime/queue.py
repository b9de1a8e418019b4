"""The work queue: each key waits at most once and runs at most once, and a failure of one is no failure of another.

Level-triggered: a key says only "look at this", so adding it twice means to look once. What is added while its key runs
is looked at again afterwards. A run decides by itself when the next one is due: starting it forgets what was planned.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 300.0


def retry_seconds(failures: int, jitter: float) -> float:
    """Pause after this many failures in a row: doubling up to 5 minutes, shortened by up to half at random."""
    doubled = FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 30)
    return min(doubled, LONGEST_RETRY_SECONDS) * (1 - 0.5 * jitter)


class WorkQueue(Generic[K]):
    """Keys, and the workers that look at them. All methods are for the loop that `run` is awaited in.

    work: looks at one key; what it raises goes to `on_error`, and the key comes again after a pause
    on_wait: told how many seconds a key waited for a worker
    jitter: a random number in [0, 1)
    """

    def __init__(
        self,
        work: Callable[[K], Awaitable[None]],
        *,
        workers: int,
        on_error: Callable[[K, BaseException], None],
        on_wait: Callable[[float], None],
        jitter: Callable[[], float],
    ) -> None:
        self._work = work
        self._workers = workers
        self._on_error = on_error
        self._on_wait = on_wait
        self._jitter = jitter
        self._ready: deque[K] = deque()
        self._available = asyncio.Semaphore(0)
        self._pending: dict[K, float] = {}
        self._running: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def depth(self) -> int:
        """Keys that wait for a worker."""
        return len(self._pending)

    @property
    def running(self) -> int:
        """Keys that are being looked at."""
        return len(self._running)

    @property
    def failing(self) -> int:
        """Keys that failed and were not looked at successfully since."""
        return len(self._failures)

    @property
    def idle(self) -> bool:
        """Nothing waits for a worker and nothing runs; later runs may be planned."""
        return not self._pending and not self._running

    def add(self, key: K) -> None:
        """Look at the key as soon as a worker is free."""
        if self._stopping or key in self._pending:
            return
        if key in self._running:
            self._again.add(key)
            return
        self._due.pop(key, None)
        self._pending[key] = self._now()
        self._ready.append(key)
        self._available.release()

    def add_after(self, key: K, seconds: float) -> None:
        """Look at the key in so many seconds, if not before."""
        self.add_at(key, self._now() + seconds)

    def add_at(self, key: K, when: float) -> None:
        """Look at the key at that time of the loop, if not before."""
        if self._stopping or key in self._pending or self._due.get(key, when + 1) <= when:
            return
        self._due[key] = when
        heapq.heappush(self._heap, (when, next(self._order), key))
        self._compact()
        self._arm()

    def retry(self, key: K) -> float:
        """Look at the key after a pause that grows with its failures in a row. Gives back the pause."""
        self._failures[key] = self._failures.get(key, 0) + 1
        pause = retry_seconds(self._failures[key], self._jitter())
        self.add_after(key, pause)
        return pause

    def forget(self, key: K) -> None:
        """The key was looked at successfully: its next failure is a first one."""
        self._failures.pop(key, None)

    async def run(self) -> None:
        """Work until `stop` is called."""
        async with asyncio.TaskGroup() as group:
            self._tasks = {group.create_task(self._serve(), name=f"worker-{n}") for n in range(self._workers)}

    async def stop(self, grace_seconds: float) -> None:
        """Begin nothing new, let what runs finish, and cancel what does not finish in time."""
        self._stopping = True
        if self._timer:
            self._timer.cancel()
        for _ in range(self._workers):
            self._available.release()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=grace_seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _serve(self) -> None:
        while True:
            await self._available.acquire()
            if self._stopping:
                return
            key = self._ready.popleft()
            self._on_wait(self._now() - self._pending.pop(key))
            await self._look(key)

    async def _look(self, key: K) -> None:
        self._running.add(key)
        try:
            await self._work(key)
        except asyncio.CancelledError as error:
            # Something that the work awaited was cancelled, which is its failure; or we are, and then we end.
            task = asyncio.current_task()
            if task and task.cancelling():
                raise
            self._failed(key, error)
        except Exception as error:  # noqa: BLE001 - a bug that one key meets must not stop the others
            self._failed(key, error)
        finally:
            self._running.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)

    def _failed(self, key: K, error: BaseException) -> None:
        self._on_error(key, error)
        self.retry(key)

    def _compact(self) -> None:
        """Drop what was replaced by an earlier time, before it outweighs what is planned."""
        if len(self._heap) > 2 * len(self._due) + 64:
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def _arm(self) -> None:
        if not self._heap:
            return
        when = self._heap[0][0]
        if self._timer and not self._timer.cancelled() and self._armed_for <= when:
            return
        if self._timer:
            self._timer.cancel()
        # Kept here, because the handle of a time that is now can not tell it: uvloop gives one without `when`.
        self._armed_for = when
        self._timer = asyncio.get_running_loop().call_at(when, self._fire, when)

    def _fire(self, until: float) -> None:
        self._timer = None
        # The loop may call a little early, by the resolution of its clock.
        until = max(until, self._now())
        while self._heap and self._heap[0][0] <= until:
            when, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == when:
                del self._due[key]
                self.add(key)
        self._arm()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
