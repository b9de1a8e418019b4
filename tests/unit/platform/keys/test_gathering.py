"""Who may be guessing is looked up together with the others who may be; who was right before is known again."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Collection, Mapping

import pytest

from bulkhead.platform.keys import gathering
from bulkhead.platform.keys.gathering import MOST_TOGETHER, Familiar, Gathering

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
