"""List and watch of one kind, metadata only: no content, so no Secret value, ever enters memory by it.

What goes wrong, and what is done:
  the connection breaks, an event is cut    watch again from the last version seen
  the connection goes silent                the same, after a deadline: bookmarks come every minute
  410, in the head or in the stream         list again; what is not listed any more is reported as DELETED
  any other ERROR in the stream             the same
  the server refuses or is away             back off, with jitter
An object that loses the label we select by comes as DELETED, by the API server's own rule.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Never, TypeVar, cast

import msgspec
import structlog

from bulkhead.kube.backoff import Backoff
from bulkhead.kube.children import Change, ChildKey, ChildMeta, PartialObject, child_from
from bulkhead.kube.client import KubeClient
from bulkhead.kube.errors import Disconnected, Gone, KubeError, error_from, status_from
from bulkhead.kube.resources import Resource

OnChild = Callable[[Change, ChildMeta], None]
"""Takes one change. Must not block or raise."""

SILENCE_SECONDS = 90.0
"""An API server sends a bookmark about every minute, the first one later."""
WATCH_SECONDS = 1800
_STEADY_SECONDS = 5.0
"""A connection that lived this long was not refused: the next one is made without delay."""

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Items(msgspec.Struct):
    # `null` where there are none.
    items: list[PartialObject] | None = None


_EVENTS = msgspec.json.Decoder(_Event)
_OBJECTS = msgspec.json.Decoder(PartialObject)
_ITEMS = msgspec.json.Decoder(_Items)


class MetadataStream:
    """One kind, in one namespace or in all, selected by label.

    on_child: told of every change; after a list only of what differs from what was told before
    jitter: a random number in [0, 1)
    """

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        *,
        on_child: OnChild,
        jitter: Callable[[], float],
        label_selector: str = "",
        namespace: str | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self.resource = resource
        self.namespace = namespace
        self.label_selector = label_selector
        self._client = client
        self._on_child = on_child
        self._sleep = sleep
        self._silence_seconds = silence_seconds
        self._pauses = Backoff(first=0.5, longest=30.0, jitter=jitter)
        self._known: dict[ChildKey, ChildMeta] = {}
        self._version = ""
        self.synced = asyncio.Event()
        """Set once the first list is complete."""
        self.last_heard = 0.0
        """Time of the running loop at which the API server last sent anything on this stream, bookmarks too."""

    async def run(self) -> Never:
        """Follow the kind until cancelled."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except Gone:
                self._version = ""
            except Disconnected as error:
                _log.debug("watch disconnected", resource=self.resource.plural, error=str(error))
            except KubeError as error:
                _log.warning("watch interrupted", resource=self.resource.plural, error=str(error))
            await self._sleep(self._pauses.pause())

    async def _list(self) -> None:
        version = ""
        listed: set[ChildKey] = set()
        async for page in self._client.pages(
            self.resource, self.namespace, label_selector=self.label_selector, metadata_only=True
        ):
            version = page.resource_version
            for item in self._decoded(_ITEMS, page.body).items or ():
                child = child_from(self.resource, item.metadata)
                listed.add(child.key)
                self._report("MODIFIED" if child.key in self._known else "ADDED", child)
        for key in self._known.keys() - listed:
            self._report("DELETED", replace(self._known[key], resource_version=version))
        self._version = version
        self._heard()
        self.synced.set()

    async def _watch(self) -> None:
        """One connection; returns when it ends or goes silent."""
        opened = self._now()
        try:
            async with asyncio.timeout(self._silence_seconds) as deadline, self._connection() as lines:
                async for line in lines:
                    deadline.reschedule(self._now() + self._silence_seconds)
                    self._take(line)
        except TimeoutError:
            _log.debug("watch was silent, connecting again", resource=self.resource.plural)
        finally:
            if self._now() - opened > _STEADY_SECONDS:
                self._pauses.reset()

    def _connection(self) -> contextlib.AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._client.watch(
            self.resource,
            self.namespace,
            resource_version=self._version,
            label_selector=self.label_selector,
            seconds=WATCH_SECONDS,
        )

    def _take(self, line: bytes) -> None:
        event = self._decoded(_EVENTS, line)
        if event.type == "ERROR":
            raise self._refusal(bytes(event.object))
        meta = self._decoded(_OBJECTS, event.object).metadata
        self._version = meta.resource_version
        self._heard()
        self._pauses.reset()
        if event.type in ("ADDED", "MODIFIED", "DELETED"):
            self._report(cast("Change", event.type), child_from(self.resource, meta))

    def _refusal(self, status: bytes) -> KubeError:
        # Whatever it is, the version that we stand on is no longer safe.
        self._version = ""
        return error_from(status_from(status).code, status, {}, doing=f"watching {self.resource.plural}")

    def _report(self, change: Change, child: ChildMeta) -> None:
        known = self._known.get(child.key)
        if change == "DELETED":
            self._known.pop(child.key, None)
        elif known and known.resource_version == child.resource_version:
            return
        else:
            self._known[child.key] = child
        self._on_child(change, child)

    def _decoded(self, decoder: msgspec.json.Decoder[T], data: bytes | msgspec.Raw) -> T:
        try:
            return decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Disconnected(f"while watching {self.resource.plural}: an answer was cut") from error

    def _heard(self) -> None:
        self.last_heard = self._now()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
