"""The service as it ships, but for one thing: whom a service key has authenticated once is remembered by that key.

What it costs less than the real one, at the same heartbeats, is what authentication costs: the look-up with all that
the pool, the driver and Postgres do for it, the comparison, and the note of the last use.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime

import uvloop

from bulkhead.platform import app
from bulkhead.platform.app import Base, Parts
from bulkhead.platform.http.front import Authenticator
from bulkhead.platform.http.incoming import Incoming
from bulkhead.platform.http.route import Joined, Principal, ServiceKey
from bulkhead.platform.http.server import Bounds
from bulkhead.platform.settings import Environment
from bulkhead.telemetry import logs


class Remembering:
    """An authenticator that asks the real one once for each credential."""

    def __init__(self, real: Authenticator) -> None:
        self._real = real
        self._known: dict[str, Joined] = {}

    async def __call__(self, caller: ServiceKey, request: Incoming) -> Principal:
        """Whom it has seen before, as of now: who was heard last at the first look would go offline in time."""
        known = self._known.get(request.bearer)
        if known is not None:
            return replace(known, found=replace(known.found, now=datetime.now(UTC)))
        found = await self._real(caller, request)
        if isinstance(found, Joined):
            self._known[request.bearer] = found
        return found


def compose(base: Base) -> Parts:
    """All parts, with the one that is exchanged."""
    parts = app.parts_of(base)
    remembering = Remembering(parts.authenticators[ServiceKey])
    return replace(parts, authenticators={**parts.authenticators, ServiceKey: remembering})


def main() -> None:
    logs.configure("info", sys.stdout)
    settings = Environment(os.environ).serve()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(app.serve(settings, bounds=Bounds(), compose=compose))


if __name__ == "__main__":
    main()
