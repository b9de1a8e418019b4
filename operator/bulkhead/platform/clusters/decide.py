"""What a heartbeat is answered, and what a change of desired state does: pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bulkhead.protocol.heartbeat import Desired, KeyRotation

MOST_APPLIED = 2_000_000_000
"""The highest generation that a cluster is believed to have applied: above it there are numbers left to go to."""
ROTATE_BEFORE = timedelta(days=7)
"""How long before its end a service key wants a successor."""


class Progress(StrEnum):
    """How far a cluster is with what is wanted of it."""

    APPLIED = "applied"
    PENDING = "pending"
    RESTORED = "restored"
    """It applied what this platform does not remember, having been restored to before that. It goes on as it is until
    its desired state is set anew."""


@dataclass(frozen=True, slots=True)
class Standing:
    """issued: generation of the desired state; applied: the highest that the cluster reports"""

    issued: int
    suspended: bool
    applied: int

    @property
    def progress(self) -> Progress:
        if self.applied > self.issued:
            return Progress.RESTORED
        return Progress.APPLIED if self.applied == self.issued else Progress.PENDING

    @property
    def desired(self) -> Desired | None:
        """What the cluster is told; None: what it applied is newer than what is remembered here."""
        if self.progress is Progress.RESTORED:
            return None
        return Desired(generation=self.issued, suspended=self.suspended)

    def changed(self, *, suspended: bool) -> int | None:
        """The generation of a new desired state; None: it is so already, and the cluster will believe it."""
        if suspended == self.suspended and self.progress is not Progress.RESTORED:
            return None
        return max(self.issued, self.applied) + 1


def rotation(
    key: str, *, expires_at: datetime | None, retires_at: datetime | None, now: datetime
) -> KeyRotation | None:
    """Whether a service key wants a successor; one that retires has it already."""
    if expires_at is None or retires_at is not None or expires_at - now > ROTATE_BEFORE:
        return None
    return KeyRotation(replaces=key, before=int(expires_at.timestamp()))
