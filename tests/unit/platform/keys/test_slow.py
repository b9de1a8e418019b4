"""The slow path starves nobody: bounded, fair by source, once for the same secret."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import scrypt
from itertools import pairwise

import pytest

from bulkhead.platform.keys.slow import NICENESS, RESTS, WAIT_SECONDS, Slow, threads
from bulkhead.platform.settings import Scrypt
from bulkhead.protocol.problems import Code, Problem

SECONDS = 10.0


class Derivations:
    """Each waits until it is let through, and says in which order they ran."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.gate = threading.Event()

    def of(self, name: str) -> Callable[[], str]:
        def derive() -> str:
            assert self.gate.wait(SECONDS)
            self.order.append(name)
            return name

        return derive


@pytest.fixture
def derivations() -> Iterator[Derivations]:
    made = Derivations()
    yield made
    made.gate.set()


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as one:
        yield one


def slow(executor: ThreadPoolExecutor, *, waiting: int = 8) -> Slow[str]:
    return Slow(executor, Scrypt(at_once=1, waiting=waiting))


def timed(times: list[float], *, n: int) -> Callable[[], str]:
    """A derivation that notes when it began and when it ended."""

    def derive() -> str:
        times.append(time.monotonic())
        scrypt(b"", salt=b"", n=n, r=8, p=1)
        times.append(time.monotonic())
        return "derived"

    return derive


async def queued(path: Slow[str], count: int) -> None:
    async with asyncio.timeout(SECONDS):
        while path.waiting < count:  # noqa: ASYNC110 - turns of the loop, not of a clock
            await asyncio.sleep(0)


async def test_a_source_that_floods_delays_itself_alone(executor: ThreadPoolExecutor, derivations: Derivations) -> None:
    path = slow(executor)
    running = [asyncio.create_task(path.run("192.0.2.1", derivations.of(f"flood {n}"))) for n in range(4)]
    await queued(path, 3)
    running.append(asyncio.create_task(path.run("192.0.2.2", derivations.of("good"))))
    await queued(path, 4)
    derivations.gate.set()
    await asyncio.gather(*running)
    assert derivations.order.index("good") <= 2


async def test_a_full_queue_refuses_and_one_source_fills_no_more_than_half(
    executor: ThreadPoolExecutor, derivations: Derivations
) -> None:
    path = slow(executor, waiting=4)
    running = [asyncio.create_task(path.run("192.0.2.1", derivations.of("flood"))) for _ in range(3)]
    await queued(path, 2)
    with pytest.raises(Problem) as refused:
        await path.run("192.0.2.1", derivations.of("too many"))
    assert refused.value.code is Code.BUSY
    running.append(asyncio.create_task(path.run("192.0.2.2", derivations.of("good"))))
    await queued(path, 3)
    derivations.gate.set()
    await asyncio.gather(*running)


async def test_the_same_secret_of_one_key_is_derived_once(
    executor: ThreadPoolExecutor, derivations: Derivations
) -> None:
    path = slow(executor)
    same = [asyncio.create_task(path.once("key", b"d", "192.0.2.1", derivations.of("one"))) for _ in range(5)]
    await asyncio.sleep(0)
    derivations.gate.set()
    assert await asyncio.gather(*same) == ["one"] * 5
    assert derivations.order == ["one"]


async def test_who_leaves_while_waiting_gives_the_turn_on(
    executor: ThreadPoolExecutor, derivations: Derivations
) -> None:
    path = slow(executor)
    first = asyncio.create_task(path.run("192.0.2.1", derivations.of("first")))
    await asyncio.sleep(0)
    leaver = asyncio.create_task(path.run("192.0.2.2", derivations.of("leaver")))
    last = asyncio.create_task(path.run("192.0.2.3", derivations.of("last")))
    await queued(path, 2)
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    derivations.gate.set()
    assert list(await asyncio.gather(first, last)) == ["first", "last"]
    assert path.waiting == 0
    assert await path.run("192.0.2.4", derivations.of("later")) == "later"


async def test_one_of_several_who_leaves_takes_the_answer_from_nobody(
    executor: ThreadPoolExecutor, derivations: Derivations
) -> None:
    path = slow(executor)
    leaver = asyncio.create_task(path.once("key", b"d", "192.0.2.1", derivations.of("one")))
    stayer = asyncio.create_task(path.once("key", b"d", "192.0.2.1", derivations.of("one")))
    await asyncio.sleep(0)
    leaver.cancel()
    derivations.gate.set()
    assert await stayer == "one"


