"""Indexes: their names, their documents, and what is kept of each."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from hack.plane.emulators.meilisearch.errors import ApiError, index_not_found
from hack.plane.emulators.meilisearch.shapes import Json, Object
from hack.plane.emulators.meilisearch.store import Store
from hack.plane.emulators.meilisearch.times import Clock, show

_UID_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
_LONGEST_UID: Final = 400


def is_uid(text: str) -> bool:
    """True for what may name an index."""
    return 0 < len(text) <= _LONGEST_UID and _UID_CHARACTERS.issuperset(text)


def check_uid(text: str) -> str:
    """The text if it may name an index, else ValueError. It says 512 bytes where 400 is meant, as the server does."""
    if not is_uid(text):
        raise ValueError(
            f"`{text}` is not a valid index uid. Index uid can be an integer or a string containing only alphanumeric "
            "characters, hyphens (-) and underscores (_), and can not be more than 512 bytes."
        )
    return text


def uid_of_path(text: str) -> str:
    """The index that a path names; raises `invalid_index_uid`."""
    try:
        return check_uid(text)
    except ValueError as error:
        raise ApiError("invalid_index_uid", str(error)) from error


@dataclass(frozen=True, slots=True)
class Document:
    """A document with its place in the order of arrival and its size in bytes."""

    number: int
    fields: Object
    size: int


@dataclass(slots=True)
class _Row:
    """An index as it is kept."""

    number: int
    uid: str
    created_at: int
    updated_at: int
    primary_key: str | None = None
    settings: Object = field(default_factory=dict)
    next_document: int = 0
    field_order: list[str] = field(default_factory=list)
    field_counts: dict[str, int] = field(default_factory=dict)
    document_count: int = 0
    document_bytes: int = 0


class Index:
    """One index. Documents are read from the store when first asked for."""

    def __init__(self, row: _Row, store: Store) -> None:
        self._row = row
        self._store = store
        self._documents: dict[str, Document] | None = None
        self.revision = 0
        """Grows with every change, so that what is derived from the index knows when it is stale."""

    @property
    def number(self) -> int:
        """Its id in the store; survives renaming."""
        return self._row.number

    @property
    def uid(self) -> str:
        """Its name."""
        return self._row.uid

    @property
    def primary_key(self) -> str | None:
        """The attribute that holds the documents' ids; None until it is known."""
        return self._row.primary_key

    @property
    def settings(self) -> Object:
        """What was set, without defaults; never changed in place."""
        return self._row.settings

    @property
    def document_count(self) -> int:
        """How many documents it has."""
        return self._row.document_count

    @property
    def document_bytes(self) -> int:
        """The size of all documents."""
        return self._row.document_bytes

    @property
    def updated_at(self) -> int:
        """When it last changed."""
        return self._row.updated_at

    @property
    def field_distribution(self) -> dict[str, int]:
        """In how many documents each top-level field is, by name."""
        return dict(sorted(self._row.field_counts.items()))

    @property
    def documents(self) -> dict[str, Document]:
        """Every document by id, oldest first."""
        if self._documents is None:
            self._documents = {
                ident: Document(number, fields, len(msgspec.json.encode(fields)))
                for ident, number, fields in self._store.documents(self.number)
            }
        return self._documents

    def put(self, ident: str, fields: Object) -> None:
        """Add a document, or put it in the place of the one with its id."""
        before = self.documents.get(ident)
        fields = self._in_order(fields)
        number = self._row.next_document if before is None else before.number
        self._row.next_document = max(self._row.next_document, number + 1)
        after = Document(number, fields, len(msgspec.json.encode(fields)))
        self.documents[ident] = after
        self._store.put_document(self.number, ident, number, fields)
        self._count(before, after)

    def _in_order(self, fields: Object) -> Object:
        """The fields in the order in which the index first saw them: so documents are always shown."""
        order = self._row.field_order
        order += [name for name in fields if name not in order]
        return {name: fields[name] for name in order if name in fields}

    def remove(self, ident: str) -> bool:
        """Drop a document; False if there was none."""
        before = self.documents.pop(ident, None)
        if before is None:
            return False
        self._store.delete_document(self.number, ident)
        self._count(before, None)
        return True

    def clear(self) -> int:
        """Drop all documents; returns how many there were."""
        count = self.document_count
        self._documents = {}
        self._store.delete_documents(self.number)
        self._row.field_counts, self._row.document_count, self._row.document_bytes = {}, 0, 0
        return count

    def _count(self, before: Document | None, after: Document | None) -> None:
        counts = Counter(self._row.field_counts)
        counts.subtract(before.fields.keys() if before else ())
        counts.update(after.fields.keys() if after else ())
        self._row.field_counts = {name: count for name, count in counts.items() if count > 0}
        self._row.document_count += (after is not None) - (before is not None)
        self._row.document_bytes += (after.size if after else 0) - (before.size if before else 0)

    def set_primary_key(self, name: str) -> None:
        """Fix the attribute of the ids; it can not change once documents have it."""
        current = self.primary_key
        if current is not None and current != name and self.document_count:
            raise ApiError("index_primary_key_already_exists", f"Index already has a primary key: `{current}`.")
        self._row.primary_key = name

    def set_settings(self, settings: Object) -> None:
        """Replace what was set."""
        self._row.settings = settings

    def rename(self, uid: str) -> None:
        """Give it another name."""
        self._row.uid = uid

    def save(self, now: int) -> None:
        """Keep the index as it is now; part of the same transaction as the documents it counts."""
        self._row.updated_at = now
        self.revision += 1
        self._store.put("indexes", self.number, self._row)

    def view(self) -> Object:
        """The index as the API shows it."""
        return {
            "uid": self.uid,
            "createdAt": show(self._row.created_at),
            "updatedAt": show(self._row.updated_at),
            "primaryKey": self.primary_key,
        }


