"""Who may be guessing is looked up together with the others who may be; who was right before is known again."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Collection, Mapping

import pytest

from bulkhead.platform.keys import gathering
from bulkhead.platform.keys.gathering import MOST_ALONE, MOST_TOGETHER, Crowd, Familiar, Gathering

KEY = b"k" * 32
IDS = [f"{number:032x}" for number in range(5)]
DIGEST = bytes(32)
OTHER_DIGEST = bytes([1]) * 32


class Table:
    """Rows by id, and what was asked of it, statement by statement."""

    def __init__(self, *ids: str) -> None:
        self.rows = {id_: f"row {id_}" for id_ in ids}
        self.asked: list[set[str]] = []
        self.broken = False

    async def __call__(self, ids: Collection[str]) -> Mapping[str, str]:
        self.asked.append(set(ids))
        if self.broken:
            raise ConnectionError("down")
        return {id_: self.rows[id_] for id_ in ids if id_ in self.rows}


async def test_all_of_one_moment_are_one_statement_and_each_gets_its_own() -> None:
    table = Table(*IDS[:3])
    together: Gathering[str] = Gathering(table)
    found = await asyncio.gather(*(together.find(id_) for id_ in (*IDS, IDS[0])))
    assert found == [table.rows[IDS[0]], table.rows[IDS[1]], table.rows[IDS[2]], None, None, table.rows[IDS[0]]]
    assert table.asked == [set(IDS)]


async def test_who_comes_after_the_moment_is_looked_up_anew() -> None:
    table = Table()
    together: Gathering[str] = Gathering(table)
    assert await together.find(IDS[0]) is None
    table.rows[IDS[0]] = "made since"
    assert await together.find(IDS[0]) == "made since"


async def test_a_full_statement_does_not_wait_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "MOMENT_SECONDS", 600.0)
    together: Gathering[str] = Gathering(Table())
    async with asyncio.timeout(60):
        await asyncio.gather(*(together.find(f"{number:032x}") for number in range(MOST_TOGETHER)))


async def test_one_who_leaves_takes_the_answer_from_nobody() -> None:
    together: Gathering[str] = Gathering(Table(IDS[0]))
    leaver, stayer = (asyncio.create_task(together.find(IDS[0])) for _ in range(2))
    await asyncio.sleep(0)
    leaver.cancel()
    assert await stayer == f"row {IDS[0]}"


async def test_a_statement_that_fails_fails_for_all_whom_it_was_for_and_for_nobody_after_them() -> None:
    table = Table(IDS[0])
    table.broken = True
    together: Gathering[str] = Gathering(table)
    answers = await asyncio.gather(*(together.find(id_) for id_ in IDS[:2]), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ConnectionError, ConnectionError]
    table.broken = False
    assert await together.find(IDS[0]) == f"row {IDS[0]}"


async def test_where_all_have_left_nothing_is_said_of_how_it_ended() -> None:
    table = Table()
    table.broken = True
    together: Gathering[str] = Gathering(table)
    said: list[object] = []
    gc.collect()  # what other tests have left says so by now
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    leaver = asyncio.create_task(together.find(IDS[0]))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.wait([leaver])
    async with asyncio.timeout(60):
        while not table.asked:  # noqa: ASYNC110 - turns of the loop, not of a clock
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    gc.collect()
    asyncio.get_running_loop().set_exception_handler(None)
    assert said == []


async def test_a_statement_that_was_cancelled_is_followed_by_another() -> None:
    together: Gathering[str] = Gathering(Table(IDS[0]))
    asked = asyncio.create_task(together.find(IDS[0]))
    await asyncio.sleep(0)
    assert together._together
    together._together.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await together.find(IDS[0]) == f"row {IDS[0]}"


class Alone:
    """What is asked one by one, each answered when the test says so."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[str | None]] = []

    async def __call__(self, id_: str) -> str | None:  # noqa: ARG002 - as a statement is called
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self.asked.append(answer)
        return await answer


