"""What was answered is still there after kill -9, and what was accepted is done afterwards."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.contract.meilisearch.conftest import StartServer
from tests.contract.meilisearch.server import Server, eventually
from tests.contract.meilisearch.stalled import HELD_FOR_EVER, hold, status_of
from tests.contract.meilisearch.world import OWN, value_of

DEFAULT_KEYS = {
    "Default Search API Key",
    "Default Admin API Key",
    "Default Read-Only Admin API Key",
    "Default Chat API Key",
}


@dataclass(frozen=True, slots=True)
class Killed:
    """A server that was killed and started again, and what it had answered before."""

    server: Server
    key: dict[str, Any] = field(repr=False)
    index: dict[str, Any]
    tasks: list[dict[str, Any]]
    batches: list[dict[str, Any]]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killed]:
    with Server(tmp_path_factory.mktemp("killed"), "a master key of these tests") as server:
        api = server.api
        api.done("POST", "/indexes", {"uid": OWN, "primaryKey": "id"})
        api.done("PATCH", f"/indexes/{OWN}/settings", {"stopWords": ["the"], "filterableAttributes": ["genre"]})
        api.done("POST", f"/indexes/{OWN}/documents", [{"id": n, "genre": "x"} for n in range(1, 4)])
        api.done("DELETE", f"/indexes/{OWN}/documents/3")
        api.done("POST", "/indexes", {"uid": "gone"})
        api.done("DELETE", "/indexes/gone")
        api.master("PATCH", "/experimental-features", {"metrics": True})
        api.master("POST", "/webhooks", {"url": "https://example.com/kept"})
        key = api.master("POST", "/keys", {"actions": ["search"], "indexes": [OWN], "expiresAt": None})
        before = Killed(server, key, *listed(server))
        server.kill()
        server.start()
        yield before


def listed(server: Server) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    api = server.api
    tasks, batches = (api.master("GET", path)["results"] for path in ("/tasks", "/batches"))
    return api.master("GET", f"/indexes/{OWN}"), tasks, batches


def test_indexes_are_as_they_were(killed: Killed) -> None:
    assert killed.server.api.master("GET", "/indexes")["results"] == [killed.index]


def test_tasks_and_batches_are_as_they_were(killed: Killed) -> None:
    _, tasks, batches = listed(killed.server)
    assert (tasks, batches) == (killed.tasks, killed.batches)


def test_new_tasks_get_new_uids(killed: Killed) -> None:
    task = killed.server.api.done("PATCH", f"/indexes/{OWN}/settings", {"stopWords": ["the"]})
    assert task["uid"] > killed.tasks[0]["uid"]
    assert task["batchUid"] > killed.batches[0]["uid"]


def test_documents_are_as_they_were(killed: Killed) -> None:
    page = killed.server.api.master("GET", f"/indexes/{OWN}/documents")
    assert page["results"] == [{"id": 1, "genre": "x"}, {"id": 2, "genre": "x"}]


def test_documents_are_found_as_before(killed: Killed) -> None:
    found = killed.server.api.master("POST", f"/indexes/{OWN}/search", {"filter": "genre = x"})
    assert [hit["id"] for hit in found["hits"]] == [1, 2]


def test_settings_are_as_they_were(killed: Killed) -> None:
    settings = killed.server.api.master("GET", f"/indexes/{OWN}/settings")
    assert (settings["stopWords"], settings["filterableAttributes"]) == (["the"], ["genre"])


def test_keys_are_as_they_were(killed: Killed) -> None:
    assert killed.server.api.master("GET", f"/keys/{killed.key['uid']}") == killed.key
    assert killed.server.api.call("POST", f"/indexes/{OWN}/search", {}, token=killed.key["key"]).status == 200


def test_experimental_features_stay_on(killed: Killed) -> None:
    assert killed.server.api.master("GET", "/experimental-features")["metrics"] is True


def test_webhooks_are_as_they_were(killed: Killed) -> None:
    (webhook,) = killed.server.api.master("GET", "/webhooks")["results"]
    assert webhook["url"] == "https://example.com/kept"


def test_accepted_documents_are_added_after_a_kill(start_server: StartServer) -> None:
    server = start_server()
    accepted = 0
    for number in range(200):
        reply = server.api.call("POST", f"/indexes/{OWN}/documents", [{"id": number}], token=server.master_key)
        accepted += reply.status == 202
    server.kill()
    server.start()
    last = server.api.master("GET", "/tasks?limit=1")["results"][0]
    server.api.finished(last["uid"])
    assert server.api.master("GET", f"/indexes/{OWN}/stats")["numberOfDocuments"] == accepted == 200


def test_a_task_that_the_kill_interrupted_is_taken_up_again(start_server: StartServer) -> None:
    server = start_server(emulator_options=HELD_FOR_EVER)
    if not server.is_emulated:
        pytest.skip("nothing else holds a task in progress long enough")
    server.api.done("POST", "/indexes", {"uid": OWN})
    holding = hold(server.api)
    server.kill()
    server.start()
    eventually(lambda: bool(status_of(server.api, holding) == "processing"), "the task is taken up again")
    server.api.done("POST", f"/tasks/cancel?uids={holding}")
    assert status_of(server.api, holding) == "canceled"


def names_of_keys(server: Server) -> set[str]:
    return {key["name"] for key in server.api.master("GET", "/keys?limit=100")["results"]}


def delete_keys(server: Server, is_chosen: Callable[[dict[str, Any]], bool]) -> None:
    for key in server.api.master("GET", "/keys?limit=100")["results"]:
        if is_chosen(key):
            server.api.master("DELETE", f"/keys/{key['uid']}")


def test_a_new_server_has_four_default_keys(start_server: StartServer) -> None:
    assert names_of_keys(start_server()) == DEFAULT_KEYS


def test_a_deleted_default_key_stays_away_while_another_key_is_left(start_server: StartServer) -> None:
    server = start_server()
    delete_keys(server, lambda key: key["name"] != "Default Search API Key")
    server.stop()
    server.start()
    assert names_of_keys(server) == {"Default Search API Key"}


def test_default_keys_come_back_at_a_restart_once_no_key_is_left(start_server: StartServer) -> None:
    server = start_server()
    delete_keys(server, lambda _: True)
    assert names_of_keys(server) == set()
    server.stop()
    server.start()
    assert names_of_keys(server) == DEFAULT_KEYS


def test_another_master_key_changes_the_values_of_keys_and_leaves_their_uids(start_server: StartServer) -> None:
    server = start_server()
    before = {key["uid"]: key["key"] for key in server.api.master("GET", "/keys")["results"]}
    server.stop()
    server.master_key = "another master key"
    server.start()
    after = {key["uid"]: key["key"] for key in server.api.master("GET", "/keys")["results"]}
    assert after == {uid: value_of("another master key", uid) for uid in before}
    assert before.items().isdisjoint(after.items())
    assert server.api.call("GET", "/indexes", token=next(iter(before.values()))).status == 403


def test_a_dump_and_a_snapshot_leave_everything_as_it_is(start_server: StartServer) -> None:
    server = start_server()
    server.api.done("POST", f"/indexes/{OWN}/documents", [{"id": 1}])
    assert server.api.done("POST", "/dumps")["details"]["dumpUid"]
    server.api.done("POST", "/snapshots")
    server.stop()
    server.start()
    assert server.api.master("GET", f"/indexes/{OWN}/documents")["results"] == [{"id": 1}]
