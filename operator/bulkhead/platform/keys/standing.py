"""Whether a service key that was shown opens anything, and if not, why: pure. Asked only once its secret has fitted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from bulkhead.protocol.problems import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All that decides about a key. Times are the database's; None: it never came to that."""

    now: datetime
    epoch: int
    platform_epoch: int
    expires_at: datetime | None
    retires_at: datetime | None
    revoked_at: datetime | None
    identity_revoked_at: datetime | None
    deleted_at: datetime | None
    plane_revoked_at: datetime | None
    grant_revoked_at: datetime | None


def refusal(standing: Standing, accepts: Collection[str] = ()) -> Code | None:
    """Why it opens nothing; None: it does. What is for good is said before what a re-join heals.

    accepts: of `deleted` and `fenced`, what this call takes all the same
    """
    chain = (
        (standing.plane_revoked_at is not None, Code.PLANE_REVOKED),
        (standing.identity_revoked_at is not None, Code.IDENTITY_REVOKED),
        (standing.grant_revoked_at is not None, Code.GRANT_WITHDRAWN),
        (standing.deleted_at is not None and "deleted" not in accepts, Code.CLUSTER_DELETED),
        (standing.revoked_at is not None or _past(standing.retires_at, standing.now), Code.KEY_REVOKED),
        (_past(standing.expires_at, standing.now), Code.KEY_EXPIRED),
        (standing.epoch < standing.platform_epoch and "fenced" not in accepts, Code.KEY_FENCED),
    )
    return next((code for applies, code in chain if applies), None)


def _past(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now