Crowded = tuple[Crowd[str], Alone, list[asyncio.Task[str | None]], Table]


@pytest.fixture
async def crowded(monkeypatch: pytest.MonkeyPatch) -> Crowded:
    """As many on their way as may go alone; whoever comes now waits, and not for a clock."""
    monkeypatch.setattr(gathering, "MOMENT_SECONDS", 600.0)
    alone, table = Alone(), Table(*IDS)
    crowd: Crowd[str] = Crowd(alone, table)
    first = [asyncio.create_task(crowd.find(IDS[0])) for _ in range(MOST_ALONE)]
    await asyncio.sleep(0)
    assert len(alone.asked) == MOST_ALONE
    return crowd, alone, first, table


async def test_of_many_at_once_a_few_go_alone_and_the_others_together_when_one_is_back(crowded: Crowded) -> None:
    crowd, alone, first, table = crowded
    others = [asyncio.create_task(crowd.find(id_)) for id_ in IDS]
    await asyncio.sleep(0)
    alone.asked[0].set_result("alone")
    async with asyncio.timeout(60):
        assert await first[0] == "alone"
        assert await asyncio.gather(*others) == [table.rows[id_] for id_ in IDS]
    assert table.asked == [set(IDS)]
    assert len(alone.asked) == MOST_ALONE
    for answer in alone.asked[1:]:
        answer.set_result(None)
    assert await asyncio.gather(*first[1:]) == [None] * (MOST_ALONE - 1)


async def test_a_place_is_free_again_however_it_was_left(crowded: Crowded) -> None:
    crowd, alone, first, _ = crowded
    waiting = asyncio.create_task(crowd.find(IDS[2]))
    await asyncio.sleep(0)
    alone.asked[0].set_exception(ConnectionError("down"))
    with pytest.raises(ConnectionError):
        await first[0]
    async with asyncio.timeout(60):
        assert await waiting == f"row {IDS[2]}"
    first[1].cancel()
    await asyncio.wait(first[1:2])
    again = [asyncio.create_task(crowd.find(IDS[1])) for _ in range(3)]
    await asyncio.sleep(0)
    assert len(alone.asked) == MOST_ALONE + 2
    for answer in alone.asked[2:]:
        answer.set_result(None)
    async with asyncio.timeout(60):
        assert await asyncio.gather(*again, *first[2:]) == [None, None, f"row {IDS[1]}", *[None] * (MOST_ALONE - 2)]


async def test_where_none_comes_back_the_others_wait_for_a_moment_alone(
    crowded: Crowded, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd, _, first, table = crowded
    monkeypatch.setattr(gathering, "MOMENT_SECONDS", 0.01)
    async with asyncio.timeout(60):
        assert await crowd.find(IDS[2]) == table.rows[IDS[2]]
    for task in first:
        task.cancel()
    await asyncio.wait(first)


def test_only_the_very_secret_that_was_right_for_a_key_is_familiar() -> None:
    familiar = Familiar(KEY)
    familiar.add(IDS[0], DIGEST)
    assert familiar.has(IDS[0], DIGEST)
    assert not familiar.has(IDS[0], OTHER_DIGEST)
    assert not familiar.has(IDS[1], DIGEST)


def test_the_longest_unseen_are_forgotten_first() -> None:
    familiar = Familiar(KEY, most=2)
    for id_ in (IDS[0], IDS[1], IDS[0], IDS[2]):
        familiar.add(id_, DIGEST)
    assert [familiar.has(id_, DIGEST) for id_ in IDS[:3]] == [True, False, True]


def test_what_is_remembered_tells_nothing_of_a_secret_to_who_has_another_key() -> None:
    kept = [Familiar(key) for key in (KEY, b"another" * 4)]
    for each in kept:
        each.add(IDS[0], DIGEST)
    first, second = (set(each._seen) for each in kept)
    assert not first & second
