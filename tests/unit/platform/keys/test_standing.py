from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bulkhead.platform.keys import scrypt
from bulkhead.platform.keys.scrypt import Hashed, Parameters
from bulkhead.platform.keys.standing import Standing, refusal
from bulkhead.protocol.problems import Code

NOW = datetime(2026, 11, 28, tzinfo=UTC)
PAST, FUTURE = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)


def standing(**others: Any) -> Standing:
    values: dict[str, Any] = {
        "now": NOW,
        "epoch": 1,
        "platform_epoch": 1,
        "expires_at": None,
        "retires_at": None,
        "revoked_at": None,
        "identity_revoked_at": None,
        "deleted_at": None,
        "plane_revoked_at": None,
        "grant_revoked_at": None,
    }
    return Standing(**{**values, **others})


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ({}, None),
        ({"revoked_at": PAST}, Code.KEY_REVOKED),
        ({"retires_at": NOW}, Code.KEY_REVOKED),
        ({"retires_at": FUTURE}, None),
        ({"expires_at": NOW}, Code.KEY_EXPIRED),
        ({"expires_at": FUTURE}, None),
        ({"platform_epoch": 2}, Code.KEY_FENCED),
        ({"deleted_at": PAST}, Code.CLUSTER_DELETED),
        ({"identity_revoked_at": PAST}, Code.IDENTITY_REVOKED),
        ({"plane_revoked_at": PAST}, Code.PLANE_REVOKED),
        ({"grant_revoked_at": PAST}, Code.GRANT_WITHDRAWN),
        ({"identity_revoked_at": PAST, "platform_epoch": 2}, Code.IDENTITY_REVOKED),
        ({"deleted_at": PAST, "revoked_at": PAST}, Code.CLUSTER_DELETED),
    ],
)
def test_a_key_opens_nothing_once_something_above_it_was_ended(what: dict[str, Any], code: Code | None) -> None:
    assert refusal(standing(**what)) is code


def test_a_notice_of_deletion_is_taken_from_the_deleted_and_the_fenced_and_from_nobody_else() -> None:
    accepts = ("deleted", "fenced")
    assert refusal(standing(deleted_at=PAST, platform_epoch=2), accepts) is None
    assert refusal(standing(deleted_at=PAST, revoked_at=PAST), accepts) is Code.KEY_REVOKED


def test_a_secret_fits_its_own_record_alone() -> None:
    resting = scrypt.hashed(b"d" * 32, b"s" * 16)
    assert resting.fits(b"d" * 32)
    assert not resting.fits(b"e" * 32)
    assert resting.parameters == Parameters(n=16384, r=8, p=1)


def test_a_record_under_other_parameters_is_still_read() -> None:
    cheap = Parameters(n=16, r=8, p=1)
    derived = scrypt._derived(b"d" * 32, b"s" * 16, cheap)
    assert Hashed(cheap, b"s" * 16, derived).fits(b"d" * 32)
