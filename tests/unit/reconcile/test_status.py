"""A status is written into the very object that it is about, and into no namesake."""

from __future__ import annotations

import pytest

from bulkhead.api.data_cluster import DataCluster
from bulkhead.kube.errors import Conflict
from bulkhead.kube.resources import DATA_CLUSTERS
from bulkhead.reconcile import finalizers, status
from tests.unit.reconcile import gen
from tests.unit.reconcile.desk import Desk
from tests.unit.reconcile.memory_kube import MemoryKube

OURS = gen.cluster()
SUCCESSOR = gen.cluster(metadata={"uid": "u-later", "resource_version": "20"})
CHANGES = {"phase": "Active"}


def desk(seen: DataCluster, rests: DataCluster | None) -> Desk:
    """The view has seen the one, the API server has the other."""
    return Desk(gen.view(seen), MemoryKube(*([(DATA_CLUSTERS, gen.raw(rests))] if rests is not None else [])))


async def test_a_status_reaches_its_object_and_the_answer_is_known() -> None:
    at = desk(OURS, OURS)
    assert await status.put(DATA_CLUSTERS, OURS.metadata, CHANGES, at.deps)
    assert at.kube.objects[DATA_CLUSTERS, "", "acme"]["status"]["phase"] == "Active"
    assert at.answers == [("DataCluster", "acme")]


async def test_the_status_of_one_that_was_made_anew_unseen_is_a_conflict() -> None:
    at = desk(OURS, SUCCESSOR)
    with pytest.raises(Conflict):
        await status.put(DATA_CLUSTERS, OURS.metadata, CHANGES, at.deps)
    assert at.kube.stored(DATA_CLUSTERS, "acme") == gen.raw(SUCCESSOR)


async def test_the_status_of_one_whose_successor_was_seen_is_not_sent() -> None:
    at = desk(SUCCESSOR, SUCCESSOR)
    assert not await status.put(DATA_CLUSTERS, OURS.metadata, CHANGES, at.deps)
    assert at.kube.writes == []


async def test_the_status_of_one_that_went_is_nobodys() -> None:
    at = desk(OURS, None)
    assert not await status.put(DATA_CLUSTERS, OURS.metadata, CHANGES, at.deps)


async def test_a_finalizer_of_our_own_is_no_conflict_for_the_status_that_follows() -> None:
    at = desk(OURS, OURS)
    await finalizers.add(DATA_CLUSTERS, OURS.metadata, at.deps)
    assert await status.put(DATA_CLUSTERS, OURS.metadata, CHANGES, at.deps)


async def test_a_change_that_the_watch_showed_meanwhile_is_no_conflict() -> None:
    changed = gen.cluster(metadata={"resource_version": "20", "generation": 2})
    at = desk(changed, changed)
    assert await status.put(DATA_CLUSTERS, OURS.metadata, CHANGES, at.deps)
