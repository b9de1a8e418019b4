"""The official Python client works as its users expect."""

import json
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from meilisearch import Client
from meilisearch.errors import MeilisearchApiError, MeilisearchTimeoutError
from meilisearch.index import Index
from meilisearch.models.task import Task, TaskInfo

from tests.contract.meilisearch.server import Server
from tests.contract.meilisearch.world import value_of

ANIMALS: list[dict[str, Any]] = [
    {"id": 1, "name": "otter", "kind": "mammal", "legs": 4},
    {"id": 2, "name": "heron", "kind": "bird", "legs": 2},
    {"id": 3, "name": "newt", "kind": "amphibian", "legs": 4},
]


@pytest.fixture
def client(server: Server) -> Client:
    return Client(server.api.url, server.master_key)


@pytest.fixture
def animals(client: Client) -> Iterator[Index]:
    """An index with three documents; gone after the test."""
    finished(client, client.create_index("animals", {"primaryKey": "id"}))
    index = client.index("animals")
    finished(client, index.update_filterable_attributes(["kind", "legs"]))
    finished(client, index.add_documents(ANIMALS))
    yield index
    finished(client, client.delete_index("animals"))


def finished(client: Client, info: TaskInfo) -> Task:
    """The task at its end, which has to be a good one: the client itself does not mind a failed task."""
    task = client.wait_for_task(info.task_uid, timeout_in_ms=20_000, interval_in_ms=2)
    assert task.status == "succeeded", task.error
    return task


def ids(index: Index) -> set[int]:
    return {document.id for document in index.get_documents({"limit": 100}).results}


def test_health_and_version(client: Client) -> None:
    assert client.is_healthy()
    assert client.health() == {"status": "available"}
    assert [*client.get_version()] == ["commitSha", "commitDate", "pkgVersion"]


def test_an_index_is_made_found_changed_and_deleted(client: Client) -> None:
    finished(client, client.create_index("made", {"primaryKey": "id"}))
    assert client.get_index("made").primary_key == "id"
    assert "made" in {index.uid for index in client.get_indexes({"limit": 100})["results"]}
    finished(client, client.index("made").update(primary_key="key"))
    assert client.index("made").get_primary_key() == "key"
    finished(client, client.index("made").delete())
    with pytest.raises(MeilisearchApiError) as refused:
        client.get_index("made")
    assert (refused.value.status_code, refused.value.code) == (404, "index_not_found")


def test_an_index_is_renamed(client: Client) -> None:
    finished(client, client.create_index("before"))
    finished(client, client.index("before").update(new_uid="after"))
    assert client.get_raw_index("after")["uid"] == "after"
    finished(client, client.delete_index("after"))


@pytest.mark.usefixtures("animals")
def test_two_indexes_are_swapped(client: Client) -> None:
    finished(client, client.create_index("empty"))
    finished(client, client.swap_indexes([{"indexes": ["animals", "empty"], "rename": False}]))
    assert client.index("empty").get_stats().number_of_documents == 3
    finished(client, client.swap_indexes([{"indexes": ["animals", "empty"], "rename": False}]))
    finished(client, client.delete_index("empty"))


def test_documents_are_read(animals: Index) -> None:
    assert dict(animals.get_document(2)) == ANIMALS[1]
    assert dict(animals.get_document(2, {"fields": ["name"]})) == {"name": "heron"}
    page = animals.get_documents({"limit": 1, "offset": 1, "fields": ["name"]})
    assert ([dict(document) for document in page.results], page.total) == ([{"name": "heron"}], 3)


def test_documents_are_read_by_filter(animals: Index) -> None:
    page = animals.get_documents({"filter": "legs = 4"})
    assert [document.name for document in page.results] == ["otter", "newt"]


def test_a_document_that_is_not_there(animals: Index) -> None:
    with pytest.raises(MeilisearchApiError) as refused:
        animals.get_document(9)
    assert (refused.value.status_code, refused.value.code) == (404, "document_not_found")


