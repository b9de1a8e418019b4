"""Records of DataClusters that are gone without having been deleted in order: listed, and never erased by themselves.

Whoever takes our finalizer off by hand leaves everything behind: the record, and all that it names in the engines.
Retained data is no orphan: there the order of the deletion was kept, and its record says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from bulkhead.api.conditions import ConditionType, Reason, Status, condition
from bulkhead.api.meta import Condition
from bulkhead.api.record import Outline
from bulkhead.reconcile.view import View

LISTED = 6
"""Most orphans that a message names: with the longest names they still fit into it."""


def clear_up(uid: str = "<UID>") -> str:
    """How an administrator ends what is left of one. What opens it is easily forgotten, and opens what a successor of
    the name gets."""
    return (
        "clear up in the engines, first what opens it (Postgres log-in roles, MinIO users and policy, its point in "
        f"Qdrant's bulkhead_tokens, Meilisearch keys), then the data, then delete the Secret record-{uid} in the "
        'operator\'s namespace (docs/operations.md, "After a deletion")'
    )


def orphans(view: View) -> Iterator[Outline]:
    """Records that no DataCluster of their UID, and no retained data, accounts for."""
    for outline in view.outlines():
        if not outline.retained_at and not _exists(outline, view):
            yield outline


def left_on(plane: str, view: View) -> str:
    """Whose data is on the engines of a plane although the DataCluster is gone, orphaned or retained; empty: nobody's.
    Only the plane remembers who those engines are."""
    found = [each for each in view.outlines() if each.plane == plane and (each.retained_at or not _exists(each, view))]
    return _named(sorted((each.slug, each.uid) for each in found)) if found else ""


def orphaned_records(plane: str, view: View) -> Condition:
    """`OrphanedRecords` of a DataPlane."""
    found = sorted((each.slug, each.uid) for each in orphans(view) if each.plane == plane)
    if not found:
        return condition(ConditionType.ORPHANED_RECORDS, Status.FALSE, Reason.NO_ORPHANS)
    return condition(ConditionType.ORPHANED_RECORDS, Status.TRUE, Reason.FINALIZER_REMOVED, _message(found))


def _exists(outline: Outline, view: View) -> bool:
    """Whether there is an object of that UID, readable or not."""
    found = view.clusters.get(outline.slug)
    return found is not None and found.metadata.uid == outline.uid


def _named(found: Collection[tuple[str, str]]) -> str:
    named = ", ".join(f'"{slug}" ({uid})' for slug, uid in list(found)[:LISTED])
    return f"{named} and {len(found) - LISTED} more" if len(found) > LISTED else named


def _message(found: Collection[tuple[str, str]]) -> str:
    return (
        f"DataClusters are gone whose finalizer was taken off by hand: {_named(found)}. Nothing of theirs is erased, "
        f"and their names stay reserved. For each: {clear_up()}"
    )
