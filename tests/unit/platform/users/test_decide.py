"""Which tokens open something, and which may be minted by whom."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bulkhead.platform.users.decide import Standing, exceeds, refusal
from bulkhead.platform.users.login import LEEWAY, untimely
from bulkhead.protocol.assertions import Source
from bulkhead.protocol.problems import Code

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
GOOD = Standing(
    now=NOW,
    epoch=3,
    platform_epoch=3,
    expires_at=NOW + timedelta(days=1),
    revoked_at=None,
    member_ended_at=None,
    minter_revoked_at=None,
)


def test_a_good_token_is_refused_for_nothing() -> None:
    assert refusal(GOOD) is None


ENDED = {
    "itself": replace(GOOD, revoked_at=NOW),
    "its membership": replace(GOOD, member_ended_at=NOW),
    "its minter": replace(GOOD, minter_revoked_at=NOW),
}


@pytest.mark.parametrize("ended", ENDED.values(), ids=ENDED.keys())
def test_a_token_ends_with_itself_its_membership_and_its_minter(ended: Standing) -> None:
    assert refusal(ended) is Code.API_TOKEN_REVOKED


def test_a_token_ends_at_its_time_and_not_before() -> None:
    assert refusal(replace(GOOD, expires_at=NOW)) is Code.API_TOKEN_EXPIRED
    assert refusal(replace(GOOD, expires_at=NOW + timedelta(microseconds=1))) is None


def test_a_token_of_a_former_epoch_is_refused() -> None:
    assert refusal(replace(GOOD, platform_epoch=4)) is Code.API_TOKEN_REVOKED


def test_of_a_token_that_is_over_and_revoked_the_revocation_is_told() -> None:
    assert refusal(replace(GOOD, revoked_at=NOW, expires_at=NOW)) is Code.API_TOKEN_REVOKED


def test_what_the_minter_lacks_it_can_not_give() -> None:
    minter = frozenset({"CLUSTER_READ", "TOKEN_ADMIN"})
    assert exceeds(frozenset({"CLUSTER_READ"}), Source.HUMAN, minter=minter, minter_source=Source.HUMAN) == ""
    told = exceeds(frozenset({"AUDIT_READ"}), Source.HUMAN, minter=minter, minter_source=Source.HUMAN)
    assert "AUDIT_READ" in told


@pytest.mark.parametrize("minter", list(Source))
@pytest.mark.parametrize("source", list(Source))
def test_no_program_makes_a_credential_that_passes_for_somebody_else(minter: Source, source: Source) -> None:
    may = not exceeds(frozenset(), source, minter=frozenset(), minter_source=minter)
    assert may is (minter is Source.HUMAN or source is minter)


TIME = 1_800_000_000.0
TIMELY = {"exp": TIME + 600, "iat": TIME - 5, "nbf": TIME - 5}


def test_a_token_of_now_is_timely() -> None:
    assert untimely(TIMELY, TIME) == ""
    assert untimely({"exp": int(TIME) + 1}, TIME) == ""


def test_a_clock_may_be_off_by_the_leeway_and_no_more() -> None:
    assert untimely({"exp": TIME - LEEWAY + 1}, TIME) == ""
    assert untimely({"exp": TIME - LEEWAY}, TIME)
    for name in ("iat", "nbf"):
        assert untimely({**TIMELY, name: TIME + LEEWAY}, TIME) == ""
        assert untimely({**TIMELY, name: TIME + LEEWAY + 1}, TIME)


@pytest.mark.parametrize("value", [None, "never", True, [1], float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
def test_what_is_no_time_is_no_time(name: str, value: object) -> None:
    assert untimely({**TIMELY, name: value}, TIME)


def test_a_number_of_any_size_is_compared() -> None:
    assert untimely({"exp": 10**400}, TIME) == ""
    assert untimely({"exp": -(10**400)}, TIME)


def test_a_token_without_an_end_is_refused() -> None:
    assert untimely({"iat": TIME}, TIME)
