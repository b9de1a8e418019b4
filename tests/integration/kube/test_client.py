"""What the client does, and which error it raises, against a real API server."""

from __future__ import annotations

import base64
import contextlib
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bulkhead.api.sensitive import Sensitive
from bulkhead.kube.access import Access, Token, from_service_account
from bulkhead.kube.client import KubeClient
from bulkhead.kube.errors import (
    AlreadyExists,
    Conflict,
    Disconnected,
    Forbidden,
    Invalid,
    NotFound,
    NotServed,
    Terminating,
    Unauthorized,
)
from bulkhead.kube.resources import NAMESPACES, SECRETS, Resource
from hack.plane.plane import Plane
from tests.integration.kube.cluster import (
    Requests,
    access,
    admin,
    client_of,
    config_map,
    fresh,
    namespace_in,
    secret,
)
from tests.kinds import CONFIG_MAPS, SERVICE_ACCOUNTS
from tests.world import eventually

WIDGETS = Resource("example.test", "v1", "widgets", "Widget", namespaced=False)


@dataclass
class World:
    """A client and a namespace to play in."""

    client: KubeClient
    namespace: str
    requests: Requests

    async def config_map(self, name: str = "settings", **data: str) -> dict[str, str]:
        made = await self.client.create(CONFIG_MAPS, config_map(name, data=data), self.namespace)
        metadata: dict[str, str] = made["metadata"]
        return metadata


@pytest.fixture
async def world(plane: Plane) -> AsyncIterator[World]:
    requests = Requests()
    async with client_of(admin(plane), requests) as client, namespace_in(client) as namespace:
        yield World(client, namespace, requests)


async def test_what_was_created_can_be_read(world: World) -> None:
    await world.config_map(color="blue")
    found = await world.client.get(CONFIG_MAPS, "settings", world.namespace)
    assert found["data"] == {"color": "blue"}


async def test_a_name_that_is_taken_is_already_existing(world: World) -> None:
    await world.config_map()
    with pytest.raises(AlreadyExists, match=f'while creating configmaps "{world.namespace}/settings": .*exists'):
        await world.config_map()


async def test_what_is_not_there_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        await world.client.get(CONFIG_MAPS, "absent", world.namespace)


async def test_a_namespace_that_is_not_there_is_not_found(world: World) -> None:
    with pytest.raises(NotFound, match="namespaces"):
        await world.client.create(CONFIG_MAPS, config_map("settings"), fresh("absent"))


async def test_a_kind_that_nobody_serves_is_told_from_an_object_that_is_absent(world: World) -> None:
    with pytest.raises(NotServed):
        await world.client.get(WIDGETS, "absent")
    unknown = CONFIG_MAPS._replace(plural="nonsense")
    with pytest.raises(NotServed):
        await world.client.get(unknown, "absent", world.namespace)


async def test_the_kinds_of_a_group_are_listed_and_an_unknown_group_has_none(world: World) -> None:
    assert "networkpolicies" in await world.client.served("networking.k8s.io", "v1")
    assert await world.client.served("example.test", "v1") == frozenset()


async def test_metadata_of_a_secret_comes_without_its_values(world: World) -> None:
    await world.client.create(SECRETS, secret("binding", password="hunter2"), world.namespace)
    found = await world.client.get_metadata(SECRETS, "binding", world.namespace)
    assert found["kind"] == "PartialObjectMetadata"
    assert "data" not in found


async def test_everything_we_write_is_managed_by_us(world: World) -> None:
    await world.config_map(color="blue")
    await world.client.merge_patch(CONFIG_MAPS, "settings", {"data": {"color": "red"}}, world.namespace)
    found = await world.client.get(CONFIG_MAPS, "settings", world.namespace)
    assert {entry["manager"] for entry in found["metadata"]["managedFields"]} == {"bulkhead"}


async def test_replacing_puts_away_what_others_added(world: World) -> None:
    made = await world.client.create(CONFIG_MAPS, config_map("settings", data={"ours": "1"}), world.namespace)
    await world.client.merge_patch(CONFIG_MAPS, "settings", {"data": {"theirs": "2"}}, world.namespace)
    made["metadata"].pop("resourceVersion")
    replaced = await world.client.replace(CONFIG_MAPS, "settings", made, world.namespace)
    assert replaced["data"] == {"ours": "1"}


