"""Stamps and secrets: what may be read by others, and what may not."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.api import sensitive
from bulkhead.api.ownership import Stamp, owner_of
from bulkhead.api.sensitive import Sensitive
from tests.unit.api import gen


class Holder(msgspec.Struct):
    value: Sensitive


@given(gen.uids, gen.uids)
def test_a_stamp_is_read_as_it_was_written(installation: str, uid: str) -> None:
    stamp = Stamp(installation, uid)
    assert Stamp.parse(str(stamp)) == stamp


@pytest.mark.parametrize(
    "text", [None, "", "bulkhead", "bulkhead:a", "bulkhead::b", "bulkhead:a:", "other:a:b", "a:b:c:d"]
)
def test_anything_else_is_no_stamp(text: str | None) -> None:
    assert Stamp.parse(text) is None


@given(st.text(min_size=4))
def test_a_secret_shows_in_no_text(value: str) -> None:
    holder = Holder(Sensitive(value))
    shown = f"{holder} {holder!r} {holder.value} {holder.value!r} {[holder.value]}"
    assert shown.replace("Sensitive(***)", "").replace("Holder(value=)", "").strip(" []") == ""


def test_a_secret_is_not_written_by_accident() -> None:
    with pytest.raises((TypeError, msgspec.ValidationError, NotImplementedError)):
        msgspec.json.encode(Holder(Sensitive("swordfish")))


def test_a_secret_comes_back_from_the_record() -> None:
    text = msgspec.json.encode(Holder(Sensitive("swordfish")), enc_hook=sensitive.encode)
    assert msgspec.json.decode(text, type=Holder, dec_hook=sensitive.decode).value == Sensitive("swordfish")


def test_secrets_are_compared_by_value() -> None:
    assert Sensitive("a") == Sensitive("a")
    assert Sensitive("a") != Sensitive("b")
    assert Sensitive("a") != "a"
    assert not Sensitive("")


@pytest.mark.parametrize(
    ("mark", "owner"),
    [
        (None, "it bears no stamp"),
        ("", "its stamp is not one of ours"),
        ("made by hand", "its stamp is not one of ours"),
        ("bulkhead:here:u-1", "installation here, UID u-1"),
        (Stamp("here", "u-1"), "installation here, UID u-1"),
    ],
)
def test_whose_an_object_is_is_told_as_far_as_its_mark_says(mark: Stamp | str | None, owner: str) -> None:
    assert owner_of(mark) == owner