def test_adding_replaces_and_updating_merges(client: Client, animals: Index) -> None:
    finished(client, animals.add_documents([{"id": 1, "name": "otter"}]))
    finished(client, animals.update_documents([{"id": 2, "legs": 1}]))
    assert dict(animals.get_document(1)) == {"id": 1, "name": "otter"}
    assert dict(animals.get_document(2)) == {**ANIMALS[1], "legs": 1}


def test_documents_are_added_in_batches(client: Client, animals: Index) -> None:
    for info in animals.add_documents_in_batches([{"id": n} for n in range(10, 15)], batch_size=2):
        finished(client, info)
    assert ids(animals) == {1, 2, 3, *range(10, 15)}


def test_documents_are_added_from_csv(client: Client, animals: Index) -> None:
    finished(client, animals.add_documents_csv(b"id;name;legs:number\n4;carp;0\n", csv_delimiter=";"))
    assert dict(animals.get_document("4")) == {"id": "4", "name": "carp", "legs": 0}


def test_documents_are_added_from_ndjson(client: Client, animals: Index) -> None:
    lines = "\n".join(json.dumps({"id": n, "name": "eel"}) for n in (5, 6))
    finished(client, animals.add_documents_ndjson(lines.encode()))
    assert {5, 6} <= ids(animals)


def test_documents_are_deleted_by_id(client: Client, animals: Index) -> None:
    finished(client, animals.delete_document(1))
    assert ids(animals) == {2, 3}


def test_documents_are_deleted_by_ids(client: Client, animals: Index) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        finished(client, animals.delete_documents([1, 2]))
    assert ids(animals) == {3}


def test_documents_are_deleted_by_filter(client: Client, animals: Index) -> None:
    task = finished(client, animals.delete_documents(filter="legs = 4"))
    assert task.details == {"providedIds": 0, "deletedDocuments": 2, "originalFilter": '"legs = 4"'}
    assert ids(animals) == {2}


def test_all_documents_are_deleted(client: Client, animals: Index) -> None:
    finished(client, animals.delete_all_documents())
    assert ids(animals) == set()


def test_a_search_with_options(animals: Index) -> None:
    answer = animals.search(
        "ottar", {"filter": "legs = 4", "facets": ["kind"], "attributesToHighlight": ["name"], "limit": 5}
    )
    (hit,) = answer["hits"]
    assert hit["_formatted"]["name"] == "<em>otter</em>"
    assert answer["facetDistribution"] == {"kind": {"mammal": 1}}


def test_a_search_for_facet_values(animals: Index) -> None:
    assert animals.facet_search("kind", "bi")["facetHits"] == [{"value": "bird", "count": 1}]


@pytest.mark.usefixtures("animals")
def test_several_searches_at_once(client: Client) -> None:
    queries: list[dict[str, Any]] = [{"indexUid": "animals", "q": "newt"}, {"indexUid": "animals", "q": "", "limit": 1}]
    assert [len(result["hits"]) for result in client.multi_search(queries)["results"]] == [1, 1]
    merged = client.multi_search(queries[:1], federation={"limit": 10})
    assert [hit["id"] for hit in merged["hits"]] == [3]


# Every group of settings: how it is changed, to what, and how it is read.
_SETTINGS: dict[str, Any] = {
    "ranking_rules": ["typo", "words", "legs:asc"],
    "distinct_attribute": "kind",
    "searchable_attributes": ["name"],
    "displayed_attributes": ["id", "name"],
    "stop_words": ["a", "the"],
    "synonyms": {"otter": ["mink"]},
    "filterable_attributes": ["kind"],
    "sortable_attributes": ["legs", "name"],
    "facet_search_settings": False,
    "dictionary": ["J. R."],
    "separator_tokens": ["§"],
    "non_separator_tokens": ["@"],
    "search_cutoff_ms": 150,
    "prefix_search": "disabled",
    "proximity_precision": "byAttribute",
}


