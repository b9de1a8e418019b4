"""Every rule of the search engine: what is wanted, what is seen, and the steps between them. Pure.

An index can hold no mark of ours. So the operator keeps a register, an index of its own, with a document per tenant's
index: whose it is, and when that index was created. One that somebody deletes and makes again under the same name has
another time of creation, and is not taken for ours.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from bulkhead.api.ownership import Stamp, owner_of
from bulkhead.engines.contract import (
    Access,
    ClaimFirst,
    Conflict,
    DataMissing,
    Decision,
    Do,
    EngineChanged,
    Request,
    ServerRequest,
    engine_changed,
)
from bulkhead.engines.meilisearch.keys import Key, tenant_key
from bulkhead.engines.meilisearch.steps import (
    CancelTasks,
    ConfigureIndex,
    CreateIndex,
    CreateKey,
    DeleteIndex,
    DeleteKey,
    DeleteTasks,
    MeilisearchStep,
    ReleaseIndexes,
    StampIndexes,
    WriteIdentity,
)

REGISTER = "bulkhead_register"
"""Our own index. No key lists it."""
PRIMARY_KEY = "id"
FILTERABLE = ("dataset", "document")
"""What a Data API filters on, the same as in the vector engine. Any search key can learn these names of any index
(`federation.facetsByIndex`), so they say nothing of a customer."""
SORTABLE = ("created",)
_INDEX = "index/"
"""What their names begin with in a `Holding`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What one DataCluster asks of this engine."""

    stamp: Stamp
    access: Access
    indexes: tuple[str, ...]
    """Those of its names and those once made, sorted: an index that left the spec still holds its data."""
    begun: tuple[str, ...]
    """Those that left the spec before they were complete, sorted: not made any more, but what is there of them is ours
    and may hold data, as a crash can come after the key was given and before that is remembered."""
    generations: tuple[int, ...]
    """Of the keys that shall open; none where access is cut."""
    server: str
    claimed: frozenset[str]
    """Names that were free when we came, those of `provisioned` too."""
    provisioned: frozenset[str]

    @property
    def names(self) -> tuple[str, ...]:
        """All that may be ours."""
        return (*self.indexes, *self.begun)

    def keys(self, indexes: tuple[str, ...]) -> tuple[Key, ...]:
        """The keys that shall open, to these indexes."""
        return tuple(tenant_key(self.stamp, generation, indexes) for generation in self.generations if indexes)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenIndex:
    """An index under one of our names, whoever made it."""

    created_at: str
    primary_key: str | None
    empty: bool
    """Asked for only where no stamp says whose it is."""
    configured: bool


@dataclass(frozen=True, slots=True)
class Owner:
    """A document of the register."""

    mark: str
    """Text of the stamp."""
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What there is of one DataCluster."""

    server: str
    """Identity in the register; empty where there is none."""
    indexes: Mapping[str, SeenIndex] = field(default_factory=dict)
    owners: Mapping[str, Owner] = field(default_factory=dict)
    keys: tuple[Key, ...] = ()
    """Those of its generations; where all keys of the server are looked at, all that bear its stamp."""
    strangers: tuple[Key, ...] = ()
    """Those of others that are for one of its names; where all keys are looked at: before one of ours is made, at a
    close look, and where access is cut."""
    waiting_tasks: int = 0
    tasks: int = 0
    """Tasks that name what is `removable`, waiting and in all; counted only where access is cut."""


def wanted_of(request: Request) -> Wanted:
    """What `request` asks of this engine."""
    holding, keyed = request.holding, request.access is Access.OPEN
    provisioned, claimed = _indexes_in(holding.provisioned), _indexes_in(holding.claimed)
    indexes = {*request.names.indexes, *provisioned}
    return Wanted(
        stamp=request.stamp,
        access=request.access,
        indexes=tuple(sorted(indexes)),
        begun=tuple(sorted(claimed - indexes)),
        generations=tuple(credential.generation for credential in holding.credentials) if keyed else (),
        server=holding.server,
        claimed=claimed | provisioned,
        provisioned=provisioned,
    )


