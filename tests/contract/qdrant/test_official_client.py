"""The official Python client over REST, as a Data API uses it."""

import uuid
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from tests.contract.qdrant.server import API_KEY, Server

pytestmark = pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection:UserWarning")

SECONDS = 30
NUMBERS = count(1)
COLOURS = ("red", "green", "blue")


def connected(server: Server, key: str = API_KEY) -> QdrantClient:
    # The check of versions runs in a thread of its own, and would warn of the distance between client and server.
    return QdrantClient(url=server.url, api_key=key, timeout=SECONDS, check_compatibility=False)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[QdrantClient]:
    connection = connected(server)
    yield connection
    connection.close()


@pytest.fixture
def name() -> str:
    return f"collection-{next(NUMBERS)}"


def point(number: int | str, vector: Any, **payload: Any) -> models.PointStruct:
    return models.PointStruct(id=number, vector=vector, payload=payload)


def plain(size: int = 2, distance: models.Distance = models.Distance.DOT) -> models.VectorParams:
    return models.VectorParams(size=size, distance=distance)


def filled(client: QdrantClient, name: str) -> str:
    """A collection of six points on a line: the higher the number, the nearer to (1, 0)."""
    client.create_collection(name, vectors_config=plain())
    points = [point(n, [n / 10, 0.0], n=n, colour=COLOURS[n % 3], nested={"list": [{"n": n}]}) for n in range(1, 7)]
    client.upsert(name, points)
    return name


def equal(field: str, value: int | str) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchValue(value=value))


def ids(points: list[Any]) -> list[Any]:
    return [found.id for found in points]


def test_the_server_says_its_version(client: QdrantClient) -> None:
    assert client.info().version == "1.18.3"


def test_a_collection_is_described_as_it_was_made(client: QdrantClient, name: str) -> None:
    client.create_collection(
        name,
        vectors_config=models.VectorParams(size=8, distance=models.Distance.COSINE, on_disk=True),
        hnsw_config=models.HnswConfigDiff(m=4),
        optimizers_config=models.OptimizersConfigDiff(default_segment_number=1),
        wal_config=models.WalConfigDiff(wal_capacity_mb=1),
        strict_mode_config=models.StrictModeConfig(enabled=True, max_query_limit=100),
        metadata={"owner": "a"},
    )
    config = client.get_collection(name).config
    assert config.params.vectors == models.VectorParams(size=8, distance=models.Distance.COSINE, on_disk=True)
    assert (config.hnsw_config.m, config.hnsw_config.ef_construct) == (4, 100)
    assert config.optimizer_config.default_segment_number == 1
    assert config.wal_config is not None
    assert config.wal_config.wal_capacity_mb == 1
    assert config.strict_mode_config is not None
    assert config.strict_mode_config.max_query_limit == 100
    assert config.metadata == {"owner": "a"}


def test_a_collection_comes_and_goes(client: QdrantClient, name: str) -> None:
    assert client.create_collection(name, vectors_config=plain())
    assert client.collection_exists(name)
    assert name in [found.name for found in client.get_collections().collections]
    assert client.delete_collection(name)
    assert not client.collection_exists(name)


def test_a_collection_is_not_made_twice(client: QdrantClient, name: str) -> None:
    client.create_collection(name, vectors_config=plain())
    with pytest.raises(UnexpectedResponse) as refused:
        client.create_collection(name, vectors_config=plain())
    assert refused.value.status_code == 409


def test_deleting_what_is_not_there_is_no_error(client: QdrantClient, name: str) -> None:
    assert not client.delete_collection(name)


def test_metadata_are_merged_and_a_null_removes(client: QdrantClient, name: str) -> None:
    client.create_collection(name, vectors_config=plain(), metadata={"a": 1, "b": 1})
    client.update_collection(name, metadata={"b": None, "c": 2})
    assert client.get_collection(name).config.metadata == {"a": 1, "c": 2}


