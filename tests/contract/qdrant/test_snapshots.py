"""Snapshots: who may take them, what they hold, and what becomes of them."""

from itertools import count

import pytest

from tests.contract.qdrant import tokens
from tests.contract.qdrant.server import API_KEY, Server
from tests.contract.qdrant.wire import Answer
from tests.contract.qdrant.world import POINTS, SIZE

NUMBERS = count(1)
BOUNDARY = "0e2f6c8b"


def filled(server: Server) -> str:
    name = f"filled-{next(NUMBERS)}"
    server.ask("PUT", f"/collections/{name}", SIZE).expect()
    server.ask("PUT", f"/collections/{name}/index?wait=true", {"field_name": "k", "field_schema": "keyword"}).expect()
    server.ask("PUT", f"/collections/{name}/points?wait=true", {"points": POINTS}).expect()
    return name


def taken(server: Server, name: str) -> bytes:
    made = server.ask("POST", f"/collections/{name}/snapshots").expect()
    content = server.ask("GET", f"/collections/{name}/snapshots/{made['name']}").body
    assert len(content) == made["size"]
    return content


def upload(server: Server, path: str, content: bytes, key: str = API_KEY) -> Answer:
    head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="snapshot"; filename="up.snapshot"\r\n\r\n'
    form = head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    headers = {"api-key": key, "content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    return server.send_raw("POST", f"{path}/snapshots/upload?wait=true", form, headers)


def points_of(server: Server, name: str) -> int:
    counted = server.ask("POST", f"/collections/{name}/points/count", {}).expect()
    return int(counted["count"])


def test_an_uploaded_snapshot_makes_the_collection_that_is_missing(server: Server) -> None:
    content = taken(server, filled(server))
    upload(server, "/collections/from-an-upload", content).expect()
    restored = server.ask("GET", "/collections/from-an-upload").expect()
    assert (restored["points_count"], list(restored["payload_schema"])) == (5, ["k"])


def test_an_uploaded_snapshot_takes_the_place_of_the_points(server: Server) -> None:
    name = filled(server)
    content = taken(server, name)
    server.ask("POST", f"/collections/{name}/points/delete?wait=true", {"filter": {}}).expect()
    upload(server, f"/collections/{name}", content).expect()
    assert points_of(server, name) == 5


def test_a_shard_is_restored_alone(server: Server) -> None:
    name = filled(server)
    content = server.ask("GET", f"/collections/{name}/shards/0/snapshot").body
    server.ask("POST", f"/collections/{name}/points/delete?wait=true", {"points": [1]}).expect()
    upload(server, f"/collections/{name}/shards/0", content).expect()
    assert points_of(server, name) == 5


def test_a_tenant_uploads_nothing_into_its_own_collection(server: Server) -> None:
    name = filled(server)
    content = taken(server, name)
    refused = upload(server, f"/collections/{name}", content, tokens.for_collection(name, "rw"))
    assert refused.outcome == "plain 403 Forbidden: Global access is required"


def test_a_snapshot_of_other_vectors_is_refused(server: Server) -> None:
    content = taken(server, filled(server))
    server.ask("PUT", "/collections/of-other-size", {"vectors": {"size": 3, "distance": "Dot"}}).expect()
    refused = upload(server, "/collections/of-other-size", content)
    assert refused.outcome.startswith("400 Wrong input: Snapshot is not compatible with existing collection")


def test_a_deleted_snapshot_is_gone(server: Server) -> None:
    path = f"/collections/{filled(server)}/snapshots"
    made = server.ask("POST", path).expect()["name"]
    server.ask("DELETE", f"{path}/{made}").expect()
    assert server.ask("GET", path).expect() == []
    assert server.ask("GET", f"{path}/{made}").outcome == f"plain 404 Not found: Snapshot {made} not found"


@pytest.mark.parametrize("name", ["..%2F..%2Fstore.sqlite", "%2Fetc%2Fpasswd", "..%2Fstore.sqlite"])
def test_no_name_leads_out_of_the_folder_of_snapshots(server: Server, name: str) -> None:
    path = f"/collections/{filled(server)}/snapshots"
    server.ask("POST", path).expect()
    assert server.ask("GET", f"{path}/{name}").status == 404


def test_a_tenant_with_rw_takes_snapshots_without_end(server: Server) -> None:
    name = filled(server)
    token = tokens.for_collection(name, "rw")
    made = [server.ask("POST", f"/collections/{name}/snapshots", key=token).status for _ in range(3)]
    assert made == [200, 200, 200]


def test_whoever_does_not_wait_is_not_told_of_a_refusal(server: Server) -> None:
    path = f"/collections/{filled(server)}/snapshots"
    reader = tokens.signed({"access": "r"})
    assert server.ask("POST", f"{path}?wait=false", key=reader).outcome == "202"
    assert server.ask("GET", path).expect() == []
