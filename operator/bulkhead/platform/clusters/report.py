"""What of a heartbeat is kept for people to read."""

from __future__ import annotations

from bulkhead.protocol.documents import Answer
from bulkhead.protocol.heartbeat import Counted, EngineReport, Heartbeat
from bulkhead.protocol.scalars import Count, Release
from bulkhead.protocol.sync import EngineName, Phase


class Report(Answer, frozen=True, kw_only=True):
    """How a cluster was when it was last heard. counts: what is left out is not known"""

    release: Release
    phase: Phase
    engines: dict[EngineName, EngineReport]
    counts: dict[Counted, Count]

    @classmethod
    def of(cls, beat: Heartbeat) -> Report:
        """That of a heartbeat."""
        return cls(release=beat.release, phase=beat.phase, engines=beat.engines, counts=beat.counts)
