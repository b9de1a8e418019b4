"""Failures by source, and what answers say of a quota."""

from __future__ import annotations

import pytest

from bulkhead.platform.http.limits import TOLD_SECONDS, Allowance, Failures, Large, network_of, quota_headers, spend
from bulkhead.protocol.problems import Code, Problem

SOURCE = "203.0.113.9"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def failures(clock: Clock, *, sources: int = 10) -> Failures:
    return Failures(clock=clock, burst=3.0, per_second=0.5, sources=sources)


def refused(all_of: Failures, source: str = SOURCE) -> int:
    with pytest.raises(Problem) as told:
        all_of.check(source)
    assert told.value.code == Code.RATE_LIMITED
    return told.value.extension["retry_after"]


def test_a_source_has_so_many_tries_and_is_told_when_the_next_one_is() -> None:
    clock = Clock()
    all_of = failures(clock)
    for _ in range(3):
        all_of.check(SOURCE)
        all_of.failed(SOURCE)
    assert refused(all_of) == 2
    clock.now += 2.0
    all_of.check(SOURCE)
    all_of.failed(SOURCE)
    assert refused(all_of) == 2


def test_one_source_does_not_count_for_another() -> None:
    all_of = failures(Clock())
    for _ in range(3):
        all_of.failed(SOURCE)
    refused(all_of)
    all_of.check("203.0.113.10")


def test_who_has_failed_is_known_until_the_try_is_back() -> None:
    clock = Clock()
    all_of = failures(clock)
    assert not all_of.has_failed(SOURCE)
    all_of.failed(SOURCE)
    assert all_of.has_failed(SOURCE)
    clock.now += 2.0
    assert not all_of.has_failed(SOURCE)


def test_a_line_a_minute_tells_how_often_a_source_has_failed_since_the_last_one() -> None:
    clock = Clock()
    all_of = failures(clock)
    told = []
    for _ in range(2 * int(TOLD_SECONDS) + 1):
        all_of.failed(SOURCE)
        told.append(all_of.untold(SOURCE, Code.KEY_UNKNOWN))
        clock.now += 1.0
    assert [each for each in told if each is not None] == [1, TOLD_SECONDS, TOLD_SECONDS]


def test_neither_another_code_nor_another_source_takes_the_line_of_a_failure() -> None:
    all_of = failures(Clock())
    for source in (SOURCE, "203.0.113.10"):
        all_of.failed(source)
        for code in (Code.UNAUTHENTICATED, Code.KEY_UNKNOWN):
            assert all_of.untold(source, code) == 1
            assert all_of.untold(source, code) is None


def test_asking_takes_nothing() -> None:
    all_of = failures(Clock())
    for _ in range(10):
        all_of.check(SOURCE)


def test_many_failures_at_once_are_paid_for_by_waiting_and_no_longer_than_for_a_burst() -> None:
    all_of = failures(Clock())
    for _ in range(5):
        all_of.failed(SOURCE)
    assert refused(all_of) == 6
    for _ in range(500):
        all_of.failed(SOURCE)
    assert refused(all_of) == 8


def test_tries_do_not_pile_up_while_a_source_is_quiet() -> None:
    clock = Clock()
    all_of = failures(clock)
    all_of.failed(SOURCE)
    clock.now += 86400
    for _ in range(3):
        all_of.failed(SOURCE)
    refused(all_of)


def test_what_is_remembered_is_bounded() -> None:
    all_of = failures(Clock(), sources=10)
    for number in range(100):
        all_of.failed(f"203.0.113.{number}")
    assert len(all_of._failing) == 10


def test_all_addresses_of_one_customer_with_IPv6_are_one_source() -> None:  # noqa: N802 - the name of a protocol
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::1") != network_of("2001:db8:1:3::1")
    assert network_of(SOURCE) == SOURCE
    all_of = failures(Clock())
    for number in range(3):
        all_of.failed(f"2001:db8::{number}")
    refused(all_of, "2001:db8::ffff")


def allowance(name: str = "per-minute", remaining: int = 5, reset: int = 30) -> Allowance:
    return Allowance(name, 300, 60, remaining, reset)


def test_where_there_is_no_limit_nothing_is_said() -> None:
    assert quota_headers(()) == ()


def test_an_allowance_is_told_in_the_headers_of_the_draft() -> None:
    assert dict(quota_headers([allowance(remaining=-1)])) == {
        b"ratelimit-policy": b'"per-minute";q=300;w=60',
        b"ratelimit": b'"per-minute";r=0;t=30',
    }


def test_the_last_request_of_a_quota_passes_and_the_next_waits_for_the_slowest_window() -> None:
    spend([allowance(remaining=0)])
    with pytest.raises(Problem) as told:
        spend([allowance(remaining=-1, reset=30), allowance("per-hour", remaining=-1, reset=900), allowance("per-day")])
    assert (told.value.code, told.value.extension["retry_after"]) == (Code.RATE_LIMITED, 900)


def full(large: Large, whose: str) -> bool:
    try:
        with large.place(whose):
            return False
    except Problem as told:
        return told.code is Code.RATE_LIMITED


def test_nobody_has_more_large_bodies_gathered_than_its_own_and_all_together_no_more_than_there_is_room_for() -> None:
    large = Large(most=3, most_of_one=2)
    with large.place("acme"), large.place("acme"):
        assert full(large, "acme")
        with large.place("globex"):
            assert full(large, "globex")
            assert full(large, "initech")
        assert not full(large, "globex")
    assert not full(large, "acme")


def test_a_place_is_given_back_by_whoever_fails() -> None:
    large = Large(most=1, most_of_one=1)
    for _ in range(2):
        with pytest.raises(ValueError, match="broke"), large.place("acme"):
            raise ValueError("broke")
    assert not large._held
