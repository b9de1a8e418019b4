"""The address of who calls: the peer's own, or what a proxy that we trust says of it."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

UNKNOWN = "unknown"
"""A peer without an address: a Unix socket."""


def source_of(peer: str | None, forwarded_for: bytes | None, trusted: Sequence[Network]) -> str:
    """The nearest address that is no trusted proxy.

    X-Forwarded-For is read from its end, where our own proxies append; whatever stands before the first address that is
    not trusted may have been written by anybody. Something that is no address ends the walk at the hop before it.

    peer: of the connection; None: it has none
    forwarded_for: all values of X-Forwarded-For, joined by commas
    """
    if peer is None:
        return UNKNOWN
    nearest = _address(peer)
    if nearest is None:
        return UNKNOWN
    hops = reversed(forwarded_for.decode("latin-1").split(",")) if forwarded_for and trusted else ()
    for hop in hops:
        if not any(nearest in network for network in trusted):
            break
        address = _address(hop.strip())
        if address is None:
            break
        nearest = address
    return str(nearest)


@functools.lru_cache(maxsize=4096)
def _address(text: str) -> Address | None:
    """The address; one of IPv4 that is dressed as IPv6 undressed, and without the name of an interface."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
