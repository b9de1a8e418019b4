"""The role that ships: enough for everything, and not one verb more. Runs last, to look back on all other tests too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from bulkhead.kube.resources import (
    DATA_CLUSTERS,
    DATA_PLANES,
    LIMIT_RANGES,
    NAMESPACES,
    NETWORK_POLICIES,
    RESOURCE_QUOTAS,
    ROLE_BINDINGS,
    SECRETS,
    Resource,
)
from hack.plane import installation
from hack.plane.emulation import REPOSITORY
from tests.integration.operator.audit import calls, forbidden
from tests.world import World, eventually

SLUG = "exercised"
HOME = f"tenant-{SLUG}"
CHECKED_BY_OTHERS = ("bind",)
"""Verbs that the API server asks the authorizer about while it serves another call: no call of their own."""

Right = tuple[str, str, str]
"""API group, resource, verb."""


def granted() -> Iterator[Right]:
    """What the shipped roles allow."""
    manifest = (REPOSITORY / "manifests" / "operator-rbac.yaml").read_text()
    for each in yaml.safe_load_all(manifest):
        for rule in each.get("rules", ()):
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    yield from ((group, resource, verb) for verb in rule["verbs"])


@pytest.fixture(scope="module")
async def exercised(world: World) -> World:
    """A life in which everything that the operator can be brought to do is done once."""
    members = [{"kind": "User", "name": "ann", "role": "Owner"}]
    await world.ready_tenants(SLUG, members=members)
    await every_child_is_repaired(world)
    await world.tenant(SLUG, members=[])
    await world.gone(ROLE_BINDINGS, "bulkhead-owner", HOME)
    await egress_is_opened_and_closed(world)
    second = installation.data_plane(world.plane, "spare")
    await installation.apply(world.plane, second)
    await world.plane_ready("spare")
    await world.delete(DATA_PLANES, "spare")
    await world.gone(DATA_PLANES, "spare")
    await world.operator.stop()
    await world.plane.kubectl("delete", "lease", "bulkhead-operator", f"--namespace={installation.NAMESPACE}")
    await world.operator.start()
    await world.remove_tenants(SLUG)
    await world.gone(DATA_CLUSTERS, SLUG)
    return world


async def egress_is_opened_and_closed(world: World) -> None:
    plane = installation.data_plane(world.plane)
    opened = {**plane, "spec": {**plane["spec"], "egress": {"allow": ["203.0.113.0/24"]}}}
    await installation.apply(world.plane, opened)
    await world.tenant(SLUG, dataClusters=[{"name": SLUG, "egress": [{"cidr": "203.0.113.7/32", "ports": [443]}]}])

    async def is_open() -> bool:
        return bool(await world.kube.get_metadata(NETWORK_POLICIES, "allow-egress", HOME))

    await eventually(is_open)
    await world.tenant(SLUG, dataClusters=[{"name": SLUG, "egress": []}])
    await world.gone(NETWORK_POLICIES, "allow-egress", HOME)
    await installation.apply(world.plane, plane)
    await world.plane_ready()
    await world.ready(SLUG)


async def every_child_is_repaired(world: World) -> None:
    """Each kind is edited, and replaced by one that an update can not turn into ours."""
    kubectl = world.plane.kubectl
    for resource, name, edit in (
        (SECRETS, "postgres-binding", '{"data": {"uri": "AAAA"}}'),
        (RESOURCE_QUOTAS, "bulkhead", '{"spec": {"hard": {"pods": "99999"}}}'),
        (LIMIT_RANGES, "bulkhead", '{"spec": {"limits": [{"type": "Pod", "max": {"cpu": "900"}}]}}'),
        (NETWORK_POLICIES, "default-deny", '{"spec": {"policyTypes": ["Ingress"]}}'),
        (ROLE_BINDINGS, "bulkhead-owner", '{"subjects": [{"kind": "User", "name": "eve"}]}'),
    ):
        before = await spec_of(world, resource, name)
        await kubectl("patch", resource.plural, name, f"--namespace={HOME}", "--type=merge", "--patch", edit)
        await until_spec(world, resource, name, before)
    await kubectl("label", "--overwrite", "namespace", HOME, "pod-security.kubernetes.io/enforce=privileged")
    await until_label(world)
    for resource, name, stranger in (
        (SECRETS, "postgres-binding", {"type": "Opaque"}),
        (ROLE_BINDINGS, "bulkhead-owner", {"roleRef": role("bulkhead-viewer"), "subjects": []}),
    ):
        before = await spec_of(world, resource, name)
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **stranger}
        await world.operator.pause()
        await kubectl("delete", resource.plural, name, f"--namespace={HOME}")
        await installation.apply(world.plane, {**body, "metadata": {"name": name, "namespace": HOME}})
        await world.operator.resume()
        await until_spec(world, resource, name, before)


def role(name: str) -> dict[str, str]:
    return {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}


async def spec_of(world: World, resource: Resource, name: str) -> dict[str, Any]:
    found = await world.kube.get(resource, name, HOME)
    return {key: value for key, value in found.items() if key not in ("metadata", "status")}


async def until_spec(world: World, resource: Resource, name: str, wanted: dict[str, Any]) -> None:
    async def as_wanted() -> bool:
        found = await spec_of(world, resource, name)
        assert found == wanted, (resource.plural, name)
        return True

    await eventually(as_wanted)


async def until_label(world: World) -> None:
    async def restricted() -> bool:
        found = await world.kube.get_metadata(NAMESPACES, HOME)
        return bool(found["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted")

    await eventually(restricted)


def test_nothing_that_it_asked_for_was_forbidden(exercised: World) -> None:
    assert len(list(calls(exercised.plane.audit_log))) > 100
    assert forbidden(exercised.plane.audit_log) == []


def test_every_verb_that_is_granted_is_used(exercised: World) -> None:
    used = {(call.group, call.resource, call.verb) for call in calls(exercised.plane.audit_log)}
    unused = {right for right in granted() if right[2] not in CHECKED_BY_OTHERS} - used
    assert unused == set()
