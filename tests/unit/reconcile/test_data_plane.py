"""The flow of a DataPlane, as far as it does not need a server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bulkhead.api import labels
from bulkhead.api.conditions import Reason
from bulkhead.api.data_plane import DataPlane, PlatformEndpoint
from bulkhead.api.meta import LocalRef
from bulkhead.api.record import EngineName, Holding, Outline, PlaneRecord
from bulkhead.engines.errors import Refused
from bulkhead.kube.children import ChildMeta
from bulkhead.kube.resources import DATA_PLANES, SECRETS, Resource
from bulkhead.reconcile import data_plane, key
from bulkhead.reconcile.deps import DONE, RETRY
from bulkhead.reconcile.dispatch import Reconciler
from bulkhead.reconcile.planes import AdminAccess, OpenEngine, OpenPlane, offered
from bulkhead.reconcile.report import Verdict
from tests.unit.reconcile import gen
from tests.unit.reconcile.desk import Desk
from tests.unit.reconcile.memory_engine import Gated, MemoryEngine
from tests.unit.reconcile.memory_kube import MemoryKube

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


@pytest.mark.parametrize("retained_at", ["2026-01-01T00:00:00Z", ""], ids=["retained", "orphaned"])
async def test_a_plane_stays_while_its_engines_hold_what_is_left_of_data_clusters(retained_at: str) -> None:
    going = gen.plane(metadata={"finalizers": (labels.FINALIZER,), "deletion_timestamp": "2026-11-22T12:00:00Z"})
    desk = Desk.of(going)
    gen.show(desk.view, gen.outline(retained_at=retained_at))
    gen.show(desk.view, gen.outline("elsewhere", plane="west", retained_at=retained_at))
    await data_plane.reconcile("default", desk.deps)
    assert desk.kube.objects[DATA_PLANES, "", "default"]["metadata"]["finalizers"] == [labels.FINALIZER]
    reason, message = told(desk, "Ready")
    assert (reason, '"acme" (u-dc-acme)' in message, "elsewhere" in message) == ("InUse", True, False)
    desk.view.apply_child("DELETED", gen.record_child(gen.outline(), version="11"))
    assert await data_plane.reconcile("default", desk.deps) == DONE
    assert desk.kube.objects[DATA_PLANES, "", "default"]["metadata"]["finalizers"] == []


async def test_a_plane_that_goes_tells_of_a_record_that_can_not_be_read_and_goes_without_it() -> None:
    going = gen.plane(metadata={"finalizers": (labels.FINALIZER,), "deletion_timestamp": "2026-11-22T12:00:00Z"})
    desk = Desk.of(going, more=((SECRETS, SPOILT),))
    assert await data_plane.reconcile("default", desk.deps) == RETRY
    reason, message = told(desk, "Ready")
    assert (reason, '"plane-u-default"' in message, "delete that Secret" in message) == ("RecordUnreadable", True, True)
    await desk.kube.delete(SECRETS, "plane-u-default", gen.NAMESPACE)
    assert await data_plane.reconcile("default", desk.deps) == DONE
    assert desk.kube.objects[DATA_PLANES, "", "default"]["metadata"]["finalizers"] == []


async def test_a_plane_is_not_let_go_under_a_data_cluster_that_can_not_be_read() -> None:
    """Made by a later release, before the operator was rolled back."""
    going = {"finalizers": (labels.FINALIZER,), "deletion_timestamp": "2026-11-22T12:00:00Z"}
    desk = Desk.of(gen.plane(metadata=going))
    gen.show_unreadable(desk.view, gen.cluster())
    await data_plane.reconcile("default", desk.deps)
    stored = desk.kube.objects[DATA_PLANES, "", "default"]
    assert stored["metadata"]["finalizers"] == [labels.FINALIZER]
    assert (told(desk, "Ready")[0], stored["status"]["dataClusters"]) == ("InUse", 1)


async def test_a_plane_is_not_let_go_under_a_data_cluster_that_comes_while_its_record_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    going = gen.plane(metadata={"finalizers": (labels.FINALIZER,), "deletion_timestamp": "2026-11-22T12:00:00Z"})
    desk = Desk.of(going)
    await desk.deps.planes.publish("default", OpenPlane(gen.uid_of("default"), "v-1"))

    async def get(resource: Resource, name: str, namespace: str | None = None) -> dict[str, Any]:
        gen.show(desk.view, gen.cluster())
        return await MemoryKube.get(desk.kube, resource, name, namespace)

    monkeypatch.setattr(desk.kube, "get", get)
    assert await data_plane.reconcile("default", desk.deps) == RETRY
    assert desk.deps.planes.open_plane(going) is not None
    assert labels.FINALIZER in desk.kube.objects[DATA_PLANES, "", "default"]["metadata"]["finalizers"]
    await data_plane.reconcile("default", desk.deps)
    assert told(desk, "Ready")[0] == "InUse"


ADMIN = {
    "metadata": {"name": "postgres-admin", "namespace": gen.NAMESPACE, "uid": "u-admin", "resourceVersion": "1"},
    "data": {"username": "YWRtaW4=", "password": "aHVudGVyMg=="},
}
WISH = "postgres:server-1/server-2"


@pytest.fixture
async def gated() -> AsyncIterator[Gated]:
    """Another server than the one that the record of the plane names."""
    async with Gated(MemoryEngine(identity="server-2")) as gated:
        yield gated


def on_postgres_alone(wish: str = "") -> DataPlane:
    metadata = {"finalizers": (labels.FINALIZER,), "annotations": {labels.ACCEPT_ENGINE: wish} if wish else {}}
    return gen.plane(metadata=metadata, object_store=None, vectors=None, search=None)


async def remembering(gated: Gated, plane: DataPlane, *users: gen.AnyObject | Outline | ChildMeta) -> Desk:
    """A plane whose record names the server before, after one look."""
    desk = Desk.of(plane, more=((SECRETS, ADMIN),), open_engine=lambda *_: (gated.engine, gated.gate))
    for user in users:
        gen.show(desk.view, user)
    held = {EngineName.POSTGRES: Holding(server="server-1")}
    await desk.deps.records.draft(gen.plane_record(holdings=held)).save()
    await data_plane.reconcile("default", desk.deps)
    return desk


async def remembered(desk: Desk) -> Holding:
    record = await desk.deps.records.load(PlaneRecord, gen.uid_of("default"))
    assert record is not None
    return record.record.holding(EngineName.POSTGRES)


def told(desk: Desk, condition: str = "PostgresReady") -> tuple[str, str]:
    stored = desk.kube.objects[DATA_PLANES, "", "default"]["status"]["conditions"]
    return next((each["reason"], each.get("message", "")) for each in stored if each["type"] == condition)


async def test_the_line_end_of_an_editor_on_windows_is_no_part_of_a_secret(gated: Gated) -> None:
    given: list[AdminAccess] = []

    def open_engine(_: str, __: EngineName, access: AdminAccess) -> tuple[MemoryEngine, Any]:
        given.append(access)
        return gated.engine, gated.gate

    secret = {**ADMIN, "data": {"username": "YWRtaW4NCg==", "password": "aHVudGVyMg0K"}}
    desk = Desk.of(on_postgres_alone(), more=((SECRETS, secret),), open_engine=open_engine)
    await data_plane.reconcile("default", desk.deps)
    assert {key: value.reveal() for key, value in given[0].admin.items()} == {
        "username": "admin",
        "password": "hunter2",
    }


@pytest.mark.parametrize("server", ["server-2", ""], ids=["known", "never identified"])
async def test_what_nobody_foresaw_at_a_server_is_told_and_only_a_known_one_stays_in_use(
    gated: Gated, server: str
) -> None:
    """Its tenants' own looks tell how each of them is; and one that is to be shut out must be."""
    gated.engine.fails = KeyError("?")
    plane = gen.plane(metadata={"finalizers": (labels.FINALIZER,)}, vectors=None, search=None)
    desk = Desk.of(plane, more=((SECRETS, ADMIN),), open_engine=lambda *_: (gated.engine, gated.gate))
    held = {EngineName.POSTGRES: Holding(server=server)}
    await desk.deps.records.draft(gen.plane_record(holdings=held)).save()
    assert await data_plane.reconcile("default", desk.deps) == RETRY
    assert (told(desk)[0], told(desk, "ObjectStoreReady")[0]) == ("InternalError", "SecretMissing")
    opened = desk.deps.planes.open_plane(plane)
    assert opened is not None
    assert isinstance(opened.engines[EngineName.POSTGRES], OpenEngine) is bool(server)


