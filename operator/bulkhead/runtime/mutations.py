"""The seam that every mutating call passes, to Kubernetes and to engines alike.

It counts them; and because nothing that changes the world goes around it, a test can place a crash before or after
call number n.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class Mutations:
    """Runs mutating calls and tells how many of each there were."""

    def __init__(self, count: Callable[[str, str], None]) -> None:
        self._count = count

    async def perform(self, target: str, action: str, call: Callable[[], Awaitable[T]]) -> T:
        """Run `call` once and give back what it gives. `target`: kubernetes or an engine; `action`: what is done."""
        self._count(target, action)
        return await call()
