"""Who gets which warm database."""

from __future__ import annotations

from datetime import datetime, timedelta

from bulkhead.engines.postgres.warm import RESERVED_FOR, Reservations
from tests.unit.engines.postgres import gen


class Clock:
    def __init__(self) -> None:
        self.now = gen.NOW

    def __call__(self) -> datetime:
        return self.now


def test_two_that_look_at_once_get_different_databases() -> None:
    reservations = Reservations(Clock())
    assert reservations.choose("acme", ["w1", "w2"]) == ("w1",)
    assert reservations.choose("globex", ["w1", "w2"]) == ("w2",)


def test_who_looks_again_gets_the_same_database() -> None:
    reservations = Reservations(Clock())
    reservations.choose("acme", ["w1", "w2"])
    assert reservations.choose("acme", ["w1", "w2"]) == ("w1",)


def test_nobody_gets_one_where_all_are_promised() -> None:
    reservations = Reservations(Clock())
    reservations.choose("acme", ["w1"])
    assert reservations.choose("globex", ["w1"]) == ()


def test_a_look_that_began_before_a_database_was_there_breaks_no_promise_of_it() -> None:
    reservations = Reservations(Clock())
    reservations.choose("acme", ["w1", "w2"])
    assert reservations.choose("globex", ["w1", "w2"]) == ("w2",)
    assert reservations.choose("before w2", ["w1"]) == ()
    assert reservations.choose("initech", ["w1", "w2"]) == ()


def test_a_promise_that_is_not_taken_expires() -> None:
    clock = Clock()
    reservations = Reservations(clock)
    reservations.choose("acme", ["w1"])
    clock.now += RESERVED_FOR + timedelta(seconds=1)
    assert reservations.promised() == frozenset()
    assert reservations.choose("globex", ["w1"]) == ("w1",)


def test_a_promise_ends_with_its_database() -> None:
    reservations = Reservations(Clock())
    reservations.choose("acme", ["w1"])
    assert reservations.choose("acme", ["w2"]) == ("w2",)
    assert reservations.promised() == {"w2"}