@pytest.mark.parametrize("group", _SETTINGS)
def test_a_group_of_settings_is_changed_and_reset(group: str, client: Client, animals: Index) -> None:
    read: Callable[[], Any] = getattr(animals, f"get_{group}")
    finished(client, getattr(animals, f"reset_{group}")())
    default = read()
    finished(client, getattr(animals, f"update_{group}")(_SETTINGS[group]))
    assert read() == _SETTINGS[group] != default
    finished(client, getattr(animals, f"reset_{group}")())
    assert read() == default


def test_settings_that_are_objects_are_changed(client: Client, animals: Index) -> None:
    finished(client, animals.update_typo_tolerance({"disableOnWords": ["newt"]}))
    finished(client, animals.update_pagination_settings({"maxTotalHits": 5}))
    finished(client, animals.update_faceting_settings({"maxValuesPerFacet": 7}))
    finished(client, animals.update_localized_attributes([{"attributePatterns": ["name"], "locales": ["eng"]}]))
    assert animals.get_typo_tolerance().disable_on_words == ["newt"]
    assert animals.get_pagination_settings().max_total_hits == 5
    assert animals.get_faceting_settings().max_values_per_facet == 7
    localized = animals.get_localized_attributes()
    assert localized is not None
    assert localized[0].locales == ["eng"]


def test_all_settings_are_changed_and_reset_at_once(client: Client, animals: Index) -> None:
    finished(client, animals.update_settings({"stopWords": ["a"], "sortableAttributes": ["legs"]}))
    changed = animals.get_settings()
    assert (changed["stopWords"], changed["sortableAttributes"]) == (["a"], ["legs"])
    assert changed["filterableAttributes"] == ["kind", "legs"]
    finished(client, animals.reset_settings())
    assert animals.get_settings()["filterableAttributes"] == []


def test_the_fields_of_an_index(animals: Index) -> None:
    fields = {field["name"]: field for field in animals.get_fields().results}
    assert set(fields) == {"id", "name", "kind", "legs"}
    assert fields["kind"]["filterable"]["enabled"] is True
    assert fields["name"]["filterable"]["enabled"] is False


def test_statistics(client: Client, animals: Index) -> None:
    assert animals.get_stats().number_of_documents == 3
    assert dict(client.get_all_stats()["indexes"]["animals"]["fieldDistribution"]) == dict.fromkeys(ANIMALS[0], 3)


def test_a_key_is_made_with_a_chosen_uid_and_its_value_can_be_computed(client: Client, server: Server) -> None:
    uid = "5f0f6b2e-7a32-4c59-9f3a-7d4c0b1f2a10"
    wanted = {"uid": uid, "actions": ["search"], "indexes": ["animals"], "expiresAt": None}
    made = client.create_key(wanted)
    assert (made.uid, made.key) == (uid, value_of(server.master_key, uid))
    with pytest.raises(MeilisearchApiError) as refused:
        client.create_key(wanted)
    assert (refused.value.status_code, refused.value.code) == (409, "api_key_already_exists")
    assert client.delete_key(uid) == 204
    assert client.create_key(wanted).key == made.key
    client.delete_key(uid)


def test_a_key_is_found_renamed_and_deleted(client: Client) -> None:
    made = client.create_key({"actions": ["search"], "indexes": ["*"], "expiresAt": None, "name": "first"})
    assert made.key in {key.key for key in client.get_keys({"limit": 100}).results}
    assert client.update_key(made.key, {"name": "second"}).name == "second"
    assert client.get_key(made.uid).actions == ["search"]
    client.delete_key(made.key)
    with pytest.raises(MeilisearchApiError) as refused:
        client.get_key(made.uid)
    assert refused.value.code == "api_key_not_found"


