"""The metadata stream against an API server that misbehaves in every way that was seen."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from timeit import Timer

import pytest

from bulkhead.kube.children import ChildMeta
from bulkhead.kube.client import KubeClient
from bulkhead.kube.metadata_stream import MetadataStream
from bulkhead.kube.resources import SECRETS
from tests.unit.kube.scripted_api import (
    DEADLINE_SECONDS,
    Reply,
    ScriptedApi,
    answer,
    bookmark,
    cut,
    event,
    failure,
    hang,
    listed,
    metadata,
    refusal,
    streamed,
    text,
)


class Follower:
    """A stream that follows a script, and what it reported."""

    def __init__(self, api: ScriptedApi, client: KubeClient, silence_seconds: float) -> None:
        self.api = api
        self.pauses: list[float] = []
        self.reports: list[tuple[str, str, str]] = []
        self.children: list[ChildMeta] = []
        self._reported = asyncio.Event()
        self.stream = MetadataStream(
            client,
            SECRETS,
            on_child=self._report,
            jitter=lambda: 0.0,
            label_selector="app.kubernetes.io/managed-by=bulkhead",
            sleep=self._sleep,
            silence_seconds=silence_seconds,
        )

    async def reported(self, count: int) -> list[tuple[str, str, str]]:
        """What was reported, once it is so much."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while len(self.reports) < count:
                self._reported.clear()
                await self._reported.wait()
        return self.reports

    def _report(self, change: str, child: ChildMeta) -> None:
        self.reports.append((change, child.key.name, child.resource_version))
        self.children.append(child)
        self._reported.set()

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def following(
    *replies: Reply, silence_seconds: float = 5.0, request_seconds: float = 5.0
) -> AsyncIterator[Follower]:
    """A stream that runs for the time of the block."""
    api = ScriptedApi(*replies)
    async with api.client(request_seconds=request_seconds) as client:
        follower = Follower(api, client, silence_seconds)
        task = asyncio.create_task(follower.stream.run())
        try:
            yield follower
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_the_first_list_is_reported_and_then_the_stream_is_synced() -> None:
    async with following(listed(metadata("a", "5"), metadata("b", "7"))) as follower:
        await asyncio.wait_for(follower.stream.synced.wait(), DEADLINE_SECONDS)
        assert follower.reports == [("ADDED", "a", "5"), ("ADDED", "b", "7")]


async def test_an_empty_kind_is_synced_too() -> None:
    async with following(listed()) as follower:
        await asyncio.wait_for(follower.stream.synced.wait(), DEADLINE_SECONDS)
        assert follower.reports == []


async def test_a_stream_that_can_not_list_is_not_synced() -> None:
    async with following(refusal(403, "Forbidden")) as follower:
        await follower.api.received(2)
        assert not follower.stream.synced.is_set()


async def test_a_long_list_is_read_to_its_end() -> None:
    async with following(listed(metadata("a", "5"), continuation="more"), listed(metadata("b", "7"))) as follower:
        await follower.reported(2)
        assert follower.api.query(1)["continue"] == "more"


async def test_only_metadata_and_only_our_objects_are_asked_for() -> None:
    async with following(listed(), streamed(ending="silent")) as follower:
        await follower.api.received(2)
        for request in follower.api.requests:
            assert "as=PartialObjectMetadata" in request.headers["Accept"]
            assert request.query["labelSelector"] == "app.kubernetes.io/managed-by=bulkhead"


async def test_the_watch_begins_where_the_list_ended() -> None:
    async with following(listed(version="42"), streamed(ending="silent")) as follower:
        await follower.api.received(2)
        assert follower.api.query(1)["resourceVersion"] == "42"
        assert follower.api.query(1)["allowWatchBookmarks"] == "true"


async def test_changes_are_reported_as_they_come() -> None:
    events = event("ADDED", "a", "101"), event("MODIFIED", "a", "102"), event("DELETED", "a", "103")
    async with following(listed(), streamed(*events, ending="silent")) as follower:
        assert await follower.reported(3) == [
            ("ADDED", "a", "101"),
            ("MODIFIED", "a", "102"),
            ("DELETED", "a", "103"),
        ]