def _indexes_in(objects: Iterable[str]) -> frozenset[str]:
    return frozenset(name.removeprefix(_INDEX) for name in objects if name.startswith(_INDEX))


def decide(wanted: Wanted, seen: Seen) -> Decision:
    """How `seen` becomes what is wanted, or why it must not."""
    if changed := engine_changed(wanted.server, seen.server):
        return changed
    if wanted.access is Access.CUT:
        return _unless_stamps_are_lost(_revocation(seen), wanted, seen)
    if problem := _problem(wanted, seen):
        return problem
    kept = _kept(wanted, seen)
    return Do(
        (*_index_steps(wanted.stamp, kept, seen), *_key_steps(wanted.keys(kept), seen)),
        provisions=frozenset(f"{_INDEX}{name}" for name in kept),
    )


def decide_removal(wanted: Wanted, seen: Seen) -> Do | Conflict | EngineChanged:
    """Keys, then what waits to be done, then indexes, then the memory of them, and the stamps last of all.

    A waiting task could bring an index back after it was seen gone. The history of tasks is kept by name: a successor
    that may read its own tasks would read its predecessor's.
    """
    if wanted.access is not Access.CUT:
        raise ValueError("removal needs what is seen with access cut: with it open, not every key is looked for")
    if changed := engine_changed(wanted.server, seen.server):
        return changed
    ours = removable(wanted, seen)
    stamped = tuple(name for name in ours if name in seen.owners)
    standing = tuple(name for name in ours if name in seen.indexes)
    steps = (
        *_revocation(seen),
        *((CancelTasks(ours),) if ours and seen.waiting_tasks else ()),
        *(DeleteIndex(name) for name in standing),
        *((DeleteTasks(ours),) if ours and (seen.tasks or standing) else ()),
        *((ReleaseIndexes(stamped),) if stamped else ()),
    )
    return _unless_stamps_are_lost(steps, wanted, seen)


def _unless_stamps_are_lost(steps: tuple[MeilisearchStep, ...], wanted: Wanted, seen: Seen) -> Do | Conflict:
    """Once ours was provisioned, an index of our name without a stamp is most likely it still, and a key for it without
    one may be our tenant's. They are not touched, but nobody is told that they are shut or gone either."""
    return Do(steps) if steps else _unstamped(wanted, seen) or Do(steps)


def _unstamped(wanted: Wanted, seen: Seen) -> Conflict | None:
    for key in seen.strangers:
        standing = wanted.provisioned & seen.indexes.keys()
        if not _is_stamped(key) and not standing.isdisjoint(key.indexes):  # one by a pattern is for more than ours
            return Conflict("key", key.uid, owner_of(key.name or None))
    for name, index in seen.indexes.items():
        if name in wanted.provisioned and name not in seen.owners:
            back = f'{{"id": "{name}", "stamp": "{wanted.stamp}", "createdAt": "{index.created_at}"}}'
            way_out = f'if it is the one that was made here, add {back} to the documents of index "{REGISTER}"'
            return Conflict("index", name, f"{owner_of(None)}; {way_out}")
    return None


def opens_anew(wanted: Wanted, seen: Seen) -> bool:
    """Whether a key is to be made, which others must not share indexes with."""
    return any(key not in seen.keys for key in wanted.keys(_kept(wanted, seen)))


def removable(wanted: Wanted, seen: Seen) -> tuple[str, ...]:
    """The names that are ours to erase, with what stands, waits or is remembered under them."""
    return tuple(name for name in wanted.names if _removable(wanted, seen, name))


def _kept(wanted: Wanted, seen: Seen) -> tuple[str, ...]:
    """Those that shall be there, and those that are although they left the spec; sorted."""
    return tuple(sorted((*wanted.indexes, *(name for name in wanted.begun if _ours(wanted, seen, name)))))