@pytest.mark.usefixtures("animals")
def test_a_deleted_key_opens_nothing_any_more(client: Client, server: Server) -> None:
    made = client.create_key({"actions": ["search"], "indexes": ["animals"], "expiresAt": None})
    holder = Client(server.api.url, made.key)
    assert holder.index("animals").search("newt")["hits"]
    client.delete_key(made.uid)
    with pytest.raises(MeilisearchApiError) as refused:
        holder.index("animals").search("newt")
    assert (refused.value.status_code, refused.value.code) == (403, "invalid_api_key")


@pytest.mark.usefixtures("animals")
def test_a_tenant_token_filters_what_is_found(client: Client, server: Server) -> None:
    made = client.create_key({"actions": ["search"], "indexes": ["animals"], "expiresAt": None})
    rules = {"animals": {"filter": "kind = bird"}}
    later = datetime.now(UTC) + timedelta(hours=1)
    tenant_token = client.generate_tenant_token(made.uid, rules, api_key=made.key, expires_at=later)
    tenant = Client(server.api.url, tenant_token)
    assert [hit["id"] for hit in tenant.index("animals").search("")["hits"]] == [2]
    assert tenant.index("animals").search("", {"filter": "legs = 4"})["hits"] == []
    with pytest.raises(MeilisearchApiError):
        tenant.index("animals").get_documents()
    client.delete_key(made.uid)


def test_no_key_is_no_entry(server: Server) -> None:
    with pytest.raises(MeilisearchApiError) as refused:
        Client(server.api.url).get_indexes()
    assert (refused.value.status_code, refused.value.code) == (403, "invalid_api_key")


def test_tasks_and_batches_are_listed(client: Client, animals: Index) -> None:
    task = finished(client, animals.add_documents(ANIMALS))
    assert client.get_tasks({"uids": [str(task.uid)]}).results[0].type == "documentAdditionOrUpdate"
    assert animals.get_tasks({"limit": 1}).results[0].uid == task.uid
    batch = client.get_batches({"uids": [str(task.uid)]}).results[0]
    assert client.get_batch(batch.uid).details == batch.details


def test_a_task_keeps_its_metadata(client: Client, animals: Index) -> None:
    task = finished(client, animals.add_documents(ANIMALS, metadata="from a test"))
    assert task.custom_metadata == "from a test"


def test_finished_tasks_are_deleted(client: Client, animals: Index) -> None:
    task = finished(client, animals.add_documents(ANIMALS))
    finished(client, client.delete_tasks({"uids": [str(task.uid)]}))
    with pytest.raises(MeilisearchApiError):
        client.get_task(task.uid)


def test_nothing_is_canceled_once_it_is_finished(client: Client, animals: Index) -> None:
    task = finished(client, animals.add_documents(ANIMALS))
    cancellation = finished(client, client.cancel_tasks({"uids": [str(task.uid)]}))
    assert (cancellation.details or {})["canceledTasks"] == 0


def test_waiting_for_a_task_that_never_was_fails(client: Client) -> None:
    with pytest.raises((MeilisearchApiError, MeilisearchTimeoutError)):
        client.wait_for_task(10**6, timeout_in_ms=100)


def test_dumps_and_snapshots(client: Client) -> None:
    assert (finished(client, client.create_dump()).details or {})["dumpUid"]
    finished(client, client.create_snapshot())


def test_experimental_features_are_turned_on_and_off(client: Client) -> None:
    before = client.get_experimental_features()
    assert before["metrics"] is False
    assert client.update_experimental_features({"metrics": True}) == {**before, "metrics": True}
    assert client.update_experimental_features({"metrics": False}) == before


def test_a_webhook_is_made_changed_and_deleted(client: Client) -> None:
    made = client.create_webhook({"url": "https://example.com/a", "headers": {"x-test": "1"}})
    assert made.uuid in {webhook.uuid for webhook in client.get_webhooks().results}
    assert client.update_webhook(made.uuid, {"url": "https://example.com/b"}).url == "https://example.com/b"
    assert client.get_webhook(made.uuid).isEditable
    client.delete_webhook(made.uuid)
    assert made.uuid not in {webhook.uuid for webhook in client.get_webhooks().results}
