"""Snapshot files: what is in one, and where they lie.

They lie beside the collections, not in them: deleting a collection leaves its snapshots, and a successor of the same
name finds them.
"""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from hack.plane.emulators.qdrant.errors import ApiError, not_found, service_error
from hack.plane.emulators.qdrant.payloads import Json
from hack.plane.emulators.qdrant.store import StoredPoint

CONFIG, POINTS = "config.json", "points.jsonl"
MALFORMED = "File IO error: Malformed tar archive, reached unknown entry"


@dataclass(frozen=True, slots=True)
class Content:
    """One collection as a snapshot holds it."""

    config: Json
    schema: Json
    points: list[StoredPoint]

    def packed(self) -> bytes:
        head = msgspec.json.encode({"config": self.config, "schema": self.schema})
        return tar([(CONFIG, head), (POINTS, msgspec.json.Encoder().encode_lines(self.points))])

    @classmethod
    def unpacked(cls, archive: bytes) -> "Content":
        """Raises the 500 of the server for what is no snapshot."""
        try:
            with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
                members = {member.name: _content(opened, member) for member in opened}
            head = msgspec.json.decode(members[CONFIG])
            points = msgspec.json.Decoder(StoredPoint).decode_lines(members[POINTS])
            return cls(head["config"], head["schema"], points)
        except (tarfile.TarError, KeyError, ValueError, msgspec.DecodeError) as error:
            raise service_error(MALFORMED) from error


class Archive:
    """The snapshot files below one folder. `now` is in seconds since 1970, `peer` the number of this server."""

    def __init__(self, folder: Path, peer: str, now: Callable[[], float]) -> None:
        self._folder = folder
        self._peer = peer
        self._now = now
        folder.mkdir(parents=True, exist_ok=True)

    def of_server(self) -> Path:
        return self._folder

    def of_collection(self, name: str) -> Path:
        # "." and ".." are names of collections too.
        return self._folder / (name.replace(".", "%2E") if not name.strip(".") else name)

    def of_shard(self, collection: str, shard: str) -> Path:
        return self.of_collection(collection) / "shards" / shard

    def write(self, folder: Path, prefix: str, content: bytes) -> Json:
        """A new snapshot, named by the second: another one in the same second replaces it."""
        moment = datetime.fromtimestamp(self._now(), UTC)
        return self.keep(folder, f"{prefix}-{moment:%Y-%m-%d-%H-%M-%S}.snapshot", content)

    def keep(self, folder: Path, name: str, content: bytes) -> Json:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        (folder / f"{name}.checksum").write_text(hashlib.sha256(content).hexdigest())
        return _described(folder / name)

    def prefix(self, collection: str) -> str:
        return f"{collection}-{self._peer}"

    def listed(self, folder: Path) -> list[Json]:
        return [_described(file) for file in _snapshots(folder)]

    def read(self, folder: Path, name: str) -> bytes:
        return self._file(folder, name).read_bytes()

    def delete(self, folder: Path, name: str) -> None:
        file = self._file(folder, name)
        file.unlink()
        file.with_name(f"{name}.checksum").unlink(missing_ok=True)

    def _file(self, folder: Path, name: str) -> Path:
        if not folder.is_dir():
            raise not_found(f"Snapshot directory: {folder} not found")
        # Compared with what is there, so that no name leads out of the folder.
        found = next((file for file in _snapshots(folder) if file.name == name), None)
        if found is None:
            raise not_found(f"Snapshot {name} not found")
        return found


def tar(files: Iterable[tuple[str, bytes]]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def checksum_mismatch(expected: str, content: bytes) -> ApiError | None:
    actual = hashlib.sha256(content).hexdigest()
    if actual == expected.lower():
        return None
    return ApiError(400, f"Checksum mismatch: expected {actual}, actual {expected}")


def _snapshots(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(file for file in folder.iterdir() if file.is_file() and file.suffix != ".checksum")


def _described(file: Path) -> Json:
    stat = file.stat()
    made = datetime.fromtimestamp(int(stat.st_mtime), UTC).replace(tzinfo=None)
    checksum = file.with_name(f"{file.name}.checksum").read_text()
    return {"name": file.name, "creation_time": made.isoformat(), "size": stat.st_size, "checksum": checksum}


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """Empty for what is no file."""
    file = archive.extractfile(member)
    return b"" if file is None else file.read()