async def test_who_has_failed_lately_comes_after_all_others_and_holds_no_more_than_half_of_the_places(
    executor: ThreadPoolExecutor, derivations: Derivations
) -> None:
    path = slow(executor, waiting=4)
    running = [asyncio.create_task(path.run("192.0.2.1", derivations.of("first")))]
    await asyncio.sleep(0)
    for number in (2, 3):
        guess = path.run(f"192.0.2.{number}", derivations.of("guess"), suspect=True)
        running.append(asyncio.create_task(guess))
    await queued(path, 2)
    with pytest.raises(Problem) as refused:
        await path.run("192.0.2.4", derivations.of("guess"), suspect=True)
    assert refused.value.code is Code.BUSY
    running += [asyncio.create_task(path.run(f"192.0.2.{n}", derivations.of("good"))) for n in (5, 6)]
    await queued(path, 4)
    derivations.gate.set()
    await asyncio.gather(*running)
    assert derivations.order == ["first", "good", "good", "guess", "guess"]


async def test_who_would_wait_longer_than_a_request_may_is_told_to_come_again(
    executor: ThreadPoolExecutor, derivations: Derivations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bulkhead.platform.keys.slow.WAIT_SECONDS", 0.01)
    path = slow(executor)
    first = asyncio.create_task(path.run("192.0.2.1", derivations.of("first")))
    await asyncio.sleep(0)
    with pytest.raises(Problem) as refused:
        await path.run("192.0.2.2", derivations.of("late"))
    assert refused.value.code is Code.BUSY
    assert path.waiting == 0
    derivations.gate.set()
    assert await first == "first"


async def test_where_all_rest_for_longer_than_a_request_may_wait_nobody_waits_in_vain(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = slow(executor)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    monkeypatch.setattr("bulkhead.platform.keys.slow.RESTS", 1e9)
    assert await path.run("192.0.2.1", lambda: "guess", is_vain=bool) == "guess"
    async with asyncio.timeout(WAIT_SECONDS / 2):
        with pytest.raises(Problem) as refused:
            await path.run("192.0.2.2", lambda: "later")
    assert refused.value.code is Code.BUSY
    # Told to come when there is a place to wait in, not when the turn was given to somebody else.
    (ends,) = path._resting
    back = refused.value.extension["retry_after"]
    assert begun + back < ends < loop.time() + back + WAIT_SECONDS
    assert path.waiting == 0


async def test_after_a_derivation_that_came_to_nothing_the_core_rests_longer_than_it_worked(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A slow derivation is followed by a long rest: nobody is to be busy for it.
    monkeypatch.setattr("bulkhead.platform.keys.slow.WAIT_SECONDS", 600.0)
    path, times = slow(executor), list[float]()
    derive = timed(times, n=2**14)
    async with asyncio.timeout(60):
        await asyncio.gather(
            path.run("192.0.2.1", derive, is_vain=bool),
            path.run("192.0.2.2", derive),
            path.run("192.0.2.3", derive),
        )
    worked, rested, useful, between = (later - earlier for earlier, later in pairwise(times[:5]))
    assert rested > RESTS * worked
    assert between < RESTS * useful, "a rest would be at least that"


async def test_the_rest_is_twice_as_long_after_each_in_a_row_that_came_to_nothing(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bulkhead.platform.keys.slow.WAIT_SECONDS", 600.0)
    path, times = slow(executor), list[float]()
    derive = timed(times, n=2**12)
    async with asyncio.timeout(60):
        vain = (path.run(f"192.0.2.{number}", derive, is_vain=bool) for number in range(3))
        await asyncio.gather(*vain, path.run("192.0.2.9", derive))
    spans = [later - earlier for earlier, later in pairwise(times[:7])]
    for doubled, worked, rested in zip((1, 2, 4), spans[::2], spans[1::2], strict=True):
        assert rested > RESTS * doubled * worked


def test_a_derivation_leaves_the_core_to_all_others() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    with threads(Scrypt(at_once=1, waiting=1)) as executor:
        assert executor.submit(niceness).result(SECONDS) == min(19, niceness() + NICENESS)