class Catalog:
    """All indexes by name."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._by_uid: dict[str, Index] = {}
        self._next_number = 0
        self.reload()

    def reload(self) -> None:
        """Take the kept state for the true one again, after a change was given up half-way."""
        rows = list(self._store.bodies("indexes", _Row))
        self._by_uid = {row.uid: Index(row, self._store) for row in rows}
        self._next_number = max((row.number for row in rows), default=-1) + 1

    def __iter__(self) -> Iterator[Index]:
        """By ascending name."""
        return iter([self._by_uid[uid] for uid in sorted(self._by_uid)])

    def __contains__(self, uid: str) -> bool:
        return uid in self._by_uid

    def get(self, uid: str) -> Index:
        """The index, or `index_not_found`."""
        index = self._by_uid.get(uid)
        if index is None:
            raise index_not_found(uid)
        return index

    def create(self, uid: str) -> Index:
        """A new index, or `index_already_exists`."""
        if uid in self._by_uid:
            raise _exists(uid)
        now = self._clock()
        index = Index(_Row(self._next_number, uid, now, now), self._store)
        self._next_number += 1
        self._by_uid[uid] = index
        index.save(now)
        return index

    def delete(self, uid: str) -> int:
        """Drop an index; returns how many documents went with it."""
        index = self.get(uid)
        count = index.clear()
        self._store.delete("indexes", index.number)
        del self._by_uid[uid]
        return count

    def rename(self, uid: str, new_uid: str) -> None:
        """Move an index to a free name."""
        index = self.get(uid)
        if new_uid in self._by_uid:
            raise _exists(new_uid)
        self._by_uid[new_uid] = self._by_uid.pop(uid)
        index.rename(new_uid)
        index.save(self._clock())

    def swap(self, left: str, right: str) -> None:
        """Let two indexes change names."""
        pair = self.get(left), self.get(right)
        for index, uid in zip(pair, (right, left), strict=True):
            index.rename(uid)
            index.save(self._clock())
            self._by_uid[uid] = index


def _exists(uid: str) -> ApiError:
    return ApiError("index_already_exists", f"Index `{uid}` already exists.")


def stats(index: Index, *, is_indexing: bool) -> Object:
    """The figures of one index."""
    count = index.document_count
    distribution: Object = dict(index.field_distribution)
    return {
        "numberOfDocuments": count,
        "rawDocumentDbSize": index.document_bytes,
        "avgDocumentSize": index.document_bytes // count if count else 0,
        "isIndexing": is_indexing,
        "numberOfEmbeddings": 0,
        "numberOfEmbeddedDocuments": 0,
        "fieldDistribution": distribution,
    }


def page(items: Iterable[Json], offset: int, limit: int) -> Object:
    """A slice of a list with its total, as every list but tasks and batches is shown."""
    everything = list(items)
    return {
        "results": everything[offset : offset + limit],
        "offset": offset,
        "limit": limit,
        "total": len(everything),
    }
