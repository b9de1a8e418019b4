"""A real API server with what ships, and no operator: the tests run the flows themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hack.plane import installation
from hack.plane.installation import Installation
from hack.plane.plane import Part, Plane, PlaneOptions


@pytest.fixture(scope="package")
async def installed() -> AsyncIterator[Installation]:
    """One for all tests, each uses names of its own."""
    async with Plane.start(PlaneOptions(parts=frozenset({Part.KUBERNETES}), fsync=False)) as plane:
        yield await installation.ship(plane)
