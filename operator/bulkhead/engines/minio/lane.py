"""Bounded threads and bounded time for a client that blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from bulkhead.engines.errors import Unavailable
from bulkhead.engines.minio.errors import VENDOR_ERRORS, error_of

ANSWER_SECONDS = 15.0
"""For the whole of a call: a server that sends byte after byte never hits the limit of a single read. The thread goes
on until that limit."""

P = ParamSpec("P")
T = TypeVar("T")


class Lane:
    """A few threads, and as many places before them: the time of a call starts when a thread is free for it."""

    def __init__(self, width: int, name: str, seconds: float = ANSWER_SECONDS) -> None:
        self._seconds = seconds
        self._places = asyncio.Semaphore(width)
        self._threads = ThreadPoolExecutor(width, thread_name_prefix=name)
        self._closed = False

    async def call(self, doing: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Result of a blocking `function`. Raises EngineError saying `while <doing>: …`."""
        async with self._places:
            if self._closed:
                raise Unavailable(f"while {doing}: the connection has been closed, another one is being opened")
            try:
                async with asyncio.timeout(self._seconds):
                    loop = asyncio.get_running_loop()
                    return await loop.run_in_executor(self._threads, lambda: function(*args, **kwargs))
            except VENDOR_ERRORS as error:
                raise error_of(error, doing) from None

    def close(self) -> None:
        """Calls that are under way still end, in their own time; later ones raise Unavailable."""
        self._closed = True
        self._threads.shutdown(wait=False)