def test_the_nearest_points_come_first(client: QdrantClient, name: str) -> None:
    found = client.query_points(filled(client, name), query=[1.0, 0.0], limit=3).points
    assert [(hit.id, round(hit.score, 3)) for hit in found] == [(6, 0.6), (5, 0.5), (4, 0.4)]


def test_cosine_vectors_are_kept_normalised(client: QdrantClient, name: str) -> None:
    client.create_collection(name, vectors_config=plain(distance=models.Distance.COSINE))
    client.upsert(name, [point(1, [3.0, 4.0])])
    assert client.retrieve(name, [1], with_vectors=True)[0].vector == pytest.approx([0.6, 0.8])


def test_a_filter_narrows_a_search(client: QdrantClient, name: str) -> None:
    red = models.Filter(must=[equal("colour", "red")])
    assert ids(client.query_points(filled(client, name), query=[1.0, 0.0], query_filter=red).points) == [6, 3]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (models.FieldCondition(key="n", range=models.Range(gt=2, lte=4)), [3, 4]),
        (models.FieldCondition(key="colour", match=models.MatchAny(any=["red", "blue"])), [2, 3, 5, 6]),
        (models.FieldCondition(key="colour", match=models.MatchExcept(**{"except": ["red"]})), [1, 2, 4, 5]),
        (models.HasIdCondition(has_id=[1, 6]), [1, 6]),
        (models.IsEmptyCondition(is_empty=models.PayloadField(key="colour")), []),
        (equal("nested.list[].n", 5), [5]),
        (
            models.NestedCondition(nested=models.Nested(key="nested.list", filter=models.Filter(must=[equal("n", 2)]))),
            [2],
        ),
        (models.Filter(must_not=[equal("colour", "red")], should=[equal("n", 1), equal("n", 3)]), [1]),
    ],
    ids=["range", "any", "except", "id", "empty", "path", "nested", "inner filter"],
)
def test_a_condition_selects_its_points(client: QdrantClient, name: str, condition: Any, expected: list[int]) -> None:
    found, _ = client.scroll(filled(client, name), models.Filter(must=[condition]))
    assert ids(found) == expected


def test_scrolling_pages_through_all_points(client: QdrantClient, name: str) -> None:
    first, following = client.scroll(filled(client, name), limit=4)
    second, end = client.scroll(name, limit=4, offset=following)
    assert (ids(first), ids(second), end) == ([1, 2, 3, 4], [5, 6], None)


def test_points_are_ordered_by_an_indexed_field(client: QdrantClient, name: str) -> None:
    client.create_payload_index(filled(client, name), "n", models.PayloadSchemaType.INTEGER)
    found, _ = client.scroll(name, limit=2, order_by=models.OrderBy(key="n", direction=models.Direction.DESC))
    assert ids(found) == [6, 5]


def test_values_of_an_indexed_field_are_counted(client: QdrantClient, name: str) -> None:
    client.create_payload_index(filled(client, name), "colour", models.PayloadSchemaType.KEYWORD)
    hits = client.facet(name, "colour").hits
    assert {hit.value: hit.count for hit in hits} == {"red": 2, "green": 2, "blue": 2}


def test_points_are_counted(client: QdrantClient, name: str) -> None:
    red = models.Filter(must=[equal("colour", "red")])
    assert (client.count(filled(client, name)).count, client.count(name, red).count) == (6, 2)


def test_recommendations_leave_out_the_examples(client: QdrantClient, name: str) -> None:
    examples = models.RecommendQuery(recommend=models.RecommendInput(positive=[6], negative=[1]))
    assert ids(client.query_points(filled(client, name), query=examples, limit=2).points) == [5, 4]


