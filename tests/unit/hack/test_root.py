import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from hack.plane import root
from hack.plane.memory import available_bytes
from hack.plane.root import is_roomy, make_root, temporary

ROOM = 1 << 20


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is taken for one in memory, on a machine that has enough of it."""
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(root, "MEMORY", tmp_path)
    monkeypatch.setattr(root, "ROOM_BYTES", ROOM)
    monkeypatch.setattr(root, "available_bytes", lambda: ROOM)
    return tmp_path


def test_what_is_not_worth_a_disk_is_in_memory(memory: Path) -> None:
    made, removed = make_root(None, None, lasting=False)
    assert made.parent == memory
    assert removed == made


def test_what_is_to_last_is_on_a_disk() -> None:
    assert temporary(None, lasting=True) == Path(tempfile.gettempdir())


def test_who_says_where_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert temporary(None, lasting=False) == Path(tempfile.gettempdir())


def test_a_machine_with_little_memory_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root, "available_bytes", lambda: ROOM - 1)
    assert temporary(None, lasting=False) == Path(tempfile.gettempdir())


def test_a_folder_that_is_not_there_has_no_room(memory: Path) -> None:
    assert is_roomy(memory, ROOM)
    assert not is_roomy(memory / "missing", ROOM)


@pytest.mark.parametrize("found", [(ROOM - 1, 0), (ROOM, os.ST_NOEXEC)], ids=["small", "runs no programs"])
def test_a_file_system_that_will_not_do_has_no_room(
    memory: Path, monkeypatch: pytest.MonkeyPatch, found: tuple[int, int]
) -> None:
    size, flags = found
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=size, f_frsize=1, f_flag=flags))
    assert not is_roomy(memory, ROOM)


def test_there_is_memory() -> None:
    assert available_bytes() > ROOM
