"""Whether the platform answers."""

from __future__ import annotations

import pytest

from bulkhead.protocol.problems import Code, Problem
from bulkhead.registration.errors import PlatformError, Refused, Silent, Unintelligible
from bulkhead.registration.silence import FAILURES, PROBE_SECONDS, Silence, Subject


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.ended: list[set[Subject]] = []
        self.silence = Silence(lambda: self.now, self.ended.append)

    def call(self, error: PlatformError | None = None) -> None:
        with self.silence.listening():
            if error is not None:
                raise error

    def fail(self, times: int = FAILURES) -> None:
        for _ in range(times):
            with pytest.raises(PlatformError):
                self.call(Silent("no answer"))


def test_a_few_failures_keep_nobody_from_calling() -> None:
    clock = Clock()
    clock.fail(FAILURES - 1)
    clock.call()
    clock.fail(FAILURES - 1)
    assert not clock.silence.silent


def test_a_silent_platform_is_asked_by_one_probe_at_a_time() -> None:
    clock = Clock()
    clock.fail()
    with pytest.raises(Silent):
        clock.call()
    clock.now += PROBE_SECONDS
    with clock.silence.listening(), pytest.raises(Silent):
        clock.call()
    assert not clock.silence.silent


def test_a_probe_that_fails_puts_the_next_one_off() -> None:
    clock = Clock()
    clock.fail()
    clock.now += PROBE_SECONDS
    clock.fail(1)
    with pytest.raises(Silent):
        clock.call()


def test_who_is_not_let_through_is_told_how_the_silence_began() -> None:
    clock = Clock()
    clock.fail()
    clock.now += PROBE_SECONDS
    with pytest.raises(Unintelligible):
        clock.call(Unintelligible("a page"))
    with pytest.raises(Silent, match="no answer"):
        clock.call()


def test_a_probe_that_is_cancelled_leaves_the_way_open_for_the_next() -> None:
    clock = Clock()
    clock.fail()
    clock.now += PROBE_SECONDS
    with pytest.raises(KeyboardInterrupt), clock.silence.listening():
        raise KeyboardInterrupt
    clock.call()


def test_a_refusal_is_an_answer() -> None:
    clock = Clock()
    clock.fail(FAILURES - 1)
    with pytest.raises(Refused):
        clock.call(Refused(Problem(Code.RATE_LIMITED).document()))
    clock.fail(FAILURES - 1)
    assert not clock.silence.silent


def test_what_is_not_the_platforms_is_no_answer() -> None:
    clock = Clock()
    for _ in range(FAILURES):
        with pytest.raises(Unintelligible):
            clock.call(Unintelligible("a page"))
    assert clock.silence.silent


def test_those_who_waited_are_told_once_when_it_is_over() -> None:
    clock = Clock()
    clock.fail()
    clock.silence.wait(("DataCluster", "acme"))
    clock.now += PROBE_SECONDS
    clock.call()
    clock.call()
    assert clock.ended == [{("DataCluster", "acme")}]
