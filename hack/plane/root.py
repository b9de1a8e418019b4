"""The folder with all data and logs of a plane: where it is made, and who gets into it."""

import os
import tempfile
from pathlib import Path
from typing import Final

from hack.plane.accounts import Account, NoAccount, can_reach
from hack.plane.memory import available_bytes

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - what is made there has a name that nobody guesses, and is ours alone
ROOM_BYTES: Final = 6 << 30
"""Of memory, for a plane to be put there: it takes up to a few hundred MB, and others may come after it."""


def make_root(directory: Path | None, account: Account | None, *, lasting: bool) -> tuple[Path, Path | None]:
    """The folder of a plane, and what of it is removed at its end.

    Args:
        directory: a new folder, which stays; None: a temporary one.
        account: who has to get into it, beside us.
        lasting: whether a temporary one is worth a disk.

    Raises:
        NoAccount: the account can not reach it.
    """
    above = directory.parent if directory else temporary(account, lasting=lasting)
    if account is not None and not can_reach(account, above):
        raise NoAccount(f"Postgres runs as {account.name}, who can not reach {above}: choose another folder")
    if directory is None:
        root = Path(tempfile.mkdtemp(prefix="bulkhead-plane-", dir=above))
        root.chmod(0o711)
        return root, root
    directory.mkdir(parents=True)
    directory.chmod(0o711)
    return directory.resolve(), None


def temporary(account: Account | None, *, lasting: bool) -> Path:
    """Where temporary folders are made. TMPDIR is obeyed."""
    reachable = account is None or can_reach(account, MEMORY)
    if not lasting and "TMPDIR" not in os.environ and reachable and is_roomy(MEMORY, available_bytes()):
        return MEMORY
    return Path(tempfile.gettempdir())


def is_roomy(folder: Path, available: int) -> bool:
    """Whether a file system in memory has room for a plane, runs programs, and takes files as MinIO opens them: with
    O_DIRECT, which Linux has for tmpfs since 6.6. available: bytes of memory"""
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_DIRECT, 0o600))
        found = os.statvfs(folder)
    except OSError:
        return False
    if found.f_flag & os.ST_NOEXEC:
        return False
    return min(found.f_bavail * found.f_frsize, available) >= ROOM_BYTES
