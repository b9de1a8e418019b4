"""One server for the whole suite, real or emulated; tests that restart or stall theirs start their own."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract.meilisearch.server import Api, Server
from tests.contract.meilisearch.world import World

StartServer = Callable[..., Server]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("meilisearch"), secrets.token_hex(16)) as started:
        yield started


@pytest.fixture(scope="session")
def world(server: Server) -> World:
    made = World(server.api)
    made.build()
    return made


@pytest.fixture
def api(server: Server) -> Api:
    return server.api


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Starts a server of the test's own with these options; ended with the test."""
    with ExitStack() as started:

        def start(*options: str, emulator_options: tuple[str, ...] = ()) -> Server:
            return started.enter_context(Server(tmp_path, secrets.token_hex(16), options, emulator_options))

        yield start
