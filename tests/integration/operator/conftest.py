"""One world for all tests of the operator that leave it as they found it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.operator.audit import forbidden
from tests.integration.operator.engines import Admins
from tests.world import World


@pytest.fixture(scope="package")
async def world() -> AsyncIterator[World]:
    """One that a test leaves as it found it. It ends with the last of them: idle servers would slow down all others."""
    async with World.whole() as world:
        yield world
        assert forbidden(world.plane.audit_log) == []


@pytest.fixture
async def admins(world: World) -> AsyncIterator[Admins]:
    """Who may do anything in the engines of that world."""
    async with Admins.of(world.plane) as admins:
        yield admins


LAST = ("test_rbac.py", "test_crd_removal.py")
"""What looks back on all calls so far, and what no test could use a DataCluster after."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LAST.index(item.path.name) if item.path.name in LAST else -1)
