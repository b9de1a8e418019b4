"""The one loop that keeps planes and data clusters connected: who is due tells how it is, and hears what is wanted.

It changes nothing but the platform's idea of us. What it hears is kept until the flow of the object takes it over, and
the flow is called only where there is something to take over or to say. It holds service keys in memory, because it
needs each every 30 seconds.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from bulkhead.api.record import Registration
from bulkhead.protocol.heartbeat import PERIOD, Heartbeat, HeartbeatAnswer
from bulkhead.protocol.problems import Code
from bulkhead.protocol.proofs import IdentityKind
from bulkhead.registration import decide, streaming
from bulkhead.registration.client import Platform
from bulkhead.registration.decide import NOTHING, Learnt
from bulkhead.registration.errors import PlatformError, Refused
from bulkhead.registration.report import Rows
from bulkhead.registration.silence import Silence, Subject
from bulkhead.registration.streaming import OUT_OF_STEP, Streaming

log = structlog.get_logger(__name__)

SPREAD = 0.2
"""Each period is longer or shorter by up to this part of it."""
LOST_PERIODS = 3
"""Without an accepted heartbeat, after which the connection counts as lost."""
REFUSED_PERIODS = 10
"""Until somebody who was refused tries again, if nothing changes before; and over which a fence's re-joins spread."""
LATE_SECONDS = 1.0
"""After the time from which a step may be taken: timers may be early by the resolution of their clock."""
IN_FLIGHT = 8
"""Heartbeats at once, of one plane: a platform that is slow keeps those of no other waiting."""
SKEW_SECONDS = 60
"""Difference of the clocks that is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One identity that beats.

    plane: name of the DataPlane through whose platform it speaks
    acknowledged: thumbprint of the newest signing key that its Data API was given
    """

    subject: Subject
    uid: str
    kind: IdentityKind
    plane: str
    registration: Registration
    acknowledged: str


@dataclass(frozen=True, slots=True)
class Told:
    """What a member tells: its heartbeat, and of a cluster its metadata.

    skew: minutes by which its status says that the clocks differ
    """

    heartbeat: Heartbeat
    rows: Rows | None = None
    skew: int = 0


@dataclass(frozen=True, slots=True)
class Contact:
    """How a member stands with the platform.

    why: of no connection
    code: the platform's own, where that is why
    skew: minutes by which our clock is ahead of the platform's; 0: not worth saying
    """

    connected: bool
    why: str = ""
    code: Code | None = None
    skew: int = 0


@dataclass(slots=True)
class _Pulse:
    member: Member
    since: float
    due: float
    beating: bool = False
    accepted: float | None = None
    refused: Refused | None = None
    trouble: str = "no heartbeat was answered"
    learnt: Learnt = NOTHING
    work_from: float = 0.0
    skew: int = 0
    said: Contact | None = None
    looked: Learnt = NOTHING
    streaming: Streaming = field(default_factory=Streaming)


