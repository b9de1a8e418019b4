"""Waiting for a condition with a deadline, and for a process that a failed test must not wait for."""

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

DEADLINE_SECONDS = 20.0
POLL_SECONDS = 0.02


async def until(condition: Callable[[], bool], seconds: float = DEADLINE_SECONDS) -> bool:
    """Whether the condition came true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True


async def has_ended(process: "subprocess.Popen[bytes]", seconds: float = DEADLINE_SECONDS) -> bool:
    """Whether the process ended within `seconds`."""
    return await until(lambda: process.poll() is not None, seconds)


@contextmanager
def started(command: Sequence[str], folder: Path, stdout: int | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    """A process in a session of its own, killed at the end of the block if it still runs."""
    with subprocess.Popen(command, cwd=folder, stdout=stdout, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()
