"""The operator with an engine that has nothing to do: what it costs on Kubernetes objects alone.

    python -m bench.kubernetes_alone operator …

The real program; only the engine that it opens is replaced, through the place that the composition root has for it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from bulkhead import app
from bulkhead.api.names import PhysicalNames
from bulkhead.api.ownership import Stamp
from bulkhead.api.record import Credential, EngineName, Holding
from bulkhead.api.sensitive import Sensitive
from bulkhead.cli.main import main
from bulkhead.engines.contract import Decision, Do, Request, Server, ServerRequest
from bulkhead.reconcile.planes import AdminAccess

PROVISIONED = frozenset({"nothing"})


class IdleEngine:
    """Always in order."""

    name: ClassVar[EngineName] = EngineName.POSTGRES

    async def close(self) -> None:
        """Nothing is open."""

    async def ping(self) -> None:
        """Always there."""

    async def observe_server(self, request: ServerRequest) -> None:  # noqa: ARG002 - protocol
        return None

    def server_of(self, seen: None) -> Server:  # noqa: ARG002 - protocol
        return Server(identity="idle", version="0")

    def decide_server(self, request: ServerRequest, seen: None) -> Decision:  # noqa: ARG002 - protocol
        return Do()

    def credentials(
        self,
        names: PhysicalNames,
        stamp: Stamp,  # noqa: ARG002 - protocol
        holding: Holding,
        now: datetime,  # noqa: ARG002 - protocol
    ) -> tuple[Credential, ...]:
        return holding.credentials or (Credential(generation=1, identity=names.login(1), value=Sensitive("idle")),)

    async def observe(self, request: Request) -> None:  # noqa: ARG002 - protocol
        return None

    def decide(self, request: Request, seen: None) -> Decision:  # noqa: ARG002 - protocol
        return Do((), PROVISIONED)

    def decide_removal(self, request: Request, seen: None) -> Do:  # noqa: ARG002 - protocol
        return Do()

    async def act(self, step: object) -> None:
        raise AssertionError(f"nothing to do, and yet: {step}")

    def binding(self, request: Request) -> Mapping[str, str]:
        return {"type": "postgresql", "username": request.names.login(1), "password": "idle"}

    def fingerprint(self, request: Request) -> str:  # noqa: ARG002 - protocol
        return ""

    async def survey(self) -> Mapping[str, str]:
        return {}


def open_engine(_: EngineName, __: AdminAccess, ___: str) -> IdleEngine:
    """In place of every engine."""
    return IdleEngine()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], app.Seams(open_engine=open_engine)))
