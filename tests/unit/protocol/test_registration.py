"""What a registration token may be asked for, and the ids of those who join."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from bulkhead.protocol.documents import PROTOCOL
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.proofs import IdentityKind
from bulkhead.protocol.registration import TenantRef, TokenRequest, cluster_id, plane_id
from tests.unit.protocol import gen

TENANT = TenantRef(name="acme", uid=gen.UID)


def asked(kind: IdentityKind, **fields: Any) -> TokenRequest:
    return TokenRequest(protocol=PROTOCOL, kind=kind, name="acme", seconds=900, **fields)


def test_a_token_for_a_plane_and_one_for_a_cluster_can_be_asked_for() -> None:
    assert asked(IdentityKind.PLANE, self_confirming=True).plane is None
    assert asked(IdentityKind.CLUSTER, plane=gen.UID, uid=gen.OTHER_UID, tenant=TENANT).plane == gen.UID


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (IdentityKind.PLANE, {"plane": gen.UID}),
        (IdentityKind.PLANE, {"tenant": TENANT}),
        (IdentityKind.CLUSTER, {"uid": gen.UID, "tenant": TENANT}),
        (IdentityKind.CLUSTER, {"plane": gen.UID, "tenant": TENANT}),
        (IdentityKind.CLUSTER, {"plane": gen.UID, "uid": gen.UID}),
        (IdentityKind.CLUSTER, {"plane": gen.UID, "uid": gen.UID, "tenant": TENANT, "self_confirming": True}),
    ],
)
def test_what_does_not_fit_together_is_refused(kind: IdentityKind, fields: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        asked(kind, **fields)


@given(gen.uuids, gen.uuids, gen.uuids)
def test_an_id_is_the_same_at_each_joining_and_differs_by_plane_and_uid(one: str, two: str, plane: str) -> None:
    assert plane_id(one) == plane_id(one)
    assert cluster_id(plane, one) == cluster_id(plane, one)
    assert one == two or (plane_id(one) != plane_id(two) and cluster_id(plane, one) != cluster_id(plane, two))
    assert one == two or cluster_id(plane_id(one), plane) != cluster_id(plane_id(two), plane)


def test_the_ids_are_those_that_every_release_derives() -> None:
    assert plane_id(gen.UID) == "0877af71-977f-5934-92a3-1fa41e54a083"
    assert cluster_id(plane_id(gen.UID), gen.OTHER_UID) == "71d25ffa-1592-5bb2-bd40-39031958e5a6"