async def test_replacing_an_older_version_is_a_conflict(world: World) -> None:
    made = await world.client.create(CONFIG_MAPS, config_map("settings"), world.namespace)
    await world.client.merge_patch(CONFIG_MAPS, "settings", {"data": {"theirs": "2"}}, world.namespace)
    with pytest.raises(Conflict):
        await world.client.replace(CONFIG_MAPS, "settings", made, world.namespace)


async def test_patching_an_older_version_is_a_conflict(world: World) -> None:
    before = await world.config_map()
    await world.client.merge_patch(CONFIG_MAPS, "settings", {"data": {"theirs": "2"}}, world.namespace)
    stale = {"metadata": {"resourceVersion": before["resourceVersion"]}, "data": {"ours": "1"}}
    with pytest.raises(Conflict):
        await world.client.merge_patch(CONFIG_MAPS, "settings", stale, world.namespace)


async def test_the_status_is_patched_through_its_subresource(world: World) -> None:
    status = {"conditions": [{"type": "Watertight", "status": "True"}]}
    patched = await world.client.patch_status(NAMESPACES, world.namespace, status)
    assert patched["status"]["phase"] == "Active"
    assert any(entry.get("subresource") == "status" for entry in patched["metadata"]["managedFields"])


async def test_another_object_of_the_same_name_is_not_deleted(world: World) -> None:
    await world.config_map()
    with pytest.raises(Conflict):
        await world.client.delete(CONFIG_MAPS, "settings", world.namespace, uid="00000000-0000-0000-0000-000000000000")


async def test_an_object_that_changed_since_is_not_deleted(world: World) -> None:
    before = await world.config_map()
    await world.client.merge_patch(CONFIG_MAPS, "settings", {"data": {"theirs": "2"}}, world.namespace)
    with pytest.raises(Conflict):
        await world.client.delete(CONFIG_MAPS, "settings", world.namespace, resource_version=before["resourceVersion"])


async def test_what_was_deleted_is_gone_and_can_not_be_deleted_again(world: World) -> None:
    made = await world.config_map()
    await world.client.delete(CONFIG_MAPS, "settings", world.namespace, uid=made["uid"])
    with pytest.raises(NotFound):
        await world.client.delete(CONFIG_MAPS, "settings", world.namespace, uid=made["uid"])


async def test_a_list_comes_in_chunks_and_is_complete(world: World) -> None:
    # The eighth is the cluster's own, which comes to each namespace a moment after it is made.
    await eventually(lambda: world.client.get(CONFIG_MAPS, "kube-root-ca.crt", world.namespace))
    for number in range(7):
        await world.config_map(f"settings-{number}")
    pages = [
        [item["metadata"]["name"] for item in page.objects()]
        async for page in world.client.pages(CONFIG_MAPS, world.namespace, page_size=3)
    ]
    assert [len(page) for page in pages] == [3, 3, 2]
    assert {name for page in pages for name in page} >= {f"settings-{number}" for number in range(7)}


async def test_a_list_is_selected_by_label(world: World) -> None:
    await world.client.create(CONFIG_MAPS, config_map("ours", labels={"owner": "acme"}), world.namespace)
    await world.config_map("theirs")
    found = world.client.list(CONFIG_MAPS, world.namespace, label_selector="owner=acme")
    assert [item["metadata"]["name"] async for item in found] == ["ours"]


async def test_an_empty_list_of_metadata_is_empty(world: World) -> None:
    found = world.client.list_metadata(SECRETS, world.namespace)
    assert [item async for item in found] == []


async def test_nothing_can_be_created_in_a_namespace_that_is_being_deleted(world: World) -> None:
    held = config_map("held")
    held["metadata"]["finalizers"] = ["example.test/hold"]
    await world.client.create(CONFIG_MAPS, held, world.namespace)
    await world.client.delete(NAMESPACES, world.namespace)
    with pytest.raises(Terminating):
        await world.config_map("too-late")
    await world.client.merge_patch(CONFIG_MAPS, "held", {"metadata": {"finalizers": None}}, world.namespace)


