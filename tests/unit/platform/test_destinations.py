"""To which of the addresses that others name the platform connects."""

from __future__ import annotations

import ipaddress

import pytest

from bulkhead.platform.destinations import Refused, permitted, url

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)

HOSTILE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",  # noqa: S104 - refused
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.0.1",
    "198.18.0.1",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd12::1",
    "ff02::1",
    "fec0::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "100::1",
]


@pytest.mark.parametrize("address", HOSTILE)
def test_an_address_of_no_public_host_is_refused_in_every_spelling(address: str) -> None:
    assert not permitted(ipaddress.ip_address(address), ())


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_an_address_of_the_internet_is_permitted(address: str) -> None:
    assert permitted(ipaddress.ip_address(address), ())


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"])
def test_what_settings_allow_is_permitted(address: str) -> None:
    assert permitted(ipaddress.ip_address(address), LOOPBACK)
    assert not permitted(ipaddress.ip_address("10.0.0.1"), LOOPBACK)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hooks.example.com",
        "ftp://hooks.example.com/",
        "http://hooks.example.com/",
        "https://",
        "https:///x",
        "https://user@hooks.example.com/",
        "https://user:pass@hooks.example.com/",
        "https://hooks.example.com/#x",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:99999/",
        "https://[::1/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:a9fe:a9fe]/latest/meta-data",
        "https://hooks.example.com/a b",
        "https://hooks.example.com/\r\nHost: other",
        "https://hooks.example.com/" + "x" * 2048,
        "file:///etc/passwd",
    ],
)
def test_a_url_that_is_none_or_leads_inside_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        url(text)


@pytest.mark.parametrize(
    "text", ["https://hooks.example.com", "https://hooks.example.com:8443/a?b=c", "https://8.8.8.8/"]
)
def test_a_public_https_url_is_taken(text: str) -> None:
    assert url(text) == text


def test_plain_http_is_for_allowed_networks_alone() -> None:
    assert url("http://127.0.0.1:8080/x", LOOPBACK)
    with pytest.raises(Refused):
        url("http://8.8.8.8/x", LOOPBACK)


@pytest.mark.parametrize(
    "text",
    [
        "https://hook.example\\@127.0.0.1/",
        "https://hook\\.example/",
        "https://[::1%25lo]/",
        f"https://{'a' * 254}/",
    ],
)
def test_a_host_that_could_not_be_asked_is_refused_before_anybody_asks_it(text: str) -> None:
    """One that is taken and then is a fault to whoever sends would end all sending."""
    with pytest.raises(Refused):
        url(text, LOOPBACK)


@pytest.mark.parametrize("host", ["Hook.Example", "xn--bcher-kva.example", "93.184.216.34", "[2600::1]"])
def test_a_host_that_all_readers_take_for_the_same_is_let_through(host: str) -> None:
    assert url(f"https://{host}:8443/hook", LOOPBACK)
