"""Passwords, verifiers, and what is published of them."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.api.data_plane import TlsMode
from bulkhead.api.names import physical_names
from bulkhead.api.record import Credential, Holding
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.postgres.binding import binding_of
from bulkhead.engines.postgres.engine import PostgresEngine
from bulkhead.engines.postgres.scram import new_password, scram_verifier
from tests.unit.engines.postgres import gen

NAMES = physical_names("acme", gen.uid_of("acme"), ("entries",), opaque=False)
CA = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"


def engine(ca_pem: str | None = None, mode: TlsMode = TlsMode.DISABLE) -> PostgresEngine:
    return PostgresEngine(
        gen.endpoint(mode=mode),
        Sensitive("bh_op"),
        Sensitive("admin"),
        ca_pem,
        installation=gen.INSTALLATION,
        randomness=lambda count: bytes(range(count)),
        clock=lambda: gen.NOW,
    )


def test_the_verifier_is_that_of_rfc_7677() -> None:
    salt = bytes.fromhex("5b6d99689d1235 8eec a04b141236fa81".replace(" ", ""))
    assert scram_verifier(Sensitive("pencil"), lambda _: salt) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


@given(st.binary(min_size=24, max_size=24))
def test_a_password_stands_for_itself_in_a_uri(random: bytes) -> None:
    password = new_password(lambda count: random[:count]).reveal()
    assert len(password) == 32
    assert unquote(password) == password
    assert not set(password) & set(":/?#[]@!$&'()*+,;=%\" \\")


def test_the_first_credential_is_generation_one() -> None:
    (first,) = engine().credentials(NAMES, gen.stamp(), Holding(), gen.NOW)
    assert (first.generation, first.identity) == (1, "acme_1")
    assert first.verifier.startswith("SCRAM-SHA-256$4096:")
    assert first.value.reveal() not in first.verifier


def test_credentials_that_are_held_are_kept() -> None:
    held = gen.holding(generations=(3, 4))
    assert engine().credentials(NAMES, gen.stamp(), held, gen.NOW) == held.credentials


def published(
    host: str = "postgres.data.svc", *, mode: TlsMode = TlsMode.VERIFY_FULL, ca: str | None = CA
) -> dict[str, str]:
    return dict(binding_of(gen.endpoint(mode=mode, host=host), "acme", gen.credential(), ca))


@pytest.mark.parametrize("host", ["postgres.data.svc", "10.0.0.1", "fd00::1"])
def test_the_uri_is_what_libpq_takes(host: str) -> None:
    binding = published(host)
    found = psycopg.conninfo.conninfo_to_dict(binding["uri"])
    assert found == {
        "host": host,
        "port": "5432",
        "dbname": "acme",
        "user": "acme_1",
        "password": binding["password"],
        "sslmode": "verify-full",
    }


def test_the_jdbc_url_carries_the_login() -> None:
    binding = published()
    address = urlsplit(binding["jdbc-url"].removeprefix("jdbc:"))
    assert address.path == "/acme"
    assert parse_qs(address.query) == {
        "user": ["acme_1"],
        "password": [binding["password"]],
        "sslmode": ["verify-full"],
    }


def test_a_binding_is_complete_for_any_client() -> None:
    binding = published()
    assert {
        "type", "provider", "host", "port", "database", "username", "password", "sslmode", "uri", "jdbc-url", "ca.crt",
    } == set(binding)  # fmt: skip
    assert binding["type"] == "postgresql"


@pytest.mark.parametrize(("mode", "ca"), [(TlsMode.DISABLE, CA), (TlsMode.VERIFY_FULL, None)])
def test_no_ca_is_given_where_none_is_used(mode: TlsMode, ca: str | None) -> None:
    assert "ca.crt" not in published(mode=mode, ca=ca)


def test_the_last_generation_is_published() -> None:
    request = gen.request(held=gen.holding(generations=(1, 2)))
    assert engine().binding(request)["username"] == "acme_2"


def test_there_is_no_binding_without_a_credential() -> None:
    with pytest.raises(ValueError, match="issued credential"):
        engine().binding(gen.request(held=gen.holding(generations=())))


@given(st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1))
def test_no_password_breaks_out_of_the_uri(password: str) -> None:
    credential = Credential(generation=1, identity="acme_1", value=Sensitive(password))
    binding = binding_of(gen.endpoint(), "acme", credential, None)
    assert psycopg.conninfo.conninfo_to_dict(binding["uri"])["password"] == password
