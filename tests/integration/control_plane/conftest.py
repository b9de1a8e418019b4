"""A control plane with what ships, applied as the README says, and no operator: the tests send requests themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hack.plane.installation import NAMESPACE, SERVICE_ACCOUNT, Installation
from hack.plane.plane import Part, Plane, PlaneOptions

MANIFESTS = Path(__file__).parents[3] / "manifests"


@pytest.fixture(scope="package")
async def plane() -> AsyncIterator[Plane]:
    """One on which `kubectl apply -k manifests/` was done and nothing else. For all tests: each uses names of its own,
    or leaves nothing."""
    async with Plane.start(PlaneOptions(parts=frozenset({Part.KUBERNETES}), fsync=False)) as plane:
        await plane.kubectl("apply", "--warnings-as-errors", "--validate=strict", "-k", str(MANIFESTS))
        await plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", "--all")
        yield plane


@pytest.fixture(scope="package")
async def installed(plane: Plane) -> Installation:
    """By it one may act as the operator."""
    return Installation(plane, await plane.kubeconfig_for_service_account(NAMESPACE, SERVICE_ACCOUNT))
