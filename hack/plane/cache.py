"""The folder outside the tree that keeps what is dear to make: built servers and fetched Postgres packages."""

import asyncio
import fcntl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TextIO

LOCK_POLL_SECONDS = 0.2


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where the plane caches, by the XDG base directory rules."""
    root = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".cache")
    return Path(root) / "bulkhead"


@asynccontextmanager
async def locked(path: Path, waiting: Callable[[], None]) -> AsyncIterator[None]:
    """Hold the lock of a cache entry; `waiting` is called once if someone else has it.

    The kernel drops the lock with its holder, so one that was killed blocks nobody.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        if not try_lock(file):
            waiting()
            while not try_lock(file):  # noqa: ASYNC110 - a file lock signals nothing that could be awaited
                await asyncio.sleep(LOCK_POLL_SECONDS)
        yield


def try_lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
