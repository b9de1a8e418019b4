"""One DataCluster and its record, driven through an engine as the reconciler would, without a reconciler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from bulkhead.api.data_cluster import DataClusterSpec, Distance, Embedding, SearchRequest
from bulkhead.api.meta import LocalRef
from bulkhead.api.names import physical_names
from bulkhead.api.ownership import Stamp
from bulkhead.api.plan import PlanSpec, VectorLimits
from bulkhead.api.record import Holding
from bulkhead.engines.contract import Access, ClaimFirst, Decision, Do, Engine, Request, ServerRequest, Step

INSTALLATION = "tests"
PLANE = Stamp(INSTALLATION, "plane-uid")
ROUNDS = 4

AnyEngine = Engine[Any, Any]


async def prepare(engine: AnyEngine, *, proposal: str = "the-identity", remembered: str = "") -> str:
    """Prepare the server as a DataPlane's reconciler does; returns its identity."""
    request = ServerRequest(stamp=PLANE, holding=Holding(server=remembered), proposal=proposal)
    for _ in range(ROUNDS):
        seen = await engine.observe_server(request)
        decision = engine.decide_server(request, seen)
        assert isinstance(decision, Do), decision
        if not decision.steps:
            return engine.server_of(seen).identity
        for step in decision.steps:
            await engine.act(step)
    raise AssertionError("the server is still not prepared")


class Tenant:
    """A DataCluster called `slug`. What it holds in `request.holding` outlives crashes, as the record does."""

    def __init__(
        self,
        engine: AnyEngine,
        slug: str,
        *,
        uid: str = "",
        dimensions: int = 4,
        indexes: tuple[str, ...] = ("entries", "datasets"),
        points: int = 1_000_000,
    ) -> None:
        stamp = Stamp(INSTALLATION, uid or f"uid-of-{slug}")
        self.engine = engine
        self.request = Request(
            stamp=stamp,
            names=physical_names(slug, stamp.uid, indexes, opaque=False),
            spec=DataClusterSpec(
                tenant_ref=LocalRef(name=slug),
                embedding=Embedding(dimensions=dimensions, distance=Distance.COSINE),
                search=SearchRequest(indexes=indexes),
            ),
            plan=PlanSpec(vectors=VectorLimits(points=points)),
            holding=Holding(),
            access=Access.OPEN,
        )

    @classmethod
    async def ready(cls, engine: AnyEngine, slug: str = "acme", *, uid: str = "") -> Tenant:
        """One for whom everything is made."""
        tenant = cls(engine, slug, uid=uid)
        await tenant.settle()
        return tenant

    @property
    def binding(self) -> dict[str, str]:
        return dict(self.engine.binding(self.request))

    def hold(self, **changes: Any) -> None:
        """Change the record."""
        self.request = replace(self.request, holding=msgspec.structs.replace(self.request.holding, **changes))

    def issue(self, now: datetime | None = None) -> None:
        """Take up the credentials that should be in force now."""
        request = self.request
        moment = now or datetime.now(UTC)
        issued = self.engine.credentials(request.names, request.stamp, request.holding, moment)
        self.hold(credentials=issued)

    def rotate(self) -> None:
        """Add a generation."""
        newest = self.request.holding.credentials[-1]
        following = msgspec.structs.replace(newest, generation=newest.generation + 1, signed_by="")
        self.hold(credentials=(*self.request.holding.credentials, following))
        self.issue()

    def retire(self) -> None:
        """Forget all generations but the newest."""
        self.hold(credentials=self.request.holding.credentials[-1:])

    def ask_for(self, *indexes: str) -> None:
        """Change the spec."""
        names, spec = self.request.names, self.request.spec
        self.request = replace(
            self.request,
            names=msgspec.structs.replace(names, indexes=names.listed(indexes)),
            spec=msgspec.structs.replace(spec, search=SearchRequest(indexes=indexes)),
        )

    async def begin(self, steps: int) -> None:
        """Do so many steps of what is to be done, and forget everything but the record."""
        await self._run(await self.steps(), steps, 1)

    async def look(self) -> Decision:
        """What the engine says is to be done, claimed where it asks for that."""
        self.issue()
        seen = await self.engine.observe(self.request)
        decision = self.engine.decide(self.request, seen)
        if isinstance(decision, ClaimFirst):
            claimed = tuple(sorted({*self.request.holding.claimed, *decision.names}))
            self.hold(claimed_at="2026-11-22T12:00:00Z", claimed=claimed, server=seen.server)
            decision = self.engine.decide(self.request, seen)
        return decision

    async def steps(self) -> Sequence[Step]:
        decision = await self.look()
        assert isinstance(decision, Do), decision
        return decision.steps

    async def settle(self, *, crash_after: int | None = None, times: int = 1) -> int:
        """Follow decisions until nothing is left to do; returns how many steps that took.

        `crash_after`: all but the record is forgotten once, after so many steps. `times`: how often each step is done.
        """
        done = 0
        for _ in range(ROUNDS):
            decision = await self.look()
            assert isinstance(decision, Do), decision
            ran = await self._run(decision.steps, None if crash_after is None else crash_after - done, times)
            done += ran
            if ran < len(decision.steps):
                crash_after = None
                continue
            self.hold(provisioned=tuple(sorted({*self.request.holding.provisioned, *decision.provisions})))
            if not decision.steps:
                return done
        raise AssertionError(f"still to do after {ROUNDS} rounds: {await self.steps()}")

    async def cut(self) -> None:
        self.request = replace(self.request, access=Access.CUT)
        await self.settle()

    async def open(self) -> None:
        self.request = replace(self.request, access=Access.OPEN)
        await self.settle()

    async def removal(self) -> Sequence[Step]:
        """What is still to erase."""
        self.request = replace(self.request, access=Access.CUT)
        decision = self.engine.decide_removal(self.request, await self.engine.observe(self.request))
        assert isinstance(decision, Do), decision
        return decision.steps

    async def erase(self, *, crash_after: int | None = None, times: int = 1) -> int:
        """Remove until nothing of ours is left; returns how many steps that took."""
        done = 0
        for _ in range(ROUNDS):
            steps = await self.removal()
            if not steps:
                return done
            ran = await self._run(steps, None if crash_after is None else crash_after - done, times)
            crash_after = None if ran < len(steps) else crash_after
            done += ran
        raise AssertionError(f"still there after {ROUNDS} rounds: {await self.removal()}")

    async def _run(self, steps: Sequence[Step], at_most: int | None, times: int) -> int:
        taken = steps if at_most is None or at_most < 0 else steps[:at_most]
        for step in taken:
            for _ in range(times):
                await self.engine.act(step)
        return len(taken)
