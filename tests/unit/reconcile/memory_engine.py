"""A small engine in memory that keeps the whole contract: one database per DataCluster, and what can go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar

from bulkhead.api.names import PhysicalNames
from bulkhead.api.ownership import Stamp
from bulkhead.api.record import Credential, EngineName, Holding
from bulkhead.engines.contract import (
    Access,
    ClaimFirst,
    Conflict,
    DataMissing,
    Decision,
    Do,
    EngineChanged,
    Invalid,
    Request,
    Server,
    ServerRequest,
    engine_changed,
)
from bulkhead.engines.errors import Unavailable
from bulkhead.reconcile.key import Key
from bulkhead.reconcile.planes import OpenEngine
from bulkhead.runtime.gate import Gate


@dataclass(frozen=True, slots=True)
class Database:
    """What lies on the server."""

    stamp: str
    open: bool = True
    files: int = 0
    """What must go before the database can."""


@dataclass(frozen=True, slots=True)
class Seen:
    identity: str
    database: Database | None


@dataclass(frozen=True, slots=True)
class Create:
    name: str
    stamp: str


@dataclass(frozen=True, slots=True)
class SetAccess:
    name: str
    open: bool


@dataclass(frozen=True, slots=True)
class DropFile:
    name: str
    number: int


@dataclass(frozen=True, slots=True)
class Drop:
    name: str


Step = Create | SetAccess | DropFile | Drop


@dataclass
class MemoryEngine:
    """A server with databases."""

    name: ClassVar[EngineName] = EngineName.POSTGRES

    identity: str = "server-1"
    databases: dict[str, Database] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    """Looks and steps in order."""
    closely: list[bool] = field(default_factory=list)
    """Of each look at a DataCluster, whether it was to be a close one."""
    fails: BaseException | None = None
    """Raised by every call."""
    fails_at: str = ""
    """The look or the type of step that alone raises it; empty: all do."""
    for_good: bool = False
    """Once it was raised, every later call raises it too, pings as well."""
    without_effect: bool = False
    """Steps are acknowledged and do nothing."""
    refuses: Invalid | None = None
    closed: bool = False

    async def close(self) -> None:
        self.closed = True

    async def ping(self) -> None:
        self._answer("ping")

    async def observe_server(self, request: ServerRequest) -> Seen:
        self._answer("look")
        return Seen(self.identity, self.databases.get(f"marker of {request.stamp.uid}"))

    def server_of(self, seen: Seen) -> Server:
        return Server(identity=seen.identity, version="1.0")

    def decide_server(self, request: ServerRequest, seen: Seen) -> Decision:
        marker = f"marker of {request.stamp.uid}"
        if changed := engine_changed(request.holding.server, seen.identity):
            return changed
        return Do() if seen.database else Do((Create(marker, str(request.stamp)),))

    def credentials(
        self,
        names: PhysicalNames,  # noqa: ARG002 - contract
        stamp: Stamp,  # noqa: ARG002 - contract
        holding: Holding,
        now: datetime,  # noqa: ARG002 - contract
    ) -> tuple[Credential, ...]:
        return holding.credentials

    async def observe(self, request: Request) -> Seen:
        self._answer("look")
        self.closely.append(request.closely)
        await asyncio.sleep(0)
        return Seen(self.identity, self.databases.get(request.names.database))

    def decide(self, request: Request, seen: Seen) -> Decision:
        holding, name = request.holding, request.names.database
        if seen.identity != holding.server:
            return EngineChanged(holding.server, seen.identity)
        if self.refuses:
            return self.refuses
        if seen.database is None:
            return self._absent(request)
        if seen.database.stamp != str(request.stamp):
            return Conflict("database", name, seen.database.stamp)
        wanted = request.access is Access.OPEN
        steps = () if seen.database.open is wanted else (SetAccess(name, wanted),)
        return Do(steps, frozenset({"database"}))

    def _absent(self, request: Request) -> Decision:
        holding, name = request.holding, request.names.database
        if "database" in holding.provisioned:
            return DataMissing("database", name)
        if request.access is Access.CUT:
            return Do()
        if not holding.claimed_at:
            return ClaimFirst()
        return Do((Create(name, str(request.stamp)), SetAccess(name, open=True)), frozenset({"database"}))

    def decide_removal(self, request: Request, seen: Seen) -> Do | EngineChanged:
        if seen.identity != request.holding.server:
            return EngineChanged(request.holding.server, seen.identity)
        found, name = seen.database, request.names.database
        if found is None or found.stamp != str(request.stamp):
            return Do()
        return Do((DropFile(name, found.files) if found.files else Drop(name),))

    async def act(self, step: Step) -> None:
        self._answer(type(step).__name__)
        await asyncio.sleep(0)
        if self.without_effect:
            return
        match step:
            case Create(name, stamp):
                self.databases[name] = Database(stamp, open=False)
            case SetAccess(name, opened):
                self.databases[name] = replace(self.databases[name], open=opened)
            case DropFile(name, _):
                self.databases[name] = replace(self.databases[name], files=self.databases[name].files - 1)
            case Drop(name):
                del self.databases[name]

    def binding(self, request: Request) -> Mapping[str, str]:
        return {"type": "memory", "database": request.names.database}

    def fingerprint(self, request: Request) -> str:
        return f"{request.names.database} {request.access.value}"

    async def survey(self) -> Mapping[str, str]:
        self._answer("survey")
        return {
            each.stamp.rpartition(":")[2]: f"{name} {'open' if each.open else 'cut'}"
            for name, each in self.databases.items()
        }

    def _answer(self, what: str) -> None:
        self.log.append(what)
        if self.fails and self.fails_at in ("", what):
            self.fails_at = "" if self.for_good else self.fails_at
            raise self.fails


class Gated:
    """An engine behind a real gate, whose prober waits until the test lets it ping."""

    def __init__(self, engine: MemoryEngine) -> None:
        self.engine = engine
        self.recovered: list[Key] = []
        self.may_ping = asyncio.Event()
        self.back = asyncio.Event()
        self.gate: Gate[Key] = Gate(
            "postgres",
            ping=engine.ping,
            unavailable=Unavailable,
            limit=4,
            on_recovered=self.recovered.extend,
            on_change=self._note,
            jitter=lambda: 0.0,
            sleep=self._sleep,
        )
        self.opened = OpenEngine(engine, self.gate, "f-1", engine.identity)

    async def __aenter__(self) -> Gated:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.gate.close()

    async def _sleep(self, _: float) -> None:
        await self.may_ping.wait()

    def _note(self, down: bool) -> None:  # noqa: FBT001 - shape of the gate's observer
        if not down:
            self.back.set()
