"""Keeping the stores equal to the API server while the watch fails in every way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bulkhead.api.tenant import Tenant
from bulkhead.kube.own_kinds import OwnKinds
from bulkhead.kube.resources import TENANTS
from bulkhead.kube.store import ObjectStore
from bulkhead.kube.watch import EventSink, WatchEnded
from tests.unit.kube.scripted_api import (
    DEADLINE_SECONDS,
    Reply,
    ScriptedApi,
    answer,
    listed,
    metadata,
    refusal,
)

Json = dict[str, Any]

SERVED = answer({"resources": [{"name": "tenants"}, {"name": "tenants/status"}]})
UNSERVED = answer({"resources": [{"name": "plans"}]})


def tenant(name: str, version: str) -> Json:
    return {**metadata(name, version), "spec": {}}


class FakeWatch:
    """A watch that shows and ends what and when the test says."""

    def __init__(self, sink: EventSink) -> None:
        self.show = sink
        self.lives = 0
        self.alive = False
        self._end = asyncio.Event()

    async def run(self) -> None:
        self.lives += 1
        self.alive = True
        try:
            await self._end.wait()
        finally:
            self.alive = False
        self._end.clear()
        raise WatchEnded("the watch ended")

    def end(self) -> None:
        self._end.set()


class Scene:
    """Our kinds against a script. Pauses go on only when the test says: `grace`, `relist` and pauses after errors."""

    def __init__(self, api: ScriptedApi) -> None:
        self.api = api
        self.watch: FakeWatch
        self.store = ObjectStore(TENANTS, Tenant)
        self.changes: list[str] = []
        self.kinds: OwnKinds
        self._sleeps: list[tuple[float, asyncio.Future[None]]] = []
        self._asleep = asyncio.Event()

    def watch_for(self, sink: EventSink) -> FakeWatch:
        self.watch = FakeWatch(sink)
        return self.watch

    async def sleep(self, seconds: float) -> None:
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (seconds, waker)
        self._sleeps.append(entry)
        self._asleep.set()
        try:
            await waker
        finally:
            self._sleeps.remove(entry)

    async def asleep(self, seconds: float) -> asyncio.Future[None]:
        """Wait until something sleeps for that long."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not (found := [waker for length, waker in self._sleeps if length == seconds and not waker.done()]):
                self._asleep.clear()
                await self._asleep.wait()
        return found[0]

    async def pass_time(self, seconds: float) -> None:
        """Wait until something sleeps for that long, and let it wake up."""
        (await self.asleep(seconds)).set_result(None)
        await asyncio.sleep(0)

    async def watched(self) -> None:
        """Wait until the watch was begun after a list."""
        await asyncio.wait_for(self.kinds.synced.wait(), DEADLINE_SECONDS)
        await asyncio.sleep(0)

    @property
    def names(self) -> list[str]:
        return sorted(known.metadata.name for known in self.store)


GRACE, RELIST, AFTER_ERROR = 60.0, 600.0, 1.0


@contextlib.asynccontextmanager
async def scene(*replies: Reply) -> AsyncIterator[Scene]:
    api = ScriptedApi(*replies)
    stage = Scene(api)
    async with api.client() as client:
        stage.kinds = OwnKinds(
            client,
            [stage.store],
            watch_for=stage.watch_for,
            on_change=lambda _, name: stage.changes.append(name),
            jitter=lambda: 0.0,
            sleep=stage.sleep,
            relist_seconds=RELIST,
            grace_seconds=GRACE,
        )
        task = asyncio.create_task(stage.kinds.run())
        try:
            yield stage
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_list_fills_the_store_before_the_watch_begins() -> None:
    async with scene(SERVED, listed(tenant("acme", "5"))) as stage:
        await stage.watched()
        assert (stage.names, stage.changes, stage.watch.lives) == (["acme"], ["acme"], 1)


async def test_a_definition_that_is_missing_is_waited_for() -> None:
    async with scene(UNSERVED, UNSERVED, SERVED, listed()) as stage:
        await stage.pass_time(2.0)
        await stage.api.received(2)
        assert (stage.kinds.synced.is_set(), stage.watch.lives) == (False, 0)
        await stage.pass_time(2.0)
        await stage.watched()


