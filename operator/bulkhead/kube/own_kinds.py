"""Keeps the stores of our own kinds equal to the API server: waits for the CRDs, lists, watches, and lists again.

The watch alone is not enough. An object that vanishes while the watch is away gives no event, and a watch can go silent
without ending. So every kind is listed again from time to time: what is gone is dropped, what was missed is taken over,
and a watch that has not shown within a grace period what a list showed is ended and begun anew.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Never, Protocol

import structlog

from bulkhead.api.meta import GROUP, VERSION
from bulkhead.kube.backoff import Backoff
from bulkhead.kube.client import KubeClient
from bulkhead.kube.errors import KubeError
from bulkhead.kube.resources import Resource
from bulkhead.kube.store import Json, ObjectStore
from bulkhead.kube.versions import is_newer
from bulkhead.kube.watch import EventSink, WatchEnded

OnChange = Callable[[Resource, str], None]
"""Takes the kind and name of an object whose newest state is another now; it may be gone. Must not block or raise."""

RELIST_SECONDS = 600.0
GRACE_SECONDS = 60.0
"""Longer than the watch needs to reconnect after an outage of one of its connections."""

_log = structlog.get_logger(__name__)


class Watch(Protocol):
    """A source of events: runs until it is cancelled, or raises WatchEnded."""

    async def run(self) -> None: ...


class OwnKinds:
    """All stores of our own kinds.

    watch_for: makes the watch that reports to the sink it is given
    jitter: a random number in [0, 1)
    """

    def __init__(
        self,
        client: KubeClient,
        stores: Sequence[ObjectStore[Any]],
        *,
        watch_for: Callable[[EventSink], Watch],
        on_change: OnChange,
        jitter: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        relist_seconds: float = RELIST_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._client = client
        self._stores = {store.resource: store for store in stores}
        self._watch = watch_for(self._take)
        self._on_change = on_change
        self._sleep = sleep
        self._relist_seconds = relist_seconds
        self._grace_seconds = grace_seconds
        self._pauses = Backoff(first=1.0, longest=30.0, jitter=jitter)
        self._shown = dict.fromkeys(self._stores, "0")
        self._missing: frozenset[str] = frozenset()
        self.synced = asyncio.Event()
        """Set once every kind was listed completely."""
        self.last_heard = 0.0
        """Time of the running loop at which the API server last showed us anything of our kinds."""

    async def run(self) -> Never:
        """Keep the stores up to date until cancelled."""
        while True:
            try:
                await self._wait_until_served()
                await self._list_all()
                self.synced.set()
                await self._watch_and_relist()
            except (KubeError, WatchEnded) as error:
                _log.warning("watch of own kinds interrupted", error=str(error))
            await self._sleep(self._pauses.pause())

    async def _wait_until_served(self) -> None:
        """Kopf would start without the kind, and never notice that it came."""
        while missing := await self._unserved():
            if missing != self._missing:
                _log.warning(
                    "waiting for CustomResourceDefinitions",
                    missing=sorted(f"{plural}.{GROUP}" for plural in missing),
                    hint="kubectl apply -k manifests/",
                )
            self._missing = missing
            await self._sleep(2.0)
        self._missing = frozenset()

    async def _unserved(self) -> frozenset[str]:
        served = await self._client.served(GROUP, VERSION)
        self._heard()
        return frozenset(resource.plural for resource in self._stores) - served

    async def _watch_and_relist(self) -> None:
        """Ends only by an error: of the watch, of a list, or because the watch shows less than a list did."""
        self._shown = dict.fromkeys(self._stores, "0")
        tasks = (asyncio.ensure_future(self._watch.run()), asyncio.ensure_future(self._relist_forever()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()

    async def _relist_forever(self) -> Never:
        listed = self._newest()
        while True:
            await self._sleep(self._grace_seconds)
            self._check_shown(listed)
            self._pauses.reset()
            await self._sleep(self._relist_seconds)
            with contextlib.suppress(KubeError):
                await self._list_all()
            listed = self._newest()

    def _newest(self) -> dict[Resource, str]:
        """Highest version known of each kind; "0" where there is no object."""
        newest = dict.fromkeys(self._stores, "0")
        for resource, store in self._stores.items():
            for known in store:
                version = known.metadata.resource_version
                newest[resource] = version if is_newer(version, newest[resource]) else newest[resource]
        return newest

    def _check_shown(self, listed: dict[Resource, str]) -> None:
        for resource, version in listed.items():
            if is_newer(version, self._shown[resource]) and self._still_there(resource, version):
                raise WatchEnded(f"the watch of {resource.plural} is silent though there are newer objects")

    def _still_there(self, resource: Resource, version: str) -> bool:
        return any(known.metadata.resource_version == version for known in self._stores[resource])

    async def _list_all(self) -> None:
        for store in self._stores.values():
            await self._list(store)

    async def _list(self, store: ObjectStore[Any]) -> None:
        names: set[str] = set()
        version = ""
        async for page in self._client.pages(store.resource):
            version = page.resource_version
            for raw in page.objects():
                names.add(raw["metadata"]["name"])
                self._put(store, raw)
        self._heard()
        for name in store.retain(names, version):
            self._on_change(store.resource, name)

    def _take(self, resource: Resource, event_type: str | None, raw: Json) -> None:
        """One event of the watch."""
        self._heard()
        store = self._stores[resource]
        version = raw["metadata"]["resourceVersion"]
        if is_newer(version, self._shown[resource]):
            self._shown[resource] = version
        if event_type != "DELETED":
            self._put(store, raw)
        elif store.remove(raw):
            self._on_change(resource, raw["metadata"]["name"])

    def _put(self, store: ObjectStore[Any], raw: Json) -> None:
        if store.put(raw):
            self._on_change(store.resource, raw["metadata"]["name"])

    def _heard(self) -> None:
        self.last_heard = asyncio.get_running_loop().time()
