"""Who asks too much: failed authentications by source, in process, and what answers say of a quota."""

from __future__ import annotations

import ipaddress
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bulkhead.protocol.problems import Code, Problem

LARGE_RETRY_SECONDS = 2
TOLD_SECONDS = 60.0


class Failures:
    """Failed authentications by source: each takes one of `burst` tries, which come back at `per_second`.

    The front counts them; whoever authenticates asks before anything that is dear. Nobody asks about a credential that
    is cheap to check, so a neighbour behind the same address locks nobody out; nothing is counted by key or subject, so
    nobody else does either.

    sources: how many are remembered; the longest unseen are forgotten first
    clock: seconds, monotonic
    """

    def __init__(
        self, *, clock: Callable[[], float], burst: float = 50.0, per_second: float = 2.0, sources: int = 65536
    ) -> None:
        self._clock = clock
        self._burst = burst
        self._per_second = per_second
        self._sources = sources
        self._failing: OrderedDict[str, _Failing] = OrderedDict()

    def check(self, source: str) -> None:
        """Before something dear is done for a credential that may be bad. Problem where its source has no try left."""
        left = self._left(network_of(source))
        if left < 1.0:
            seconds = math.ceil((1.0 - left) / self._per_second)
            raise Problem(Code.RATE_LIMITED, "too many failed authentications from this address", retry_after=seconds)

    def has_failed(self, source: str) -> bool:
        """Whether one of its tries is not back yet."""
        return self._left(network_of(source)) < self._burst

    def failed(self, source: str, *, tries: float = 1.0) -> None:
        """Take a try, or more for what was dear. Beyond what there are is paid by waiting."""
        network = network_of(source)
        found = self._failing.setdefault(network, _Failing(self._burst, self._clock()))
        found.left, found.at = max(self._left(network) - tries, -self._burst), self._clock()
        self._failing.move_to_end(network)
        if len(self._failing) > self._sources:
            self._failing.popitem(last=False)

    def untold(self, source: str, code: Code) -> int | None:
        """How many failures of it with this code, all counted already, the line in the log stands for that is due now:
        one a minute is, so that who goes on fills no log. None: none is due."""
        found = self._failing.get(network_of(source))
        if found is None:
            return None
        at, untold = found.told.get(code, (-math.inf, 0))
        if self._clock() - at < TOLD_SECONDS:
            found.told[code] = (at, untold + 1)
            return None
        found.told[code] = (self._clock(), 0)
        return untold + 1

    def _left(self, network: str) -> float:
        found = self._failing.get(network)
        if found is None:
            return self._burst
        return min(self._burst, found.left + (self._clock() - found.at) * self._per_second)


@dataclass(slots=True)
class _Failing:
    """left: tries that a source had at `at`, when it failed last; told: by code, when a line was last due for it, and
    how many failures since then there was none for"""

    left: float
    at: float
    told: dict[Code, tuple[float, int]] = field(default_factory=dict)


def network_of(source: str) -> str:
    """What counts as one source: an IPv4 address, or the /64 that one IPv6 customer has all of."""
    if ":" not in source:
        return source
    return str(ipaddress.ip_network((source, 64), strict=False))


@dataclass(slots=True)
class Large:
    """Places for large bodies, which are gathered in memory and handled at a cost that grows with them.

    most: at once, of all callers; most_of_one: of one plane or organisation, whichever the caller belongs to
    """

    most: int = 16
    most_of_one: int = 2
    _held: Counter[Hashable] = field(default_factory=Counter)

    @contextmanager
    def place(self, whose: Hashable) -> Iterator[None]:
        """One, for the time of the block. Problem where there is none left."""
        if self._held[whose] >= self.most_of_one or self._held.total() >= self.most:
            raise Problem(Code.RATE_LIMITED, "too many large bodies come at once", retry_after=LARGE_RETRY_SECONDS)
        self._held[whose] += 1
        try:
            yield
        finally:
            self._held[whose] -= 1
            if not self._held[whose]:
                del self._held[whose]


@dataclass(frozen=True, slots=True)
class Allowance:
    """Where a caller stands with one limit.

    name: of the policy, such as "per-minute"; letters, digits and hyphens
    quota: requests in a window; window, reset: seconds, the second until more are left
    """

    name: str
    quota: int
    window: int
    remaining: int
    reset: int


def quota_headers(allowances: Sequence[Allowance]) -> tuple[tuple[bytes, bytes], ...]:
    """`RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-10; none where there is no limit."""
    if not allowances:
        return ()
    policies = ", ".join(f'"{each.name}";q={each.quota};w={each.window}' for each in allowances)
    states = ", ".join(f'"{each.name}";r={max(0, each.remaining)};t={each.reset}' for each in allowances)
    return (b"ratelimit-policy", policies.encode()), (b"ratelimit", states.encode())


def spend(allowances: Sequence[Allowance]) -> None:
    """Raise Problem where one of these was exceeded: a `remaining` below nought is one request too many."""
    waits = [each.reset for each in allowances if each.remaining < 0]
    if waits:
        raise Problem(Code.RATE_LIMITED, "the quota of this caller is used up", retry_after=max(1, *waits))
