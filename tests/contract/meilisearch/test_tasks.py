"""The queue: one order for everyone, what finds a task again, and what stops it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.meilisearch.conftest import StartServer
from tests.contract.meilisearch.server import Api, Server
from tests.contract.meilisearch.stalled import HELD_FOR_EVER, HELD_SHORTLY, hold, status_of
from tests.contract.meilisearch.world import OTHER, OWN, World


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server of its own, so that its queue has only what these tests put there."""
    with Server(tmp_path_factory.mktemp("tasks"), "a master key of these tests") as server:
        world = World(server.api)
        world.build()
        yield world


def uids(page: dict[str, Any]) -> list[int]:
    return [task["uid"] for task in page["results"]]


def add(api: Api, uid: str, number: int) -> int:
    """Enqueue one document; returns the task's uid."""
    task: int = api.master("POST", f"/indexes/{uid}/documents", [{"id": number}])["taskUid"]
    return task


def test_documents_may_follow_the_index_at_once(tenants: World) -> None:
    api = tenants.api
    api.master("POST", "/indexes", {"uid": "followed", "primaryKey": "id"})
    added = api.finished(add(api, "followed", 1))
    assert (added["status"], added["details"]) == ("succeeded", {"receivedDocuments": 1, "indexedDocuments": 1})


def test_tasks_start_in_the_order_in_which_they_came(tenants: World) -> None:
    asked = [add(tenants.api, uid, number) for number in range(10) for uid in (OWN, OTHER)]
    for uid in asked:
        tenants.api.finished(uid)
    for index in (OWN, OTHER):
        page = tenants.api.master("GET", f"/tasks?indexUids={index}&uids={','.join(map(str, asked))}&reverse=true")
        started = [task["startedAt"] for task in page["results"]]
        assert len(started) == 10
        assert started == sorted(started)


def test_a_task_tells_when_what_happened_to_it(tenants: World) -> None:
    task = tenants.api.finished(add(tenants.api, OWN, 1))
    assert [*task] == [
        "uid", "batchUid", "indexUid", "status", "type", "canceledBy", "details", "error", "duration", "enqueuedAt",
        "startedAt", "finishedAt",
    ]  # fmt: skip
    assert task["enqueuedAt"] < task["startedAt"] < task["finishedAt"]
    assert task["duration"].startswith("PT")


def test_a_failed_task_says_why(tenants: World) -> None:
    task = tenants.api.finished(tenants.api.master("POST", "/indexes", {"uid": OWN})["taskUid"])
    assert task["status"] == "failed"
    assert task["error"] == {
        "message": f"Index `{OWN}` already exists.",
        "code": "index_already_exists",
        "type": "invalid_request",
        "link": "https://docs.meilisearch.com/errors#index_already_exists",
    }


def test_pages_lead_through_all_tasks_once(tenants: World) -> None:
    everything = uids(tenants.api.master("GET", "/tasks?limit=100000"))
    seen: list[int] = []
    following: int | None = everything[0]
    while following is not None:
        page = tenants.api.master("GET", f"/tasks?limit=3&from={following}")
        seen, following = seen + uids(page), page["next"]
    assert seen == everything == sorted(everything, reverse=True)


def test_pages_may_begin_with_the_oldest_task(tenants: World) -> None:
    page = tenants.api.master("GET", "/tasks?limit=2&reverse=true")
    assert (uids(page), page["from"], page["next"]) == ([0, 1], 0, 2)


@pytest.mark.parametrize(
    ("selection", "property_", "values"),
    [
        ("statuses=failed", "status", {"failed"}),
        ("types=indexCreation,settingsUpdate", "type", {"indexCreation", "settingsUpdate"}),
        (f"indexUids={OWN}", "indexUid", {OWN}),
        ("uids=1,2", "uid", {1, 2}),
        ("batchUids=1", "batchUid", {1}),
        (f"types=settingsUpdate&indexUids={OTHER}", "indexUid", {OTHER}),
    ],
)
def test_tasks_are_selected_by(selection: str, property_: str, values: set[object], tenants: World) -> None:
    tenants.api.finished(tenants.api.master("POST", "/indexes", {"uid": OWN})["taskUid"])
    page = tenants.api.master("GET", f"/tasks?limit=1000&{selection}")
    assert {task[property_] for task in page["results"]} == values


@pytest.mark.parametrize("moment", ["Enqueued", "Started", "Finished"])
def test_tasks_are_selected_by_time_without_the_bounds(moment: str, tenants: World) -> None:
    first, middle, last = (tenants.api.finished(add(tenants.api, OWN, number)) for number in range(3))
    name = f"{moment.lower()}At"
    bounds = f"after{moment}At={first[name]}&before{moment}At={last[name]}".replace("+", "%2B")
    assert uids(tenants.api.master("GET", f"/tasks?{bounds}")) == [middle["uid"]]


def test_a_batch_sums_up_its_tasks(tenants: World) -> None:
    task = tenants.api.finished(add(tenants.api, OWN, 1))
    batch = tenants.api.master("GET", f"/batches/{task['batchUid']}")
    assert batch["details"] == {"receivedDocuments": 1, "indexedDocuments": 1}
    assert batch["stats"]["status"] == {"succeeded": 1}
    assert batch["stats"]["types"] == {"documentAdditionOrUpdate": 1}
    assert batch["stats"]["indexUids"] == {OWN: 1}


