"""The one way in which engines are brought from what is seen to what is wanted, for tenants and for servers as a whole.

    look at all  ->  record what is claimed  ->  run each until a last look asks for nothing more

`READY` therefore means read back, not merely acknowledged. (A REVOKE by a non-owner is acknowledged too, and does
nothing.)
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import msgspec
import structlog

from bulkhead.api import labels
from bulkhead.api.conditions import Reason, Status
from bulkhead.api.record import EngineName, Holding
from bulkhead.engines.contract import (
    ClaimFirst,
    Conflict,
    DataMissing,
    Decision,
    Do,
    EngineChanged,
    Invalid,
    Request,
    ServerRequest,
)
from bulkhead.engines.errors import EngineError, Insecure, Refused, Unavailable
from bulkhead.reconcile.key import Key
from bulkhead.reconcile.planes import OpenEngine
from bulkhead.reconcile.report import READY, Verdict, waiting
from bulkhead.reconcile.succession import UNMARKED, acceptance
from bulkhead.reconcile.together import together
from bulkhead.reconcile.unforeseen import Unforeseen, unforeseen
from bulkhead.runtime.gate import BreakerOpen
from bulkhead.runtime.mutations import MayNotAct, Mutations

log = structlog.get_logger(__name__)

ROUNDS = 3
"""Looks after which steps that keep coming back are called what they are: undone by somebody, or without effect."""
ERASE_ROUNDS = 100
"""Parts that are erased in one go, where there is so much that an engine shows it part by part."""


class Subject(Protocol):
    """What is converged on one engine."""

    @property
    def opened(self) -> OpenEngine: ...

    @property
    def holding(self) -> Holding: ...

    def holding_now(self, holding: Holding) -> Subject:
        """The same subject with another holding."""

    async def observe(self) -> Any: ...

    def decide(self, seen: Any) -> Decision: ...


@dataclass(frozen=True, slots=True)
class TenantSubject:
    """One DataCluster's part of an engine."""

    opened: OpenEngine
    request: Request

    @property
    def holding(self) -> Holding:
        return self.request.holding

    def holding_now(self, holding: Holding) -> TenantSubject:
        return replace(self, request=replace(self.request, holding=holding))

    async def observe(self) -> Any:
        return await self.opened.engine.observe(self.request)

    def decide(self, seen: Any) -> Decision:
        return self.opened.engine.decide(self.request, seen)


@dataclass(frozen=True, slots=True)
class ServerSubject:
    """A server as a whole."""

    opened: OpenEngine
    request: ServerRequest

    @property
    def holding(self) -> Holding:
        return self.request.holding

    def holding_now(self, holding: Holding) -> ServerSubject:
        return replace(self, request=replace(self.request, holding=holding))

    async def observe(self) -> Any:
        return await self.opened.engine.observe_server(self.request)

    def decide(self, seen: Any) -> Decision:
        return self.opened.engine.decide_server(self.request, seen)


@dataclass(frozen=True, slots=True)
class Result:
    """What one engine came to."""

    verdict: Verdict
    holding: Holding
    """As it is to be remembered: with the claim and what is provisioned."""
    seen: Any = None
    repaired: bool = False
    """Whether there was something to do; it is done."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look at one engine came to."""

    subject: Subject
    outcome: Decision | EngineError
    seen: Any = None


Findings = Mapping[EngineName, Finding]


async def look(key: Key, subjects: Mapping[EngineName, Subject]) -> Findings:
    """See and decide for every engine, side by side. `key` is parked with an engine that is down."""
    findings = await together(_look(key, subject) for subject in subjects.values())
    return dict(zip(subjects, findings, strict=True))


def claim(key: Key, findings: Findings, at: str) -> Findings:
    """The same findings where free names are claimed as seen absent `at` that time. To be recorded before `finish`."""
    return {name: _claimed(key, finding, at) for name, finding in findings.items()}


async def finish(key: Key, findings: Findings, mutations: Mutations) -> dict[EngineName, Result]:
    """Bring every engine to what is wanted, side by side; one that fails does not stop the others."""
    results = await together(_finish(key, finding, mutations) for finding in findings.values())
    return dict(zip(findings, results, strict=True))


async def erase(key: Key, subject: TenantSubject, mutations: Mutations) -> Verdict:
    """Erase what is ours of one DataCluster and look until nothing of it is left."""
    try:
        return await subject.opened.gate.call(partial(_erase, subject, mutations))
    except MayNotAct:
        raise
    except Exception as error:  # noqa: BLE001 - one engine's surprise must not end the work on the others
        return failure(_failed(key, subject, error))


async def _erase(subject: TenantSubject, mutations: Mutations) -> Verdict:
    engine, request = subject.opened.engine, subject.request
    before: Sequence[Any] = ()
    repeated = 0
    for _ in range(ERASE_ROUNDS):
        decision = engine.decide_removal(request, await engine.observe(request))
        if not isinstance(decision, Do):
            return verdict(engine.name, decision)
        if not decision.steps:
            return READY
        await _perform(subject, decision, mutations)
        repeated += decision.steps == before
        if repeated == ROUNDS - 1:
            raise Refused("what was erased keeps coming back: somebody else writes under these names")
        before = decision.steps
    return waiting(Reason.DELETING, "there is more than is erased at a time: it goes on")


async def _look(key: Key, subject: Subject) -> Finding:
    try:
        seen = await subject.opened.gate.call(subject.observe)
    except Exception as error:  # noqa: BLE001 - one engine's surprise must not end the work on the others
        return Finding(subject, _failed(key, subject, error))
    return _decided(key, subject, seen)