async def test_events_of_the_watch_change_the_store() -> None:
    async with scene(SERVED, listed(tenant("acme", "5"))) as stage:
        await stage.watched()
        stage.watch.show(TENANTS, "ADDED", tenant("globex", "6"))
        stage.watch.show(TENANTS, "DELETED", tenant("acme", "7"))
        assert (stage.names, stage.changes) == (["globex"], ["acme", "globex", "acme"])


async def test_an_event_that_is_no_news_is_not_told_of() -> None:
    async with scene(SERVED, listed(tenant("acme", "5"))) as stage:
        await stage.watched()
        stage.watch.show(TENANTS, None, tenant("acme", "5"))
        stage.watch.show(TENANTS, "DELETED", tenant("acme", "4"))
        assert stage.changes == ["acme"]


async def test_a_watch_that_ended_is_begun_again_after_a_list() -> None:
    async with scene(SERVED, listed(tenant("acme", "5")), SERVED, listed(version="200")) as stage:
        await stage.watched()
        stage.watch.end()
        await stage.pass_time(AFTER_ERROR)
        await stage.api.received(4)
        await stage.pass_time(GRACE)
        assert (stage.names, stage.changes, stage.watch.lives) == ([], ["acme", "acme"], 2)


async def test_a_list_from_time_to_time_drops_what_vanished_and_takes_what_was_missed() -> None:
    first = listed(tenant("acme", "5"), tenant("globex", "6"))
    later = listed(tenant("acme", "50"), tenant("initech", "51"), version="200")
    async with scene(SERVED, first, later) as stage:
        await stage.watched()
        stage.watch.show(TENANTS, None, tenant("globex", "6"))
        await stage.pass_time(GRACE)
        await stage.pass_time(RELIST)
        await stage.api.received(3)
        await stage.asleep(GRACE)
        assert (stage.names, sorted(stage.changes[2:])) == (["acme", "initech"], ["acme", "globex", "initech"])
        assert stage.watch.lives == 1


async def test_a_watch_that_does_not_show_what_a_list_showed_is_begun_again() -> None:
    async with scene(SERVED, listed(tenant("acme", "5")), SERVED, listed(tenant("acme", "5"))) as stage:
        await stage.watched()
        await stage.pass_time(GRACE)
        await stage.pass_time(AFTER_ERROR)
        await stage.asleep(GRACE)
        assert (stage.watch.alive, stage.watch.lives) == (True, 2)


async def test_a_watch_that_shows_something_newer_is_left_alone() -> None:
    async with scene(SERVED, listed(tenant("acme", "5"))) as stage:
        await stage.watched()
        stage.watch.show(TENANTS, "ADDED", tenant("globex", "6"))
        await stage.pass_time(GRACE)
        assert (stage.watch.alive, stage.watch.lives) == (True, 1)


async def test_a_list_that_fails_drops_nothing_and_leaves_the_watch_alone() -> None:
    async with scene(SERVED, listed(tenant("acme", "5")), refusal(500, "InternalError")) as stage:
        await stage.watched()
        stage.watch.show(TENANTS, None, tenant("acme", "5"))
        await stage.pass_time(GRACE)
        await stage.pass_time(RELIST)
        await stage.api.received(3)
        await stage.pass_time(GRACE)
        assert (stage.names, stage.watch.lives) == (["acme"], 1)


async def test_a_list_that_ends_in_the_middle_drops_nothing() -> None:
    half = listed(tenant("acme", "5"), continuation="more")
    first = listed(tenant("acme", "5"), tenant("globex", "6"))
    async with scene(SERVED, first, half, refusal(410, "Expired")) as stage:
        await stage.watched()
        stage.watch.show(TENANTS, None, tenant("globex", "6"))
        await stage.pass_time(GRACE)
        await stage.pass_time(RELIST)
        await stage.api.received(4)
        await stage.pass_time(GRACE)
        assert stage.names == ["acme", "globex"]


@pytest.mark.parametrize("refused", [refusal(403, "Forbidden"), refusal(503, "ServiceUnavailable")])
async def test_a_server_that_refuses_at_the_start_is_tried_again(refused: Reply) -> None:
    async with scene(SERVED, refused, SERVED, listed()) as stage:
        await stage.pass_time(AFTER_ERROR)
        await stage.watched()
        assert stage.kinds.synced.is_set()


async def test_ending_ends_the_watch() -> None:
    async with scene(SERVED, listed()) as stage:
        await stage.watched()
        assert stage.watch.alive
    assert not stage.watch.alive