def test_deleted_tasks_are_gone(tenants: World) -> None:
    task = tenants.api.finished(add(tenants.api, OWN, 1))
    deletion = tenants.api.done("DELETE", f"/tasks?uids={task['uid']}")
    assert deletion["details"] == {"matchedTasks": 1, "deletedTasks": 1, "originalFilter": f"?uids={task['uid']}"}
    reply = tenants.api.call("GET", f"/tasks/{task['uid']}", token=tenants.api.master_key)
    assert (reply.status, reply.body["code"]) == (404, "task_not_found")


def test_a_scoped_key_deletes_only_its_own_tasks(tenants: World) -> None:
    key = tenants.make_key(["tasks.delete"], ["acme*"])["key"]
    before = tenants.api.master("GET", f"/tasks?indexUids={OTHER}")["total"]
    asked = tenants.api.call("DELETE", "/tasks?statuses=succeeded,failed", token=key)
    deletion = tenants.api.finished(asked.body["taskUid"])
    assert deletion["details"]["deletedTasks"] > 0
    assert tenants.api.master("GET", f"/tasks?indexUids={OTHER}")["total"] == before > 0
    assert tenants.api.master("GET", f"/tasks?indexUids={OWN}")["total"] == 0


@pytest.fixture
def held(start_server: StartServer) -> World:
    """A server that waits for ever for a host that does not answer."""
    return World(_emulated(start_server, HELD_FOR_EVER))


def _emulated(start_server: StartServer, options: tuple[str, ...]) -> Api:
    server = start_server(emulator_options=options)
    if not server.is_emulated:
        pytest.skip("the real server waits four minutes for a host that does not answer")
    for uid in (OWN, OTHER):
        server.api.done("POST", "/indexes", {"uid": uid, "primaryKey": "id"})
    return server.api


def test_an_unreachable_embedder_of_one_tenant_keeps_all_others_waiting(start_server: StartServer) -> None:
    api = _emulated(start_server, HELD_SHORTLY)
    holding = hold(api)
    behind = api.finished(add(api, OTHER, 1))
    failed = api.master("GET", f"/tasks/{holding}")
    assert failed["error"]["code"] == "vector_embedding_error"
    assert behind["startedAt"] > failed["finishedAt"]


def test_an_unreachable_export_keeps_all_waiting(start_server: StartServer) -> None:
    api = _emulated(start_server, HELD_SHORTLY)
    holding = api.master("POST", "/export", {"url": "http://127.0.0.1:9"})["taskUid"]
    behind = api.finished(add(api, OTHER, 1))
    assert behind["startedAt"] > api.master("GET", f"/tasks/{holding}")["finishedAt"]


def test_what_waits_on_one_index_is_done_together(held: World) -> None:
    holding = hold(held.api)
    asked = [add(held.api, OTHER, number) for number in range(5)]
    held.api.done("POST", f"/tasks/cancel?uids={holding}")
    assert len({held.api.finished(uid)["batchUid"] for uid in asked}) == 1


def test_a_canceled_task_has_no_effect(held: World) -> None:
    hold(held.api)
    task = add(held.api, OTHER, 1)
    cancellation = held.api.done("POST", "/tasks/cancel?statuses=enqueued,processing")
    assert cancellation["details"]["canceledTasks"] == 2
    canceled = held.api.finished(task)
    assert (canceled["status"], canceled["canceledBy"]) == ("canceled", cancellation["uid"])
    assert canceled["details"] == {"receivedDocuments": 1, "indexedDocuments": 0}
    assert held.api.master("GET", f"/indexes/{OTHER}/documents")["total"] == 0
    page = held.api.master("GET", f"/tasks?canceledBy={cancellation['uid']}")
    assert task in uids(page)


def test_a_scoped_key_cancels_only_its_own_tasks(held: World) -> None:
    holding = hold(held.api)
    own, other = add(held.api, OWN, 1), add(held.api, OTHER, 1)
    key = held.make_key(["tasks.cancel"], ["globex*"])["key"]
    asked = held.api.call("POST", "/tasks/cancel?statuses=enqueued,processing", token=key)
    # A cancellation is next in any queue, but it does not stop what it did not select.
    assert status_of(held.api, holding) == "processing"
    held.api.master("POST", f"/tasks/cancel?uids={holding}")
    assert held.api.finished(asked.body["taskUid"])["details"]["canceledTasks"] == 1
    assert (held.api.finished(other)["status"], held.api.finished(own)["status"]) == ("canceled", "succeeded")


def test_unfinished_tasks_can_not_be_deleted(held: World) -> None:
    holding = hold(held.api)
    task = add(held.api, OTHER, 1)
    deletion = held.api.master("DELETE", f"/tasks?uids={task}")["taskUid"]
    held.api.done("POST", f"/tasks/cancel?uids={holding}")
    assert held.api.finished(task)["status"] == "succeeded"
    assert held.api.finished(deletion)["details"]["deletedTasks"] == 0


def test_the_documents_of_a_waiting_task_can_be_read(held: World) -> None:
    held.api.master("PATCH", "/experimental-features", {"getTaskDocumentsRoute": True})
    hold(held.api)
    task = add(held.api, OTHER, 7)
    reply = held.api.call("GET", f"/tasks/{task}/documents", token=held.api.master_key)
    assert (reply.status, reply.text.strip()) == (200, '{"id":7}')
