"""Waiting for a condition, with a deadline."""

import asyncio
import time
from collections.abc import Callable

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
