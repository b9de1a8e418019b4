from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.platform.joining.platform import World
from tests.integration.platform.joining.platform import world as made
from tests.integration.platform.server import Database


@pytest.fixture(scope="module")
async def world(database: Database) -> AsyncIterator[World]:
    async with made(database) as one:
        yield one
