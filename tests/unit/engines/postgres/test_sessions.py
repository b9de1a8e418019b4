"""How sessions are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.api.data_plane import TlsMode
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.postgres.sessions import Sessions, bounded, escaped
from tests.unit.engines.postgres import gen

CA = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"


@contextmanager
def tls_settings(mode: TlsMode, ca_pem: str | None) -> Iterator[dict[str, str]]:
    sessions = Sessions(gen.endpoint(mode=mode), "bh_op", Sensitive("admin"), ca_pem)
    yield sessions._tls()
    asyncio.run(sessions.close())


@pytest.mark.parametrize("mode", [TlsMode.VERIFY_FULL, TlsMode.VERIFY_CA])
def test_a_ca_is_the_only_one_that_is_believed(mode: TlsMode) -> None:
    with tls_settings(mode, CA) as settings:
        assert settings["sslmode"] == mode.value
        assert Path(settings["sslrootcert"]).read_text() == CA


@pytest.mark.parametrize("mode", [TlsMode.VERIFY_FULL, TlsMode.VERIFY_CA])
def test_without_a_ca_the_name_is_always_checked_for_the_systems_cas_vouch_for_anybody(mode: TlsMode) -> None:
    with tls_settings(mode, None) as settings:
        assert settings["sslmode"] == "verify-full"
        assert settings["sslrootcert"]


def test_an_empty_ca_is_not_the_systems() -> None:
    with tls_settings(TlsMode.VERIFY_FULL, "") as settings:
        assert Path(settings["sslrootcert"]).read_text() == ""


def test_tls_is_not_tried_where_it_is_disabled() -> None:
    with tls_settings(TlsMode.DISABLE, CA) as settings:
        assert settings == {"sslmode": "disable"}


def words(options: str) -> list[str]:
    """As the server takes options apart (`pg_split_opts`)."""
    found, word, escaping, within = [], "", False, False
    for character in options:
        if not escaping and character.isspace():
            if within:
                found.append(word)
            word, within = "", False
        elif not escaping and character == "\\":
            escaping, within = True, True
        else:
            word, escaping, within = word + character, False, True
    return [*found, word] if within else found


@given(st.text(min_size=1))
def test_no_value_breaks_out_of_its_option(value: str) -> None:
    assert words(f"-c role={escaped(value)}") == ["-c", f"role={value}"]


async def test_what_ignores_one_interruption_is_interrupted_again() -> None:
    interruptions = 0

    async def stubborn() -> None:
        nonlocal interruptions
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                interruptions += 1
                if interruptions == 2:
                    raise

    with pytest.raises(TimeoutError):
        async with bounded(0.01):
            await stubborn()
    assert interruptions == 2
