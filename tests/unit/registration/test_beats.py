"""The one loop of heartbeats, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from bulkhead.protocol.credentials import ServiceKey
from bulkhead.protocol.documents import PROTOCOL
from bulkhead.protocol.heartbeat import PERIOD, Desired, Heartbeat, HeartbeatAnswer, KeyRotation, SnapshotWanted
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.proofs import IdentityKind
from bulkhead.protocol.sync import Delta, IndexRow, Phase, Snapshot, Stream, SyncAnswer, SyncRequest, key
from bulkhead.registration.beats import IN_FLIGHT, LOST_PERIODS, REFUSED_PERIODS, SPREAD, Beats, Member, Told, _skew
from bulkhead.registration.client import Platform
from bulkhead.registration.errors import PlatformError, Refused, Silent, Unintelligible
from bulkhead.registration.silence import FAILURES, PROBE_SECONDS, Silence, Subject
from tests.unit.protocol.gen import KEY, NOW, OTHER_PLATFORM, PLATFORM, TOKEN, UID
from tests.unit.registration import gen
from tests.unit.runtime.virtual_time import in_virtual_time, now

ACME: Subject = ("DataCluster", "acme")
LOST_SECONDS = LOST_PERIODS * PERIOD
REFUSED_SECONDS = REFUSED_PERIODS * PERIOD
STREAM = Stream(epoch=0, number=1)


class FakePlatform(Platform):
    """Answers as it is told, and remembers who called when."""

    def __init__(self, url: str, _ca: str | None, silence: Silence) -> None:
        self.url, self.silence = url, silence
        self.answer = HeartbeatAnswer(server_time=NOW)
        self.error: PlatformError | None = None
        self.sync_error: PlatformError | None = None
        self.seconds = 0.0
        self.beats: list[tuple[float, str]] = []
        self.keys: list[str] = []
        self.syncs: list[Snapshot | Delta] = []
        self.running = self.most = 0
        self.on_close: Callable[[], None] = lambda: None
        self.on_sync: Callable[[], None] = lambda: None

    async def close(self) -> None:
        self.on_close()

    async def heartbeat(self, kind: IdentityKind, identity: str, key: ServiceKey, body: Heartbeat) -> HeartbeatAnswer:
        assert (kind, body.protocol) == (IdentityKind.CLUSTER, PROTOCOL)
        with self.silence.listening():
            self.beats.append((now(), identity))
            self.keys.append(key.id)
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(self.seconds)
            self.running -= 1
            if self.error is not None:
                raise self.error
            return self.answer

    async def sync(self, identity: str, key: ServiceKey, body: SyncRequest) -> SyncAnswer:  # noqa: ARG002 - a protocol
        self.syncs.append(body.change)
        self.on_sync()
        if self.sync_error is not None:
            error, self.sync_error = self.sync_error, None
            raise error
        sequence = body.change.sequence if isinstance(body.change, Delta) else 0
        return SyncAnswer(stream=STREAM, sequence=sequence, server_time=NOW)


@dataclass
class Desk:
    """The loop, what it is told, and whom it had looked at."""

    platform: FakePlatform
    beats: Beats
    looks: list[tuple[Subject, float]] = field(default_factory=list)
    documents: int = 1
    skew: float = 0.0
    said: int = 0

    def looked_at(self, subject: Subject = ACME) -> int:
        return sum(each == subject for each, _ in self.looks)


@contextlib.asynccontextmanager
async def running(members: Iterable[Member] = (), *, jitter: float | Callable[[], float] = 0.5) -> AsyncIterator[Desk]:
    def describe(member: Member) -> Told:
        row = IndexRow(id=UID, documents=desk.documents)
        return Told(beat(member), {key(row): row}, skew=desk.said)

    beats = Beats(
        describe=describe,
        look=lambda subject, seconds: desk.looks.append((subject, seconds)),
        clock=now,
        wall=lambda: NOW + desk.skew,
        jitter=jitter if callable(jitter) else lambda: jitter,
        open_platform=FakePlatform,
    )
    platform = await beats.connect("default", PLATFORM, None)
    assert isinstance(platform, FakePlatform)
    desk = Desk(platform, beats)

    async def roll() -> AsyncIterator[Member]:
        for each in members:
            yield each

    task = asyncio.create_task(beats.run(roll))
    try:
        yield desk
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def beat(member: Member) -> Heartbeat:
    return Heartbeat(
        protocol=PROTOCOL,
        release="0.1.0",
        phase=Phase.ACTIVE,
        engines={},
        applied_generation=member.registration.applied_generation,
        acknowledged_key=member.acknowledged,
    )


def member(name: str = "acme", **registration: Any) -> Member:
    return Member(
        subject=("DataCluster", name),
        uid=f"uid-{name}",
        kind=IdentityKind.CLUSTER,
        plane="default",
        registration=gen.joined(**{"identity": name, **registration}),
        acknowledged=KEY.public.kid,
    )


def refusal(code: Code, **extension: Any) -> Refused:
    return Refused(Problem(code, **extension).document())


@in_virtual_time
async def test_a_member_beats_at_once_and_then_each_period() -> None:
    async with running() as desk:
        desk.beats.enrol(member())
        await asyncio.sleep(100)
        assert [at for at, _ in desk.platform.beats] == [0.0, 30.0, 60.0, 90.0]


@in_virtual_time
async def test_many_that_begin_at_once_are_spread_and_bounded_in_flight() -> None:
    async with running([member(f"c{n}") for n in range(40)], jitter=0.0) as desk:
        desk.platform.seconds = 1.0
        await asyncio.sleep(20)
        assert desk.platform.most == IN_FLIGHT
        assert len({identity for _, identity in desk.platform.beats}) == 40
        assert desk.beats.complete


@in_virtual_time
async def test_a_platform_that_is_slow_keeps_nobody_of_another_plane_waiting() -> None:
    async with running([member(f"c{n}") for n in range(300)]) as desk:
        desk.platform.seconds = 9.0
        well = await desk.beats.connect("other", OTHER_PLATFORM, None)
        assert isinstance(well, FakePlatform)
        desk.beats.enrol(replace(member("well", platform=OTHER_PLATFORM), plane="other"))
        await asyncio.sleep(10 * PERIOD - 1)
        assert [at for at, _ in well.beats] == [n * PERIOD for n in range(10)]
        assert desk.platform.most == IN_FLIGHT


@in_virtual_time
async def test_its_object_is_looked_at_when_it_is_connected_and_never_again_without_news() -> None:
    async with running() as desk:
        desk.beats.enrol(member())
        assert desk.beats.contact("uid-acme") is None
        await asyncio.sleep(600)
        assert desk.looked_at() == 1
        contact = desk.beats.contact("uid-acme")
        assert contact is not None
        assert contact.connected


@in_virtual_time
async def test_a_connection_is_lost_after_three_periods_and_said_once() -> None:
    async with running() as desk:
        desk.beats.enrol(member())
        await asyncio.sleep(10)
        desk.platform.error = Silent("no answer")
        await asyncio.sleep(LOST_SECONDS - 15)
        assert desk.looked_at() == 1
        await asyncio.sleep(600)
        assert desk.looked_at() == 2
        contact = desk.beats.contact("uid-acme")
        assert contact is not None
        assert (contact.connected, contact.code, contact.why) == (False, None, "no answer")
        desk.platform.error = None
        await asyncio.sleep(60)
        assert desk.looked_at() == 3


@in_virtual_time
async def test_while_the_platform_is_silent_one_probe_at_a_time_is_made_for_all() -> None:
    async with running([member(f"c{n}") for n in range(100)]) as desk:
        desk.platform.error = Silent("no answer")
        await asyncio.sleep(300)
        assert len(desk.platform.beats) <= FAILURES + IN_FLIGHT + 300 / PROBE_SECONDS
        assert {subject for subject, _ in desk.looks} == {("DataCluster", f"c{n}") for n in range(100)}
        assert len(desk.looks) == 100


OUTAGES: dict[str, Callable[[], PlatformError]] = {
    "no answer": lambda: Silent("no answer"),
    "garbage": lambda: Unintelligible("a page"),
    "our own 503": lambda: refusal(Code.UNAVAILABLE),
}


@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_of_an_hour_is_said_of_each_and_over_for_each_within_a_period_and_without_a_rush(outage: str) -> None:
    @in_virtual_time
    async def run() -> None:
        names = [f"c{n}" for n in range(MANY)]
        jitter = random.Random(1).random  # noqa: S311 - the same in each run
        async with running(map(member, names), jitter=jitter) as desk:
            await asyncio.sleep(2 * PERIOD)
            desk.platform.error = OUTAGES[outage]()
            await asyncio.sleep(3600)
            assert connected(desk, names) == {False}
            for name in names:
                desk.platform.silence.wait(("DataCluster", f"joins-{name}"))
            desk.platform.error, asked, back = None, len(desk.platform.beats), now()
            await asyncio.sleep(PROBE_SECONDS + (1 + SPREAD) * PERIOD + 1)
            assert connected(desk, names) == {True}
            calls = Counter(int(at) for at, _ in desk.platform.beats[asked:])
            assert max(calls.values()) <= MANY / 4, "they come all at once"
            assert {subject for subject, _ in desk.looks} >= {("DataCluster", name) for name in names}
            joins = sorted(after for (_, name), after in desk.looks if name.startswith("joins-"))
            assert (len(joins), joins[-1] < PERIOD, joins[MANY // 2] > PERIOD / 4) == (MANY, True, True)
            assert now() - back < LOST_SECONDS

    run()


MANY = 50


def connected(desk: Desk, names: Iterable[str]) -> set[bool]:
    return {contact.connected for name in names if (contact := desk.beats.contact(f"uid-{name}"))}


@in_virtual_time
async def test_what_the_platform_says_by_a_code_of_ours_holds_at_once() -> None:
    async with running() as desk:
        desk.beats.enrol(member())
        await asyncio.sleep(10)
        desk.platform.error = refusal(Code.CLUSTER_DELETED)
        await asyncio.sleep(30)
        contact = desk.beats.contact("uid-acme")
        assert contact is not None
        assert (contact.connected, contact.code) == (False, Code.CLUSTER_DELETED)
        assert not desk.beats.has_news("uid-acme")


@pytest.mark.parametrize("code", [Code.BUSY, Code.RATE_LIMITED, Code.UNAVAILABLE, Code.INTERNAL])
def test_a_code_that_decides_nothing_changes_nothing(code: Code) -> None:
    @in_virtual_time
    async def run() -> None:
        async with running() as desk:
            desk.beats.enrol(member())
            await asyncio.sleep(10)
            desk.platform.error = refusal(code, retry_after=40)
            await asyncio.sleep(55)
            assert [at for at, _ in desk.platform.beats] == [0.0, 30.0]
            assert desk.looked_at() == 1

    run()


@in_virtual_time
async def test_a_lost_key_is_news_at_once_and_a_fenced_one_spread_over_minutes() -> None:
    async with running() as desk:
        desk.beats.enrol(member("lost"))
        desk.beats.enrol(member("fenced"))
        desk.platform.error = refusal(Code.KEY_REVOKED)
        await asyncio.sleep(0.1)
        assert desk.beats.has_news("uid-lost")

    async with running() as desk:
        desk.platform.error = refusal(Code.KEY_FENCED)
        desk.beats.enrol(member("fenced"))
        await asyncio.sleep(0.1)
        assert not desk.beats.has_news("uid-fenced")
        assert (("DataCluster", "fenced"), REFUSED_SECONDS / 2 + 1) in desk.looks
        await asyncio.sleep(REFUSED_SECONDS / 2)
        assert desk.beats.has_news("uid-fenced")


@in_virtual_time
async def test_a_new_key_beats_at_once_and_forgets_what_the_old_one_was_told() -> None:
    async with running() as desk:
        desk.platform.error = refusal(Code.KEY_UNKNOWN)
        desk.beats.enrol(member())
        await asyncio.sleep(1)
        desk.platform.error = None
        desk.beats.enrol(member(key_id="0" * 32))
        await asyncio.sleep(1)
        assert desk.platform.keys == [TOKEN.id, "0" * 32]
        assert not desk.beats.has_news("uid-acme")


@in_virtual_time
async def test_a_newer_desired_state_is_news_until_it_is_taken_over() -> None:
    async with running() as desk:
        desk.platform.answer = HeartbeatAnswer(server_time=NOW, desired=Desired(generation=2, suspended=True))
        desk.beats.enrol(member())
        await asyncio.sleep(1)
        assert desk.beats.has_news("uid-acme")
        looks = desk.looked_at()
        await asyncio.sleep(120)
        assert desk.looked_at() == looks, "what fails is tried again by who tries it"
        desk.beats.take_over("uid-acme", gen.joined(identity="acme", applied_generation=2, suspended=True))
        assert not desk.beats.has_news("uid-acme")


@in_virtual_time
async def test_a_rotation_that_is_announced_for_another_key_is_no_news() -> None:
    async with running() as desk:
        rotation = KeyRotation(replaces="0" * 32, before=NOW)
        desk.platform.answer = HeartbeatAnswer(server_time=NOW, rotation=rotation)
        desk.beats.enrol(member())
        await asyncio.sleep(1)
        assert not desk.beats.has_news("uid-acme")
        rotation = KeyRotation(replaces=TOKEN.id, before=NOW)
        desk.platform.answer = HeartbeatAnswer(server_time=NOW, rotation=rotation)
        await asyncio.sleep(30)
        assert desk.beats.has_news("uid-acme")


@in_virtual_time
async def test_metadata_is_sent_whole_once_and_then_only_when_it_changes() -> None:
    async with running() as desk:
        desk.beats.enrol(member())
        await asyncio.sleep(100)
        desk.documents = 2
        await asyncio.sleep(100)
        first, then = desk.platform.syncs
        assert isinstance(first, Snapshot)
        assert isinstance(then, Delta)
        assert then.sequence == 1


@in_virtual_time
async def test_who_does_not_know_the_stream_learns_it_from_the_refusal() -> None:
    async with running() as desk:
        other = Stream(epoch=3, number=9)
        desk.platform.sync_error = refusal(Code.STREAM_SUPERSEDED, stream=other, sequence=4)
        desk.beats.enrol(member())
        await asyncio.sleep(1)
        assert [isinstance(each, Snapshot) and each.replaces for each in desk.platform.syncs] == [None, other]


@in_virtual_time
async def test_a_delta_whose_answer_was_lost_is_sent_again_as_it_was() -> None:
    async with running() as desk:
        desk.beats.enrol(member())
        await asyncio.sleep(1)
        desk.documents = 2
        desk.platform.sync_error = Silent("no answer")
        await asyncio.sleep(30)
        desk.documents = 3
        await asyncio.sleep(60)
        _, sent, again, then = desk.platform.syncs
        assert sent == again
        assert isinstance(then, Delta)
        assert then.sequence == 2


@in_virtual_time
async def test_an_answer_that_comes_after_another_key_spoke_puts_nothing_older_over_what_that_told() -> None:
    async with running() as desk:
        desk.beats.enrol(member())
        await asyncio.sleep(PERIOD - 1)
        desk.documents, desk.platform.seconds = 2, 5.0
        await asyncio.sleep(2)
        desk.documents, desk.platform.seconds = 3, 0.0
        desk.beats.enrol(member(key_id="0" * 32))
        await asyncio.sleep(10)
        assert told(desk) == [1, 3]


@in_virtual_time
async def test_a_refusal_that_comes_after_another_key_spoke_replaces_no_stream() -> None:
    async with running() as desk:
        desk.platform.on_sync = lambda: desk.beats.enrol(member(key_id="0" * 32))
        desk.platform.sync_error = refusal(Code.STREAM_SUPERSEDED, stream=Stream(epoch=3, number=9), sequence=4)
        desk.beats.enrol(member())
        await asyncio.sleep(1)
        assert [isinstance(each, Snapshot) and each.replaces for each in desk.platform.syncs] == [None, None]


def told(desk: Desk) -> list[int | None]:
    """Documents of the index, as each sync told them."""
    changes = [each.rows if isinstance(each, Snapshot) else each.upserts for each in desk.platform.syncs]
    return [row.documents for rows in changes for row in rows if isinstance(row, IndexRow)]


@in_virtual_time
async def test_a_platform_that_takes_longer_than_a_period_is_told_one_thing_at_a_time() -> None:
    async with running() as desk:
        desk.platform.seconds = 2.5 * PERIOD
        desk.beats.enrol(member())
        await asyncio.sleep(20 * PERIOD)
        assert desk.platform.most == 1
        assert len(desk.platform.beats) > 5


@in_virtual_time
async def test_a_snapshot_is_sent_when_the_platform_asks_for_one() -> None:
    async with running() as desk:
        desk.beats.enrol(member())
        await asyncio.sleep(1)
        wanted = SnapshotWanted(replaces=STREAM)
        desk.platform.answer = HeartbeatAnswer(server_time=NOW, snapshot=wanted)
        await asyncio.sleep(30)
        last = desk.platform.syncs[-1]
        assert isinstance(last, Snapshot)
        assert last.replaces == STREAM


@in_virtual_time
async def test_clocks_that_are_an_hour_apart_are_said_and_change_nothing_else() -> None:
    async with running() as desk:
        desk.skew = -3600.0
        desk.beats.enrol(member())
        await asyncio.sleep(1)
        contact = desk.beats.contact("uid-acme")
        assert contact is not None
        assert (contact.connected, contact.skew) == (True, -60)
        desk.skew = -3700.0
        await asyncio.sleep(300)
        assert desk.looked_at() == 1
        desk.beats.enrol(member(key_id="0" * 32))
        contact = desk.beats.contact("uid-acme")
        assert contact is not None
        assert contact.skew == -60, "with another key its clock is no other"


@in_virtual_time
async def test_what_was_said_of_a_clock_before_a_restart_is_not_said_anew_while_it_is_about_right() -> None:
    async with running() as desk:
        desk.skew, desk.said = -3700.0, -60
        desk.beats.enrol(member())
        await asyncio.sleep(1)
        contact = desk.beats.contact("uid-acme")
        assert contact is not None
        assert contact.skew == -60


@pytest.mark.parametrize(
    ("seconds", "said", "minutes"),
    [
        (0, 0, 0),
        (60, 0, 0),
        (61, 0, 1),
        (-61, 0, -1),
        (45, 1, 1),
        (30, 1, 0),
        (3600, 0, 60),
        (3700, 60, 60),
        (20, 60, 0),
        (45, 5, 0),
        (45, -1, 0),
        (-31, 1, 0),
    ],
)
def test_what_is_said_of_a_clock_does_not_change_with_each_heartbeat(seconds: int, said: int, minutes: int) -> None:
    assert _skew(seconds, said) == minutes


@in_virtual_time
async def test_who_was_withdrawn_beats_no_more() -> None:
    async with running() as desk:
        desk.beats.enrol(member())
        await asyncio.sleep(1)
        desk.beats.withdraw("uid-acme")
        await asyncio.sleep(100)
        assert len(desk.platform.beats) == 1


@in_virtual_time
async def test_those_who_waited_for_a_silent_platform_are_looked_at_once_it_answers() -> None:
    async with running() as desk:
        desk.platform.error = Silent("no answer")
        for n in range(FAILURES):
            desk.beats.enrol(member(f"c{n}"))
        await asyncio.sleep(1)
        assert desk.platform.silence.silent
        desk.platform.silence.wait(("DataCluster", "waiting"))
        desk.platform.error = None
        await asyncio.sleep(60)
        assert desk.looked_at(("DataCluster", "waiting")) == 1


@in_virtual_time
async def test_a_plane_whose_platform_is_replaced_has_one_all_the_time() -> None:
    async with running() as desk:
        found: list[Platform | None] = []
        desk.platform.on_close = lambda: found.append(desk.beats.platform("default"))
        other = await desk.beats.connect("default", PLATFORM, "another CA")
        assert found == [other]
