"""The service with a route that answers at SIGUSR1 and a worker that ends at SIGUSR2."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from typing import Any

import uvloop
from structlog import get_logger

from bulkhead.platform import app
from bulkhead.platform.http.route import Call, Response, Route, Unauthenticated
from bulkhead.platform.http.server import Bounds
from bulkhead.platform.settings import Environment
from bulkhead.telemetry import logs

ANYBODY = Unauthenticated("it is a test")


def compose(base: app.Base) -> app.Parts:
    parts = app.parts_of(base)
    told, ended = asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, told.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, ended.set)

    async def wait(_: Call[Any, None]) -> Response:
        get_logger("test").info("waiting")
        await told.wait()
        return Response(200, (), b"waited")

    async def live() -> None:
        try:
            await ended.wait()
        except asyncio.CancelledError:
            get_logger("test").info("flushed")
            raise

    return replace(
        parts,
        rows=(*parts.rows, Route("GET", "/wait", "waits", ANYBODY, wait, seconds=60)),
        workers=(*parts.workers, app.Worker(name="mortal", run=live)),
    )


if __name__ == "__main__":
    logs.configure("info", sys.stdout)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(app.serve(Environment(os.environ).serve(), bounds=Bounds(), compose=compose))