def test_two_searches_are_fused(client: QdrantClient, name: str) -> None:
    branches = [
        models.Prefetch(query=[1.0, 0.0], limit=3),
        models.Prefetch(query=[-1.0, 0.0], limit=3, filter=models.Filter(must=[equal("colour", "red")])),
    ]
    fused = client.query_points(
        filled(client, name), prefetch=branches, query=models.FusionQuery(fusion=models.Fusion.RRF)
    )
    assert ids(fused.points)[0] == 6


def test_several_searches_go_in_one_request(client: QdrantClient, name: str) -> None:
    requests = [models.QueryRequest(query=[1.0, 0.0], limit=1), models.QueryRequest(query=[-1.0, 0.0], limit=1)]
    assert [ids(answer.points) for answer in client.query_batch_points(filled(client, name), requests)] == [[6], [1]]


def test_hits_are_grouped_by_a_field(client: QdrantClient, name: str) -> None:
    groups = client.query_points_groups(filled(client, name), group_by="colour", query=[1.0, 0.0], group_size=1).groups
    assert {group.id: ids(group.hits) for group in groups} == {"red": [6], "blue": [5], "green": [4]}


def test_a_search_looks_its_vector_up_in_another_collection(client: QdrantClient, name: str) -> None:
    client.create_collection(f"{name}-of-vectors", vectors_config=plain())
    client.upsert(f"{name}-of-vectors", [point(1, [-1.0, 0.0])])
    location = models.LookupLocation(collection=f"{name}-of-vectors")
    assert ids(client.query_points(filled(client, name), query=1, lookup_from=location, limit=1).points) == [1]


def test_a_matrix_of_distances_pairs_every_point(client: QdrantClient, name: str) -> None:
    pairs = client.search_matrix_pairs(filled(client, name), sample=6, limit=5).pairs
    assert len(pairs) == 30


def test_payloads_are_set_replaced_and_cleared(client: QdrantClient, name: str) -> None:
    client.set_payload(filled(client, name), {"extra": 1}, points=[1])
    client.overwrite_payload(name, {"only": 1}, points=[2])
    client.delete_payload(name, ["colour", "nested"], points=[3])
    client.clear_payload(name, points_selector=[4])
    payloads = {found.id: found.payload for found in client.retrieve(name, [1, 2, 3, 4])}
    assert (payloads[1] or {})["extra"] == 1
    assert (payloads[2], payloads[3], payloads[4]) == ({"only": 1}, {"n": 3}, {})


def test_a_filter_selects_the_points_to_change(client: QdrantClient, name: str) -> None:
    red = models.Filter(must=[equal("colour", "red")])
    client.set_payload(filled(client, name), {"seen": True}, points=red)
    client.delete(name, points_selector=models.FilterSelector(filter=models.Filter(must_not=[equal("colour", "red")])))
    found, _ = client.scroll(name)
    assert {hit.id: (hit.payload or {}).get("seen") for hit in found} == {3: True, 6: True}


def test_named_dense_and_sparse_vectors_live_in_one_point(client: QdrantClient, name: str) -> None:
    client.create_collection(
        name, vectors_config={"text": plain()}, sparse_vectors_config={"words": models.SparseVectorParams()}
    )
    vectors = {"text": [1.0, 0.0], "words": models.SparseVector(indices=[7], values=[0.5])}
    client.upsert(name, [point(1, vectors), point(2, {"text": [0.0, 1.0]})])
    by_word = client.query_points(name, query=models.SparseVector(indices=[7], values=[2.0]), using="words").points
    assert [(hit.id, hit.score) for hit in by_word] == [(1, 1.0)]
    assert client.retrieve(name, [1], with_vectors=True)[0].vector == vectors


def test_several_changes_go_in_one_request(client: QdrantClient, name: str) -> None:
    operations: list[Any] = [
        models.UpsertOperation(upsert=models.PointsList(points=[point(7, [0.7, 0.0])])),
        models.DeleteOperation(delete=models.PointIdsList(points=[1])),
        models.SetPayloadOperation(set_payload=models.SetPayload(payload={"last": True}, points=[7])),
    ]
    client.batch_update_points(filled(client, name), operations)
    assert ids(client.scroll(name, limit=9)[0]) == [2, 3, 4, 5, 6, 7]


