"""What was answered is still there after kill -9."""

import signal
from collections.abc import Iterator

import pytest

from tests.contract.qdrant import tokens
from tests.contract.qdrant.server import BOTH_KEYS, Server
from tests.contract.qdrant.world import POINTS, SIZE

COUNT: tuple[str, str, object] = ("POST", "/collections/kept/points/count", {})


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that was killed and started again, right after it had answered everything that made its data."""
    with Server(tmp_path_factory.mktemp("killed"), BOTH_KEYS) as server:
        furnish(server)
        server.restart(with_signal=signal.SIGKILL)
        yield server


def furnish(server: Server) -> None:
    server.ask("PUT", "/collections/kept", SIZE | {"metadata": {"owner": "a"}}).expect()
    server.ask("PUT", "/collections/kept/index?wait=true", {"field_name": "k", "field_schema": "keyword"}).expect()
    server.ask("PUT", "/collections/kept/points?wait=true", {"points": POINTS}).expect()
    server.ask("POST", "/collections/kept/points/delete?wait=true", {"points": [5]}).expect()
    server.ask("POST", "/collections/kept/points/payload?wait=true", {"payload": {"x": 1}, "points": [1]}).expect()
    server.ask("POST", "/collections/kept/snapshots").expect()
    server.ask("PUT", "/collections/gone", SIZE).expect()
    for collection, alias in (("kept", "alias"), ("gone", "alias-of-gone")):
        action = {"create_alias": {"collection_name": collection, "alias_name": alias}}
        server.ask("POST", "/collections/aliases", {"actions": [action]}).expect()
    server.ask("DELETE", "/collections/gone").expect()


def test_collections_are_as_they_were(killed: Server) -> None:
    kept = killed.ask("GET", "/collections/kept").expect()
    assert kept["config"]["metadata"] == {"owner": "a"}
    assert (kept["points_count"], kept["payload_schema"]["k"]["points"]) == (4, 4)
    assert killed.ask("GET", "/collections").expect() == {"collections": [{"name": "kept"}]}


def test_points_are_as_they_were(killed: Server) -> None:
    point = killed.ask("GET", "/collections/alias/points/1").expect()
    assert (point["payload"], point["vector"]) == (POINTS[0]["payload"] | {"x": 1}, [1.0, 0.0, 0.0, 0.0])
    found = killed.ask("POST", "/collections/kept/points/scroll", {"limit": 9}).expect()["points"]
    assert [point["id"] for point in found] == [1, 2, 3, 4]


def test_snapshots_are_still_listed(killed: Server) -> None:
    assert len(killed.ask("GET", "/collections/kept/snapshots").expect()) == 1


def test_revoked_tokens_stay_revoked(killed: Server) -> None:
    good = tokens.for_collection("kept", "r", value_exists=tokens.value_exists("kept", n=1))
    revoked = tokens.for_collection("kept", "r", value_exists=tokens.value_exists("kept", n=5))
    assert killed.ask(*COUNT, key=good).status == 200
    assert killed.ask(*COUNT, key=revoked).outcome == "plain 401 Invalid JWT, stateful validation failed"


def test_the_alias_of_a_deleted_collection_is_free(killed: Server) -> None:
    killed.ask("PUT", "/collections/alias-of-gone", SIZE).expect()
    killed.ask("DELETE", "/collections/alias-of-gone").expect()


def test_a_collection_made_after_the_restart_is_empty(killed: Server) -> None:
    killed.ask("PUT", "/collections/gone", SIZE).expect()
    assert killed.ask("POST", "/collections/gone/points/count", {}).expect() == {"count": 0}
