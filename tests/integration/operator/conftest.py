"""One world for all tests of the operator that leave it as they found it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hack.plane.plane import Part, Plane, PlaneOptions
from tests.integration.operator.engines import Admins
from tests.world import World

WITHOUT_WORKLOADS = frozenset(Part) - {Part.WORKLOADS}
LEAVES_NOTHING = "test_while_its_crd_is_being_removed_nothing_is_cut_or_erased"


@pytest.fixture(scope="session")
async def world() -> AsyncIterator[World]:
    """A plane with everything on it, and an operator that runs."""
    async with Plane.start(PlaneOptions(fsync=False, parts=WITHOUT_WORKLOADS)) as plane, World.on(plane) as world:
        await world.plane_ready()
        yield world


@pytest.fixture
async def admins(world: World) -> AsyncIterator[Admins]:
    """Who may do anything in the engines of that world."""
    async with Admins.of(world.plane) as admins:
        yield admins


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks back on the calls of the whole session comes last, and after it what leaves nothing to use."""
    items.sort(key=lambda item: (item.name == LEAVES_NOTHING, item.path.name == "test_rbac.py"))
