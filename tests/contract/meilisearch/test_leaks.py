"""What a tenant's key tells of its neighbours, as on the real server: whoever closes one of these has to notice.

What is here depends on counts, on chance or on an order of requests. The other leaks are in `observed.json`.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.meilisearch.server import Server, eventually
from tests.contract.meilisearch.world import OTHER, OWN, World, documents_of


@pytest.fixture(scope="module")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server of its own: how tasks are numbered is what these tests are about."""
    with Server(tmp_path_factory.mktemp("leaks"), "a master key of these tests") as server:
        world = World(server.api)
        world.build()
        yield world


@pytest.fixture
def own(tenants: World) -> str:
    """A key that is scoped to the indexes of one tenant."""
    return tenants.credentials["key_own"]


def seen_by(world: World, key: str, path: str) -> Any:
    reply = world.api.call("GET", path, token=key)
    assert reply.status == 200, reply.text
    return reply.body


def change(world: World, uid: str) -> dict[str, Any]:
    return world.api.done("PATCH", f"/indexes/{uid}/settings", {"stopWords": []})


@pytest.mark.parametrize("path", ["/tasks", "/batches"])
def test_the_total_counts_what_the_key_may_not_see(path: str, tenants: World, own: str) -> None:
    everything = tenants.api.master("GET", path)
    listed = seen_by(tenants, own, f"{path}?limit=1000")
    assert listed["total"] == everything["total"]
    assert len(listed["results"]) < listed["total"]


def test_the_total_of_a_neighbours_tasks_is_told(tenants: World, own: str) -> None:
    listed = seen_by(tenants, own, f"/tasks?indexUids={OTHER}")
    assert listed["results"] == []
    assert listed["total"] == tenants.api.master("GET", f"/tasks?indexUids={OTHER}")["total"] > 0


def test_a_neighbours_tasks_push_own_ones_off_the_page(tenants: World, own: str) -> None:
    change(tenants, OWN)
    # One more than asked for is looked at, to know whether there is a next page.
    for _ in range(2):
        change(tenants, OTHER)
    assert seen_by(tenants, own, "/tasks?limit=1")["results"] == []
    assert len(seen_by(tenants, own, f"/tasks?limit=1&indexUids={OWN}")["results"]) == 1


def test_a_page_goes_on_after_a_task_that_the_key_may_not_see(tenants: World, own: str) -> None:
    change(tenants, OTHER)
    hidden = change(tenants, OTHER)["uid"]
    page = seen_by(tenants, own, f"/tasks?limit=1&from={hidden}")
    assert (page["results"], page["from"], page["next"]) == ([], None, None)


def test_the_database_size_is_that_of_all_tenants(tenants: World, own: str) -> None:
    seen, whole = seen_by(tenants, own, "/stats"), tenants.api.master("GET", "/stats")
    assert OTHER in whole["indexes"]
    assert OTHER not in seen["indexes"]
    assert seen["databaseSize"] == whole["databaseSize"] > 0


@pytest.fixture
def lag(tenants: World) -> int:
    """How far batches are behind their tasks in number: several tasks in one batch do that."""
    found = [0]

    def lags() -> bool:
        sent = [tenants.api.master("POST", f"/indexes/{OTHER}/documents", documents_of(OTHER)) for _ in range(5)]
        task = tenants.api.finished(sent[-1]["taskUid"])
        found[0] = task["uid"] - task["batchUid"]
        return found[0] > 0

    eventually(lags, "some tasks share a batch")
    return found[0]


def global_task(world: World) -> dict[str, Any]:
    """A task of no single index, with a neighbour's name in its details."""
    asked = world.api.master("POST", f"/tasks/cancel?indexUids={OTHER}&statuses=enqueued")
    return world.api.finished(asked["taskUid"])


def test_the_batch_of_a_global_task_shows_a_neighbours_name(tenants: World, own: str, lag: int) -> None:
    for _ in range(lag):
        change(tenants, OWN)
    task = global_task(tenants)
    assert task["batchUid"] not in tenants.global_task_uids()
    assert tenants.api.call("GET", f"/tasks/{task['uid']}", token=own).status == 404
    reply = tenants.api.call("GET", f"/batches/{task['batchUid']}", token=own)
    assert reply.status == 200
    assert OTHER in reply.text


def test_the_batch_of_a_swap_with_an_own_index_shows_the_neighbours(tenants: World, own: str, lag: int) -> None:
    for _ in range(lag + 1):
        change(tenants, OWN)
    first, second = (tenants.api.done("POST", "/swap-indexes", [{"indexes": [OWN, OTHER]}]) for _ in range(2))
    assert second["batchUid"] not in tenants.global_task_uids(), first
    reply = tenants.api.call("GET", f"/batches/{second['batchUid']}", token=own)
    assert reply.status == 200
    assert reply.body["details"] == {"swaps": [{"indexes": [OWN, OTHER], "rename": False}]}


def test_an_own_batch_is_hidden_if_a_global_task_has_its_uid(tenants: World, own: str, lag: int) -> None:
    uid = global_task(tenants)["uid"]
    (*_, last) = [change(tenants, OWN) for _ in range(lag)]
    assert last["batchUid"] == uid
    reply = tenants.api.call("GET", f"/batches/{uid}", token=own)
    assert (reply.status, reply.body["code"]) == (404, "batch_not_found")
    assert tenants.api.master("GET", f"/batches/{uid}")["stats"]["indexUids"] == {OWN: 1}


def test_foreign_keys_read_a_neighbours_documents(tenants: World, own: str) -> None:
    api, path = tenants.api, f"/indexes/{OWN}/settings/foreign-keys"
    keys = [{"fieldName": "ref", "foreignIndexUid": OTHER}]
    refused = api.call("PUT", path, keys, token=own)
    assert (refused.status, refused.body["code"]) == (400, "feature_not_enabled")

    api.master("PATCH", "/experimental-features", {"foreignKeys": True})
    accepted = api.call("PUT", path, keys, token=own)
    assert accepted.status == 202
    assert api.finished(accepted.body["taskUid"])["details"] == {"foreignKeys": keys}
    api.done("POST", f"/indexes/{OWN}/documents", [{"id": 9, "title": "joiner", "ref": "1"}])
    assert joined(tenants, own) == documents_of(OTHER)[0]

    api.master("PATCH", "/experimental-features", {"foreignKeys": False})
    assert joined(tenants, own) == "1"


def joined(world: World, key: str) -> Any:
    found = world.api.call("POST", f"/indexes/{OWN}/search", {"q": "joiner"}, token=key)
    (hit,) = found.body["hits"]
    return hit["ref"]