def test_a_batch_of_columns_is_stored(client: QdrantClient, name: str) -> None:
    client.create_collection(name, vectors_config=plain())
    client.upsert(name, models.Batch(ids=[1, 2], vectors=[[1.0, 0.0], [0.0, 1.0]], payloads=[{"a": 1}, {"a": 2}]))
    assert [found.payload for found in client.retrieve(name, [1, 2])] == [{"a": 1}, {"a": 2}]


def test_points_are_known_by_uuids_too(client: QdrantClient, name: str) -> None:
    client.create_collection(name, vectors_config=plain())
    known = str(uuid.UUID(int=1))
    client.upload_points(name, [point(known, [1.0, 0.0])], wait=True)
    assert ids(client.retrieve(name, [known])) == [known]


def test_a_payload_index_is_described_with_its_points(client: QdrantClient, name: str) -> None:
    tenant = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
    client.create_payload_index(filled(client, name), "colour", tenant)
    index = client.get_collection(name).payload_schema["colour"]
    assert (index.data_type, index.params, index.points) == (models.PayloadSchemaType.KEYWORD, tenant, 6)
    client.delete_payload_index(name, "colour")
    assert client.get_collection(name).payload_schema == {}


def test_an_alias_leads_to_its_collection(client: QdrantClient, name: str) -> None:
    alias = models.CreateAlias(collection_name=filled(client, name), alias_name=f"{name}-alias")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    assert client.count(f"{name}-alias").count == 6
    assert [found.alias_name for found in client.get_collection_aliases(name).aliases] == [f"{name}-alias"]


def test_a_snapshot_brings_a_collection_back(client: QdrantClient, server: Server, name: str, tmp_path: Path) -> None:
    snapshot = client.create_snapshot(filled(client, name))
    assert snapshot is not None
    assert [found.name for found in client.list_snapshots(name)] == [snapshot.name]
    copy = tmp_path / "copy.snapshot"
    copy.write_bytes(server.ask("GET", f"/collections/{name}/snapshots/{snapshot.name}").body)
    client.delete_collection(name)
    assert client.recover_snapshot(name, location=copy.as_uri())
    assert client.count(name).count == 6
    assert client.delete_snapshot(name, snapshot.name)


def test_a_collection_takes_a_further_named_vector(client: QdrantClient, name: str) -> None:
    further = models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=3, distance=models.Distance.DOT))
    client.create_vector_name(filled(client, name), "further", further)
    client.update_vectors(name, [models.PointVectors(id=1, vector={"further": [1.0, 0.0, 0.0]})])
    assert ids(client.query_points(name, query=[1.0, 0.0, 0.0], using="further").points) == [1]
    client.delete_vector_name(name, "further")
    assert client.retrieve(name, [1], with_vectors=True)[0].vector in ([0.1, 0.0], {"": [0.1, 0.0]})


def test_a_missing_point_is_a_404_for_whoever_waits(client: QdrantClient, name: str) -> None:
    with pytest.raises(UnexpectedResponse) as refused:
        client.set_payload(filled(client, name), {"a": 1}, points=[99])
    assert refused.value.status_code == 404


def test_a_vector_of_another_size_is_refused(client: QdrantClient, name: str) -> None:
    with pytest.raises(UnexpectedResponse) as refused:
        client.upsert(filled(client, name), [point(1, [1.0, 0.0, 0.0])], wait=False)
    assert b"expected dim: 2, got 3" in refused.value.content


def test_a_wrong_key_is_refused(server: Server, name: str) -> None:
    stranger = connected(server, "no-key-of-this-server")
    with pytest.raises(UnexpectedResponse) as refused:
        stranger.get_collection(name)
    stranger.close()
    assert refused.value.status_code == 401
