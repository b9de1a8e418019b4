"""Whose address counts."""

from __future__ import annotations

import ipaddress

import pytest

from bulkhead.platform.http.source import UNKNOWN, source_of

PROXIES = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


def test_without_trusted_proxies_the_peer_is_the_source_whatever_it_says() -> None:
    assert source_of("198.51.100.7", b"203.0.113.9", ()) == "198.51.100.7"


def test_a_stranger_is_not_believed() -> None:
    assert source_of("198.51.100.7", b"203.0.113.9", PROXIES) == "198.51.100.7"


def test_the_nearest_address_that_is_no_proxy_of_ours_is_the_source() -> None:
    assert source_of("10.0.0.1", b"192.0.2.1, 203.0.113.9, 10.0.0.2", PROXIES) == "203.0.113.9"


def test_what_a_client_wrote_before_our_proxies_did_changes_nothing() -> None:
    assert source_of("10.0.0.1", b"10.9.9.9, 203.0.113.9", PROXIES) == "203.0.113.9"


@pytest.mark.parametrize("said", [b"", b"nonsense", b"\xff\xfe", b"203.0.113.9, ", b"203.0.113.9:80"])
def test_what_is_no_address_ends_the_walk_at_the_hop_before_it(said: bytes) -> None:
    assert source_of("10.0.0.1", said, PROXIES) == "10.0.0.1"


def test_when_all_are_proxies_the_farthest_is_the_source() -> None:
    assert source_of("10.0.0.1", b"10.0.0.3, 10.0.0.2", PROXIES) == "10.0.0.3"


def test_IPv4_dressed_as_IPv6_is_the_same_source() -> None:  # noqa: N802 - names of protocols
    assert source_of("::ffff:198.51.100.7", None, ()) == "198.51.100.7"
    assert source_of("::ffff:10.0.0.1", b"::ffff:203.0.113.9", PROXIES) == "203.0.113.9"


def test_a_peer_without_an_address_is_unknown() -> None:
    assert source_of(None, b"203.0.113.9", PROXIES) == UNKNOWN


def test_an_address_of_a_link_is_taken_without_the_name_of_its_interface() -> None:
    assert source_of("fe80::1%eth0", None, ()) == "fe80::1"
