"""Operations per minute: a bucket of tokens that refills as time goes by."""

import math
from collections.abc import Callable

from hack.plane.emulators.qdrant.errors import rate_limited


class TokenBucket:
    """`kind` is "Read" or "Write"; `now` is a clock in seconds that never goes back."""

    def __init__(self, kind: str, per_minute: int, now: Callable[[], float]) -> None:
        self._kind = kind
        self._capacity = per_minute
        self._tokens = float(per_minute)
        self._now = now
        self._filled_at = now()

    def take(self, cost: int) -> None:
        if cost > self._capacity:
            raise rate_limited(
                f"{self._kind} rate limit exceeded, "
                "request larger than rate limiter capacity, please try to split your request"
            )
        self._refill()
        if self._tokens < cost:
            raise self._exhausted(cost)
        self._tokens -= cost

    def _refill(self) -> None:
        now = self._now()
        self._tokens = min(self._capacity, self._tokens + (now - self._filled_at) * self._capacity / 60)
        self._filled_at = now

    def _exhausted(self, cost: int) -> Exception:
        seconds = math.ceil((cost - self._tokens) * 60 / self._capacity)
        return rate_limited(
            f"{self._kind} rate limit exceeded: Operation requires {cost} tokens "
            f"but only {self._tokens:.1f} were available. Retry after {seconds}s",
            retry_after=seconds,
        )
