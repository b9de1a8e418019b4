"""Limits within one process."""

from __future__ import annotations

from bulkhead.platform.quota.buckets import Buckets
from bulkhead.platform.quota.limits import Limit

LIMIT = Limit(name="test", quota=10, seconds=10)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_as_many_as_the_quota_pass_and_not_one_more() -> None:
    buckets = Buckets(clock=Clock())
    left = [buckets.take("a", LIMIT).remaining for _ in range(12)]
    assert left == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, -1, -1]


def test_what_was_refused_takes_nothing_from_what_comes_back() -> None:
    clock = Clock()
    buckets = Buckets(clock=clock)
    refused = [buckets.take("a", LIMIT) for _ in range(50)]
    clock.now += refused[-1].reset
    assert buckets.take("a", LIMIT).remaining == 0


def test_one_subject_takes_nothing_from_another() -> None:
    buckets = Buckets(clock=Clock())
    for _ in range(11):
        buckets.take("a", LIMIT)
    assert buckets.take("b", LIMIT).remaining == 9


def test_rest_fills_no_more_than_the_quota() -> None:
    clock = Clock()
    buckets = Buckets(clock=clock)
    buckets.take("a", LIMIT)
    clock.now += 1e6
    assert buckets.take("a", LIMIT).remaining == 9


def test_the_longest_unseen_is_forgotten_first() -> None:
    buckets = Buckets(clock=Clock(), subjects=2)
    for subject in ("a", "b", "a", "c"):
        buckets.take(subject, LIMIT)
    assert list(buckets._left) == ["a", "c"]