def _failed(key: Key, subject: Subject, error: Exception) -> EngineError:
    """What it means for an engine that `error` came of it. One that is down calls the key back when it answers."""
    if not isinstance(error, EngineError | BreakerOpen):
        error = unforeseen(key, subject.opened.engine.name, error)
    if isinstance(error, EngineError) and not subject.opened.gate.is_open:
        return error
    subject.opened.gate.park(key)
    return Unavailable(str(error))


def _claimed(key: Key, finding: Finding, at: str) -> Finding:
    if not isinstance(finding.outcome, ClaimFirst):
        return finding
    held = finding.subject.holding
    claimed = tuple(sorted({*held.claimed, *finding.outcome.names}))
    holding = msgspec.structs.replace(held, claimed_at=at, claimed=claimed)
    return _decided(key, finding.subject.holding_now(holding), finding.seen)


def reconsidered(key: Key, finding: Finding, subject: Subject) -> Finding:
    """What the same look means for `subject`, which knows more than it did then."""
    return _decided(key, subject, finding.seen)


def _decided(key: Key, subject: Subject, seen: Any) -> Finding:
    try:
        return Finding(subject, subject.decide(seen), seen)
    except Exception as error:  # noqa: BLE001 - one engine's surprise must not end the work on the others
        return Finding(subject, _failed(key, subject, error), seen)


async def _finish(key: Key, finding: Finding, mutations: Mutations) -> Result:
    holding = finding.subject.holding
    if isinstance(finding.outcome, EngineError):
        return Result(failure(finding.outcome), holding)
    opened, started = finding.subject.opened, time.monotonic()
    try:
        work = partial(_run, finding.subject, finding.outcome, finding.seen, mutations)
        decision, seen = await opened.gate.call(work)
    except MayNotAct:
        raise
    except Exception as error:  # noqa: BLE001 - one engine's surprise must not end the work on the others
        return Result(failure(_failed(key, finding.subject, error)), holding)
    if not isinstance(decision, Do):
        return Result(verdict(opened.engine.name, decision), holding, seen)
    steps = finding.outcome.steps if isinstance(finding.outcome, Do) else ()
    if steps:
        seconds = round(time.monotonic() - started, 3)
        log.info(
            "converged",
            key=str(key),
            engine=opened.engine.name.value,
            steps=len(steps),
            seconds=seconds,
        )
    return Result(READY, _complete(holding, decision.provisions), seen, repaired=bool(steps))


def _complete(holding: Holding, provisions: Collection[str]) -> Holding:
    provisioned = {*holding.provisioned, *provisions}
    claimed = tuple(name for name in holding.claimed if name not in provisioned)
    return msgspec.structs.replace(holding, claimed=claimed, provisioned=tuple(sorted(provisioned)))


async def _run(subject: Subject, decision: Decision, seen: Any, mutations: Mutations) -> tuple[Decision, Any]:
    """Steps and looks in turn, until a look asks for nothing more."""
    done: set[str] = set()
    for _ in range(ROUNDS):
        if not isinstance(decision, Do) or not decision.steps:
            return decision, seen
        await _perform(subject, decision, mutations)
        done.update(map(str, decision.steps))
        seen = await subject.observe()
        decision = subject.decide(seen)
    if not isinstance(decision, Do) or not decision.steps:
        return decision, seen
    if isinstance(subject, ServerSubject) and done.isdisjoint(map(str, decision.steps)):
        return decision, seen  # tenants take what a server keeps ready while it is being made: that is no fault of it
    left = ", ".join(str(step) for step in decision.steps)
    raise Refused(f"done and still needed, so somebody undoes it or it has no effect: {left}")


async def _perform(subject: Subject, decision: Do, mutations: Mutations) -> None:
    """Every step is one call through the seam where all mutations are counted."""
    engine = subject.opened.engine
    for step in decision.steps:
        await mutations.perform(engine.name.value, type(step).__name__, partial(engine.act, step))


def verdict(engine: EngineName, decision: Decision) -> Verdict:
    """What a final decision means for the engine's condition, and what a person can do about it."""
    match decision:
        case Do():
            return READY
        case ClaimFirst():
            return waiting(Reason.PROVISIONING, "its names are free; they are claimed first")
        case Conflict(kind, name, owner):
            whose = owner or "it does not bear our stamp"
            return waiting(
                Reason.CONFLICT,
                f'the {kind} "{name}" exists already and is not ours ({whose}); it is left untouched: '
                "rename or remove it, or choose another name for this DataCluster",
            )
        case DataMissing(kind, name):
            return waiting(
                Reason.DATA_MISSING,
                f'the {kind} "{name}" was provisioned and is gone; it is not made anew, for that would hide the loss: '
                f"restore it, or accept an empty one by the annotation bulkhead.dev/recreate={engine.value}",
            )
        case EngineChanged(remembered, found):
            return waiting(
                Reason.ENGINE_CHANGED,
                f'another server answers at this address ("{found or UNMARKED}" instead of "{remembered}"); nothing is '
                "written to it: point the DataPlane back to the server that holds the data, or, if this one has taken "
                f"its place (an upgrade, a restored copy), say so by the annotation {labels.ACCEPT_ENGINE}="
                f"{acceptance(engine, remembered, found)} of the DataPlane",
            )
        case Invalid(field, message):
            return waiting(Reason.INVALID_SPEC, f"{field}: {message}")


def failure(error: EngineError) -> Verdict:
    """What an engine's error means for its condition."""
    if isinstance(error, Unforeseen):
        return Verdict(Status.UNKNOWN, Reason.INTERNAL_ERROR, str(error))
    if isinstance(error, Insecure):
        return waiting(Reason.ENGINE_INSECURE, str(error))
    if isinstance(error, Refused):
        return waiting(Reason.ENGINE_REFUSED, str(error))
    return Verdict(Status.UNKNOWN, Reason.ENGINE_UNAVAILABLE, str(error))
