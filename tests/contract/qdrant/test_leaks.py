"""What the real server tells a tenant about its neighbours: kept here, so that whoever relies on it sees the leak."""

from itertools import count

import pytest

from tests.contract.qdrant import tokens
from tests.contract.qdrant.server import Server
from tests.contract.qdrant.world import SIZE

NUMBERS = count(1)


def collection(server: Server) -> str:
    name = f"secret-project-{next(NUMBERS)}"
    server.ask("PUT", f"/collections/{name}", SIZE).expect()
    return name


def telemetry(server: Server, token: str, query: str) -> str:
    answer = server.ask("GET", f"/telemetry?{query}", key=token)
    answer.expect()
    return answer.body.decode()


@pytest.mark.parametrize("level", [2, 10])
def test_detailed_telemetry_names_every_collection_to_any_token(server: Server, level: int) -> None:
    name = collection(server)
    assert name in telemetry(server, tokens.signed({"access": []}), f"details_level={level}")


@pytest.mark.parametrize("level", [0, 1])
def test_telemetry_without_details_names_no_neighbour(server: Server, level: int) -> None:
    name = collection(server)
    assert name not in telemetry(server, tokens.signed({"access": []}), f"details_level={level}")


def test_a_deleted_collection_is_named_too(server: Server) -> None:
    name = collection(server)
    server.ask("DELETE", f"/collections/{name}").expect()
    assert name in telemetry(server, tokens.signed({"access": []}), "details_level=2")


def test_the_caller_decides_whether_names_are_hidden(server: Server) -> None:
    name = collection(server)
    assert name not in telemetry(server, tokens.signed({"access": []}), "details_level=10&anonymize=true")


def test_metrics_are_not_for_tenants(server: Server) -> None:
    token = tokens.for_collection(collection(server), "rw")
    assert server.ask("GET", "/metrics", key=token).outcome == "403 Forbidden: Global access is required"


def test_a_validation_error_is_the_same_for_every_collection(server: Server) -> None:
    token = tokens.for_collection(collection(server), "prw")
    paths = [f"/collections/{name}/points/scroll" for name in (collection(server), "no-such-collection")]
    assert {server.ask("POST", path, {"limit": 0}, key=token).status for path in paths} == {422}


def test_snapshots_outlive_their_collection_and_show_in_its_successor(server: Server) -> None:
    name = collection(server)
    made = server.ask("POST", f"/collections/{name}/snapshots").expect()["name"]
    server.ask("DELETE", f"/collections/{name}").expect()
    assert server.ask("GET", f"/collections/{name}/snapshots").status == 404
    server.ask("PUT", f"/collections/{name}", SIZE).expect()
    listed = server.ask("GET", f"/collections/{name}/snapshots", key=tokens.for_collection(name, "r")).expect()
    assert [snapshot["name"] for snapshot in listed] == [made]


def test_a_successor_does_not_find_the_points_of_its_predecessor(server: Server) -> None:
    name = collection(server)
    points = {"points": [{"id": 1, "vector": [1.0, 0.0, 0.0, 0.0]}]}
    server.ask("PUT", f"/collections/{name}/points?wait=true", points).expect()
    server.ask("DELETE", f"/collections/{name}").expect()
    server.ask("PUT", f"/collections/{name}", SIZE).expect()
    assert server.ask("POST", f"/collections/{name}/points/count", {}).expect() == {"count": 0}


def test_names_differ_by_case(server: Server) -> None:
    name = collection(server)
    assert server.ask("GET", f"/collections/{name.upper()}/exists").expect() == {"exists": False}


def test_a_limit_with_a_typing_error_in_its_name_is_no_limit(server: Server) -> None:
    name = collection(server)
    limits = {"strict_mode_config": {"enabled": True, "max_point_count": 1}}
    server.ask("PATCH", f"/collections/{name}", limits).expect()
    assert server.ask("GET", f"/collections/{name}").expect()["config"]["strict_mode_config"] == {"enabled": True}
