"""A user's request to a cluster: decided, recorded, passed on, watched over, and recorded again.

No transaction is open while anything streams. The row of the request is committed before the first byte leaves for the
cluster; if the row of its outcome is missing, a replica died in between. What took long until then is looked at anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from psycopg.rows import tuple_row
from yarl import URL

from bulkhead.platform.audit.actors import actor
from bulkhead.platform.audit.entry import Action, Details, Entry, Target, TargetKind
from bulkhead.platform.audit.intake import Intake
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import look_up
from bulkhead.platform.http.front import UNAVAILABLE, Authenticator
from bulkhead.platform.http.incoming import Left
from bulkhead.platform.http.route import Call, Principal, Response, User, UserWith, permit
from bulkhead.platform.proxy import decide, headers, paths, sql
from bulkhead.platform.proxy import target as targets
from bulkhead.platform.proxy.decide import State
from bulkhead.platform.proxy.forwarding import Limits, Outcome, Passage, Unseen
from bulkhead.platform.proxy.gateways import Gateway, Gateways
from bulkhead.platform.proxy.vouching import Vouching
from bulkhead.platform.signing.sealing import Sealed, Unsealable
from bulkhead.protocol.assertions import path_hash, server_name
from bulkhead.protocol.problems import Code, Problem

log = structlog.get_logger(__name__)

RETRY_SECONDS = 2
SEEN_SECONDS = 3.0
"""A request that has waited for longer, until it is recorded, is looked at once more before it is sent: the database is
slow, and what allowed it may be over."""

UserCall = Call[User, None]


@dataclass(slots=True)
class Room:
    """How many requests run at once, in this process: one slow cluster must not take the places of all others, and
    neither must all those of one organisation."""

    most: int = 1000
    most_of_organisation: int = 250
    most_of_one: int = 100
    _running: Counter[UUID | tuple[UUID, UUID]] = field(default_factory=Counter)
    _all: int = 0

    def enter(self, cluster: UUID, organisation: UUID) -> None:
        """Take a place. Problem where there is none.

        A cluster's are told apart by who asks: that it is another organisation's is found out only afterwards.
        """
        full = (
            self._all >= self.most
            or self._running[organisation] >= self.most_of_organisation
            or self._running[organisation, cluster] >= self.most_of_one
        )
        if full:
            raise Problem(Code.RATE_LIMITED, "too many requests run at once", retry_after=RETRY_SECONDS)
        self._all += 1
        self._running.update((organisation, (organisation, cluster)))

    def leave(self, cluster: UUID, organisation: UUID) -> None:
        """Give a place back."""
        self._all -= 1
        for place in (organisation, (organisation, cluster)):
            self._running[place] -= 1
            if not self._running[place]:
                del self._running[place]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Admitted:
    """A request that may pass."""

    target: targets.Target
    gateway: Gateway
    url: URL
    assertion: str


class Requests:
    """Passes requests on.

    pool: of the log-in that requests are served by
    intake: where they are recorded
    authenticate: as the front does it; for looking again at a request that runs
    clock: seconds of a clock that never goes back
    """

    def __init__(
        self,
        *,
        pool: Pool,
        intake: Intake,
        gateways: Gateways,
        vouching: Vouching,
        authenticate: Authenticator,
        clock: Callable[[], float],
        limits: Limits,
        room: Room,
    ) -> None:
        self._pool = pool
        self._intake = intake
        self._gateways = gateways
        self._vouching = vouching
        self._authenticate = authenticate
        self._clock = clock
        self._limits = limits
        self._room = room

    async def __call__(self, caller: UserWith, call: UserCall) -> Response:
        """Pass one request on, for a row whose caller is `caller`."""
        started, cluster, organisation = self._clock(), call.id("id"), call.caller.organisation_id
        try:
            self._room.enter(cluster, organisation)
        except Problem as problem:
            raise _recorded(call, problem) from None
        try:
            sent, passed = paths.target(call.path["path"], call.request.query), headers.passed(call.request)
            admitted = await self._admit(call, sent)
        except BaseException as error:
            self._room.leave(cluster, organisation)
            if isinstance(error, Problem):
                raise _recorded(call, error) from None
            raise

        async def look() -> None:
            await self._look(caller, call, admitted.target)

        async def ended(outcome: Outcome) -> None:
            self._room.leave(cluster, organisation)
            await self._record_outcome(call, outcome, milliseconds=round((self._clock() - started) * 1000))

        passage = Passage(call.request, admitted.gateway, limits=self._limits, look=look, ended=ended)
        host = server_name(str(cluster))
        status, answered = await passage.send(
            admitted.url,
            headers.sent(passed, call.trace, host=host, assertion=admitted.assertion),
            look_first=self._clock() - started > SEEN_SECONDS,
        )
        return Response(status, answered, passage)

    async def _admit(self, call: UserCall, sent: bytes) -> _Admitted:
        cluster, method = call.id("id"), call.request.method
        state, target = decide.admit(await self._state(call))
        gateway = self._gateway(target)
        url = gateway.url(str(cluster), sent)
        if url is None:
            raise Problem(Code.PATH_REFUSED, "a character that would have to be escaped")
        ring = await self._vouching.ring(call.transaction, state.acknowledged_kid)
        details = Details(method=method, path=path_hash(sent), plane=str(state.plane), source=call.caller.source)
        await self._intake.write(_entry(call, Action.PROXY_REQUESTED, details, name=state.name))
        assertion = self._vouching.assertion(
            ring, state.acknowledged_kid, call.caller, cluster, method, sent, state.now
        )
        return _Admitted(target=target, gateway=gateway, url=url, assertion=assertion)

    def _gateway(self, target: targets.Target) -> Gateway:
        try:
            return self._gateways.of(target)
        except (Unsealable, targets.Unusable) as error:
            log.warning("target_not_usable", plane=str(target.plane), error=type(error).__name__)
            raise Problem(Code.TARGET_UNSET, "what is set can not be used: set it anew") from None

    async def _look(self, caller: UserWith, call: UserCall, target: targets.Target) -> None:
        """Raise the Problem that ends a running request, or Unseen."""
        try:
            principal = await self._authenticate(caller, call.request)
            permit(caller, principal, call.path)
            _same(principal, call.caller)
            state = await self._state(call)
        except UNAVAILABLE as error:
            raise Unseen from error
        except Problem as problem:
            if problem.code.status in {429, 503}:  # the credential could not be looked at
                raise Unseen from problem
            raise
        decide.go_on(state, target)

    async def _state(self, call: UserCall) -> State | None:
        values = (call.caller.organisation_id, call.id("id"))
        return _read(await look_up(self._pool, sql.STATE, values, tuple_row))

    async def _record_outcome(self, call: UserCall, outcome: Outcome, *, milliseconds: int) -> None:
        details = Details(
            code=outcome.why.code.value if isinstance(outcome.why, Problem) else None,
            reason="cut off" if isinstance(outcome.why, Left) else None,
            method=call.request.method,
            status=outcome.status,
            bytes_in=outcome.bytes_in,
            bytes_out=outcome.bytes_out,
            milliseconds=milliseconds,
        )
        try:
            await self._intake.write(_entry(call, Action.PROXY_ENDED, details))
        except UNAVAILABLE as error:
            # The answer is under way, and that the request was made is recorded.
            log.warning("outcome_not_recorded", cluster=call.path["id"], error=type(error).__name__)


def _same(principal: Principal, user: User) -> None:
    if not isinstance(principal, User) or principal.organisation_id != user.organisation_id:
        raise Problem(Code.MEMBERSHIP_MISSING)


def _read(row: tuple[Any, ...] | None) -> State | None:
    if row is None:
        return None
    plane, name, deleted, revoked, suspended, kid, online, granted, plane_revoked, *target, now = row
    return State(
        plane=plane,
        name=name,
        deleted=deleted,
        revoked=revoked,
        suspended=suspended,
        acknowledged_kid=kid,
        online=online,
        granted=granted,
        plane_revoked=plane_revoked,
        target=_target(plane, *target),
        now=now,
    )


def _target(
    plane: UUID, address: str | None, ca: str | None, certificate: str | None, key: bytes | None, under: str | None
) -> targets.Target | None:
    """None: none is set, or one without a certificate of ours, which nothing is sent to."""
    if address is None or ca is None or certificate is None or key is None or under is None:
        return None
    return targets.Target(plane=plane, address=address, ca=ca, certificate=certificate, key=Sealed(bytes(key), under))


def _recorded(call: UserCall, problem: Problem) -> Problem:
    """`problem`, which the front then records."""
    details = Details(code=problem.code.value, method=call.request.method)
    problem.audit = _entry(call, Action.PROXY_REFUSED, details)
    return problem


def _entry(call: UserCall, action: Action, details: Details, *, name: str = "") -> Entry:
    return Entry(
        action=action,
        organisation=str(call.caller.organisation_id),
        actor=actor(call.caller, call.source),
        target=Target(kind=TargetKind.CLUSTER, id=call.path["id"], name=name),
        details=details,
    )
