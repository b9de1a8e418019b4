"""What can be done on a Qdrant server: each step is one idempotent request."""

from __future__ import annotations

from dataclasses import dataclass

from bulkhead.api.ownership import Stamp


@dataclass(frozen=True, slots=True)
class Limits:
    """What strict mode holds a collection to."""

    points: int
    batch: int
    """Points in one upsert. The server counts points at every 32nd update only, so this bounds what slips past."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the register holds of one owner; its point is found by the stamp."""

    stamp: Stamp
    collection: str
    """Empty for the operator's own entry, whose token is tried on the server."""
    tokens: tuple[str, ...]
    """Subjects whose tokens are alive, sorted; none: no token opens anything."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """A point of the register, not ours, with tokens that open our collection."""

    point: str
    mark: str | None
    """Text of the stamp in it; None: it bears none."""


@dataclass(frozen=True, slots=True)
class CreateRegister:
    stamp: Stamp
    identity: str

    def __str__(self) -> str:
        return "create the operator's register of tokens"


@dataclass(frozen=True, slots=True)
class CreateCollection:
    name: str
    stamp: Stamp
    dimensions: int
    distance: str
    limits: Limits

    def __str__(self) -> str:
        return f'create collection "{self.name}"'


@dataclass(frozen=True, slots=True)
class StampCollection:
    name: str
    stamp: Stamp

    def __str__(self) -> str:
        return f'stamp collection "{self.name}"'


@dataclass(frozen=True, slots=True)
class LimitCollection:
    name: str
    limits: Limits

    def __str__(self) -> str:
        return f'limit collection "{self.name}"'


@dataclass(frozen=True, slots=True)
class IndexField:
    collection: str
    field: str

    def __str__(self) -> str:
        return f'index field "{self.field}" of collection "{self.collection}"'


@dataclass(frozen=True, slots=True)
class Register:
    """Puts an entry in place of what the register holds of its owner; without tokens it revokes them all."""

    entry: Entry

    def __str__(self) -> str:
        of = f'collection "{self.entry.collection}"' if self.entry.collection else "the operator"
        return f"{'register' if self.entry.tokens else 'revoke'} tokens of {of}"


@dataclass(frozen=True, slots=True)
class Unregister:
    stamp: Stamp

    def __str__(self) -> str:
        return "remove an entry from the register of tokens"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One snapshot; those of a shard are kept apart from those of the collection and outlive it just the same."""

    name: str
    shard: int | None = None


@dataclass(frozen=True, slots=True)
class DeleteSnapshot:
    collection: str
    snapshot: Snapshot

    def __str__(self) -> str:
        return f'delete snapshot "{self.snapshot.name}" of collection "{self.collection}"'


@dataclass(frozen=True, slots=True)
class DeleteCollection:
    name: str

    def __str__(self) -> str:
        return f'delete collection "{self.name}"'


QdrantStep = (
    CreateRegister
    | CreateCollection
    | StampCollection
    | LimitCollection
    | IndexField
    | Register
    | Unregister
    | DeleteSnapshot
    | DeleteCollection
)