@pytest.mark.parametrize("ending", ["end", "cut"])
async def test_a_watch_that_ended_is_continued_from_the_last_event(ending: str) -> None:
    first = streamed(event("ADDED", "a", "101"), ending=ending)
    async with following(listed(), first, streamed(event("ADDED", "b", "105"), ending="silent")) as follower:
        assert await follower.reported(2) == [("ADDED", "a", "101"), ("ADDED", "b", "105")]
        assert follower.api.query(2)["resourceVersion"] == "101"
        assert "watch" in follower.api.query(2)


async def test_a_bookmark_moves_the_place_to_continue_from() -> None:
    async with following(listed(), streamed(bookmark("900")), streamed(ending="silent")) as follower:
        await follower.api.received(3)
        assert follower.api.query(2)["resourceVersion"] == "900"


async def test_a_watch_that_goes_silent_is_made_anew_from_the_last_event() -> None:
    silent = streamed(event("ADDED", "a", "101"), ending="silent")
    async with following(listed(), silent, streamed(ending="silent"), silence_seconds=1.0) as follower:
        await follower.api.received(3)
        assert follower.api.query(2)["resourceVersion"] == "101"


async def test_a_watch_that_was_silent_from_the_start_is_made_anew() -> None:
    async with following(
        listed(), streamed(ending="silent"), streamed(ending="silent"), silence_seconds=0.1
    ) as follower:
        await follower.api.received(3)
        assert follower.api.query(2)["resourceVersion"] == "100"


async def test_a_watch_whose_answer_never_begins_is_made_anew() -> None:
    async with following(listed(), hang(), streamed(ending="silent"), request_seconds=1.0) as follower:
        await follower.api.received(3)
        assert follower.api.query(2)["resourceVersion"] == "100"


async def test_an_event_that_was_cut_is_not_reported_and_comes_again() -> None:
    half = json.dumps(event("ADDED", "b", "102")).encode()[:40]
    broken = streamed(event("ADDED", "a", "101"), half, ending="cut")
    async with following(listed(), broken, streamed(event("ADDED", "b", "102"), ending="silent")) as follower:
        assert await follower.reported(2) == [("ADDED", "a", "101"), ("ADDED", "b", "102")]
        assert follower.api.query(2)["resourceVersion"] == "101"


async def test_a_line_that_is_no_event_ends_the_connection_only() -> None:
    async with following(listed(), streamed(b"<html>\n"), streamed(ending="silent")) as follower:
        await follower.api.received(3)
        assert follower.api.query(2)["resourceVersion"] == "100"


async def test_an_event_may_be_longer_than_a_buffer() -> None:
    fields = [{"manager": "kubectl", "fieldsV1": {"f:data": {f"f:{number}": {} for number in range(30_000)}}}]
    long = event("ADDED", "a", "101", managedFields=fields)
    assert len(json.dumps(long)) > 400_000
    async with following(listed(), streamed(long, ending="silent")) as follower:
        await follower.reported(1)
        assert follower.children[0].key.name == "a"


@pytest.mark.parametrize(
    "outdated", [streamed(failure(410, "Expired")), refusal(410, "Expired")], ids=["in the stream", "in the head"]
)
async def test_a_version_that_is_too_old_leads_to_a_new_list(outdated: Reply) -> None:
    again = listed(metadata("a", "101"), metadata("b", "105"), version="200")
    async with following(listed(metadata("a", "5")), outdated, again, streamed(ending="silent")) as follower:
        assert await follower.reported(3) == [("ADDED", "a", "5"), ("MODIFIED", "a", "101"), ("ADDED", "b", "105")]
        await follower.api.received(4)
        assert follower.api.query(3)["resourceVersion"] == "200"


async def test_another_error_in_the_stream_leads_to_a_new_list_too() -> None:
    broken = streamed(event("ADDED", "a", "101"), failure(500, "InternalError"))
    async with following(listed(), broken, listed(metadata("a", "101"), version="200"), streamed()) as follower:
        await follower.api.received(4)
        assert follower.api.query(3)["resourceVersion"] == "200"