def _problem(wanted: Wanted, seen: Seen) -> Decision | None:
    """The gravest of all: an index that is somebody else's, a key of somebody else for one of ours, then what is lost,
    then what lacks a claim."""
    problems = [problem for name in wanted.indexes if (problem := _index_problem(wanted, seen, name))]
    problems += _shared(wanted, seen)
    for kind in (Conflict, DataMissing):
        for problem in problems:
            if isinstance(problem, kind):
                return problem
    free = [problem.names for problem in problems if isinstance(problem, ClaimFirst)]
    return ClaimFirst(frozenset().union(*free)) if free else None


def _shared(wanted: Wanted, seen: Seen) -> list[Decision]:
    """A former owner that was never cut would read what its successor writes under the name. Of an index that is in use
    that goes by the stamp: a key without one is an administrator's, made since, a dashboard's for one."""
    kept = frozenset(_kept(wanted, seen))
    fresh = kept - wanted.provisioned
    found = (key for key in seen.strangers if any(map(key.names, kept if _is_stamped(key) else fresh)))
    return [Conflict("key", key.uid, owner_of(key.name or None)) for key in found]


def _is_stamped(key: Key) -> bool:
    return Stamp.parse(key.name) is not None


def _index_problem(wanted: Wanted, seen: Seen, name: str) -> Decision | None:
    index, owner = seen.indexes.get(name), seen.owners.get(name)
    if owner is not None and owner.mark != str(wanted.stamp):
        return Conflict("index", name, owner_of(owner.mark))
    if index is None:
        return _absence(wanted, name)
    if _ours(wanted, seen, name):
        return None
    if index.empty and name in wanted.provisioned:  # ours was stamped: this one was put in its place
        return DataMissing("index", name)
    return Conflict("index", name, owner_of(None) if owner is None else "made anew since it was stamped")


def _absence(wanted: Wanted, name: str) -> Decision | None:
    if name in wanted.provisioned:
        return DataMissing("index", name)
    return None if name in wanted.claimed else ClaimFirst(frozenset({f"{_INDEX}{name}"}))


def stamped(index: SeenIndex, owner: Owner | None) -> bool:
    """Whether the stamp, which is ours, is that of this very index and not of one that had its name before."""
    return owner is not None and owner.created_at == index.created_at


def _left_behind(wanted: Wanted, name: str, index: SeenIndex) -> bool:
    """Whether it can be what a crash of ours left without a stamp: claimed, never finished, as we make them, empty."""
    unfinished = name in wanted.claimed and name not in wanted.provisioned
    return unfinished and index.empty and index.primary_key == PRIMARY_KEY


def _ours(wanted: Wanted, seen: Seen, name: str) -> bool:
    """Whether there is an index of this name, and it is ours."""
    index, owner = seen.indexes.get(name), seen.owners.get(name)
    if index is None or (owner is not None and owner.mark != str(wanted.stamp)):
        return False
    return stamped(index, owner) or _left_behind(wanted, name, index)


def _removable(wanted: Wanted, seen: Seen, name: str) -> bool:
    if name in seen.indexes:
        return _ours(wanted, seen, name)
    owner = seen.owners.get(name)
    return name in wanted.claimed if owner is None else owner.mark == str(wanted.stamp)


def _index_steps(stamp: Stamp, names: tuple[str, ...], seen: Seen) -> tuple[MeilisearchStep, ...]:
    """Stamped before anything else is done with them, and all in one call."""
    absent = tuple(name for name in names if name not in seen.indexes)
    unstamped = tuple(
        name for name in names if name in absent or not stamped(seen.indexes[name], seen.owners.get(name))
    )
    unconfigured = tuple(name for name in names if name in absent or not seen.indexes[name].configured)
    return (
        *(CreateIndex(name) for name in absent),
        *((StampIndexes(stamp, unstamped),) if unstamped else ()),
        *(ConfigureIndex(name) for name in unconfigured),
    )