async def test_what_our_role_does_not_allow_is_forbidden(world: World, plane: Plane) -> None:
    async with client_of(access(plane.kubeconfig_for("nobody"))) as client:
        with pytest.raises(Forbidden, match="nobody"):
            await client.get(SECRETS, "binding", world.namespace)


async def test_a_token_that_is_not_accepted_is_unauthorized_and_never_quoted(plane: Plane) -> None:
    wrong = replace(admin(plane), certificate=b"", token=Token(Sensitive("hunter2-hunter2")))
    async with client_of(wrong) as client:
        with pytest.raises(Unauthorized) as caught:
            await client.get(NAMESPACES, "default")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


async def test_what_the_server_says_about_a_secret_does_not_quote_its_values(world: World) -> None:
    content = secret("binding", password="x")
    content["data"] = {"not a key!": base64.b64encode(b"hunter2").decode()}
    with pytest.raises(Invalid, match="FieldValueInvalid") as caught:
        await world.client.create(SECRETS, content, world.namespace)
    assert "hunter2" not in str(caught.value)
    content["data"] = {"password": "hunter2: this is not base64"}
    with pytest.raises(Invalid) as refused:
        await world.client.create(SECRETS, content, world.namespace)
    assert "hunter2" not in str(refused.value)


async def test_a_server_with_another_certificate_authority_is_not_talked_to(plane: Plane) -> None:
    stranger = replace(admin(plane), ca=plane.ca_pem.encode())
    async with client_of(stranger) as client:
        with pytest.raises(Disconnected, match="Certificate"):
            await client.get(NAMESPACES, "default")


@pytest.mark.parametrize("name", ["..", "../secrets/x", "a/b", "a%2fb", "a?b", ""])
async def test_a_hostile_name_never_reaches_the_server(world: World, name: str) -> None:
    before = len(world.requests.seen)
    with pytest.raises(Invalid):
        await world.client.delete(CONFIG_MAPS, name, world.namespace)
    assert len(world.requests.seen) == before


async def test_a_pod_uses_its_service_account(world: World, plane: Plane, tmp_path: Path) -> None:
    pod = await pod_of(world, plane, tmp_path)
    async with client_of(pod) as client:
        with pytest.raises(Forbidden, match=f"system:serviceaccount:{world.namespace}:default"):
            await client.get(SECRETS, "binding", world.namespace)


async def test_a_token_that_was_replaced_on_disk_is_used_at_once(world: World, plane: Plane, tmp_path: Path) -> None:
    pod = await pod_of(world, plane, tmp_path)
    good = (tmp_path / "token").read_text()
    (tmp_path / "token").write_text("expired")
    async with client_of(pod) as client:
        with pytest.raises(Unauthorized):
            await client.get(SECRETS, "binding", world.namespace)
        (tmp_path / "token").write_text(good)
        with pytest.raises(Forbidden):
            await client.get(SECRETS, "binding", world.namespace)


async def pod_of(world: World, plane: Plane, mount: Path) -> Access:
    """Access of a pod in the world's namespace, its service account mounted at `mount`."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    with contextlib.suppress(AlreadyExists):
        await world.client.create(SERVICE_ACCOUNTS, account, world.namespace)
    token = await plane.kubectl("create", "token", "default", f"--namespace={world.namespace}")
    (mount / "token").write_text(f"{token.strip()}\n")
    (mount / "namespace").write_text(world.namespace)
    (mount / "ca.crt").write_bytes(admin(plane).ca)
    host, _, port = plane.api.url.removeprefix("https://").partition(":")
    return from_service_account({"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}, mount)


async def test_a_deletion_without_a_name_does_not_empty_the_collection(world: World) -> None:
    await world.config_map()
    with pytest.raises(Invalid):
        await world.client.delete(CONFIG_MAPS, "", world.namespace)
    assert await world.client.get(CONFIG_MAPS, "settings", world.namespace)


async def test_every_request_is_observed_with_its_outcome(world: World) -> None:
    await world.config_map()
    with pytest.raises(NotFound):
        await world.client.get(CONFIG_MAPS, "absent", world.namespace)
    assert world.requests.seen[-2:] == [("create", "configmaps", 201), ("get", "configmaps", 404)]
