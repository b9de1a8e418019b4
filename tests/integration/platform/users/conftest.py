from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.platform.server import Database
from tests.integration.platform.users.people import World
from tests.integration.platform.users.people import world as made


@pytest.fixture(scope="module")
async def world(database: Database) -> AsyncIterator[World]:
    async with made(database) as one:
        yield one
