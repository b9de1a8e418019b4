"""Secrets that are carried as Bearer: their form, and what is shown of them."""

from __future__ import annotations

import copy
import logging
import pickle
import re
import string
import traceback

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.protocol import credentials
from bulkhead.protocol.credentials import ApiToken, Credential, RegistrationToken, Secret, ServiceKey
from bulkhead.protocol.encoding import base62, base64url, from_base62, from_base64url
from bulkhead.protocol.errors import Malformed
from tests.unit.protocol import gen

TYPED = string.ascii_letters + string.digits + "_- ."


@given(gen.credentials)
def test_what_is_revealed_is_read_back_as_the_same(credential: Credential) -> None:
    assert credentials.parse(credential.reveal()) == credential
    assert type(credentials.parse(credential.reveal())) is type(credential)


@given(gen.credentials)
def test_every_credential_has_one_length_and_one_form(credential: Credential) -> None:
    assert len(credential.reveal()) == credentials.LENGTH
    assert re.fullmatch(credentials.SCAN_PATTERN, credential.reveal())


@pytest.mark.parametrize("kind", [RegistrationToken, ServiceKey, ApiToken])
@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32, gen.seeded("x")])
def test_no_changed_character_passes(kind: type[Credential], secret: bytes) -> None:
    text = kind(gen.seeded("id", 16).hex(), Secret(secret)).reveal()
    for at, was in enumerate(text):
        for character in TYPED.replace(was, ""):
            with pytest.raises(Malformed):
                credentials.parse(text[:at] + character + text[at + 1 :])


@given(gen.credentials)
def test_no_two_neighbours_pass_when_swapped(credential: Credential) -> None:
    text = credential.reveal()
    for at in range(len(text) - 1):
        swapped = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        if swapped != text:
            with pytest.raises(Malformed):
                credentials.parse(swapped)


@given(gen.credentials)
def test_nothing_shorter_or_longer_passes(credential: Credential) -> None:
    text = credential.reveal()
    for at in range(len(text)):
        for cut in (text[:at], text[at + 1 :], text[:at] + text[at + 1 :], text[:at] + "0" + text[at:]):
            with pytest.raises(Malformed):
                credentials.parse(cut)
    for around in (f"{text}\n", f" {text}", f"{text}\x00"):
        with pytest.raises(Malformed):
            credentials.parse(around)


def test_who_pasted_a_part_is_told_so() -> None:
    with pytest.raises(Malformed, match="it was cut"):
        credentials.parse(gen.TOKEN.reveal()[:-1])


def test_a_text_of_any_length_is_not_counted_up_to_a_number() -> None:
    with pytest.raises(Malformed, match="too long"):
        from_base62("9" * 100_000, 32)


def test_a_number_beyond_256_bits_is_refused_even_with_its_checksum() -> None:
    body = f"bhk_{'0' * 32}_{'z' * 43}"
    with pytest.raises(Malformed, match="32 bytes"):
        credentials.parse(f"{body}_{credentials._checksum(body)}")


def test_a_credential_of_another_kind_is_told_apart_by_name() -> None:
    with pytest.raises(Malformed, match="this is a registration token, where a service key belongs"):
        ServiceKey.parse(gen.TOKEN.reveal())


@given(gen.credentials)
def test_the_secret_is_shown_by_reveal_alone(credential: Credential) -> None:
    secret = credential.secret.reveal()
    record = logging.LogRecord("x", logging.INFO, "x", 1, "%s %r", (credential, credential.secret), None)
    shown = (
        repr(credential), str(credential), f"{credential}", f"{credential!r:>200}", "%s" % credential,  # noqa: UP031
        repr(credential.secret), str(credential.secret), f"{[credential]}", record.getMessage(), credential.label,
    )  # fmt: skip
    assert not [text for text in shown if secret in text]


@given(gen.credentials, st.integers(min_value=0, max_value=credentials.LENGTH - 1))
def test_an_error_shows_nothing_of_what_was_read(credential: Credential, at: int) -> None:
    text = credential.reveal()
    broken = text[:at] + "!" + text[at + 1 :]
    with pytest.raises(Malformed) as caught:
        credentials.parse(broken)
    assert not [part for part in text.split("_")[1:] if part in str(caught.value)]
    assert credential.secret.reveal() not in "".join(traceback.format_exception_only(caught.value))


@pytest.mark.parametrize("value", [gen.SECRET, gen.TOKEN, gen.KEY])
def test_a_secret_is_neither_pickled_nor_written_as_json(value: object) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(value)
    with pytest.raises(TypeError):
        copy.deepcopy(value)
    with pytest.raises(TypeError):
        msgspec.json.encode(value)


@given(st.lists(st.one_of(gen.credentials, st.text(alphabet=" ,:\n{}\"'")), max_size=5))
def test_a_log_line_is_masked_and_keeps_what_names_the_credential(parts: list[Credential | str]) -> None:
    written = credentials.masked("".join(p.reveal() + " " if isinstance(p, Credential) else p for p in parts))
    for part in parts:
        if isinstance(part, Credential):
            assert part.secret.reveal() not in written
            assert f"{part.label}_***" in written


def test_a_cut_credential_is_masked_too() -> None:
    text = gen.TOKEN.reveal()
    for end in range(len("bht_") + 32 + 2, len(text)):
        assert credentials.masked(text[:end]) == f"{gen.TOKEN.label}_***"


@given(gen.random)
def test_a_new_one_is_made_of_the_given_randomness(random: credentials.Random) -> None:
    assert ServiceKey.generate(random) == ServiceKey.generate(random)
    assert ServiceKey.generate(random).id == random(16).hex()
    assert Secret.generate(random) == Secret(random(32))


@given(st.binary(min_size=32, max_size=32))
def test_a_secret_comes_back_from_where_it_was_stored(value: bytes) -> None:
    assert Secret.parse(Secret(value).reveal()) == Secret(value)


@given(st.binary(max_size=80))
def test_bytes_have_one_spelling_in_base64url(value: bytes) -> None:
    text = base64url(value)
    assert from_base64url(text) == value
    if text:
        for last in string.ascii_letters + string.digits + "-_=":
            if last != text[-1]:
                with_other_end = text[:-1] + last
                try:
                    assert from_base64url(with_other_end) != value
                except Malformed:
                    continue


@given(st.binary(min_size=1, max_size=40))
def test_bytes_of_a_size_have_one_spelling_in_base62(value: bytes) -> None:
    width = len(value) * 8 // 5 + 1
    assert from_base62(base62(value, width), len(value)) == value
    with pytest.raises(ValueError, match="do not fit"):
        base62(b"\x01" + value, len(value) * 8 // 6)
