"""Look-ups that share a statement: those of whoever may be guessing, and those that come all at once.

A guess takes as much of the service and of its database as a good heartbeat does. Looked up alone, a hundred guesses a
second make everybody wait twice as long. Whoever shows what was not right here lately may be guessing, and is looked up
a moment later with all others of that moment; a good key is looked up so once in the life of a replica.

Whenever everything stood still for a moment, good ones have gathered too. Each alone, they and those who come after
them wait until all have had their turn; so only a few go alone at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")

MOMENT_SECONDS = 0.03
MOST_TOGETHER = 100
"""Look-ups in one statement; with so many, it does not wait for more."""
MOST_ALONE = 4
MOST_FAMILIAR = 65536


class Familiar:
    """Credentials that were right here lately. It holds no more of them than a hash under a key of this process."""

    def __init__(self, key: bytes, most: int = MOST_FAMILIAR) -> None:
        self._key = key
        self._most = most
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def has(self, id_: str, digest: bytes) -> bool:
        """Whether that very secret was right for that key. It says nothing of whether it still is."""
        return self._hash(id_, digest) in self._seen

    def add(self, id_: str, digest: bytes) -> None:
        """It was right just now. The longest unseen are forgotten first."""
        seen = self._hash(id_, digest)
        self._seen[seen] = None
        self._seen.move_to_end(seen)
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)

    def _hash(self, id_: str, digest: bytes) -> bytes:
        return hashlib.blake2b(digest, digest_size=16, key=self._key, person=bytes.fromhex(id_)).digest()


class Gathering(Generic[T]):
    """Look-ups that wait for each other. find: what there is of the ids that it is given, by id"""

    def __init__(self, find: Callable[[Collection[str]], Awaitable[Mapping[str, T]]]) -> None:
        self._find = find
        self._asked: set[str] = set()
        self._full = asyncio.Event()
        self._together: asyncio.Task[Mapping[str, T]] | None = None

    async def find(self, id_: str) -> T | None:
        """What there is of `id_`; None: nothing. Raises what the statement raises, to all whom it was for."""
        if self._together is None or self._together.done():
            self._together = asyncio.create_task(self._look_up())
            # Where all have left, nobody else asks for what it raised, and asyncio would log that.
            self._together.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        together = self._together
        self._asked.add(id_)
        if len(self._asked) >= MOST_TOGETHER:
            self._full.set()
        # Shielded: one who leaves does not take the answer from the others.
        return (await asyncio.shield(together)).get(id_)

    def go(self) -> None:
        """Let those who wait go now."""
        if self._asked:
            self._full.set()

    async def _look_up(self) -> Mapping[str, T]:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MOMENT_SECONDS):
                await self._full.wait()
        asked, self._asked, self._together = self._asked, set(), None
        self._full.clear()
        return await self._find(asked)


class Crowd(Generic[T]):
    """Look-ups of which a few go alone, at once. What comes meanwhile goes together, when the first of them is back.

    find, find_all: what there is of one id, and of many, by id
    """

    def __init__(
        self,
        find: Callable[[str], Awaitable[T | None]],
        find_all: Callable[[Collection[str]], Awaitable[Mapping[str, T]]],
    ) -> None:
        self._find = find
        self._together = Gathering(find_all)
        self._alone = 0

    async def find(self, id_: str) -> T | None:
        """What there is of `id_`; None: nothing. Raises what the statement raises."""
        if self._alone >= MOST_ALONE:
            return await self._together.find(id_)
        self._alone += 1
        try:
            return await self._find(id_)
        finally:
            self._alone -= 1
            self._together.go()
