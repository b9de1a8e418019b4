"""What readiness says, and when it looks."""

from __future__ import annotations

import asyncio

import pytest

from bulkhead.platform import readiness
from bulkhead.platform.readiness import Readiness


class World:
    def __init__(self) -> None:
        self.problem = ""
        self.looks = 0

    async def look(self) -> str:
        self.looks += 1
        return self.problem


async def test_nothing_is_ready_before_the_first_look() -> None:
    world = World()
    ready = Readiness(world.look)
    assert ready.check() == "nothing was looked at yet"
    await ready.look()
    assert ready.check() == ""


async def test_asking_causes_no_look() -> None:
    world = World()
    ready = Readiness(world.look)
    await ready.look()
    for _ in range(100):
        ready.check()
    assert world.looks == 1


async def test_what_is_in_the_way_is_said() -> None:
    world = World()
    world.problem = "the schema is old"
    ready = Readiness(world.look)
    assert await ready.look() == ready.check() == "the schema is old"


async def test_what_others_mind_is_said_too_and_asked_anew_at_each_look() -> None:
    world, minded = World(), ["", "the export can not be written"]
    ready = Readiness(world.look)
    ready.mind(lambda: minded[0])
    ready.mind(lambda: minded[1])
    assert await ready.look() == "the export can not be written"
    world.problem = "the schema is old"
    assert await ready.look() == "the schema is old"
    world.problem = minded[1] = ""
    assert await ready.look() == ready.check() == ""


async def test_a_look_that_takes_too_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "WITHIN_SECONDS", 0.01)

    async def look() -> str:
        await asyncio.Event().wait()
        return ""

    assert "does not answer" in await Readiness(look).look()


async def test_who_drains_is_never_ready_again() -> None:
    ready = Readiness(World().look)
    await ready.look()
    ready.drain()
    await ready.look()
    assert ready.draining
    assert ready.check() == "this replica is about to end"
