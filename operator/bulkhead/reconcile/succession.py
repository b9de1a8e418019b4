"""One server in the place of another: taken for it where a person says so, or where nobody has anything on either.

A server is known by its identity, so that a stranger behind the same address gets nothing written (`EngineChanged`).
But an upgrade gives Postgres another identity, a lost Qdrant is replaced by an empty one, and a mistyped host that was
put right has reached a stranger first. What is accepted is the server, not what lies on it: every object there must
still bear the stamp of whom it belongs to, and what was provisioned and is not there is `DataMissing`.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from bulkhead.api.record import EngineName, Holding

UNMARKED = "unmarked"
"""How a server that has no identity yet is named: a Qdrant or Meilisearch that bears no marker of ours."""


@dataclass(frozen=True, slots=True)
class Succession:
    """A server that is taken for another one from now on."""

    former: str
    holding: Holding
    """As the DataPlane is to remember it; without a server where that has no identity yet."""


def acceptance(engine: EngineName, former: str, found: str) -> str:
    """The entry of the annotation `bulkhead.dev/accept-engine` by which `found` takes the place of `former`, and no
    other server that of any other."""
    return f"{engine.value}:{former}/{found or UNMARKED}"


def succession(engine: EngineName, held: Holding, found: str, *, wish: str, in_use: bool) -> Succession | None:
    """How the server `found` comes to be the one that a DataPlane holds; None where it does not.

    wish: the annotation, whose entries are separated by commas; each is obeyed once
    in_use: whether any DataCluster or record names the DataPlane
    """
    for entry in (each.strip() for each in wish.split(",")):
        former = _former(entry, engine, found)
        # The plane's own server may be the right one already, where only records still name the former one.
        if former and former != found and entry != held.accepted and held.server in (former, found):
            return _succeed(msgspec.structs.replace(held, accepted=entry), former, found)
    if not in_use and held.server not in ("", found):
        return _succeed(held, held.server, found)
    return None


def _former(entry: str, engine: EngineName, found: str) -> str:
    former, _, named = entry.removeprefix(f"{engine.value}:").rpartition("/")
    return former if entry == acceptance(engine, former, named) and named == (found or UNMARKED) else ""


def _succeed(held: Holding, former: str, found: str) -> Succession:
    predecessors = tuple(sorted({*held.predecessors, former} - {found}))
    return Succession(former, msgspec.structs.replace(held, server=found, predecessors=predecessors))
