"""The work queue, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvloop

from bulkhead.runtime.queue import WorkQueue, retry_seconds
from tests.unit.runtime.virtual_time import in_virtual_time, now


class Bench:
    """A queue with a worker function that notes what it did, and when."""

    def __init__(self, work: Callable[[str], Awaitable[None]] | None = None, *, workers: int = 2) -> None:
        self.began: list[tuple[str, float]] = []
        self.ended: list[str] = []
        self.errors: list[tuple[str, BaseException]] = []
        self.waits: list[float] = []
        self._work = work
        self.queue: WorkQueue[str] = WorkQueue(
            self._run,
            workers=workers,
            on_error=lambda key, error: self.errors.append((key, error)),
            on_wait=self.waits.append,
            jitter=lambda: 0.0,
        )

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.began]

    async def _run(self, key: str) -> None:
        self.began.append((key, now()))
        if self._work:
            await self._work(key)
        self.ended.append(key)

    async def settle(self) -> None:
        """Let everything that is due now happen."""
        while True:
            before = (len(self.began), len(self.ended), self.queue.depth)
            for _ in range(10):
                await asyncio.sleep(0)
            if before == (len(self.began), len(self.ended), self.queue.depth):
                return


@contextlib.asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[Bench]:
    task = asyncio.create_task(bench.queue.run())
    try:
        yield bench
    finally:
        await bench.queue.stop(0.0)
        await task


@in_virtual_time
async def test_a_key_that_is_added_twice_runs_once() -> None:
    async with running(Bench()) as bench:
        bench.queue.add("acme")
        bench.queue.add("acme")
        await bench.settle()
        assert bench.keys == ["acme"]


@in_virtual_time
async def test_a_key_never_runs_twice_at_once_and_runs_again_for_what_came_meanwhile() -> None:
    async with running(Bench(lambda _: asyncio.sleep(5))) as bench:
        bench.queue.add("acme")
        await bench.settle()
        bench.queue.add("acme")
        bench.queue.add("acme")
        await asyncio.sleep(20)
        assert bench.began == [("acme", 0.0), ("acme", 5.0)]


@in_virtual_time
async def test_another_key_does_not_wait_for_a_slow_one() -> None:
    async with running(Bench(lambda key: asyncio.sleep(100 if key == "slow" else 0))) as bench:
        bench.queue.add("slow")
        bench.queue.add("quick")
        await bench.settle()
        assert bench.ended == ["quick"]


@in_virtual_time
async def test_no_more_keys_run_at_once_than_there_are_workers() -> None:
    async with running(Bench(lambda _: asyncio.sleep(1), workers=2)) as bench:
        for key in "abcde":
            bench.queue.add(key)
        await bench.settle()
        assert (bench.queue.running, bench.queue.depth) == (2, 3)


@in_virtual_time
async def test_the_wait_for_a_worker_is_measured() -> None:
    async with running(Bench(lambda _: asyncio.sleep(3), workers=1)) as bench:
        bench.queue.add("first")
        bench.queue.add("second")
        await asyncio.sleep(10)
        assert bench.waits == [0.0, 3.0]


@in_virtual_time
async def test_a_planned_run_happens_at_its_time() -> None:
    async with running(Bench()) as bench:
        bench.queue.add_after("acme", 30)
        bench.queue.add_at("globex", 10)
        await asyncio.sleep(60)
        assert bench.began == [("globex", 10.0), ("acme", 30.0)]


@in_virtual_time
async def test_of_two_plans_for_a_key_the_earlier_one_counts() -> None:
    async with running(Bench()) as bench:
        bench.queue.add_after("acme", 30)
        bench.queue.add_after("acme", 5)
        bench.queue.add_after("acme", 60)
        await asyncio.sleep(100)
        assert bench.began == [("acme", 5.0)]


@in_virtual_time
async def test_a_run_forgets_what_was_planned_before_it() -> None:
    async with running(Bench()) as bench:
        bench.queue.add_after("acme", 30)
        bench.queue.add("acme")
        await asyncio.sleep(100)
        assert bench.began == [("acme", 0.0)]


@in_virtual_time
async def test_what_a_run_plans_is_kept() -> None:
    async def once_more(key: str) -> None:
        if now() == 0.0:
            bench.queue.add_after(key, 7)

    bench = Bench(once_more)
    async with running(bench):
        bench.queue.add("acme")
        await asyncio.sleep(100)
    assert bench.began == [("acme", 0.0), ("acme", 7.0)]


@in_virtual_time
async def test_a_key_that_raises_comes_again_after_growing_pauses() -> None:
    async def fail(_: str) -> None:
        raise ValueError("a bug")

    async with running(Bench(fail)) as bench:
        bench.queue.add("acme")
        await asyncio.sleep(16)
        assert [when for _, when in bench.began] == [0.0, 1.0, 3.0, 7.0, 15.0]


@in_virtual_time
async def test_a_key_that_raises_is_reported_and_the_workers_live_on() -> None:
    async def fail(key: str) -> None:
        if key == "bad":
            raise ValueError("a bug")

    async with running(Bench(fail, workers=1)) as bench:
        bench.queue.add("bad")
        bench.queue.add("good")
        await bench.settle()
        assert [key for key, _ in bench.errors] == ["bad"]
        assert bench.ended == ["good"]


@in_virtual_time
async def test_a_cancellation_inside_the_work_is_a_failure_of_the_key_only() -> None:
    async def be_cancelled(key: str) -> None:
        if key == "bad":
            inner = asyncio.ensure_future(asyncio.sleep(100))
            inner.cancel()
            await inner

    async with running(Bench(be_cancelled, workers=1)) as bench:
        bench.queue.add("bad")
        bench.queue.add("good")
        await bench.settle()
        assert bench.ended == ["good"]
        assert bench.queue.failing == 1


@in_virtual_time
async def test_success_makes_the_next_failure_a_first_one() -> None:
    async with running(Bench()) as bench:
        pauses = [bench.queue.retry("acme") for _ in range(3)]
        bench.queue.forget("acme")
        assert [*pauses, bench.queue.retry("acme")] == [1.0, 2.0, 4.0, 1.0]


@in_virtual_time
async def test_stopping_begins_nothing_new_and_lets_what_runs_finish() -> None:
    bench = Bench(lambda _: asyncio.sleep(4), workers=1)
    task = asyncio.create_task(bench.queue.run())
    bench.queue.add("first")
    bench.queue.add("second")
    await bench.settle()
    await bench.queue.stop(grace_seconds=10)
    await task
    assert (bench.keys, bench.ended) == (["first"], ["first"])


@in_virtual_time
async def test_stopping_cancels_what_outlasts_the_grace_period() -> None:
    bench = Bench(lambda _: asyncio.sleep(1000))
    task = asyncio.create_task(bench.queue.run())
    bench.queue.add("stuck")
    await bench.settle()
    await bench.queue.stop(grace_seconds=10)
    await task
    assert (now(), bench.ended) == (10.0, [])


@in_virtual_time
async def test_replaced_plans_do_not_pile_up() -> None:
    bench = Bench()
    for step in range(10_000):
        bench.queue.add_after("acme", 20_000 - step)
    assert len(bench.queue._heap) < 100
    await bench.queue.stop(0)


@pytest.mark.parametrize(("failures", "pause"), [(1, 1.0), (2, 2.0), (9, 256.0), (10, 300.0), (5000, 300.0)])
def test_pauses_double_up_to_five_minutes(failures: int, pause: float) -> None:
    assert retry_seconds(failures, jitter=0.0) == pause


def test_jitter_shortens_a_pause_by_up_to_half() -> None:
    assert retry_seconds(4, jitter=0.999) == pytest.approx(4.0, abs=0.01)


def test_a_time_that_is_now_can_be_planned_for_on_the_loop_that_runs_in_production() -> None:
    """uvloop gives a handle that can not tell its time for whatever is due within the millisecond."""

    async def plan() -> None:
        bench = Bench()
        bench.queue.add_at("due", now())
        bench.queue.add_at("overdue", now() - 1.0)
        async with running(bench):
            await bench.settle()
        assert sorted(bench.keys) == ["due", "overdue"]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(plan())
