"""The client's own rules, against an API server that misbehaves. What a real one answers is tested with a real one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp
import pytest

from bulkhead.kube.client import CONCURRENT_WRITES, KubeClient, Unrecorded
from bulkhead.kube.errors import Conflict, Disconnected, TooManyRequests, Unavailable
from bulkhead.kube.resources import DATA_CLUSTERS, SECRETS
from tests.kinds import CONFIG_MAPS
from tests.unit.kube.scripted_api import (
    Reply,
    ScriptedApi,
    answer,
    cut,
    hang,
    listed,
    metadata,
    refusal,
    slow,
    text,
)

T = TypeVar("T")

MAP = {"metadata": {"name": "settings"}}
BUSY = refusal(429, "TooManyRequests", headers={"Retry-After": "3"})


class Seam(Unrecorded):
    """Notes what passes it, and lets so many through."""

    def __init__(self, *, lets: int = 1000) -> None:
        self.passed: list[tuple[str, str]] = []
        self._lets = lets

    async def perform(self, target: str, action: str, call: Callable[[], Awaitable[T]]) -> T:
        if len(self.passed) == self._lets:
            raise PermissionError(action)
        self.passed.append((target, action))
        return await call()


async def test_what_the_server_was_too_busy_for_is_sent_again_when_it_says() -> None:
    api, pauses = ScriptedApi(BUSY, BUSY, answer(MAP)), list[float]()
    async with api.client(pauses=pauses) as client:
        assert await client.create(CONFIG_MAPS, MAP, "tenant-acme") == MAP
    assert pauses == [3.0, 3.0]


async def test_a_server_that_stays_too_busy_is_left_alone() -> None:
    api, pauses = ScriptedApi(*[BUSY] * 9), list[float]()
    async with api.client(pauses=pauses) as client:
        with pytest.raises(TooManyRequests):
            await client.get(CONFIG_MAPS, "settings", "tenant-acme")
    assert len(api.requests) == 5


async def test_a_pause_that_the_server_asks_for_is_never_longer_than_ten_seconds() -> None:
    api, pauses = (
        ScriptedApi(refusal(429, "TooManyRequests", headers={"Retry-After": "3600"}), answer(MAP)),
        list[float](),
    )
    async with api.client(pauses=pauses) as client:
        await client.get(CONFIG_MAPS, "settings", "tenant-acme")
    assert pauses == [10.0]


async def test_a_read_whose_connection_broke_is_sent_again() -> None:
    api = ScriptedApi(cut(), cut(), answer(MAP))
    async with api.client() as client:
        assert await client.get(CONFIG_MAPS, "settings", "tenant-acme") == MAP


async def test_a_write_whose_connection_broke_is_not_sent_again() -> None:
    api = ScriptedApi(cut(), answer(MAP))
    async with api.client() as client:
        with pytest.raises(Disconnected, match='while creating configmaps "tenant-acme/settings"'):
            await client.create(CONFIG_MAPS, MAP, "tenant-acme")
    assert len(api.requests) == 1


@pytest.mark.parametrize("code", [500, 503, 504])
async def test_a_failing_server_is_the_callers_to_come_back_to(code: int) -> None:
    api = ScriptedApi(refusal(code, "InternalError"), answer(MAP))
    async with api.client() as client:
        with pytest.raises(Unavailable):
            await client.get(CONFIG_MAPS, "settings", "tenant-acme")
    assert len(api.requests) == 1


async def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    api = ScriptedApi(hang())
    async with api.client(request_seconds=0.1) as client:
        with pytest.raises(Unavailable, match="no answer in time"):
            await client.get(CONFIG_MAPS, "settings", "tenant-acme")


@pytest.mark.parametrize("nonsense", [text("<html>welcome</html>"), answer([1]), text("")])
async def test_an_answer_that_is_no_object_is_not_taken_for_one(nonsense: Reply) -> None:
    async with ScriptedApi(nonsense).client() as client:
        with pytest.raises(Unavailable, match="not from an API server"):
            await client.get(CONFIG_MAPS, "settings", "tenant-acme")


async def test_a_redirection_is_not_followed() -> None:
    api = ScriptedApi(answer({}, 302, {"Location": "/elsewhere"}), answer(MAP))
    async with api.client() as client:
        with pytest.raises(Unavailable, match="HTTP 302"):
            await client.get(CONFIG_MAPS, "settings", "tenant-acme")
    assert len(api.requests) == 1


async def test_a_change_passes_the_seam_each_time_it_is_sent() -> None:
    seam = Seam()
    async with ScriptedApi(BUSY, BUSY, answer(MAP)).client(mutations=seam) as client:
        await client.create(SECRETS, MAP, "tenant-acme")
    assert seam.passed == [("kubernetes", "create secrets")] * 3


async def test_a_change_that_the_seam_no_longer_lets_through_is_not_sent_again() -> None:
    seam, api = Seam(lets=1), ScriptedApi(BUSY, answer(MAP))
    async with api.client(mutations=seam) as client:
        with pytest.raises(PermissionError):
            await client.create(SECRETS, MAP, "tenant-acme")
    assert len(api.requests) == 1


async def test_a_change_that_waited_for_room_passes_the_seam_only_then() -> None:
    seam = Seam(lets=CONCURRENT_WRITES)
    api = ScriptedApi(*[slow(answer(MAP), 0.02)] * CONCURRENT_WRITES)
    async with api.client(mutations=seam) as client:
        calls = [client.create(CONFIG_MAPS, MAP, "tenant-acme") for _ in range(CONCURRENT_WRITES + 1)]
        ended = await asyncio.gather(*calls, return_exceptions=True)
    assert (ended[:-1], type(ended[-1])) == ([MAP] * CONCURRENT_WRITES, PermissionError)
    assert len(api.requests) == CONCURRENT_WRITES


async def test_every_kind_of_change_passes_the_seam_under_a_name_without_names() -> None:
    seam = Seam()
    async with ScriptedApi(*[answer(MAP)] * 5).client(mutations=seam) as client:
        await client.create(SECRETS, MAP, "tenant-acme")
        await client.replace(SECRETS, "binding", MAP, "tenant-acme")
        await client.merge_patch(DATA_CLUSTERS, "acme", {})
        await client.patch_status(DATA_CLUSTERS, "acme", {})
        await client.delete(SECRETS, "binding", "tenant-acme")
    assert [action for _, action in seam.passed] == [
        "create secrets",
        "update secrets",
        "patch dataclusters",
        "patch dataclusters/status",
        "delete secrets",
    ]


async def test_no_read_passes_the_seam() -> None:
    seam = Seam()
    async with ScriptedApi(answer(MAP), answer(MAP), listed()).client(mutations=seam) as client:
        await client.get(SECRETS, "binding", "tenant-acme")
        await client.get_metadata(SECRETS, "binding", "tenant-acme")
        assert [item async for item in client.list(SECRETS)] == []
    assert seam.passed == []


async def test_only_so_many_changes_are_made_at_once() -> None:
    writes = 3 * CONCURRENT_WRITES
    api = ScriptedApi(*[slow(answer(MAP), 0.02)] * writes)
    async with api.client() as client:
        await asyncio.gather(*(client.create(CONFIG_MAPS, MAP, "tenant-acme") for _ in range(writes)))
    assert api.most_in_flight == CONCURRENT_WRITES


async def test_a_status_is_patched_against_the_version_that_it_was_made_for() -> None:
    api = ScriptedApi(refusal(409, "Conflict", name="acme"))
    async with api.client() as client:
        with pytest.raises(Conflict):
            await client.patch_status(DATA_CLUSTERS, "acme", {"phase": "Active"}, resource_version="7")
    assert api.bodies == [{"status": {"phase": "Active"}, "metadata": {"resourceVersion": "7"}}]
    assert api.requests[0].path == "/apis/bulkhead.dev/v1alpha1/dataclusters/acme/status"


async def test_a_deletion_names_the_very_object() -> None:
    api = ScriptedApi(answer({}))
    async with api.client() as client:
        await client.delete(SECRETS, "binding", "tenant-acme", uid="u-1", resource_version="7")
    assert api.bodies[0]["preconditions"] == {"uid": "u-1", "resourceVersion": "7"}


async def test_a_list_is_read_to_its_end() -> None:
    api = ScriptedApi(listed(metadata("a", "1"), continuation="more"), listed(metadata("b", "2")))
    async with api.client() as client:
        names = [item["metadata"]["name"] async for item in client.list(CONFIG_MAPS)]
    assert names == ["a", "b"]
    assert [request.query.get("continue") for request in api.requests] == [None, "more"]


async def test_a_page_whose_items_are_no_objects_is_not_taken_for_one() -> None:
    async with ScriptedApi(answer({"metadata": {}, "items": ["x"]})).client() as client:
        with pytest.raises(Unavailable, match="not from an API server"):
            await anext(client.list(CONFIG_MAPS))


async def test_a_selector_is_quoted() -> None:
    api = ScriptedApi(listed())
    async with api.client() as client:
        assert [item async for item in client.list(CONFIG_MAPS, label_selector="a in (b,c),d!=e&f")] == []
    assert api.query(0)["labelSelector"] == "a in (b,c),d!=e&f"


async def test_a_request_that_is_cancelled_is_not_an_error_of_the_server() -> None:
    async with ScriptedApi(hang()).client() as client:
        task = asyncio.create_task(client.get(CONFIG_MAPS, "settings", "tenant-acme"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_server_that_is_not_there_is_disconnected() -> None:
    async with aiohttp.ClientSession() as session:
        nobody = "http://127.0.0.1:1"
        client = KubeClient(session, nobody, Unrecorded(), observe=lambda *_: None, jitter=lambda: 0.0, sleep=no_pause)
        with pytest.raises(Disconnected, match="ClientConnectorError"):
            await client.get(CONFIG_MAPS, "settings", "tenant-acme")


async def no_pause(_: float) -> None:
    await asyncio.sleep(0)
