"""Generators as processes, and what their samples say of a window of time."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.platform.generator import NO_ANSWER, Outcome, Plan

ROOT = Path(__file__).parents[2]
OK = 200
END_SECONDS = 60.0
"""For a generator to write down what came of its plan."""


@dataclass(frozen=True, slots=True)
class Window:
    """Requests that were sent within some seconds of the monotonic clock."""

    seconds: Sequence[float]
    """Until each was answered, shortest first; infinite for those that were not by the end, and without those whose
    connection broke."""
    statuses: Counter[int]
    unanswered: int = 0

    def at(self, quantile: float) -> float:
        """Milliseconds; NaN where nothing was sent or every connection broke."""
        if not self.seconds:
            return float("nan")
        return 1000 * self.seconds[min(len(self.seconds) - 1, int(quantile * len(self.seconds)))]

    @property
    def refused(self) -> dict[str, int]:
        """What was no success."""
        return {str(status or "no answer"): many for status, many in self.statuses.items() if status != OK}


def joined(windows: Sequence[Window]) -> Window:
    """Several as one. One stall of the machine decides the last hundredth of a single short window."""
    return Window(
        sorted(itertools.chain.from_iterable(each.seconds for each in windows)),
        sum((each.statuses for each in windows), Counter()),
        sum(each.unanswered for each in windows),
    )


@dataclass(slots=True)
class Generated:
    """What a generator has sent: known once its block has ended. pid: of its process"""

    pid: int
    outcome: Outcome = field(init=False)

    def window(self, begun: float, ended: float) -> Window:
        """Of what was sent between the two."""
        found = [
            (seconds, status)
            for sent, seconds, status in zip(self.outcome.sent, self.outcome.seconds, self.outcome.status, strict=True)
            if begun <= sent < ended
        ]
        answered = sorted(seconds for seconds, status in found if status != NO_ANSWER)
        unanswered = sum(begun <= sent < ended for sent in self.outcome.unanswered)
        statuses = Counter(status for _, status in found)
        return Window([*answered, *[math.inf] * unanswered], statuses, unanswered)

    def first_accepted(self, since: float) -> dict[int, float]:
        """Seconds from `since` until each client's first success was answered, of those that had one."""
        found: dict[int, float] = {}
        for client, sent, seconds, status in self._samples():
            if status == OK and sent >= since:
                found[client] = min(found.get(client, float("inf")), sent + seconds - since)
        return found

    def _samples(self) -> Iterator[tuple[int, float, float, int]]:
        out = self.outcome
        return zip(out.client, out.sent, out.seconds, out.status, strict=True)


@asynccontextmanager
async def generating(plan: Plan) -> AsyncIterator[Generated]:
    """Clients for the time of the block, in a process of their own."""
    with tempfile.NamedTemporaryFile() as outcome:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "bench.platform.generator", outcome.name),
            stdin=asyncio.subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}"},
        )
        assert process.stdin
        generated = Generated(process.pid)
        try:
            process.stdin.write(msgspec.msgpack.encode(plan))
            await process.stdin.drain()
            process.stdin.close()
            yield generated
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
            generated.outcome = msgspec.msgpack.decode(outcome.read(), type=Outcome)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def waiting(clock: Callable[[], float], seconds: float) -> tuple[float, float]:
    """A window of so many seconds from now on."""
    begun = clock()
    await asyncio.sleep(seconds)
    return begun, clock()
