"""What is remembered of the inside of databases."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from bulkhead.engines.contract import Do
from bulkhead.engines.postgres.databases import CreateExtension, DropDatabase, Furnish, NameDatabase, UseWarm
from bulkhead.engines.postgres.decide import decide
from bulkhead.engines.postgres.interiors import KNOWN_FOR, Interiors
from bulkhead.engines.postgres.seen import Inside
from bulkhead.engines.postgres.statement import Statement
from tests.unit.engines.postgres import gen

INSIDE = Inside(schemas={"public": "acme"}, extensions=frozenset({"vector"}), extensions_usable=True)


class Clock:
    def __init__(self) -> None:
        self.now = gen.NOW

    def __call__(self) -> datetime:
        return self.now


def test_what_was_seen_is_known_for_a_while() -> None:
    clock = Clock()
    interiors = Interiors(clock)
    interiors.remember("acme", INSIDE)
    assert interiors.recall("acme") == INSIDE
    clock.now += KNOWN_FOR + timedelta(seconds=1)
    assert interiors.recall("acme") is None


def test_nothing_is_known_of_other_databases() -> None:
    interiors = Interiors(Clock())
    interiors.remember("acme", INSIDE)
    assert interiors.recall("acme-2") is None


@pytest.mark.parametrize("step", [Furnish("acme"), CreateExtension("acme", "vector")])
def test_what_a_step_changes_inside_is_looked_at_again(step: Statement) -> None:
    interiors = Interiors(Clock())
    interiors.remember("acme", INSIDE)
    interiors.note(step)
    assert interiors.recall("acme") is None


@pytest.mark.parametrize("step", [DropDatabase("acme"), NameDatabase("bh_new_1", "acme", gen.stamp(), 23)])
def test_a_namesake_of_what_is_gone_is_looked_at_anew(step: Statement) -> None:
    interiors = Interiors(Clock())
    interiors.remember("acme", INSIDE)
    interiors.note(step)
    assert interiors.recall("acme") is None


def test_what_a_step_changes_elsewhere_is_still_known() -> None:
    interiors = Interiors(Clock())
    interiors.remember("acme", INSIDE)
    interiors.note(DropDatabase("globex"))
    assert interiors.recall("acme") == INSIDE


def test_a_warm_database_is_known_to_be_furnished() -> None:
    wanted = gen.wanted()
    interiors = Interiors(Clock())
    interiors.note(UseWarm("bh_warm_1", "acme", wanted.stamp, wanted.connection_limit))
    assert decide(wanted, gen.complete(wanted, inside=interiors.recall("acme")), ()) == Do((), frozenset({"database"}))


def test_a_warm_database_is_not_known_to_hold_what_it_was_not_made_with() -> None:
    wanted = gen.wanted(schemas=("app",), extensions=("vector",))
    interiors = Interiors(Clock())
    interiors.note(UseWarm("bh_warm_1", "acme", wanted.stamp, wanted.connection_limit))
    decision = decide(wanted, gen.complete(wanted, inside=interiors.recall("acme")), ("vector",))
    assert decision == Do((Furnish("acme", ("app",)), CreateExtension("acme", "vector")), frozenset({"database"}))
