"""Every rule of the vector engine: what is wanted, what is seen, and the steps between them. Pure."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass

from bulkhead.api.ownership import Stamp, owner_of
from bulkhead.engines.contract import (
    Access,
    ClaimFirst,
    Conflict,
    DataMissing,
    Decision,
    Do,
    EngineChanged,
    Invalid,
    Request,
    ServerRequest,
    engine_changed,
)
from bulkhead.engines.qdrant.steps import (
    CreateCollection,
    CreateRegister,
    DeleteCollection,
    DeleteSnapshot,
    Entry,
    IndexField,
    LimitCollection,
    Limits,
    QdrantStep,
    Register,
    Snapshot,
    StampCollection,
    Stranger,
    Unregister,
)
from bulkhead.engines.qdrant.tokens import COLLECTION_FIELD, REGISTER, REGISTER_FIELD, subject

STAMP_KEY = "bulkhead"
"""Key of the stamp in a collection's metadata. The tenant can read it and not write it."""
PROVISIONED = "collection"
"""The word for our one object in `Holding.provisioned`."""
PAYLOAD_INDEXES = ("dataset", "document")
"""Payload fields that a Data API filters on. Tenants can not index: a `prw` token reads and writes points only."""
UPSERT_BATCH = 1000
REGISTER_INDEXES = (REGISTER_FIELD, COLLECTION_FIELD)
"""What the server looks for in the register at each request of a tenant, and we before a collection is opened."""
ENTRY = f'point of "{REGISTER}"'
"""What an entry is called where somebody has to find it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What one DataCluster asks of this engine."""

    stamp: Stamp
    access: Access
    collection: str
    dimensions: int
    distance: str
    limits: Limits
    tokens: tuple[str, ...]
    server: str
    claimed: bool
    provisioned: bool

    @property
    def entry(self) -> Entry:
        return Entry(self.stamp, self.collection, self.tokens)

    @property
    def crashed_before_stamp(self) -> bool:
        """Whether an empty, unstamped collection can be what we left behind: claimed, and never finished."""
        return self.claimed and not self.provisioned


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenCollection:
    """The collection under our name, whoever made it."""

    mark: str | None
    """Text of the stamp in its metadata; None: it bears none."""
    empty: bool
    dimensions: int
    """0 where it has no single unnamed vector."""
    distance: str
    limits: Limits | None
    indexes: frozenset[str]

    def ours(self, stamp: Stamp) -> bool:
        return self.mark == str(stamp)

    def unstamped_and_empty(self) -> bool:
        return self.mark is None and self.empty


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What there is of one DataCluster."""

    server: str
    """Identity in the register's metadata; empty where there is no register."""
    collection: SeenCollection | None
    entry: Entry | None
    snapshots: tuple[Snapshot, ...] = ()
    """Of the collection and of its shard; looked for only where access is cut. One may be a predecessor's: it survives
    a collection that was deleted by other means than ours."""
    stranger: Stranger | None = None
    """Looked for only where access is open."""


def wanted_of(request: Request) -> Wanted:
    """What `request` asks of this engine."""
    embedding, holding = request.spec.embedding, request.holding
    subjects = (subject(request.stamp.uid, credential.generation) for credential in holding.credentials)
    return Wanted(
        stamp=request.stamp,
        access=request.access,
        collection=request.names.collection,
        dimensions=embedding.dimensions,
        distance=embedding.distance.value,
        limits=Limits(points=max(1, request.plan.vectors.points), batch=UPSERT_BATCH),  # 0 is refused by the server
        tokens=tuple(sorted(subjects)) if request.access is Access.OPEN else (),
        server=holding.server,
        claimed=bool(holding.claimed_at),
        provisioned=PROVISIONED in holding.provisioned,
    )


