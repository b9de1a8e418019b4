"""Who counts as one peer of the listener."""

from __future__ import annotations

import pytest

from bulkhead.platform.http.server import peer_of


def test_all_addresses_of_one_customer_count_as_one() -> None:
    assert peer_of(("2001:db8:1:2::1", 1)) == peer_of(("2001:db8:1:2:ffff::9", 2))
    assert peer_of(("2001:db8:1:2::1", 1)) != peer_of(("2001:db8:1:3::1", 1))


@pytest.mark.parametrize("address", ["203.0.113.9", "::ffff:203.0.113.9"])
def test_an_address_of_ipv4_counts_for_itself_in_whatever_clothes(address: str) -> None:
    assert peer_of((address, 1)) == "203.0.113.9"


def test_an_address_that_is_of_one_link_is_no_fault() -> None:
    assert peer_of(("fe80::1%eth0", 1)) == "fe80::/64"


def test_who_has_no_address_is_nobody_in_particular() -> None:
    assert peer_of(None) == ""
