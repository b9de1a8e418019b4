"""The gate to an engine, and the breaker in it, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from bulkhead.runtime.gate import Breaker, BreakerOpen, Gate
from tests.unit.runtime.virtual_time import in_virtual_time, now


class DownError(Exception):
    """The engine did not answer."""


class Engine:
    """An engine that can be down, behind a gate."""

    def __init__(self, *, limit: int = 4) -> None:
        self.down = False
        self.calls = 0
        self.pings: list[float] = []
        self.changes: list[bool] = []
        self.recovered: list[str] = []
        self.ping_raises: Exception | None = None
        self.ping_takes = 0.0
        self.back = asyncio.Event()
        self.observer_raises: Exception | None = None
        self.gate: Gate[str] = Gate(
            "postgres",
            ping=self._ping,
            unavailable=DownError,
            limit=limit,
            on_recovered=self.recovered.extend,
            on_change=self._note,
            jitter=lambda: 0.0,
        )

    async def call(self, seconds: float = 0.0) -> str:
        return await self.gate.call(lambda: self._work(seconds))

    async def fail(self) -> None:
        self.down = True
        with pytest.raises(DownError):
            await self.call()

    async def _work(self, seconds: float) -> str:
        self.calls += 1
        await asyncio.sleep(seconds)
        if self.down:
            raise DownError("connection refused")
        return "done"

    def _note(self, down: bool) -> None:  # noqa: FBT001 - shape of the gate's observer
        self.changes.append(down)
        if self.observer_raises:
            raise self.observer_raises
        if not down:
            self.back.set()

    async def _ping(self) -> None:
        self.pings.append(now())
        await asyncio.sleep(self.ping_takes)
        if self.ping_raises:
            raise self.ping_raises
        if self.down:
            raise DownError("still refused")


@in_virtual_time
async def test_a_healthy_engine_is_called() -> None:
    assert await Engine().call() == "done"


@in_virtual_time
async def test_an_engine_that_did_not_answer_is_not_called_again() -> None:
    engine = Engine()
    await engine.fail()
    with pytest.raises(BreakerOpen, match="postgres is down: connection refused"):
        await engine.call()
    assert engine.calls == 1
    await engine.gate.close()


@in_virtual_time
async def test_an_answer_that_is_a_no_does_not_open_the_breaker() -> None:
    engine = Engine()

    async def refuse() -> None:
        raise PermissionError("must be superuser")

    with pytest.raises(PermissionError):
        await engine.gate.call(refuse)
    assert not engine.gate.is_open


@in_virtual_time
async def test_what_waits_for_room_is_refused_when_the_breaker_opens() -> None:
    engine = Engine(limit=1)
    engine.down = True
    first, second = await asyncio.gather(engine.call(1.0), engine.call(1.0), return_exceptions=True)
    assert isinstance(first, DownError)
    assert isinstance(second, BreakerOpen)
    assert engine.calls == 1
    await engine.gate.close()


@in_virtual_time
async def test_only_so_many_calls_are_made_at_once() -> None:
    engine = Engine(limit=2)
    await asyncio.gather(*(engine.call(1.0) for _ in range(6)))
    assert now() == 3.0


@in_virtual_time
async def test_one_prober_pings_at_growing_intervals() -> None:
    engine = Engine()
    await engine.fail()
    await asyncio.sleep(20)
    assert engine.pings == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5]
    await engine.gate.close()


@in_virtual_time
async def test_parked_keys_are_released_once_the_engine_is_back() -> None:
    engine = Engine()
    await engine.fail()
    engine.gate.park("acme")
    engine.gate.park("globex")
    engine.gate.park("acme")
    await asyncio.sleep(5)
    engine.down = False
    await asyncio.sleep(5)
    assert sorted(engine.recovered) == ["acme", "globex"]


@in_virtual_time
async def test_a_key_that_is_parked_too_late_is_released_at_once() -> None:
    engine = Engine()
    engine.gate.park("acme")
    assert engine.recovered == ["acme"]


@in_virtual_time
async def test_going_down_and_coming_back_are_told_once_each() -> None:
    engine = Engine()
    await engine.fail()
    await asyncio.sleep(5)
    engine.down = False
    await asyncio.sleep(10)
    assert engine.changes == [True, False]


@in_virtual_time
async def test_what_it_failed_with_can_be_asked() -> None:
    engine = Engine()
    await engine.fail()
    assert engine.gate.why == "connection refused"
    await engine.gate.close()


@in_virtual_time
async def test_an_observer_that_fails_does_not_keep_the_engine_down() -> None:
    engine = Engine()
    engine.observer_raises = ValueError("a bug in the observer")
    engine.down = True
    with pytest.raises(ValueError, match="observer"):
        await engine.call()
    engine.down, engine.observer_raises = False, None
    engine.gate.park("acme")
    await asyncio.sleep(5)
    assert (engine.gate.is_open, engine.recovered) == (False, ["acme"])


@in_virtual_time
async def test_a_ping_that_hangs_counts_as_no_answer() -> None:
    engine = Engine()
    engine.ping_takes = 1000.0
    await engine.fail()
    engine.down = False
    await asyncio.sleep(12)
    assert engine.gate.is_open
    await engine.gate.close()


@in_virtual_time
async def test_a_ping_that_is_answered_with_a_no_lets_the_keys_find_out_why() -> None:
    engine = Engine()
    engine.ping_raises = PermissionError("password changed")
    await engine.fail()
    engine.gate.park("acme")
    await asyncio.sleep(1)
    assert engine.recovered == ["acme"]


@in_virtual_time
async def test_a_call_that_fails_on_an_engine_that_answers_pings_closes_it_to_nobody() -> None:
    engine = Engine()
    with pytest.raises(DownError):
        await engine.gate.call(_never_answered)
    assert (engine.gate.is_open, await engine.call()) == (False, "done")


async def _never_answered() -> None:
    raise DownError("canceling statement due to lock timeout")


@in_virtual_time
async def test_closing_waits_for_calls_under_way_and_lets_no_more_in() -> None:
    engine = Engine()
    under_way = asyncio.create_task(engine.call(seconds=3.0))
    await asyncio.sleep(0)
    await engine.gate.close()
    assert (now(), await under_way) == (3.0, "done")
    with pytest.raises(BreakerOpen):
        await engine.call()


@in_virtual_time
async def test_closing_releases_what_is_parked_and_stops_the_pings() -> None:
    engine = Engine()
    await engine.fail()
    engine.gate.park("acme")
    await engine.gate.close()
    await asyncio.sleep(100)
    assert (engine.recovered, engine.pings) == (["acme"], [0.0])


@in_virtual_time
async def test_what_is_parked_once_the_gate_is_closed_is_released_at_once() -> None:
    engine = Engine()
    await engine.fail()
    await engine.gate.close()
    engine.gate.park("acme")
    assert (engine.recovered, engine.gate.is_open) == (["acme"], False)


def test_many_failures_at_once_open_it_once() -> None:
    once = Breaker().failed()
    assert once.failed() == once


def test_pings_are_at_most_half_a_minute_apart() -> None:
    assert Breaker(is_open=True, failures=10_000).pause(jitter=0.0) == 30.0
