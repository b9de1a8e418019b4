"""What the benches of the platform service make of what they saw."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from uuid import uuid4

import pytest

from bench.platform.callers import Caller
from bench.platform.generator import NO_ANSWER, Outcome
from bench.platform.load import Generated, Window
from bench.platform.pressure import BROKEN, Yield
from bench.platform.proxy import Comparison, Kind
from bench.platform.proxy import Window as Pressed
from bench.platform.upstream import announced
from bulkhead.protocol.credentials import ApiToken


def generated(*samples: tuple[int, float, float, int], unanswered: Sequence[float] = ()) -> Generated:
    found = Generated(pid=1)
    client, sent, seconds, status = (list(each) for each in zip(*samples, strict=True))
    found.outcome = Outcome(
        client=client,
        sent=sent,
        seconds=seconds,
        status=status,
        unanswered=list(unanswered),
        codes={},
        late=0.0,
        cpu=0.0,
        connections=1,
    )
    return found


def pressed(*, ok: int, seconds: float = 2.0, broken: int = 0) -> Pressed:
    statuses = {200: ok} | ({BROKEN: broken} if broken else {})
    return Pressed(Yield(seconds=[0.001] * ok, statuses=statuses, lasted=seconds, cpu=0.1), {"the proxy": 0.5})


def caller() -> Caller:
    return Caller(ApiToken.generate(bytes), uuid4())


def test_a_window_holds_what_was_sent_in_it_however_late_it_was_answered() -> None:
    found = generated((0, 9.9, 0.1, 200), (1, 10.0, 8.0, 200), (2, 19.9, 0.3, 200), (3, 20.0, 0.1, 200))
    assert found.window(10.0, 20.0).seconds == [0.3, 8.0]


def test_what_was_never_answered_counts_as_refused_and_not_as_fast() -> None:
    window = generated((0, 1.0, 0.001, NO_ANSWER), (1, 1.0, 0.5, 200), (2, 1.0, 0.1, 503)).window(0.0, 2.0)
    assert window.seconds == [0.1, 0.5]
    assert window.refused == {"no answer": 1, "503": 1}


def test_what_is_not_answered_by_the_end_is_slower_than_all_else() -> None:
    window = generated((0, 1.0, 0.5, 200), unanswered=[0.5, 1.5, 2.0]).window(1.0, 2.0)
    assert (window.at(0.0), window.at(0.99), window.unanswered) == (500.0, math.inf, 1)


def test_the_99th_percentile_of_a_hundred_is_the_slowest() -> None:
    window = Window([number / 1000 for number in range(1, 101)], Counter())
    assert (window.at(0.5), window.at(0.99)) == (51.0, 100.0)


def test_a_window_without_an_answer_has_no_latency() -> None:
    assert math.isnan(Window([], Counter()).at(0.99))


def test_a_client_is_accepted_again_with_its_first_success_that_was_sent_since() -> None:
    found = generated(
        (0, 4.0, 2.0, 200),  # sent before, answered after
        (0, 6.0, 0.5, 503),
        (0, 9.0, 0.5, 200),
        (0, 7.0, 0.5, 200),
        (1, 8.0, 0.5, 401),
    )
    assert found.first_accepted(5.0) == {0: 2.5}


def test_throughput_counts_successes_alone() -> None:
    window = pressed(ok=100, broken=50)
    assert window.per_second == 50.0
    assert window.others == {"broken": 50}


def test_cpu_of_a_request_is_the_share_by_their_number() -> None:
    assert pressed(ok=100).milliseconds == {"the proxy": 10.0}


def test_the_ratio_is_of_medians_so_that_one_disturbed_window_decides_nothing() -> None:
    found = Comparison(
        platform=[pressed(ok=80), pressed(ok=80), pressed(ok=1)], bare=[pressed(ok=100), pressed(ok=100), pressed(ok=9)]
    )
    assert found.ratio == pytest.approx(0.8)
    assert found.report()["platform / bare, window by window"] == [0.8, 0.8, 0.111]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Kind("GET", 2**10), "GET, answer of 1 KiB"),
        (Kind("PUT", 2**20), "PUT, body of 1 MiB"),
    ],
)
def test_kinds_are_told_by_their_size(kind: Kind, name: str) -> None:
    assert str(kind) == name


def test_a_read_asks_for_as_much_as_it_is_to_be_answered() -> None:
    head = Kind("GET", 2**10).head(caller(), "127.0.0.1:1")
    assert b"/proxy/bytes/1024 HTTP/1.1\r\n" in head
    assert head.endswith(b"\r\n\r\n")


def test_a_write_announces_its_body_and_leaves_it_to_who_sends_it() -> None:
    head = Kind("PUT", 2**10).head(caller(), "127.0.0.1:1")
    assert head.endswith(b"\r\n\r\n")
    assert announced(head.removesuffix(b"\r\n\r\n")) == 2**10


def test_a_head_that_announces_nothing_has_no_body() -> None:
    assert announced(b"GET / HTTP/1.1\r\nHost: x") == 0
