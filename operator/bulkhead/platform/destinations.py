"""Addresses that others name: to which of them the platform connects. How it does is in outbound.py."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from yarl import URL

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MOST_URL = 2048
MOST_HOST = 253

_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_EMBEDDING = (ipaddress.IPv6Network("64:ff9b::/96"),)
"""NAT64 (RFC 6052): the last 32 bits are the IPv4 address that is reached."""
_URL = re.compile(r"[\x21-\x7e]+", re.ASCII)


class Failed(Exception):
    """There is no answer. The message is for people of the platform; it holds nothing that the other side sent."""


class Refused(Failed, OSError):
    """The address is none that the platform connects to."""


def permitted(address: Address, allowed: Sequence[Network], *, public: bool = True) -> bool:
    """Whether the platform connects to `address`.

    allowed: networks that settings open, whatever they are otherwise
    public: addresses of the internet at large are permitted too
    """
    real = unwrapped(address)
    if any(real in network for network in allowed if network.version == real.version):
        return True
    return public and _is_public(real)


def unwrapped(address: Address) -> Address:
    """The address that is reached through `address`: IPv4 in its many IPv6 clothes."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address.sixtofour:
        return address.sixtofour
    if any(address in network for network in _EMBEDDING):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def url(text: str, allowed: Sequence[Network] = ()) -> str:
    """`text`, if the platform may try to connect there. What its name resolves to is looked at when it does.

    Raises:
        Refused: not https (http is for allowed networks alone), with a user, or an address that is not permitted.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        asked = URL(text, encoded=True).raw_host or ""
    except ValueError:
        raise Refused("this is no URL") from None
    if len(text) > MOST_URL or not _URL.fullmatch(text) or not 1 <= len(host) <= MOST_HOST or port == 0:
        raise Refused("this is no URL")
    if parts.scheme != "https" and not (parts.scheme == "http" and allowed):
        raise Refused("the URL has to begin with https://")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise Refused("the URL must have no user, password or fragment")
    if asked.lower() != host:
        raise Refused("the URL names a host that two readers could take for two")
    literal = _literal(host)
    if literal is not None and not permitted(literal, allowed, public=parts.scheme == "https"):
        raise Refused("the platform does not connect to this address")
    return text


def _is_public(address: Address) -> bool:
    if address.version == 6 and address not in _GLOBAL_V6:
        return False
    return address.is_global and not address.is_multicast


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
