"""One server for each file of tests, real or emulated; tests that restart theirs start their own."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from hack.plane.emulators.qdrant.building import built_on_use
from tests.contract.qdrant.server import BOTH_KEYS, Server

# Every worker of the suite imports its tests, and one of them uses it.
with built_on_use():
    import qdrant_client  # noqa: F401

StartServer = Callable[[Mapping[str, str]], Server]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("qdrant"), BOTH_KEYS) as started:
        yield started


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts a server of the test's own with these settings; ended with the test."""
    with ExitStack() as started:
        yield lambda settings: started.enter_context(Server(tmp_path, settings))
