"""What is sealed opens for its row, under its key, and in no other way."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.platform.signing.sealing import Sealed, Sealing, Unsealable

OLD, NEW = b"o" * 32, b"n" * 32
ROW = "webhooks/6f1c"


def sealing(**keys: bytes) -> Sealing:
    return Sealing(keys or {"old": OLD}, random=os.urandom)


@given(st.binary(max_size=300))
def test_what_is_sealed_is_opened_for_its_row(secret: bytes) -> None:
    assert sealing().open(sealing().seal(secret, ROW), ROW) == secret


def test_the_same_secret_never_looks_the_same_twice() -> None:
    assert sealing().seal(b"secret", ROW).text != sealing().seal(b"secret", ROW).text


def test_a_secret_does_not_open_in_another_row() -> None:
    with pytest.raises(Unsealable, match="webhooks/other does not hold"):
        sealing().open(sealing().seal(b"secret", ROW), "webhooks/other")


@given(st.data())
def test_no_changed_bit_opens(data: st.DataObject) -> None:
    sealed = sealing().seal(b"secret", ROW)
    place = data.draw(st.integers(0, len(sealed.text) * 8 - 1))
    changed = bytearray(sealed.text)
    changed[place // 8] ^= 1 << place % 8
    with pytest.raises(Unsealable):
        sealing().open(Sealed(bytes(changed), sealed.under), ROW)


@pytest.mark.parametrize("text", [b"", b"short", bytes(12), bytes(27)])
def test_what_is_too_short_to_be_sealed_does_not_open(text: bytes) -> None:
    with pytest.raises(Unsealable):
        sealing().open(Sealed(text, "old"), ROW)


def test_a_former_key_opens_and_the_first_one_seals() -> None:
    former = sealing().seal(b"secret", ROW)
    both = sealing(new=NEW, old=OLD)
    assert both.open(former, ROW) == b"secret"
    assert both.stale(former)
    assert not both.stale(both.seal(b"secret", ROW))


def test_a_key_that_is_gone_is_named() -> None:
    with pytest.raises(Unsealable, match="under the key old, which is not in the settings"):
        sealing(new=NEW).open(sealing().seal(b"secret", ROW), ROW)


def test_the_id_of_a_key_is_authenticated() -> None:
    """Two ids for the same bytes are two keys: who can write the row can not move it between them."""
    twice = sealing(one=OLD, two=OLD)
    with pytest.raises(Unsealable):
        twice.open(Sealed(twice.seal(b"secret", ROW).text, "two"), ROW)


@pytest.mark.parametrize(
    "keys", [{}, {"short": b"x" * 31}, {"long": b"x" * 33}, {"": OLD}, {"a b": OLD}, {"x" * 65: OLD}]
)
def test_keys_that_can_not_seal_are_refused(keys: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="key"):
        Sealing(keys, random=os.urandom)


def test_no_key_is_shown() -> None:
    assert repr(sealing(old=OLD)) == "Sealing(old)"
