"""Everything that outlives the process: one SQLite file.

Written ahead and never synced: what was answered survives kill -9, which is what tests do to a server, not a power cut.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from hack.plane.emulators.qdrant.payloads import Json

SCHEMA = """
CREATE TABLE IF NOT EXISTS collections (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE NOT NULL, config BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS aliases (alias TEXT PRIMARY KEY, collection TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS points (
    collection INTEGER NOT NULL, id TEXT NOT NULL, payload BLOB NOT NULL, vectors BLOB NOT NULL,
    PRIMARY KEY (collection, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """`id` is a number or a UUID; `vectors` maps names to dense, sparse or several vectors, "" is the unnamed one."""

    id: int | str
    payload: Json
    vectors: Json


class Store:
    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(file, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.executescript(SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes of the block or, when the process dies in it, none. An error keeps what was written before it."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("COMMIT")

    def fact(self, name: str, value: str) -> str:
        """A fact about this server that is decided once: `value`, unless one was kept before."""
        self._connection.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, value))
        row = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return str(row[0])

    def collections(self) -> Iterator[tuple[int, str, Any]]:
        for number, name, config in self._connection.execute("SELECT id, name, config FROM collections"):
            yield number, name, msgspec.json.decode(config)

    def insert_collection(self, name: str, config: object) -> int:
        """A number that no collection had before, so that a successor never finds its predecessor's points."""
        encoded = msgspec.json.encode(config)
        cursor = self._connection.execute("INSERT INTO collections (name, config) VALUES (?, ?)", (name, encoded))
        return int(cursor.lastrowid or 0)

    def update_collection(self, number: int, config: object) -> None:
        self._connection.execute(
            "UPDATE collections SET config = ? WHERE id = ?", (msgspec.json.encode(config), number)
        )

    def delete_collection(self, number: int, name: str) -> None:
        with self.transaction():
            self._connection.execute("DELETE FROM aliases WHERE collection = ?", (name,))
            self._connection.execute("DELETE FROM points WHERE collection = ?", (number,))
            self._connection.execute("DELETE FROM collections WHERE id = ?", (number,))

    def aliases(self) -> dict[str, str]:
        return dict(self._connection.execute("SELECT alias, collection FROM aliases"))

    def put_alias(self, alias: str, collection: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?)", (alias, collection))

    def delete_alias(self, alias: str) -> None:
        self._connection.execute("DELETE FROM aliases WHERE alias = ?", (alias,))

    def put_point(self, collection: int, point: StoredPoint) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?)",
            (collection, key_of(point.id), msgspec.json.encode(point.payload), msgspec.json.encode(point.vectors)),
        )

    def delete_point(self, collection: int, point: int | str) -> None:
        self._connection.execute("DELETE FROM points WHERE collection = ? AND id = ?", (collection, key_of(point)))

    def delete_points(self, collection: int) -> None:
        self._connection.execute("DELETE FROM points WHERE collection = ?", (collection,))

    def points(self, collection: int) -> Iterator[StoredPoint]:
        rows = self._connection.execute("SELECT id, payload, vectors FROM points WHERE collection = ?", (collection,))
        for point, payload, vectors in rows:
            yield StoredPoint(msgspec.json.decode(point), msgspec.json.decode(payload), msgspec.json.decode(vectors))

    def payloads(self, collection: int) -> Iterator[tuple[str, Json]]:
        """The payload of each point under its key."""
        rows = self._connection.execute("SELECT id, payload FROM points WHERE collection = ?", (collection,))
        for point, payload in rows:
            yield point, msgspec.json.decode(payload)

    def point_counts(self) -> dict[int, int]:
        return dict(self._connection.execute("SELECT collection, count(*) FROM points GROUP BY collection"))

    def payload_bytes(self, collection: int) -> int:
        query = "SELECT total(length(payload)) FROM points WHERE collection = ?"
        return int(self._connection.execute(query, (collection,)).fetchone()[0])

    def has_point(self, collection: int, point: int | str) -> bool:
        query = "SELECT 1 FROM points WHERE collection = ? AND id = ?"
        return self._connection.execute(query, (collection, key_of(point))).fetchone() is not None


def key_of(point: int | str) -> str:
    """The text that a point is stored under: 7 and "7" stay apart."""
    return msgspec.json.encode(point).decode()
