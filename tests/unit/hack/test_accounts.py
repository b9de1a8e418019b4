import os
from pathlib import Path

import pytest

from hack.plane.accounts import Account, allows, can_reach, copy_parts

STRANGER = Account("stranger", uid=os.getuid() + 4711, gid=os.getgid() + 4711)


@pytest.mark.parametrize(
    ("mode", "account", "allowed"),
    [
        (0o700, Account("owner", os.getuid(), os.getgid() + 1), True),
        (0o070, Account("member", os.getuid() + 1, os.getgid()), True),
        (0o007, STRANGER, True),
        (0o770, STRANGER, False),
        (0o077, Account("owner", os.getuid(), os.getgid()), False),
    ],
)
def test_an_account_has_the_bits_of_its_own_class(tmp_path: Path, mode: int, account: Account, allowed: bool) -> None:  # noqa: FBT001 - a case
    path = tmp_path / "folder"
    path.mkdir(mode=mode)
    path.chmod(mode)
    assert allows(account, path, 0o5) is allowed


def test_a_folder_below_a_private_one_is_out_of_reach(tmp_path: Path) -> None:
    private = tmp_path / "private"
    (private / "open").mkdir(parents=True)
    private.chmod(0o700)
    (private / "open").chmod(0o755)
    assert not can_reach(STRANGER, private / "open")


def test_what_all_may_read_is_within_reach() -> None:
    assert can_reach(STRANGER, Path("/usr/bin"))


def test_a_copy_keeps_places_and_links_and_leaves_out_what_only_compilers_read(tmp_path: Path) -> None:
    library = tmp_path / "root" / "a" / "lib"
    library.mkdir(parents=True, mode=0o700)
    (library / "libpq.so.5").write_text("code")
    (library / "libpq.so").symlink_to("libpq.so.5")
    (library / "libpq.a").write_text("archive")
    copy_parts(tmp_path / "root", ("a/lib",), tmp_path / "copy")
    copied = tmp_path / "copy" / "a" / "lib"
    assert sorted(path.name for path in copied.iterdir()) == ["libpq.so", "libpq.so.5"]
    assert (copied / "libpq.so").is_symlink()
    assert allows(STRANGER, copied, 0o5)