class Beats:
    """All members of all planes.

    describe: what a member tells now; None: its object is not there
    look: has the object looked at, in so many seconds
    clock, wall: monotonic seconds; Unix seconds
    jitter: a random number in [0, 1)
    period: seconds between two heartbeats of one member
    """

    def __init__(
        self,
        *,
        describe: Callable[[Member], Told | None],
        look: Callable[[Subject, float], None],
        clock: Callable[[], float],
        wall: Callable[[], float],
        jitter: Callable[[], float],
        period: float = PERIOD,
        open_platform: Callable[[str, str | None, Silence], Platform] = Platform,
    ) -> None:
        self._describe = describe
        self._look = look
        self._clock = clock
        self._wall = wall
        self._jitter = jitter
        self._period = period
        self._open_platform = open_platform
        self._platforms: dict[str, tuple[str, Platform]] = {}
        self._pulses: dict[str, _Pulse] = {}
        self._planes: dict[str, str] = {}
        self._leaving: dict[str, float] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._order = itertools.count()
        self._wake = asyncio.Event()
        self._connected = asyncio.Event()
        self._slots = defaultdict[str, asyncio.Semaphore](partial(asyncio.Semaphore, IN_FLIGHT))
        self.complete = False
        """Whether all that joined before the start are members."""

    async def connect(self, plane: str, url: str, ca_pem: str | None) -> Platform:
        """The platform of a plane; another URL or CA opens another one. Raises Unusable."""
        print_ = f"{url}\n{ca_pem}"
        known = self._platforms.get(plane)
        if known is not None and known[0] == print_:
            return known[1]
        opened = self._open_platform(url, ca_pem, Silence(self._clock, self._silence_ended))
        # Before the other one is closed: who looks meanwhile would take the plane for one without a platform.
        self._platforms[plane] = (print_, opened)
        self._connected.set()
        if known is not None:
            await known[1].close()
        return opened

    async def disconnect(self, plane: str) -> None:
        """The plane has no platform (any more): nobody of it beats."""
        _, platform = self._platforms.pop(plane, ("", None))
        if platform is not None:
            await platform.close()

    def platform(self, plane: str) -> Platform | None:
        """The platform of a plane; None where it has none that can be used."""
        known = self._platforms.get(plane)
        return known[1] if known is not None else None

    async def close(self) -> None:
        """Give all connections back."""
        for plane in tuple(self._platforms):
            await self.disconnect(plane)

    def enrol(self, member: Member, *, spread: bool = False) -> None:
        """Have it beat from now on, or as what it is now. `spread`: it is one of many that begin at once."""
        now = self._clock()
        if member.kind is IdentityKind.PLANE:
            self._planes[member.plane] = member.uid
        pulse = self._pulses.get(member.uid)
        if pulse is not None and _same_key(pulse.member, member):
            pulse.member = member
            return
        first = now + (self._jitter() * self._period if spread else 0.0)
        fresh = _Pulse(member, since=now, due=first)
        if pulse is not None and pulse.member.registration.identity == member.registration.identity:
            fresh.accepted, fresh.said, fresh.streaming = pulse.accepted, pulse.said, pulse.streaming
            fresh.skew = pulse.skew
        self._pulses[member.uid] = fresh
        self._plan(fresh, first)

    def take_over(self, uid: str, registration: Registration) -> None:
        """That is in its record by now."""
        pulse = self._pulses.get(uid)
        if pulse is not None:
            self.enrol(replace(pulse.member, registration=registration))

    def acknowledge(self, uid: str) -> None:
        """Its Data API was given every signing key that is trusted."""
        pulse = self._pulses.get(uid)
        if pulse is not None:
            newest = decide.jwks(pulse.member.registration).newest.kid
            pulse.member = replace(pulse.member, acknowledged=newest)

    def withdraw(self, uid: str) -> None:
        """It beats no more."""
        self._pulses.pop(uid, None)

    def member(self, uid: str) -> Member | None:
        pulse = self._pulses.get(uid)
        return pulse.member if pulse is not None else None

    def plane_member(self, plane: str) -> Member | None:
        """The DataPlane of that name itself, where it has joined."""
        return self.member(self._planes.get(plane, ""))

    def learnt(self, uid: str) -> Learnt:
        """What is to be taken over; `NOTHING` where it is not yet time for it."""
        pulse = self._pulses.get(uid)
        return pulse.learnt if pulse is not None and self._clock() >= pulse.work_from else NOTHING

    def has_news(self, uid: str) -> bool:
        """Whether its record must change, or a step be taken."""
        pulse = self._pulses.get(uid)
        return pulse is not None and decide.wants(pulse.member.registration, self.learnt(uid))

    def contact(self, uid: str) -> Contact | None:
        """How it stands with the platform; None: not known yet, so what was said before stays."""
        pulse = self._pulses.get(uid)
        return self._contact(pulse) if pulse is not None else None

    def leaving_for(self, uid: str) -> float:
        """Seconds since this was first asked of a member that is being deleted."""
        return self._clock() - self._leaving.setdefault(uid, self._clock())

    def left(self, uid: str) -> None:
        """It is gone for good."""
        self._leaving.pop(uid, None)
        self.withdraw(uid)

    async def run(self, roll: Callable[[], AsyncIterator[Member]]) -> None:
        """Beat for ever, as soon as there is a platform. `roll`: all that have joined, read once."""
        await self._connected.wait()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._call(roll))
            while True:
                group.create_task(self._turn(await self._next()))

    async def _call(self, roll: Callable[[], AsyncIterator[Member]]) -> None:
        async for member in roll():
            if member.uid not in self._pulses and member.uid not in self._leaving:
                self.enrol(member, spread=True)
        self.complete = True

    async def _next(self) -> _Pulse:
        while True:
            self._wake.clear()
            while self._heap and self._heap[0][0] <= self._clock():
                due, _, uid = heapq.heappop(self._heap)
                pulse = self._pulses.get(uid)
                if pulse is not None and pulse.due == due:
                    pulse.due = math.inf  # planned twice for one moment, it beats once
                    return pulse
            pause = self._heap[0][0] - self._clock() if self._heap else None
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _turn(self, pulse: _Pulse) -> None:
        # Planned before the call: whatever becomes of it, there is a next time.
        self._plan(pulse, self._clock() + self._next_period())
        try:
            await self._beat_alone(pulse)
        except Exception as error:  # noqa: BLE001 - what one member meets must not end the beats of all
            log.critical("beat_broke", subject="/".join(pulse.member.subject), error=type(error).__name__)
        if self._counts(pulse):
            self._say(pulse)

    async def _beat_alone(self, pulse: _Pulse) -> None:
        """Unless the beat before is still not answered: two at once would tell one change twice, and differently."""
        if pulse.beating:
            return
        pulse.beating = True
        try:
            async with self._slots[pulse.member.plane]:
                await self._beat(pulse)
        finally:
            pulse.beating = False

    async def _beat(self, pulse: _Pulse) -> None:
        member, platform = pulse.member, self.platform(pulse.member.plane)
        told = self._describe(member)
        if platform is None or told is None or platform.url != member.registration.platform:
            return
        held = member.registration
        key = decide.service_key(held)
        try:
            answer = await platform.heartbeat(member.kind, held.identity, key, told.heartbeat)
        except Refused as error:
            self._refused(pulse, error, held.key_id)
            return
        except PlatformError as error:
            pulse.trouble = str(error)
            return
        self._accepted(pulse, answer, told.skew)
        if told.rows is not None:
            await self._sync(pulse, platform, told.rows)

    def _accepted(self, pulse: _Pulse, answer: HeartbeatAnswer, remembered: int) -> None:
        # After a restart the status knows what was said; later it may not be up to that yet.
        said = remembered if pulse.accepted is None else pulse.skew
        pulse.skew = _skew(round(self._wall()) - answer.server_time, said)
        pulse.accepted, pulse.refused = self._clock(), None
        pulse.work_from = 0.0
        rotation = answer.rotation.replaces if answer.rotation is not None else ""
        pulse.learnt = Learnt(desired=answer.desired, links=answer.succession, rotation=rotation)
        if answer.snapshot is not None:
            pulse.streaming = streaming.wanted(pulse.streaming, answer.snapshot.replaces)

    def _refused(self, pulse: _Pulse, error: Refused, key_id: str) -> None:
        if error.transient:
            pulse.trouble = str(error)
            wait = min(error.document.retry_after or 0, REFUSED_PERIODS * self._period)
            self._plan(pulse, max(pulse.due, self._clock() + wait))
            return
        if pulse.refused is None or pulse.refused.code is not error.code:
            fenced = error.code is Code.KEY_FENCED
            pause = self._jitter() * REFUSED_PERIODS * self._period if fenced else 0.0
            pulse.work_from = self._clock() + pause
            self._look(pulse.member.subject, pause + LATE_SECONDS)
        pulse.refused = error
        pulse.learnt = Learnt(refused=error.code, key_id=key_id)
        self._plan(pulse, self._clock() + REFUSED_PERIODS * self._period * (1 + SPREAD * self._jitter()))

    async def _sync(self, pulse: _Pulse, platform: Platform, rows: Rows) -> None:
        held = pulse.member.registration
        for _ in range(2):  # the second time with the number of the stream that the platform has
            if not self._counts(pulse):
                return  # after a late answer: what its successor told since is newer than these rows
            pulse.streaming = streaming.outgoing(pulse.streaming, rows)
            request = pulse.streaming.pending
            if request is None:
                return
            try:
                answer = await platform.sync(held.identity, decide.service_key(held), request)
            except Refused as error:
                if error.code not in OUT_OF_STEP:
                    return
                pulse.streaming = streaming.out_of_step(error.document)
            except PlatformError:
                return
            else:
                pulse.streaming = streaming.answered(pulse.streaming, answer)
                return

    def _counts(self, pulse: _Pulse) -> bool:
        """Whether it is still its member's: with another key that has another one, and none once it was withdrawn."""
        return self._pulses.get(pulse.member.uid) is pulse

    def _say(self, pulse: _Pulse) -> None:
        """Have the object looked at where it has something to take over, or to say that it did not say yet."""
        contact = self._contact(pulse)
        before = pulse.said
        pulse.said = contact if contact is not None else before
        changed = contact is not None and (before is None or _outcome(before) != _outcome(contact))
        learnt = self.learnt(pulse.member.uid)
        news = learnt != pulse.looked and self.has_news(pulse.member.uid)
        if changed or news:
            # Once: what then fails is tried again by who tries it, not by each heartbeat.
            pulse.looked = learnt
            self._look(pulse.member.subject, 0.0)

    def _contact(self, pulse: _Pulse) -> Contact | None:
        if pulse.refused is not None:
            return Contact(connected=False, why=str(pulse.refused), code=pulse.refused.code)
        since = pulse.since if pulse.accepted is None else pulse.accepted
        if self._clock() - since > LOST_PERIODS * self._period:
            return Contact(connected=False, why=pulse.trouble)
        return Contact(connected=True, skew=pulse.skew) if pulse.accepted is not None else None

    def _silence_ended(self, waited: set[Subject]) -> None:
        for subject in waited:
            self._look(subject, self._jitter() * self._period)

    def _next_period(self) -> float:
        return self._period * (1 + SPREAD * (2 * self._jitter() - 1))

    def _plan(self, pulse: _Pulse, due: float) -> None:
        pulse.due = due
        heapq.heappush(self._heap, (due, next(self._order), pulse.member.uid))
        self._wake.set()


def _same_key(one: Member, other: Member) -> bool:
    """Whether it calls as before, so that what it learnt still counts."""
    ours, theirs = one.registration, other.registration
    return (ours.platform, ours.identity, ours.key_id) == (theirs.platform, theirs.identity, theirs.key_id)


def _outcome(contact: Contact) -> Contact:
    """Without the words: a connection is lost once, however many ways there are to say so."""
    return replace(contact, why="")


def _skew(seconds: int, said: int) -> int:
    """Minutes to say. What was said stays while it is about right, or each heartbeat, and each restart, would say
    something else."""
    about_right = bool(said) and abs(seconds / 60 - said) <= max(1.0, abs(said) / 2)
    if abs(seconds) <= (SKEW_SECONDS // 2 if about_right else SKEW_SECONDS):
        return 0
    return said if about_right else round(seconds / 60)
