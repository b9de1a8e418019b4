"""A migrated database for each test module of the platform service.

On the newest Postgres; a module that holds on the oldest too says so:

    pytestmark = pytest.mark.parametrize("database", VERSIONS, indirect=True, scope="module")
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bulkhead.platform.database.pools import Pool
from tests.integration.platform.server import VERSIONS, Database, PlatformServer, Servers


@pytest.fixture(scope="session")
async def servers() -> AsyncIterator[Servers]:
    """One per release for the whole folder."""
    running = Servers()
    try:
        yield running
    finally:
        await running.close()


@pytest.fixture(scope="module")
async def database(servers: Servers, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """Of this module alone; its tests share it."""
    server = await servers.of(getattr(request, "param", VERSIONS[0]))
    async with server.migrated_database() as fresh:
        yield fresh


@pytest.fixture(scope="module")
def server(database: Database) -> PlatformServer:
    """That the module's database is on."""
    return database.server


@pytest.fixture(scope="module")
async def api(database: Database) -> AsyncIterator[Pool]:
    """The pool that requests are served from."""
    async with database.pool("api") as opened:
        yield opened


@pytest.fixture(scope="module")
async def worker(database: Database) -> AsyncIterator[Pool]:
    """The pool of what runs beside requests."""
    async with database.pool("worker") as opened:
        yield opened
