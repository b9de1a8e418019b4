"""A target is an address that has one meaning, an authority, and a certificate with its own key."""

from __future__ import annotations

import datetime as dt

import pytest
from cryptography.hazmat.primitives import serialization

from bulkhead.platform.proxy.target import Address, Unusable, address, context
from hack.plane.certificates import Authority

NOW = dt.datetime.now(dt.UTC)
AUTHORITY = Authority("gateway", NOW)
OURS = AUTHORITY.client("platform")
ENCRYPTED = (
    serialization.load_pem_private_key(OURS.key.encode(), None)
    .private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"a password"),
    )
    .decode()
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gateway.example.com:443", Address("gateway.example.com", 443)),
        ("GATEWAY.Example:8443", Address("gateway.example", 8443)),
        ("10.1.2.3:1", Address("10.1.2.3", 1)),
        ("[2001:DB8::1]:65535", Address("2001:db8::1", 65535)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, expected: Address) -> None:
    assert address(text) == expected
    assert address(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gateway",
        "gateway:",
        ":443",
        "gateway:0",
        "gateway:65536",
        "gateway:٤٤٣",
        "gateway:443/path",
        "https://gateway:443",
        "user@gateway:443",
        "2001:db8::1:443",
        "[10.0.0.1]:443",
        "127.1:443",
        "0x7f000001:443",
        "2130706433:443",
        "010.0.0.1:443",
        "-gateway:443",
        "gate way:443",
        "gateway..example:443",
        "gateway.example.:443",
        "a" * 300 + ":443",
        "gäteway:443",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Unusable):
        address(text)


def test_a_context_trusts_its_authority_alone_and_shows_our_certificate() -> None:
    made = context(ca=AUTHORITY.certificate, certificate=OURS.certificate, key=OURS.key)
    assert len(made.get_ca_certs()) == 1
    assert made.check_hostname


@pytest.mark.parametrize(
    "given",
    [
        {"ca": "nonsense"},
        {"ca": OURS.certificate},
        {"certificate": "nonsense"},
        {"key": "nonsense"},
        {"key": AUTHORITY.client("another").key},
        {"key": ENCRYPTED},
    ],
)
def test_what_is_no_authority_or_does_not_belong_together_is_refused(given: dict[str, str]) -> None:
    whole = {"ca": AUTHORITY.certificate, "certificate": OURS.certificate, "key": OURS.key}
    with pytest.raises(Unusable):
        context(**{**whole, **given})
