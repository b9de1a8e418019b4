"""What survives a restart and a kill: one SQLite file in the data directory."""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS keys (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS indexes (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS tasks (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS batches (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS facts (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS payloads (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS documents (
    index_id INTEGER NOT NULL, id TEXT NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (index_id, id)
) WITHOUT ROWID;
"""


class DataDirectoryInUse(Exception):
    """Another server runs on the same data directory."""


class Store:
    """Tables of JSON bodies by id. Every call is durable against the death of the process when it returns."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = (directory / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataDirectoryInUse(f"{directory} is used by another server") from error
        self._path = directory / "data.sqlite"
        self._db = sqlite3.connect(self._path, isolation_level=None)
        # NORMAL in WAL mode loses nothing when the process dies; only a power cut may take the last commits.
        self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_SCHEMA}")

    def close(self) -> None:
        """Let go of the data directory."""
        self._db.close()
        self._lock.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def put(self, table: str, ident: str | int, body: object) -> None:
        """Write one body, new or not."""
        self.put_raw(table, ident, msgspec.json.encode(body))

    def put_raw(self, table: str, ident: str | int, body: bytes) -> None:
        """Write one body that is JSON already."""
        self._db.execute(f"INSERT OR REPLACE INTO {table} (id, body) VALUES (?, ?)", (ident, body))  # noqa: S608  # our own names

    def get_raw(self, table: str, ident: str | int) -> bytes | None:
        """One body as it was written."""
        row: tuple[bytes] | None = self._db.execute(
            f"SELECT body FROM {table} WHERE id = ?",  # noqa: S608  # our own names
            (ident,),
        ).fetchone()
        return row[0] if row else None

    def get(self, table: str, ident: str | int, kind: type[T]) -> T | None:
        """One body."""
        body = self.get_raw(table, ident)
        return None if body is None else msgspec.json.decode(body, type=kind)

    def delete(self, table: str, ident: str | int) -> None:
        """Forget one body."""
        self._db.execute(f"DELETE FROM {table} WHERE id = ?", (ident,))  # noqa: S608  # our own names

    def bodies(self, table: str, kind: type[T]) -> Iterator[T]:
        """Every body, by ascending id."""
        decoder = msgspec.json.Decoder(kind)
        for (body,) in self._db.execute(f"SELECT body FROM {table} ORDER BY id"):  # noqa: S608  # our own names
            yield decoder.decode(body)

    def documents(self, index_id: int) -> list[tuple[str, int, dict[str, Any]]]:
        """The documents of an index with id and number, by ascending number."""
        rows = self._db.execute(
            "SELECT id, number, body FROM documents WHERE index_id = ? ORDER BY number", (index_id,)
        )
        decoder = msgspec.json.Decoder(dict[str, Any])
        return [(ident, number, decoder.decode(body)) for ident, number, body in rows]

    def put_document(self, index_id: int, ident: str, number: int, body: dict[str, Any]) -> None:
        """Write one document, new or not."""
        self._db.execute(
            "INSERT OR REPLACE INTO documents (index_id, id, number, body) VALUES (?, ?, ?, ?)",
            (index_id, ident, number, msgspec.json.encode(body)),
        )

    def delete_document(self, index_id: int, ident: str) -> None:
        """Forget one document."""
        self._db.execute("DELETE FROM documents WHERE index_id = ? AND id = ?", (index_id, ident))

    def delete_documents(self, index_id: int) -> None:
        """Forget all documents of an index."""
        self._db.execute("DELETE FROM documents WHERE index_id = ?", (index_id,))

    def size(self) -> tuple[int, int]:
        """Bytes of the whole file, and of its pages in use."""
        page_size, pages, free = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
        )
        return page_size * pages, page_size * (pages - free)

    def copy_to(self, target: Path) -> None:
        """Write a copy of everything that is durable by now."""
        target.parent.mkdir(parents=True, exist_ok=True)
        # A connection of its own: one with an open transaction would wait for itself for ever.
        with closing(sqlite3.connect(self._path)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
