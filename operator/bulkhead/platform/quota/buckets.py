"""Limits in this process alone: of what has joined, which asks all the time, and of platform admins."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from bulkhead.platform.http.limits import Allowance
from bulkhead.platform.quota.limits import Limit

MOST_SUBJECTS = 65536


class Buckets:
    """Each subject has a bucket of its limit's quota, which fills evenly. clock: seconds, monotonic"""

    def __init__(self, *, clock: Callable[[], float], subjects: int = MOST_SUBJECTS) -> None:
        self._clock = clock
        self._subjects = subjects
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, subject: str, limit: Limit) -> Allowance:
        """One request of `subject`. Where nothing is left nothing is taken, and `remaining` is below nought."""
        rate = limit.quota / limit.seconds
        now = self._clock()
        left, at = self._left.get(subject, (float(limit.quota), now))
        left = min(float(limit.quota), left + (now - at) * rate)
        kept = left - 1.0 if left >= 1.0 else left
        self._left[subject] = (kept, now)
        self._left.move_to_end(subject)
        if len(self._left) > self._subjects:
            self._left.popitem(last=False)
        if left < 1.0:
            return Allowance(limit.name, limit.quota, limit.seconds, -1, max(1, math.ceil((1.0 - left) / rate)))
        return Allowance(limit.name, limit.quota, limit.seconds, int(kept), math.ceil((limit.quota - kept) / rate))
