"""What only the emulator has: its options, and what it does not emulate."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import urllib3

from hack.plane.certificates import Authority
from hack.plane.emulators.meilisearch.engine import Options
from hack.plane.private import write_private
from tests.contract.meilisearch.conftest import StartServer
from tests.contract.meilisearch.server import REPOSITORY, Server, free_port, real_binary
from tests.contract.meilisearch.world import OWN

pytestmark = pytest.mark.skipif(real_binary() is not None, reason="a real server is there")

MASTER_KEY = "a master key of these tests"


def started(directory: Path, *options: str, master_key: str = MASTER_KEY) -> subprocess.CompletedProcess[str]:
    """Start an emulator that is expected to end at once."""
    command = [sys.executable, "-m", "hack.plane.emulators.meilisearch", f"--port={free_port()}"]
    return subprocess.run(
        [*command, f"--data-dir={directory}", *options],
        cwd=REPOSITORY,
        env={**os.environ, "MEILI_MASTER_KEY": master_key},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_short_master_key_is_refused(tmp_path: Path) -> None:
    ended = started(tmp_path, master_key="fifteen letters")
    assert (ended.returncode, "at least 16 bytes" in ended.stderr) == (1, True)
    assert "fifteen letters" not in ended.stderr


def test_a_data_directory_has_one_server(start_server: StartServer) -> None:
    server = start_server()
    ended = started(server.directory / "data")
    assert (ended.returncode, "is used by another server" in ended.stderr) == (1, True)


def test_another_version_can_be_reported(start_server: StartServer) -> None:
    server = start_server(emulator_options=("--report-version", "1.48.2"))
    assert server.api.master("GET", "/version")["pkgVersion"] == "1.48.2"


def test_it_ends_when_it_is_asked_to(start_server: StartServer) -> None:
    server = start_server()
    with server.api.opened("GET", "/health", None, token=None) as status:
        assert status == 200
        server.stop()
    with pytest.raises(urllib3.exceptions.HTTPError):
        server.api.call("GET", "/health")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "settings/embedders", {"default": {"source": "userProvided", "dimensions": 2}}),
        ("POST", "search", {"filter": "_geoRadius(1, 1, 1)"}),
    ],
)
def test_what_is_not_emulated_is_refused_instead_of_answered_wrongly(
    method: str, path: str, body: object, start_server: StartServer
) -> None:
    server = start_server()
    server.api.done("POST", "/indexes", {"uid": OWN})
    reply = server.api.call(method, f"/indexes/{OWN}/{path}", body, token=server.master_key)
    assert (reply.status, reply.body["code"]) == (501, "not_emulated")


def test_it_speaks_tls(tmp_path: Path) -> None:
    authority = Authority("ca of these tests", datetime.now(UTC))
    own = authority.server("meilisearch")
    certificate = write_private(tmp_path / "server.crt", own.certificate)
    key = write_private(tmp_path / "server.key", own.key)
    options = (f"--tls-cert={certificate}", f"--tls-key={key}")
    with Server(tmp_path, MASTER_KEY, options, ca_pem=authority.certificate) as server:
        assert server.api.url.startswith("https:")
        assert server.api.master("GET", "/indexes")["total"] == 0


def test_the_master_key_is_in_no_representation(tmp_path: Path) -> None:
    assert MASTER_KEY not in repr(Options(tmp_path, MASTER_KEY))


def test_no_secret_is_logged(start_server: StartServer) -> None:
    server = start_server()
    key = server.api.master("POST", "/keys", {"actions": ["search"], "indexes": [OWN], "expiresAt": None})
    server.api.call("GET", "/indexes", token=key["key"])
    server.api.call("POST", "/keys", b"{", token=server.master_key, headers={"Content-Type": "application/json"})
    server.stop()
    assert server.master_key not in server.log()
    assert key["key"] not in server.log()