def decide(wanted: Wanted, seen: Seen) -> Decision:
    """How `seen` becomes what is wanted, or why it must not."""
    if changed := engine_changed(wanted.server, seen.server):
        return changed
    if wanted.access is Access.CUT:
        return _unless_the_stamp_is_lost(_revocation(wanted, seen), wanted, seen)
    if problem := _problem(wanted, seen):
        return problem
    return Do(
        (*_collection_steps(wanted, seen.collection), *_entry_steps(wanted, seen)),
        provisions=frozenset({PROVISIONED}),
    )


def decide_removal(wanted: Wanted, seen: Seen) -> Do | Conflict | EngineChanged:
    """Tokens, then snapshots, then the collection: a snapshot outlives its collection and is then out of reach."""
    if wanted.access is not Access.CUT:
        raise ValueError("removal needs what is seen with access cut: with it open, no snapshot is looked for")
    if changed := engine_changed(wanted.server, seen.server):
        return changed
    steps = (*_revocation(wanted, seen), *_erasure(wanted, seen), *_oblivion(wanted, seen))
    return _unless_the_stamp_is_lost(steps, wanted, seen)


def _unless_the_stamp_is_lost(steps: tuple[QdrantStep, ...], wanted: Wanted, seen: Seen) -> Do | Conflict:
    """Once ours was provisioned, a collection of our name without a stamp is most likely it still. It is not touched,
    but nobody is told that it is out of reach or gone either."""
    found = seen.collection
    if steps or not wanted.provisioned or found is None or found.mark is not None:
        return Do(steps)
    back = f'{{"metadata": {{"{STAMP_KEY}": "{wanted.stamp}"}}}}'
    way_out = f"if it is the one that was made here, PATCH /collections/{wanted.collection} with {back}"
    return Conflict("collection", wanted.collection, f"{owner_of(None)}; {way_out}")


def _problem(wanted: Wanted, seen: Seen) -> Decision | None:
    """A token of somebody else for our collection is no smaller matter than a collection of somebody else: a former
    owner that was never cut would read what its successor writes under the name."""
    problem = _collection_problem(wanted, seen.collection)
    if seen.stranger is None or isinstance(problem, Conflict):
        return problem
    return Conflict(ENTRY, seen.stranger.point, owner_of(seen.stranger.mark))


def _collection_problem(wanted: Wanted, seen: SeenCollection | None) -> Decision | None:
    if seen is None:
        return _absence(wanted)
    if seen.ours(wanted.stamp):
        return _shape_problem(wanted, seen)
    if _left_behind(wanted, seen):
        return _shape_problem(wanted, seen)
    if seen.unstamped_and_empty() and wanted.provisioned:  # ours was stamped: this one was put in its place
        return DataMissing("collection", wanted.collection)
    return Conflict("collection", wanted.collection, owner_of(seen.mark))


def _absence(wanted: Wanted) -> Decision | None:
    if wanted.provisioned:
        return DataMissing("collection", wanted.collection)
    return None if wanted.claimed else ClaimFirst()


def _shape_problem(wanted: Wanted, seen: SeenCollection) -> Invalid | None:
    if seen.dimensions != wanted.dimensions:
        return Invalid(
            "spec.embedding.dimensions",
            f'collection "{wanted.collection}" holds vectors of {seen.dimensions} dimensions and can not change; '
            f"set {seen.dimensions}, or move to a new DataCluster",
        )
    if seen.distance != wanted.distance:
        return Invalid(
            "spec.embedding.distance",
            f'collection "{wanted.collection}" measures by {seen.distance} and can not change; set {seen.distance}, or '
            "move to a new DataCluster",
        )
    return None


def _collection_steps(wanted: Wanted, seen: SeenCollection | None) -> tuple[QdrantStep, ...]:
    name = wanted.collection
    if seen is None:
        create = CreateCollection(name, wanted.stamp, wanted.dimensions, wanted.distance, wanted.limits)
        return (create, *(IndexField(name, field) for field in PAYLOAD_INDEXES))
    stamp = () if seen.ours(wanted.stamp) else (StampCollection(name, wanted.stamp),)
    limit = () if seen.limits == wanted.limits else (LimitCollection(name, wanted.limits),)
    return (*stamp, *limit, *(IndexField(name, field) for field in PAYLOAD_INDEXES if field not in seen.indexes))


