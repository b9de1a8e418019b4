"""Parts of one reconcile, side by side, and never longer than the reconcile itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


async def together(parts: Iterable[Awaitable[T]]) -> list[T]:
    """All results in order. What a part raises is raised once every part has ended.

    `asyncio.gather` alone would raise at once and leave the others running: the next reconcile of the same key would
    work beside them, and what they made would be in no record.
    """
    ended = await asyncio.gather(*parts, return_exceptions=True)
    results: list[T] = []
    for end in ended:
        if isinstance(end, BaseException):
            raise end
        results.append(end)
    return results


async def both(first: Awaitable[T], second: Awaitable[U]) -> tuple[T, U]:
    """`together` for two parts that give different things."""
    one, other = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(other, BaseException):
        raise other
    return one, other