async def test_an_engine_whose_client_can_not_be_made_keeps_no_other_one_shut(gated: Gated) -> None:
    def open_engine(_: str, name: EngineName, __: AdminAccess) -> tuple[MemoryEngine, Any]:
        if name is EngineName.POSTGRES:
            raise KeyError("?")
        return gated.engine, gated.gate

    plane = gen.plane(metadata={"finalizers": (labels.FINALIZER,)}, object_store=None, vectors=None)
    search = {**ADMIN, "metadata": {**ADMIN["metadata"], "name": "search-admin"}, "data": {"master-key": "YWRtaW4="}}
    desk = Desk.of(plane, more=((SECRETS, ADMIN), (SECRETS, search)), open_engine=open_engine)
    await data_plane.reconcile("default", desk.deps)
    assert told(desk)[0] == "InternalError"
    assert told(desk, "SearchReady")[0] == "Ready"


async def test_a_plane_whose_flow_broke_says_so_and_its_tenants_learn_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError(gen.PASSWORD)

    monkeypatch.setattr(data_plane, "_read_secrets", fail)
    plane = on_postgres_alone()
    desk = Desk.of(plane, gen.cluster())
    assert await Reconciler(desk.deps)(key.data_plane("default")) == RETRY
    reason, message = told(desk, "Ready")
    assert (reason, gen.PASSWORD in message) == ("InternalError", False)
    opened = desk.deps.planes.open_plane(plane)
    assert opened is not None
    assert isinstance(opened.engines[EngineName.POSTGRES], Verdict)
    assert key.data_cluster("acme") in desk.enqueued


