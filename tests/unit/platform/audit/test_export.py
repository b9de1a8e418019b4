"""What the export was given is there after a crash, and is read back in full or not at all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from bulkhead.platform.audit import export, standing
from bulkhead.platform.audit.export import Damaged, EpochLine, Export, RevocationLine, Revoked, Unwritable, lines

NOW = 1_790_000_000.5
KEY = "0f3c" * 8


def an_export(directory: Path, replica: str = "one", most_bytes: int = export.MOST_FILE_BYTES) -> Export:
    return Export(directory, replica=replica, clock=lambda: NOW, most_bytes=most_bytes)


def files(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


async def test_a_revocation_is_in_the_file_when_the_call_returns(tmp_path: Path) -> None:
    await an_export(tmp_path).revocation(Revoked.SERVICE_KEY, KEY, epoch=3)
    assert list(lines(tmp_path)) == [
        RevocationLine(at=int(NOW), epoch=3, what=Revoked.SERVICE_KEY, id=KEY),
    ]


async def test_the_line_and_the_name_of_its_file_are_on_the_disk_before_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def watched(file: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{file}").readlink()))
        real(file)

    monkeypatch.setattr(os, "fsync", watched)
    await an_export(tmp_path).epoch(1)
    assert synced == [str(tmp_path), str(files(tmp_path)[0])]


async def test_two_replicas_write_two_files_and_are_read_as_one(tmp_path: Path) -> None:
    first, second = an_export(tmp_path, "one"), an_export(tmp_path, "two")
    await asyncio.gather(*(each.epoch(epoch) for each in (first, second) for epoch in range(1, 20)))
    assert len(files(tmp_path)) == 2
    assert sorted(line.epoch for line in lines(tmp_path) if isinstance(line, EpochLine)) == sorted([*range(1, 20)] * 2)


async def test_a_full_file_is_followed_by_another(tmp_path: Path) -> None:
    written = an_export(tmp_path, most_bytes=100)
    for epoch in range(1, 11):
        await written.epoch(epoch)
    assert len(files(tmp_path)) > 2
    assert [line.epoch for line in lines(tmp_path) if isinstance(line, EpochLine)] == list(range(1, 11))


async def test_a_file_of_another_is_never_written_to(tmp_path: Path) -> None:
    await an_export(tmp_path).epoch(1)
    again = an_export(tmp_path)
    with pytest.raises(Unwritable):
        await again.epoch(2)
    assert [line.epoch for line in lines(tmp_path) if isinstance(line, EpochLine)] == [1]


@pytest.mark.parametrize("rest", [b'{"line":"epo', b'{"line":"epoch"}\n', b"\0" * 50, b"\xff\xfe", b"x" * 40000])
async def test_a_torn_end_costs_only_itself(tmp_path: Path, rest: bytes) -> None:
    await an_export(tmp_path).epoch(7)
    with files(tmp_path)[0].open("ab") as file:
        file.write(rest[: export.MOST_LINE_BYTES - 1])
    found = standing.read(tmp_path)
    assert found.epoch == 7
    assert found.torn == (files(tmp_path)[0].name,)


@pytest.mark.parametrize("spoilt", [b'{"line":"epo\n', b"\n", b'{"line":"later","at":1}\n', b"\0" * 20 + b"\n"])
async def test_a_line_that_was_spoilt_before_the_end_is_told_and_not_passed_over(tmp_path: Path, spoilt: bytes) -> None:
    await an_export(tmp_path).epoch(7)
    path = files(tmp_path)[0]
    path.write_bytes(path.read_bytes() + spoilt + path.read_bytes())
    with pytest.raises(Damaged, match=rf"line 2 of {path.name}"):
        list(lines(tmp_path))


async def test_a_line_that_was_written_in_part_is_not_written_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills in the middle of a line, and has room again later."""
    written = an_export(tmp_path)
    await written.epoch(1)
    real = os.write

    def full(file: int, text: bytes) -> int:
        if len(text) < 10:
            raise OSError(28, "No space left on device")
        return real(file, text[: len(text) // 2])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(Unwritable, match="No space left"):
            await written.epoch(2)
        assert written.trouble == "No space left on device"
    await written.epoch(3)
    assert not written.trouble
    assert [line.epoch for line in lines(tmp_path) if isinstance(line, EpochLine)] == [1, 3]
    assert len(standing.read(tmp_path).torn) == 1


async def test_a_caller_that_leaves_does_not_tear_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = an_export(tmp_path)
    real, begun = os.fsync, asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(file: int) -> None:
        loop.call_soon_threadsafe(begun.set)
        real(file)

    monkeypatch.setattr(os, "fsync", slow)
    leaving = asyncio.ensure_future(written.epoch(1))
    await begun.wait()
    leaving.cancel()
    await written.epoch(2)
    assert [line.epoch for line in lines(tmp_path) if isinstance(line, EpochLine)] == [1, 2]


async def test_a_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unwritable, match="No such file or directory"):
        await an_export(tmp_path / "missing").epoch(1)


async def test_what_is_too_long_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(msgspec.ValidationError):
        await an_export(tmp_path).revocation(Revoked.PLATFORM_ADMIN, KEY, epoch=1, subject="x" * 256)
    assert files(tmp_path) == []


async def test_other_files_of_the_directory_are_no_part_of_it(tmp_path: Path) -> None:
    await an_export(tmp_path).epoch(1)
    (tmp_path / ".nfs0001").write_bytes(b"x\ny\n")
    (tmp_path / "lost+found").mkdir()
    assert [line.epoch for line in lines(tmp_path) if isinstance(line, EpochLine)] == [1]


@pytest.fixture(autouse=True)
def _private_files(tmp_path: Path) -> Iterator[None]:
    """Whoever reads the export learns who was revoked: no test leaves a file that others can read."""
    yield
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.glob("*-*.jsonl"))
