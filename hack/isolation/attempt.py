"""One try of one tenant on one engine, and how it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Binding = dict[str, str]


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who tries, and whose data is tried: a slug, and the Service Bindings as the operator published them."""

    slug: str
    postgres: Binding
    object_store: Binding
    vectors: Binding
    search: Binding


class Refused(Exception):
    """The engine said no. The text is its own."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way in.

    allowed: whether it must work (one's own data) or must be refused
    run: raises Refused where the engine said no; anything else it raises is a broken test, not isolation
    """

    engine: str
    kind: str
    allowed: bool
    run: Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt."""

    attacker: str
    victim: str
    engine: str
    kind: str
    allowed: bool
    succeeded: bool
    answer: str

    @property
    def holds(self) -> bool:
        """Whether it came as it must."""
        return self.succeeded is self.allowed


async def outcome(attacker: Tenant, victim: Tenant, attempt: Attempt) -> Outcome:
    """Run one attempt to its end."""
    try:
        await attempt.run()
    except Refused as refusal:
        succeeded, answer = False, str(refusal)
    else:
        succeeded, answer = True, ""
    return Outcome(attacker.slug, victim.slug, attempt.engine, attempt.kind, attempt.allowed, succeeded, answer)
