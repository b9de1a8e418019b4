"""Places of requests that run at once: nobody takes all of them."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from bulkhead.platform.proxy.requests import Room
from bulkhead.protocol.problems import Code, Problem

ACME, GLOBEX = UUID(int=1), UUID(int=2)


def refused(room: Room, cluster: UUID, organisation: UUID) -> bool:
    with pytest.raises(Problem) as told:
        room.enter(cluster, organisation)
    return told.value.code is Code.RATE_LIMITED


def test_an_organisation_with_many_clusters_leaves_places_to_others() -> None:
    room = Room(most=10, most_of_organisation=4, most_of_one=2)
    clusters = [uuid4() for _ in range(4)]
    for cluster in clusters:
        room.enter(cluster, ACME)
    assert refused(room, uuid4(), ACME)
    room.enter(uuid4(), GLOBEX)
    room.leave(clusters[0], ACME)
    room.enter(uuid4(), ACME)


def test_nobody_takes_the_places_of_a_cluster_that_is_another_organisations() -> None:
    room = Room(most=10, most_of_organisation=4, most_of_one=2)
    cluster = uuid4()
    for _ in range(2):
        room.enter(cluster, ACME)
    assert refused(room, cluster, ACME)
    room.enter(cluster, GLOBEX)


def test_whoever_leaves_leaves_nothing_behind() -> None:
    room = Room(most=1)
    for _ in range(3):
        cluster = uuid4()
        room.enter(cluster, ACME)
        assert refused(room, cluster, GLOBEX)
        room.leave(cluster, ACME)
    assert not room._running