async def test_a_stranger_in_the_place_of_a_server_in_use_is_not_taken_and_the_way_out_is_told(gated: Gated) -> None:
    desk = await remembering(gated, on_postgres_alone(), gen.cluster())
    reason, message = told(desk)
    assert (reason, gated.engine.databases) == ("EngineChanged", {})
    assert f"{labels.ACCEPT_ENGINE}={WISH} of the DataPlane" in message
    assert (await remembered(desk)).server == "server-1"


async def test_a_server_that_is_accepted_by_name_takes_the_place_of_the_former(gated: Gated) -> None:
    desk = await remembering(gated, on_postgres_alone(WISH), gen.cluster())
    assert told(desk) == ("Ready", "")
    assert await remembered(desk) == Holding(server="server-2", predecessors=("server-1",), accepted=WISH)


async def test_an_acceptance_is_written_down_before_anything_is_done_to_that_server(gated: Gated) -> None:
    gated.engine.fails, gated.engine.fails_at = Refused("no"), "Create"
    desk = await remembering(gated, on_postgres_alone(WISH), gen.cluster())
    assert told(desk)[0] == "EngineRefused"
    assert (await remembered(desk)).server == "server-2"


async def test_the_same_acceptance_does_not_let_in_that_server_again_after_the_way_back(gated: Gated) -> None:
    desk = await remembering(gated, on_postgres_alone(WISH), gen.cluster())
    record = await desk.deps.records.load(PlaneRecord, gen.uid_of("default"))
    assert record is not None
    back = Holding(server="server-1", predecessors=("server-2",), accepted=WISH)
    record.record = record.record.with_holding(EngineName.POSTGRES, back)
    await record.save()
    await data_plane.reconcile("default", desk.deps)
    assert told(desk)[0] == "EngineChanged"


@pytest.mark.parametrize(
    "user",
    [gen.cluster(), gen.outline(), gen.outline(retained_at="2026-01-01T00:00:00Z"),
     gen.record_child(None, uid="u-dc-acme", text="{")],
    ids=["a data cluster", "an orphaned record", "retained data", "a record that tells nothing"],
)  # fmt: skip
async def test_whoever_names_a_plane_uses_it(gated: Gated, user: gen.AnyObject | Outline | ChildMeta) -> None:
    desk = await remembering(gated, on_postgres_alone(), user)
    assert told(desk)[0] == "EngineChanged"


async def test_a_plane_that_nobody_uses_takes_whichever_server_answers(gated: Gated) -> None:
    """Its host was mistyped, and reached another one at first."""
    desk = await remembering(gated, on_postgres_alone())
    assert told(desk) == ("Ready", "")
    assert await remembered(desk) == Holding(server="server-2", predecessors=("server-1",))


async def test_a_server_that_has_no_identity_yet_is_not_given_that_of_its_predecessor(gated: Gated) -> None:
    desk = await remembering(gated, on_postgres_alone(WISH), gen.cluster())
    record = await desk.deps.records.load(PlaneRecord, gen.uid_of("default"))
    assert record is not None
    assert (gen.plane_record().proposal, record.record.proposal) == ("p-1", "id-1")


async def test_data_that_is_on_the_accepted_server_is_used_and_what_is_not_there_is_missing(gated: Gated) -> None:
    """Whose record names the former server moves on with what is provisioned, and without a claim."""
    desk = await remembering(gated, on_postgres_alone(WISH), gen.cluster())
    opened = desk.deps.planes.open_plane(on_postgres_alone())
    assert opened is not None
    engine = opened.engines[EngineName.POSTGRES]
    assert isinstance(engine, OpenEngine)
    held = gen.holding(claimed=("index/a",))
    assert engine.taken_over(held) == gen.holding(server="server-2", claimed_at="", claimed=())
    elsewhere = gen.holding(server="server-3")
    assert engine.taken_over(elsewhere) == elsewhere
