"""Every ordered pair of tenants, every engine, every way in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from itertools import groupby, product

from hack.isolation import object_store, postgres, search, vectors
from hack.isolation.attempt import Attempt, Outcome, Tenant, outcome

ENGINES = (postgres, object_store, vectors, search)


def attempts(attacker: Tenant, victim: Tenant) -> Iterator[Attempt]:
    """All ways of one tenant into another, or into its own."""
    for engine in ENGINES:
        yield from engine.attempts(attacker, victim)


async def run(tenants: Sequence[Tenant]) -> AsyncIterator[Outcome]:
    """Each tenant writes its own first, so that there is something to be reached; then everybody tries everybody."""
    for each in tenants:
        for attempt in attempts(each, each):
            yield await outcome(each, each, attempt)
    for attacker, victim in product(tenants, tenants):
        if attacker.slug != victim.slug:
            for attempt in attempts(attacker, victim):
                yield await outcome(attacker, victim, attempt)


def table(outcomes: Iterable[Outcome]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Per ordered pair: attacker, victim, and for each engine how many attempts held of how many."""
    ordered = sorted(outcomes, key=lambda each: (each.attacker, each.victim))
    for (attacker, victim), group in groupby(ordered, key=lambda each: (each.attacker, each.victim)):
        found = list(group)
        engines = dict.fromkeys(each.engine for each in found)
        yield attacker, victim, {engine: _cell([each for each in found if each.engine == engine]) for engine in engines}


def _cell(outcomes: Sequence[Outcome]) -> str:
    holding = [each for each in outcomes if each.holds]
    return f"{len(holding)}/{len(outcomes)}"
