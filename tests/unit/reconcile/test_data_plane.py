"""The flow of a DataPlane, as far as it does not need a server."""

from __future__ import annotations

from bulkhead.api import labels
from bulkhead.api.conditions import Reason
from bulkhead.api.data_plane import PlatformEndpoint
from bulkhead.api.meta import LocalRef
from bulkhead.api.record import EngineName
from bulkhead.kube.resources import DATA_PLANES, SECRETS
from bulkhead.reconcile import data_plane
from bulkhead.reconcile.deps import RETRY
from bulkhead.reconcile.planes import offered
from bulkhead.reconcile.report import Verdict
from tests.unit.reconcile import gen
from tests.unit.reconcile.desk import Desk

PLATFORM = PlatformEndpoint(url="https://platform.example.com", registration_token_secret_ref=LocalRef(name="token"))
PLANE = gen.plane(metadata={"finalizers": (labels.FINALIZER,)}, platform=PLATFORM)
SPOILT = {
    "metadata": {"name": "plane-u-default", "namespace": gen.NAMESPACE, "uid": "u-secret", "resourceVersion": "1"},
    "data": {"record": "bm8gcmVjb3Jk"},
}


async def test_a_plane_whose_record_can_not_be_read_says_so_of_every_engine_and_opens_none() -> None:
    """Without it nobody knows which servers hold the tenants' data: a stranger could be taken for one of them."""
    desk = Desk.of(PLANE, more=((SECRETS, SPOILT),))
    assert await data_plane.reconcile("default", desk.deps) == RETRY
    stored = desk.kube.objects[DATA_PLANES, "", "default"]["status"]["conditions"]
    found = {each["type"]: (each["status"], each["reason"], each.get("message", "")) for each in stored}
    for condition in ("Ready", "PostgresReady", "Registered", "Connected"):
        assert found[condition][:2] == ("False", "RecordUnreadable")
        assert '"plane-u-default"' in found[condition][2]
    opened = desk.deps.planes.open_plane(PLANE)
    assert opened is not None
    assert opened.engines.keys() == offered(PLANE.spec).keys()
    said = opened.engines[EngineName.POSTGRES]
    assert isinstance(said, Verdict)
    assert said.reason is Reason.RECORD_UNREADABLE
    assert [verb for verb, kind, _ in desk.kube.writes if kind == "secrets"] == []
