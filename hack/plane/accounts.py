"""The user that Postgres runs as: it refuses to be root, and is given what that user can reach."""

import os
import pwd
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a process runs as."""

    name: str
    uid: int
    gid: int


class NoAccount(Exception):
    """Postgres would have to run as root."""


def unprivileged_account() -> Account | None:
    """Another user to run Postgres as when this process is root, else None.

    An account that exists, because initdb looks up the name of its user.
    """
    if os.geteuid() != 0:
        return None
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise NoAccount(f"Postgres refuses to run as root, and this machine has no user {' or '.join(CANDIDATES)}")


def can_reach(account: Account, path: Path) -> bool:
    """Whether the account may pass every folder above `path` and read `path`."""
    resolved = path.resolve()
    return allows(account, resolved, 0o5) and all(allows(account, folder, 0o1) for folder in resolved.parents)


def allows(account: Account, path: Path, wanted: int) -> bool:
    """Whether the mode of this one path gives the account these bits (4 read, 2 write, 1 execute or pass)."""
    status = path.stat()
    shift = 6 if status.st_uid == account.uid else 3 if status.st_gid == account.gid else 0
    return (stat.S_IMODE(status.st_mode) >> shift) & wanted == wanted


def copy_parts(root: Path, parts: tuple[str, ...], destination: Path) -> None:
    """Copy folders below `root` to the same places below `destination`, readable by all."""
    for part in parts:
        shutil.copytree(root / part, destination / part, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a"))
    for folder, _, _ in os.walk(destination):
        Path(folder).chmod(0o755)
