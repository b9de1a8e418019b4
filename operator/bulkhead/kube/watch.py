"""Kopf as the source of events of our own kinds, and as nothing else. The only file that imports it.

Kopf runs in a thread and an event loop of its own. On its way out it cancels every task of its loop that is younger
than itself, also the half-done steps of a reconcile; it takes the signals of the main thread; and it ends by itself,
for instance after `etcdserver: leader changed`. In its own loop it can do all that, and be started again.

That it ends is not left to it either. When one watch fails while another one waits for the head of its answer, Kopf
cancels the other one together with its pause-waiter; it takes that for a pause, watches on, and Kopf waits for it for
ever. So we wait for the first of the root tasks to end, and end the rest ourselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import kopf

from bulkhead.kube.backoff import Backoff
from bulkhead.kube.client import PAGE_SIZE
from bulkhead.kube.resources import Resource

Json = dict[str, Any]
EventSink = Callable[[Resource, str | None, Json], None]
"""Takes resource, event type (None: from Kopf's own list) and object, in the loop of who runs the watch."""

_JOIN_SECONDS = 10.0
_CLOSING_SECONDS = 0.1
_ENDING_ROUNDS = 10
_ENDING_ROUND_SECONDS = 0.7
_ERROR_PAUSES = (1, 2, 4, 8)


class WatchEnded(Exception):
    """Kopf stopped watching, though nobody asked it to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KopfWatch:
    """Watches kinds until it is cancelled, or raises WatchEnded."""

    resources: Sequence[Resource]
    server: str
    open_session: Callable[[], aiohttp.ClientSession]
    """Makes an authenticated session; called in the thread's loop."""
    sink: EventSink
    """Called for every event, in the loop that `run` is awaited in."""
    jitter: Callable[[], float]
    """A random number in [0, 1)."""

    async def run(self) -> None:
        """One life of Kopf."""
        life = _Life(self, asyncio.get_running_loop())
        thread = threading.Thread(target=life.live, name="kopf", daemon=True)
        thread.start()
        try:
            await asyncio.shield(life.ended)
        finally:
            life.stop()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(life.ended), _JOIN_SECONDS)
        raise WatchEnded("the watch of our own kinds ended by itself; its reason is in the log")

    def settings(self) -> kopf.OperatorSettings:
        """What Kopf must not do, and how it lists and watches."""
        settings = kopf.OperatorSettings()
        settings.peering.standalone = True
        settings.scanning.disabled = True
        settings.posting.enabled = False
        settings.watching.chunk_size = PAGE_SIZE
        settings.watching.inactivity_timeout = 70
        settings.queueing.idle_timeout = 0.1
        settings.queueing.exit_timeout = 0.5
        settings.networking.request_timeout = 30
        settings.networking.error_backoffs = _Pauses(self.jitter)
        # It would send SIGKILL to the whole process, not to its thread.
        settings.process.ultimate_exiting_timeout = None
        return settings


class _Life:
    """One thread with one run of Kopf in it."""

    def __init__(self, watch: KopfWatch, loop: asyncio.AbstractEventLoop) -> None:
        self._watch = watch
        self._home = loop
        self._stopping = threading.Event()
        self._flag: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._sessions: list[aiohttp.ClientSession] = []
        self._logins = Backoff(first=1.0, longest=60.0, jitter=watch.jitter)
        self.ended: asyncio.Future[None] = loop.create_future()

    def live(self) -> None:
        """Body of the thread."""
        # Not asyncio.run: that would wait without limit for tasks that do not end.
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(self._operate())
        except Exception:
            logging.getLogger("kopf").exception("the watch of our own kinds failed")
        finally:
            loop.close()
            self._at_home(self._mark_ended)

    def stop(self) -> None:
        """Ask it to end; called from the home loop."""
        self._stopping.set()
        if self._flag:
            loop, flag = self._flag
            # The loop may have closed since.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(flag.set)

    async def _operate(self) -> None:
        flag = asyncio.Event()
        self._flag = (asyncio.get_running_loop(), flag)
        if self._stopping.is_set():
            return
        _quieten()
        try:
            tasks = await kopf.spawn_tasks(
                registry=self._registry(), settings=self._watch.settings(), clusterwide=True, stop_flag=flag
            )
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end_all_tasks()
            for session in self._sessions:
                await session.close()
            # TLS connections of closed watches need a round trip more; the loop would be gone before.
            await asyncio.sleep(_CLOSING_SECONDS)

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._log_in)
        for resource in self._watch.resources:
            decorate = kopf.on.event(
                resource.group, resource.version, resource.plural, id=resource.plural, param=resource, registry=registry
            )
            decorate(self._observe)
        return registry

    async def _log_in(self, **_: object) -> kopf.AiohttpSession:
        """Called at the start and after every 401. Kopf itself would ask again at once, for ever."""
        if self._sessions:
            await asyncio.sleep(self._logins.pause())
        session = self._watch.open_session()
        self._sessions.append(session)
        return kopf.AiohttpSession(server=self._watch.server, aiohttp_session=session)

    async def _observe(self, *, event: kopf.RawEvent, param: Any = None, **_: object) -> None:
        self._at_home(self._watch.sink, param, event["type"], dict(event["object"]))

    def _at_home(self, call: Callable[..., None], *arguments: object) -> None:
        # The home loop is closed when the process is on its way out.
        with contextlib.suppress(RuntimeError):
            self._home.call_soon_threadsafe(call, *arguments)

    def _mark_ended(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class _Pauses:
    """Kopf's pauses after errors of the API server, with jitter; iterated anew for each request."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter

    def __iter__(self) -> Iterator[float]:
        return (pause * (0.5 + self._jitter()) for pause in _ERROR_PAUSES)


async def _end_all_tasks() -> None:
    """End whatever runs in this loop, as far as a few rounds can."""
    for _ in range(_ENDING_ROUNDS):
        tasks = _tasks_to_end()
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_ENDING_ROUND_SECONDS)
    logging.getLogger("kopf").error("an ended watch leaves tasks behind: %d", len(_tasks_to_end()))


def _tasks_to_end() -> set[asyncio.Task[Any]]:
    """All but this one, and but the pause-waiters, which end with the watches that they belong to."""
    current = asyncio.current_task()
    return {
        task for task in asyncio.all_tasks() if task is not current and not task.get_name().startswith("pause-waiter")
    }


def _quieten() -> None:
    """One line per handled event, and per start, is noise; that signals are not taken is what we want."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