async def test_what_vanished_while_nobody_watched_is_reported_as_deleted() -> None:
    outdated, again = streamed(failure(410, "Expired")), listed(metadata("b", "7"), version="200")
    async with following(listed(metadata("a", "5"), metadata("b", "7")), outdated, again) as follower:
        assert (await follower.reported(3))[2] == ("DELETED", "a", "200")


async def test_what_did_not_change_is_not_reported_again() -> None:
    outdated = streamed(failure(410, "Expired"))
    same = metadata("a", "5")
    again = listed(same, metadata("b", "7"), version="200")
    async with following(listed(same), outdated, again, streamed(ending="silent")) as follower:
        await follower.api.received(4)
        assert follower.reports == [("ADDED", "a", "5"), ("ADDED", "b", "7")]


async def test_a_list_whose_continuation_expired_begins_again() -> None:
    first, rest = listed(metadata("a", "5"), continuation="more"), refusal(410, "Expired")
    async with following(first, rest, listed(metadata("a", "5")), streamed(ending="silent")) as follower:
        await follower.api.received(4)
        assert "continue" not in follower.api.query(2)
        assert follower.reports == [("ADDED", "a", "5")]


@pytest.mark.parametrize("nonsense", [text("<html>welcome</html>"), answer([]), answer({"metadata": {}, "items": [1]})])
async def test_a_list_that_is_none_is_asked_for_again(nonsense: Reply) -> None:
    async with following(nonsense, listed(metadata("a", "5"))) as follower:
        assert await follower.reported(1) == [("ADDED", "a", "5")]


async def test_a_server_that_refuses_is_asked_less_and_less_often() -> None:
    async with following(*[refusal(503, "ServiceUnavailable")] * 8, listed()) as follower:
        await follower.api.received(9)
        assert follower.pauses[:8] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


async def test_a_server_that_ends_every_watch_at_once_is_asked_less_and_less_often() -> None:
    async with following(listed(), *[streamed()] * 4) as follower:
        await follower.api.received(6)
        assert follower.pauses[:4] == [0.5, 1.0, 2.0, 4.0]


async def test_an_event_ends_the_backing_off() -> None:
    refused = [refusal(503, "ServiceUnavailable")] * 3
    async with following(listed(), *refused, streamed(bookmark("101")), streamed()) as follower:
        await follower.api.received(7)
        assert follower.pauses[:5] == [0.5, 1.0, 2.0, 0.5, 1.0]


async def test_a_connection_that_breaks_while_listing_is_tried_again() -> None:
    async with following(cut(), listed(metadata("a", "5"))) as follower:
        assert await follower.reported(1) == [("ADDED", "a", "5")]


async def test_an_event_of_an_unknown_type_is_passed_over() -> None:
    strange = event("EXPLODED", "a", "101")
    async with following(listed(), streamed(strange, event("ADDED", "b", "102"), ending="silent")) as follower:
        assert await follower.reported(1) == [("ADDED", "b", "102")]


async def test_an_event_costs_no_more_than_a_few_times_its_json() -> None:
    entry = {
        "manager": "bulkhead",
        "operation": "Update",
        "fieldsV1": {"f:data": {f"f:key-{n}": {} for n in range(10)}},
    }
    labels = {"app.kubernetes.io/managed-by": "bulkhead", "bulkhead.dev/data-cluster-uid": "9b1c", "x": "y"}
    lines = [
        json.dumps(event("ADDED", f"secret-{n}", str(n), labels=labels, managedFields=[entry])).encode()
        for n in range(1000)
    ]
    async with following(listed()) as follower:
        taking, reading = (fastest(partial(every, lines, each)) for each in (follower.stream._take, json.loads))
    assert taking < 6 * reading


def every(lines: list[bytes], take: Callable[[bytes], object]) -> None:
    for line in lines:
        take(line)


def fastest(run: Callable[[], None]) -> float:
    """Seconds of the least disturbed of some runs, without the collector: it has all other tests to look through."""
    return min(Timer(run, timer=time.process_time).repeat(repeat=7, number=1))
