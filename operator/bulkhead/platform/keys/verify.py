"""Whether a secret that was shown is the one that rests: by its fast value where one lives, else by scrypt.

fast value fits                  right, whoever else fails from the same address
fast value differs               wrong, and nothing dear was done
no live fast value               scrypt, behind the limit of the source's failures; success makes a fast value
fits and ends soon, old pepper   right; the value is made anew off the path of the answer
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import psycopg
import structlog

from bulkhead.platform.http.limits import Failures
from bulkhead.platform.keys import fast, scrypt
from bulkhead.platform.keys.fast import Answer, Fast
from bulkhead.platform.keys.scrypt import Hashed
from bulkhead.platform.keys.slow import Slow
from bulkhead.platform.settings import Keys

log = structlog.get_logger(__name__)

DEAR_TRIES = 24.0
"""Of its source's tries, for a wrong secret that only scrypt could tell: beside the one that every failure takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """A secret as its row holds it. key: names the row; now: by the database's clock."""

    key: str
    hashed: Hashed
    fast: Fast | None
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a check came to, and what is worth writing beside the row. hashed: under today's parameters."""

    right: bool
    fast: Fast | None = None
    hashed: Hashed | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Of a secret that was shown.

    right: whether it is the one that rests
    slow: whether only scrypt could tell, after so long that what its row says beside the secret may hold no more
    """

    right: bool
    slow: bool = False


Remember = Callable[[Outcome], Awaitable[None]]
"""Writes what an outcome holds beside the row. Off the path of the answer: what fails there is tried next time."""


class Verifier:
    """Checks secrets of every kind.

    random: from 0 to 1; salt: gives that many unpredictable bytes
    """

    def __init__(
        self,
        peppers: Keys,
        slow: Slow[Outcome],
        failures: Failures,
        *,
        random: Callable[[], float],
        salt: Callable[[int], bytes],
    ) -> None:
        self._peppers = peppers
        self._slow = slow
        self._failures = failures
        self._random = random
        self._salt = salt
        self._memories: set[asyncio.Task[None]] = set()
        self._renewing: set[str] = set()

    async def check(self, resting: Resting | None, digest: bytes, source: str, remember: Remember) -> Checked:
        """Whether the secret with that SHA-256 is the one that rests. None rests: it is not, as slowly as otherwise.

        Raises:
            Problem: rate_limited or busy, before anything dear was done.
        """
        if resting is None:
            fast.compare_nothing(digest, self._peppers)
            return Checked(right=False)
        match fast.asked(resting.fast, digest, self._peppers, resting.now):
            case Answer.FITS:
                return Checked(right=True)
            case Answer.DIFFERS:
                return Checked(right=False)
            case Answer.FITS_AND_ENDS_SOON:
                self._renew(resting, digest, remember)
                return Checked(right=True)
            case Answer.NONE_LIVE:
                return Checked(right=await self._derived(resting, digest, source, remember), slow=True)

    async def hash_of(self, digest: bytes, source: str, now: datetime) -> Outcome:
        """A new secret as it is to rest, with a fast value from the start. Raises Problem busy."""
        return await self._slow.run(source, lambda: self._new(digest, now))

    async def settle(self) -> None:
        """Wait for what is still being written beside rows."""
        while self._memories:
            await asyncio.wait(self._memories)

    async def _derived(self, resting: Resting, digest: bytes, source: str, remember: Remember) -> bool:
        self._failures.check(source)
        outcome = await self._slow.once(
            resting.key,
            digest,
            source,
            lambda: self._checked(resting.hashed, digest, resting.now),
            suspect=self._failures.has_failed(source),
            is_vain=lambda outcome: not outcome.right,
        )
        if outcome.right:
            self._later(resting.key, outcome, remember)
        else:
            self._failures.failed(source, tries=DEAR_TRIES)
        return outcome.right

    def _renew(self, resting: Resting, digest: bytes, remember: Remember) -> None:
        renewed = fast.made(digest, self._peppers, resting.now, self._random)
        self._later(resting.key, Outcome(right=True, fast=renewed), remember)

    def _later(self, key: str, outcome: Outcome, remember: Remember) -> None:
        if key in self._renewing:
            return
        self._renewing.add(key)
        task = asyncio.create_task(_remembered(outcome, remember))
        self._memories.add(task)
        task.add_done_callback(self._memories.discard)
        task.add_done_callback(lambda _: self._renewing.discard(key))

    def _checked(self, resting: Hashed, digest: bytes, now: datetime) -> Outcome:
        if not resting.fits(digest):
            return Outcome(right=False)
        value = fast.made(digest, self._peppers, now, self._random)
        if resting.parameters == scrypt.CURRENT:
            return Outcome(right=True, fast=value)
        return Outcome(right=True, fast=value, hashed=self._new(digest, now).hashed)

    def _new(self, digest: bytes, now: datetime) -> Outcome:
        value = fast.made(digest, self._peppers, now, self._random)
        return Outcome(right=True, fast=value, hashed=scrypt.hashed(digest, self._salt(scrypt.SALT_BYTES)))


async def _remembered(outcome: Outcome, remember: Remember) -> None:
    try:
        await remember(outcome)
    except psycopg.Error as error:
        log.warning("fast_value_not_kept", error=type(error).__name__)
