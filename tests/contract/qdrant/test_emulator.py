"""What a running server can not be asked: clocks to the second, and what the emulator shows of its keys."""

import pytest

from hack.plane.emulators.qdrant.auth import Authenticator, Keys
from hack.plane.emulators.qdrant.errors import ApiError
from hack.plane.emulators.qdrant.rates import TokenBucket
from tests.contract.qdrant import tokens
from tests.contract.qdrant.server import API_KEY

NOW = 1_800_000_000


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def authenticator() -> Authenticator:
    keys = Keys(api_key=API_KEY, alt_api_key=None, jwt_rbac=True)
    return Authenticator(keys, lambda _collection, _matches: None, lambda: NOW)


def test_a_token_is_good_for_thirty_seconds_after_its_time() -> None:
    token = tokens.signed({"access": "r", "exp": NOW - 30})
    assert authenticator().authenticate({"api-key": token}).everywhere == "r"


def test_a_token_ends_thirty_one_seconds_after_its_time() -> None:
    token = tokens.signed({"access": "r", "exp": NOW - 31})
    with pytest.raises(ApiError, match="ExpiredSignature"):
        authenticator().authenticate({"api-key": token})


def test_keys_do_not_show_in_their_representation() -> None:
    assert API_KEY not in repr(Keys(api_key=API_KEY, alt_api_key=API_KEY, jwt_rbac=True))


def test_a_bucket_fills_as_time_goes_by() -> None:
    clock = Clock()
    bucket = TokenBucket("Read", 60, clock)
    bucket.take(60)
    clock.seconds = 2.0
    bucket.take(2)
    with pytest.raises(ApiError) as refused:
        bucket.take(3)
    assert refused.value.retry_after == 3


def test_a_bucket_holds_no_more_than_a_minute() -> None:
    clock = Clock()
    bucket = TokenBucket("Write", 2, clock)
    clock.seconds = 600.0
    bucket.take(2)
    with pytest.raises(ApiError):
        bucket.take(1)
