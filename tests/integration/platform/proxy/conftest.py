"""A yard for each module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bulkhead.platform.database.pools import Pool
from tests.integration.platform.desk import user
from tests.integration.platform.proxy.gen import Yard, yard
from tests.integration.platform.server import Database


@pytest.fixture(scope="module")
async def grounds(database: Database, api: Pool, worker: Pool) -> AsyncIterator[Yard]:
    """One plane for the whole module; each test has its own clusters."""
    async with yard(database, api, worker) as made:
        made.people |= {
            "writer": user(made.organisation, "DATASET_READ", "DATASET_WRITE"),
            "reader": user(made.organisation, "DATASET_READ"),
        }
        yield made
