from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.platform.keys import fast
from bulkhead.platform.keys.fast import Answer
from bulkhead.platform.settings import Key, Keys

NOW = datetime(2026, 11, 28, tzinfo=UTC)
DIGEST, OTHER = b"d" * 32, b"e" * 32
PEPPERS = Keys(Key(b"p" * 32))


@pytest.mark.parametrize(
    ("hours", "digest", "answer"),
    [
        (0, DIGEST, Answer.FITS),
        (0, OTHER, Answer.DIFFERS),
        (20, DIGEST, Answer.FITS_AND_ENDS_SOON),
        (20, OTHER, Answer.DIFFERS),
        (24, DIGEST, Answer.NONE_LIVE),
        (24, OTHER, Answer.NONE_LIVE),
    ],
)
def test_a_value_says_all_while_it_lives_and_nothing_afterwards(hours: int, digest: bytes, answer: Answer) -> None:
    value = fast.made(DIGEST, PEPPERS, NOW, lambda: 0.5)
    assert fast.asked(value, digest, PEPPERS, NOW + timedelta(hours=hours)) is answer


def test_a_value_under_a_pepper_that_is_not_known_says_nothing() -> None:
    value = fast.made(DIGEST, PEPPERS, NOW, lambda: 0.5)
    assert fast.asked(value, OTHER, Keys(Key(b"q" * 32)), NOW) is Answer.NONE_LIVE


def test_a_value_under_the_previous_pepper_is_right_and_made_anew() -> None:
    value = fast.made(DIGEST, PEPPERS, NOW, lambda: 0.5)
    rotated = Keys(Key(b"q" * 32), previous=PEPPERS.current)
    assert fast.asked(value, DIGEST, rotated, NOW) is Answer.FITS_AND_ENDS_SOON
    assert fast.asked(value, OTHER, rotated, NOW) is Answer.DIFFERS


@given(st.floats(0, 1))
def test_what_was_made_together_does_not_end_together(chance: float) -> None:
    until = fast.made(DIGEST, PEPPERS, NOW, lambda: chance).until - NOW
    assert fast.LIFETIME * 0.8 <= until <= fast.LIFETIME * 1.2
