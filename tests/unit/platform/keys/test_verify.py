"""What a wrong secret costs who shows it, and nobody else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from bulkhead.platform.http.limits import Failures
from bulkhead.platform.keys import fast, scrypt
from bulkhead.platform.keys.slow import Slow
from bulkhead.platform.keys.verify import Outcome, Resting, Verifier
from bulkhead.platform.settings import Key, Keys, Scrypt
from bulkhead.protocol.problems import Code, Problem

NOW = datetime(2026, 11, 28, tzinfo=UTC)
RIGHT, WRONG = b"r" * 32, b"w" * 32
SOURCE, NEIGHBOUR = "203.0.113.9", "203.0.113.10"
PEPPERS = Keys(Key(b"p" * 32))
HASHED = scrypt.hashed(RIGHT, b"salt" * 4)
COLD = Resting(key="k", hashed=HASHED, fast=None, now=NOW)
WARM = Resting(key="k", hashed=HASHED, fast=fast.made(RIGHT, PEPPERS, NOW, lambda: 0.5), now=NOW)


@pytest.fixture
def verifier(monkeypatch: pytest.MonkeyPatch) -> Iterator[Verifier]:
    # How long nobody derives after a wrong one depends on the machine, and is none of what is asked here.
    monkeypatch.setattr("bulkhead.platform.keys.slow.RESTS", 0.0)
    with ThreadPoolExecutor(1) as one:
        slow: Slow[Outcome] = Slow(one, Scrypt(at_once=1, waiting=8))
        yield Verifier(PEPPERS, slow, Failures(clock=lambda: 0.0), random=lambda: 0.5, salt=os.urandom)


async def is_right(verifier: Verifier, resting: Resting, digest: bytes, source: str = SOURCE) -> bool:
    async def forget(_: Outcome) -> None:
        pass

    checked = await verifier.check(resting, digest, source, forget)
    await verifier.settle()
    return checked.right


async def test_who_is_wrong_twice_where_only_scrypt_can_tell_waits(verifier: Verifier) -> None:
    answers = [await is_right(verifier, COLD, digest) for digest in (RIGHT, WRONG, RIGHT, WRONG, RIGHT)]
    assert answers == [True, False, True, False, True]
    await is_right(verifier, COLD, WRONG)
    with pytest.raises(Problem) as told:
        await is_right(verifier, COLD, RIGHT)
    assert told.value.code == Code.RATE_LIMITED


async def test_that_costs_nobody_else_and_nobody_whose_secret_is_told_cheaply(verifier: Verifier) -> None:
    for _ in range(3):
        await is_right(verifier, COLD, WRONG)
    assert await is_right(verifier, COLD, RIGHT, NEIGHBOUR)
    assert await is_right(verifier, WARM, RIGHT)


async def test_what_is_told_cheaply_takes_nothing_here(verifier: Verifier) -> None:
    for _ in range(100):
        assert not await is_right(verifier, WARM, WRONG)
    assert await is_right(verifier, COLD, RIGHT)