def _entry_steps(wanted: Wanted, seen: Seen) -> tuple[QdrantStep, ...]:
    """Last of all, so that access opens only when everything behind it is in place."""
    return () if seen.entry == wanted.entry else (Register(wanted.entry),)


def _revocation(wanted: Wanted, seen: Seen) -> tuple[QdrantStep, ...]:
    if seen.entry is None or not seen.entry.tokens:
        return ()
    return (Register(Entry(wanted.stamp, wanted.collection, ())),)


def _erasure(wanted: Wanted, seen: Seen) -> tuple[QdrantStep, ...]:
    found, name = seen.collection, wanted.collection
    if found is None or not (found.ours(wanted.stamp) or _left_behind(wanted, found)):
        return ()
    return (*(DeleteSnapshot(name, snapshot) for snapshot in seen.snapshots), DeleteCollection(name))


def _left_behind(wanted: Wanted, found: SeenCollection) -> bool:
    return found.unstamped_and_empty() and wanted.crashed_before_stamp


def _oblivion(wanted: Wanted, seen: Seen) -> tuple[QdrantStep, ...]:
    return () if seen.entry is None else (Unregister(wanted.stamp),)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRegister:
    """The collection under the register's name, whoever made it."""

    mark: str | None
    identity: str
    indexes: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenServer:
    """What there is of the operator's own on a server that tenants may be put on."""

    version: str
    register: SeenRegister | None
    entry: Entry | None
    advisories: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        return self.register.identity if self.register else ""


def own_entry(stamp: Stamp) -> Entry:
    """The operator's entry in the register: a token on it shows whether the server honours tokens as it should."""
    return Entry(stamp, "", (subject(stamp.uid, 0),))


def decide_server(request: ServerRequest, seen: SeenServer) -> Decision:
    """Steps that prepare the server. A register of our installation is ours, whichever DataPlane had it made: a
    DataPlane that is deleted and applied again has another UID, and the register holds all tenants' tokens."""
    if changed := engine_changed(request.holding.server, seen.identity):
        return changed
    if seen.register is not None and not same_installation(seen.register.mark, request.stamp):
        return Conflict("collection", REGISTER, owner_of(seen.register.mark))
    indexed = seen.register.indexes if seen.register else frozenset()
    index = tuple(IndexField(REGISTER, name) for name in REGISTER_INDEXES if name not in indexed)
    create = () if seen.register else (CreateRegister(request.stamp, request.proposal),)
    entry = own_entry(request.stamp)
    return Do((*create, *index, *(() if seen.entry == entry else (Register(entry),))))


def same_installation(mark: str | None, stamp: Stamp) -> bool:
    found = Stamp.parse(mark)
    return found is not None and found.installation == stamp.installation


def surveyed(installation: str, entries: Iterable[Entry], collections: Container[str]) -> dict[str, str]:
    """Digests by UID, for every entry of `installation` that is for a collection."""
    listed = tuple(entry for entry in entries if entry.collection)
    live = Counter(entry.collection for entry in listed if entry.tokens)
    found = {}
    for entry in listed:
        if entry.stamp.installation == installation:
            others = live[entry.collection] - 1 if entry.tokens else 0  # where access is cut, nothing is shared
            standing = entry.collection if entry.collection in collections else ""
            found[entry.stamp.uid] = digest(standing, entry.tokens, others)
    return found


def digest(collection: str, tokens: Iterable[str], others: int = 0) -> str:
    """What a survey shows of one DataCluster, in 16 hex digits; `collection` is empty where there is none. `others`:
    how many have tokens for the same one."""
    shared = [others] if others else []
    canonical = json.dumps([collection, sorted(tokens), *shared], separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