def _key_steps(keys: tuple[Key, ...], seen: Seen) -> tuple[MeilisearchStep, ...]:
    """Last of all, so that access opens only when everything behind it is in place. The scope of a key can not be
    changed: one that differs is made anew under the same uid, and keeps its value. Whatever it calls itself, it is no
    `Conflict`: the uid is made of our stamp, and as its value hangs on the uid alone, our tenant holds that value."""
    return (
        *(DeleteKey(key.uid) for key in seen.keys if key not in keys),
        *(CreateKey(key) for key in keys if key not in seen.keys),
    )


def _revocation(seen: Seen) -> tuple[MeilisearchStep, ...]:
    return tuple(DeleteKey(key.uid) for key in seen.keys)


@dataclass(frozen=True, slots=True)
class Marker:
    """The document of the register that gives the server an identity."""

    mark: str
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenServer:
    """What there is of the operator's own on a server that tenants may be put on."""

    version: str
    marker: Marker | None
    occupied: bool = False
    """Whether an index under the register's name holds documents although it has no marker."""

    @property
    def identity(self) -> str:
        return self.marker.identity if self.marker else ""


def decide_server(request: ServerRequest, seen: SeenServer) -> Decision:
    """Steps that prepare the server. A register of our installation is ours, whichever DataPlane had it made: a
    DataPlane that is deleted and applied again has another UID, and the register holds all tenants' stamps."""
    if changed := engine_changed(request.holding.server, seen.identity):
        return changed
    if seen.marker is None:
        write = WriteIdentity(request.stamp, request.proposal)
        return Conflict("index", REGISTER, owner_of(None)) if seen.occupied else Do((write,))
    found = Stamp.parse(seen.marker.mark)
    if found is None or found.installation != request.stamp.installation:
        return Conflict("index", REGISTER, owner_of(seen.marker.mark))
    return Do(())


def surveyed(
    installation: str, created: Mapping[str, str], owners: Mapping[str, Owner], keys: Collection[Key]
) -> dict[str, str]:
    """Digests by UID, for all that bears a stamp of `installation`. `created`: when each index was that stands."""
    standing, shared, scopes = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set), defaultdict(list)
    named = _names_in(filter(_is_stamped, keys))
    for name, owner in owners.items():
        if uid := _uid_of(owner.mark, installation):
            standing[uid] |= {name} if created.get(name) == owner.created_at else set()
            shared[uid] |= {name} if named(name) - {owner.mark} else set()
    for key in keys:
        if uid := _uid_of(key.name, installation):
            scopes[uid].append(key)
    # Where access is cut, nothing is shared.
    return {uid: digest(standing[uid], scopes[uid], shared[uid] if scopes[uid] else ()) for uid in {*standing, *scopes}}


def _names_in(keys: Iterable[Key]) -> Callable[[str], frozenset[str]]:
    """What the keys for an index are called."""
    listed, patterns = defaultdict[str, set[str]](set), []
    for key in keys:
        for index in key.indexes:
            listed[index].add(key.name)
        if any(index.endswith("*") for index in key.indexes):
            patterns.append(key)
    return lambda index: frozenset({*listed.get(index, ()), *(key.name for key in patterns if key.names(index))})


def _uid_of(mark: str, installation: str) -> str | None:
    stamp = Stamp.parse(mark)
    return stamp.uid if stamp and stamp.installation == installation else None


def digest(indexes: Iterable[str], keys: Iterable[Key], shared: Iterable[str] = ()) -> str:
    """What a survey shows of one DataCluster, in 16 hex digits: its stamped indexes that stand, its keys and scope.
    `shared`: those of its indexes that keys of others are for."""
    scopes = sorted([key.uid, *key.actions, "", *key.indexes] for key in keys)
    others = [sorted(shared)] if shared else []
    canonical = json.dumps([sorted(indexes), scopes, *others], separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
