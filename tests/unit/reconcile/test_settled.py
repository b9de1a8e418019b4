"""Whether a DataCluster needs anything at all, from what the watches show."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest

from bulkhead.api import labels
from bulkhead.api.data_cluster import DataCluster, DataClusterStatus
from bulkhead.api.meta import Condition
from bulkhead.engines.contract import Access
from bulkhead.kube.children import ChildMeta
from bulkhead.kube.resources import NAMESPACES
from bulkhead.reconcile import children, namespace, report, settled
from bulkhead.reconcile.context import Context
from bulkhead.reconcile.planes import OpenPlane
from tests.unit.reconcile import gen

NOW = 1_000_000.0
CHILD = gen.child()
STATUS = DataClusterStatus(phase="Active", observed_generation=1, plan="basic")


def digest(cluster: DataCluster | None = None, seen: tuple[ChildMeta, ...] = (CHILD,), **context: Any) -> str:
    return settled.digest(cluster or gen.cluster(), gen.context(**context), children_digest(seen))


def children_digest(seen: Iterable[ChildMeta]) -> str:
    return settled.children_digest(namespace.digests(seen))


def annotated(key: str, value: str) -> DataCluster:
    return gen.cluster(metadata={"annotations": {key: value}})


def is_settled(
    cluster: DataCluster | None = None,
    *,
    seen: tuple[ChildMeta, ...] = (CHILD,),
    context: Context | None = None,
    now: float = NOW,
    **outline: Any,
) -> bool:
    """Of a DataCluster that was in order with CHILD and STATUS, and of which this is now seen."""
    known = gen.outline(**{"settled": digest(), "status": report.digest(STATUS), **outline})
    found = cluster or gen.cluster(status=STATUS)
    return settled.is_settled(found, context or gen.context(), known, children_digest(seen), now)


CHANGED: dict[str, Callable[[], str]] = {
    "spec": lambda: digest(gen.cluster(metadata={"generation": 2})),
    "data cluster made anew": lambda: digest(gen.cluster(metadata={"uid": "u-other"})),
    "wish to reconcile": lambda: digest(annotated(labels.RECONCILE, "1")),
    "wish to recreate": lambda: digest(annotated(labels.RECREATE, "postgres:1")),
    "tenant's spec": lambda: digest(tenant=gen.tenant(metadata={"generation": 2})),
    "tenant made anew": lambda: digest(tenant=gen.tenant(metadata={"uid": "u-other"})),
    "plan": lambda: digest(plan_version="u-basic/2"),
    "plane": lambda: digest(open_plane=OpenPlane(gen.uid_of("default"), "v-2")),
    "access": lambda: digest(access=Access.CUT),
    "content of a child": lambda: digest(seen=(gen.child(digest="d-2"),)),
    "name of a child": lambda: digest(seen=(gen.child("allow-dns"),)),
    "one child more": lambda: digest(seen=(CHILD, gen.child("allow-dns"))),
    "one child less": lambda: digest(seen=()),
    "write of somebody else": lambda: digest(seen=(gen.child(ownership=2),)),
    "pending deletion": lambda: digest(seen=(gen.child(deleted="2026-11-22T12:00:00Z"),)),
}


@pytest.mark.parametrize("what", CHANGED)
def test_every_input_changes_the_digest(what: str) -> None:
    assert CHANGED[what]() != digest()


def test_another_rendering_changes_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest()
    monkeypatch.setattr(settled, "RENDERING", "a later one")
    assert digest() != before


def test_the_order_in_which_children_were_seen_does_not_matter() -> None:
    one, other = gen.child("allow-dns"), gen.child("allow-egress")
    assert digest(seen=(one, other)) == digest(seen=(other, one))


@pytest.mark.parametrize("key", [labels.PAUSED, labels.ABANDON, "example.com/note"])
def test_an_annotation_that_asks_for_nothing_changes_nothing(key: str) -> None:
    assert digest(annotated(key, "1")) == digest()


def test_a_new_version_of_a_child_with_the_same_content_changes_nothing() -> None:
    assert digest(seen=(gen.child(version="99"),)) == digest()


def seen_namespace(**marks: str) -> ChildMeta:
    wanted = children.namespace(gen.owner())
    return gen.child(
        wanted.name,
        resource=NAMESPACES,
        namespace="",
        digest=wanted.digest,
        marks={**wanted.body["metadata"]["labels"], **marks},
    )


def test_what_is_in_place_shows_as_what_was_wanted() -> None:
    wanted = children.namespace(gen.owner())
    assert namespace.digests([seen_namespace()]) == namespace.wanted_digests([wanted], gen.view())


def test_a_weaker_pod_security_shows() -> None:
    weaker = seen_namespace(**{"pod-security.kubernetes.io/enforce": "privileged"})
    assert digest(seen=(weaker,)) != digest(seen=(seen_namespace(),))


def test_labels_that_others_add_to_a_namespace_do_not_show() -> None:
    labelled = seen_namespace(**{"example.com/team": "blue"})
    assert digest(seen=(labelled,)) == digest(seen=(seen_namespace(),))


def test_what_is_as_it_was_left_is_settled() -> None:
    assert is_settled()


def test_without_an_outline_nothing_is_settled() -> None:
    seen = children_digest([CHILD])
    assert not settled.is_settled(gen.cluster(status=STATUS), gen.context(), None, seen, NOW)


def test_what_never_was_complete_is_not_settled() -> None:
    assert not is_settled(settled="")


def test_what_is_being_deleted_is_not_settled() -> None:
    cluster = gen.cluster(status=STATUS, metadata={"deletion_timestamp": "2026-11-22T12:00:00Z"})
    assert not is_settled(cluster)


def test_a_missing_child_is_not_settled() -> None:
    assert not is_settled(seen=())


def test_a_write_of_somebody_else_is_not_settled() -> None:
    assert not is_settled(seen=(gen.child(ownership=2),))


def test_a_status_that_does_not_name_the_plan_in_force_is_not_settled() -> None:
    assert not is_settled(context=gen.context(plan_name="other"))


def test_a_changed_input_is_not_settled() -> None:
    assert not is_settled(context=gen.context(plan_version="u-basic/2"))


def test_a_lost_status_is_not_settled() -> None:
    assert not is_settled(gen.cluster())


def test_a_status_restored_from_an_older_day_is_not_settled() -> None:
    older = msgspec.structs.replace(STATUS, observed_generation=0)
    assert not is_settled(gen.cluster(status=older))


def test_a_status_that_somebody_edited_is_not_settled() -> None:
    edited = msgspec.structs.replace(STATUS, conditions=(Condition(type="Ready", status="False", reason="Typed"),))
    assert not is_settled(gen.cluster(status=edited))


@pytest.mark.parametrize(
    ("renew_at", "expected"), [(0, True), (NOW + 1, True), (NOW, False), (NOW - 1, False)], ids=str
)
def test_a_credential_that_is_due_is_not_settled(renew_at: float, *, expected: bool) -> None:
    assert is_settled(renew_at=int(renew_at)) is expected
