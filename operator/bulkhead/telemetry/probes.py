"""Health, readiness and metrics over HTTP, for the kubelet and Prometheus. Serves nothing that is secret."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Sequence

from aiohttp import web

Check = Callable[[], str]
"""What is wrong, as a sentence; empty where nothing is. Must not block."""

_BEAT_SECONDS = 1.0


class LoopCanary:
    """Measures how late the event loop is, and shows that it turns at all.

    on_lag: told, each second, by how many seconds the loop was late
    """

    def __init__(self, *, on_lag: Callable[[float], None], longest_silence: float = 10.0) -> None:
        self._on_lag = on_lag
        self._longest_silence = longest_silence
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin; called in the loop that is to be watched."""
        loop = asyncio.get_running_loop()
        self._due = loop.time() + _BEAT_SECONDS
        self._timer = loop.call_at(self._due, self._beat)

    def stop(self) -> None:
        """End."""
        if self._timer:
            self._timer.cancel()

    def check(self) -> str:
        """A check for the health of the process."""
        late = asyncio.get_running_loop().time() - self._due
        return f"the event loop is {late:.0f} s late" if late > self._longest_silence else ""

    def _beat(self) -> None:
        self._on_lag(max(0.0, asyncio.get_running_loop().time() - self._due))
        self.start()


class Probes:
    """The three pages.

    healthy: what makes the kubelet restart us; nothing in here that a restart can not mend
    ready: what keeps a rollout waiting
    render_metrics: exposition format of Prometheus
    """

    def __init__(
        self, *, healthy: Sequence[Check], ready: Sequence[Check], render_metrics: Callable[[], bytes]
    ) -> None:
        self._render_metrics = render_metrics
        self._app = web.Application()
        self._app.router.add_get("/healthz", functools.partial(_verdict, healthy))
        self._app.router.add_get("/readyz", functools.partial(_verdict, ready))
        self._app.router.add_get("/metrics", self._metrics)

    @contextlib.asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[int]:
        """Serve for the time of the block, on the port that is given (0: a free one). OSError where it is taken."""
        runner = web.AppRunner(self._app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            yield int(runner.addresses[0][1])
        finally:
            await runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(
            body=self._render_metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )


async def _verdict(checks: Sequence[Check], _: web.Request) -> web.Response:
    problems = [problem for check in checks if (problem := check())]
    return web.Response(status=503, text="\n".join(problems)) if problems else web.Response(text="ok")
