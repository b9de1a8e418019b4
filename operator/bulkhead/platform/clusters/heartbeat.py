"""`POST …/heartbeat`. One look-up, which authentication made, answers somebody who is online and has no news."""

from __future__ import annotations

from dataclasses import dataclass

from bulkhead.platform.clusters import decide, sql, streams
from bulkhead.platform.clusters.decide import MOST_APPLIED, Standing
from bulkhead.platform.clusters.liveness import Liveness
from bulkhead.platform.clusters.report import Report
from bulkhead.platform.http.route import Call, Joined
from bulkhead.platform.keys.service_key import FoundKey
from bulkhead.platform.signing.ring import Ring
from bulkhead.protocol.documents import encode
from bulkhead.protocol.heartbeat import Heartbeat, HeartbeatAnswer, SnapshotWanted
from bulkhead.protocol.sync import Stream

HeartbeatCall = Call[Joined, Heartbeat]


@dataclass(slots=True)
class Announced:
    """The assertion keys as this replica last read them. ring: None: not read yet, so nothing is announced"""

    ring: Ring | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeats:
    """Hears planes and clusters."""

    liveness: Liveness
    announced: Announced

    async def __call__(self, call: HeartbeatCall) -> HeartbeatAnswer:
        """What the sender is to know. Raises Problem."""
        found: FoundKey = call.caller.found
        self.liveness.listen()
        await self._hear(call, found)
        if _is_news(call.body, found):
            await _remember(call)
        return self._answer(call.body, found)

    async def _hear(self, call: HeartbeatCall, found: FoundKey) -> None:
        report = Report.of(call.body)
        if found.online:
            self.liveness.heard(found.identity_id, found.now, report)
            return
        tx = await call.tx()
        await tx.execute(sql.COME_ONLINE, {"id": found.identity_id, "report": encode(report).decode()})

    def _answer(self, beat: Heartbeat, found: FoundKey) -> HeartbeatAnswer:
        ring = self.announced.ring
        return HeartbeatAnswer(
            server_time=int(found.now.timestamp()),
            desired=standing.desired if (standing := _standing(beat, found)) else None,
            succession=ring.links_after(beat.acknowledged_key) if ring else (),
            snapshot=_snapshot(found),
            rotation=decide.rotation(found.id, expires_at=found.expires_at, retires_at=found.retires_at, now=found.now),
        )


def _standing(beat: Heartbeat, found: FoundKey) -> Standing | None:
    """None: of a plane nothing is wanted."""
    if found.desired_generation is None:
        return None
    return Standing(found.desired_generation, found.desired_state == "suspended", beat.applied_generation)


def _snapshot(found: FoundKey) -> SnapshotWanted | None:
    """None: also of a plane, which has no stream."""
    if found.kind != "cluster":
        return None
    stream = None
    if found.stream_epoch is not None and found.stream_number is not None:
        stream = Stream(epoch=found.stream_epoch, number=found.stream_number)
    return streams.wanted(stream, found.platform_epoch)


def _applied(beat: Heartbeat) -> int:
    """As it is remembered. Who reports more is heard all the same: refused, it could never say anything again."""
    return min(beat.applied_generation, MOST_APPLIED)


def _is_news(beat: Heartbeat, found: FoundKey) -> bool:
    told = (_applied(beat), beat.acknowledged_key)
    return found.kind == "cluster" and told != (found.applied_generation, found.acknowledged_kid)


async def _remember(call: HeartbeatCall) -> None:
    tx = await call.tx()
    beat = call.body
    await tx.execute(
        sql.REPORTED,
        {"id": call.caller.identity_id, "applied": _applied(beat), "acknowledged": beat.acknowledged_key},
    )
