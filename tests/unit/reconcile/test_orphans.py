"""Records of DataClusters that went without being deleted in order: listed, and their names stay reserved."""

from __future__ import annotations

import pytest

from bulkhead.api import labels
from bulkhead.api.conditions import MESSAGE_BYTES, Status
from bulkhead.api.data_cluster import DataCluster
from bulkhead.api.meta import Condition
from bulkhead.api.record import Outline
from bulkhead.kube.children import ChildMeta
from bulkhead.kube.resources import DATA_CLUSTERS, DATA_PLANES, SECRETS
from bulkhead.reconcile import data_plane
from bulkhead.reconcile.context import Unresolved, resolve
from bulkhead.reconcile.orphans import LISTED, orphaned_records, orphans
from bulkhead.reconcile.planes import Planes
from bulkhead.reconcile.view import View
from tests.unit.reconcile import gen
from tests.unit.reconcile.desk import Desk, no_engine
from tests.unit.reconcile.memory_kube import MemoryKube

RETAINED = "2026-01-01T00:00:00Z"


def listed(*seen: gen.AnyObject | Outline | ChildMeta) -> list[str]:
    """Slugs of the orphans in a view that was shown all these."""
    return [outline.slug for outline in orphans(gen.view(*seen))]


def told(view: View, plane: str = "default") -> Condition:
    return orphaned_records(plane, view)


def test_a_record_of_a_living_data_cluster_is_no_orphan() -> None:
    assert listed(gen.cluster(), gen.outline()) == []


def test_a_record_without_its_data_cluster_is_an_orphan() -> None:
    assert listed(gen.outline()) == ["acme"]


def test_a_record_whose_name_another_data_cluster_has_is_an_orphan() -> None:
    assert listed(gen.cluster(metadata={"uid": "u-later"}), gen.outline()) == ["acme"]


def test_a_record_of_a_data_cluster_that_is_being_deleted_is_no_orphan() -> None:
    assert listed(gen.cluster(metadata={"deletion_timestamp": "2026-11-22T12:00:00Z"}), gen.outline()) == []


def test_a_record_of_retained_data_is_no_orphan() -> None:
    assert listed(gen.outline(retained_at=RETAINED)) == []


def test_a_record_of_a_data_cluster_that_can_not_be_read_is_no_orphan() -> None:
    view = gen.view(gen.outline())
    view.clusters.put({"metadata": {"name": "acme", "uid": "u-dc-acme", "resourceVersion": "11"}, "spec": {}})
    assert list(orphans(view)) == []


def test_a_record_of_a_plane_is_no_orphan() -> None:
    marks = {labels.RECORD: labels.RECORD_DATA_PLANE}
    secret = gen.child("plane-u-default", resource=SECRETS, namespace=gen.NAMESPACE, owner_uid="", marks=marks)
    assert listed(secret) == []


def test_no_orphan_is_told_as_such() -> None:
    found = told(gen.view(gen.cluster(), gen.outline()))
    assert (found.status, found.reason, found.message) == (Status.FALSE, "NoOrphans", "")


def test_orphans_are_told_with_name_and_uid() -> None:
    found = told(gen.view(gen.outline(), gen.outline("globex")))
    assert (found.status, found.reason) == (Status.TRUE, "FinalizerRemoved")
    assert '"acme" (u-dc-acme), "globex" (u-dc-globex).' in found.message


def test_an_orphan_of_another_plane_is_told_there() -> None:
    view = gen.view(gen.outline(plane="west"))
    assert (told(view).status, told(view, "west").status) == (Status.FALSE, Status.TRUE)


@pytest.mark.parametrize("count", [LISTED, LISTED + 1, 1000])
def test_of_many_orphans_the_first_are_named_and_the_others_counted(count: int) -> None:
    slugs = [f"{'a' * 44}{number:04}" for number in range(count)]
    uids = [f"00000000-0000-4000-8000-{number:012}" for number in range(count)]
    message = told(gen.view(*(gen.outline(s, uid=u) for s, u in zip(slugs, uids, strict=True)))).message
    assert [slug in message for slug in slugs[: LISTED + 1]] == [True] * LISTED + [False] * (count > LISTED)
    assert (f"and {count - LISTED} more" in message) == (count > LISTED)
    assert "then delete the Secret record-<UID>" in message
    assert "After a deletion" in message
    assert len(message.encode()) < MESSAGE_BYTES


EASILY_FORGOTTEN = ("log-in roles", "MinIO users and policy", "bulkhead_tokens", "Meilisearch keys")


def test_who_is_told_to_clear_up_is_told_what_opens_the_data() -> None:
    view = gen.world(gen.cluster(), gen.outline(uid="u-former"))
    reserved = resolve(gen.cluster(), view, Planes(no_engine))
    assert isinstance(reserved, Unresolved)
    for message in (told(view).message, reserved.message):
        assert [each for each in EASILY_FORGOTTEN if each not in message] == []
        assert len(message.encode()) < MESSAGE_BYTES


def test_orphans_are_told_in_the_same_words_in_whatever_order_they_were_seen() -> None:
    one, other = gen.outline(), gen.outline("globex")
    assert told(gen.view(one, other)) == told(gen.view(other, one))


PLANE = gen.plane(metadata={"finalizers": (labels.FINALIZER,)})


def desk(*seen: Outline | DataCluster) -> Desk:
    """A plane whose engines can not be opened, for its admin Secret is missing."""
    return Desk(gen.view(PLANE, *seen), MemoryKube((DATA_PLANES, gen.raw(PLANE))))


def shown(at: Desk) -> str:
    status = at.kube.objects[DATA_PLANES, "", "default"]["status"]
    (found,) = [each for each in status["conditions"] if each["type"] == "OrphanedRecords"]
    return str(found["status"])


async def looks(at: Desk) -> int:
    """Changes that one look at the plane makes."""
    before = len(at.kube.writes)
    await data_plane.reconcile("default", at.deps)
    return sum(kind.startswith("dataplanes") for _, kind, _ in at.kube.writes[before:])


async def test_an_orphan_is_written_into_the_status_once_and_taken_out_once() -> None:
    at = desk(gen.cluster(), gen.outline())
    assert (await looks(at), shown(at)) == (1, "False")
    gen.remove(at.view, gen.cluster())
    assert (await looks(at), shown(at)) == (1, "True")
    assert (await looks(at), shown(at)) == (0, "True")
    at.view.apply_child("DELETED", gen.record_child(gen.outline(), version="11"))
    assert (await looks(at), shown(at)) == (1, "False")


async def test_nothing_of_an_orphan_is_erased() -> None:
    at = desk(gen.outline())
    await looks(at)
    assert [verb for verb, _, _ in at.kube.writes if verb == "delete"] == []
    assert at.kube.stored(DATA_CLUSTERS, "acme") is None
