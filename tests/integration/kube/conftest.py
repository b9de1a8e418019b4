"""A real API server for the tests of how we talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hack.plane.plane import Part, Plane, PlaneOptions


@pytest.fixture(scope="package")
async def plane() -> AsyncIterator[Plane]:
    """etcd, kube-apiserver and kube-controller-manager; one for all tests, each uses names of its own."""
    async with Plane.start(PlaneOptions(parts=frozenset({Part.KUBERNETES}), fsync=False)) as running:
        yield running
