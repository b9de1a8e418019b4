"""Where a plane's clusters are reached, and with which certificate. Set by administrators of the platform alone.

Unusable   what was given is no address, no CA, or no certificate with its key
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from dataclasses import dataclass, field
from uuid import UUID

from bulkhead.platform.signing.sealing import Sealed

_HOST = re.compile(r"(?:(?!-)[a-z0-9-]{1,63}(?<!-)\.)*(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII)
_MOST_HOST = 253


class Unusable(Exception):
    """The message is for who set it, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Address:
    """host: a name, or an address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """As its row holds it. Two are the same if nothing of them was changed.

    address: HOST:PORT of the gateway
    ca: PEM, what the certificates of clusters are verified with; certificate: PEM, the platform's own
    """

    plane: UUID
    address: str
    ca: str
    certificate: str
    key: Sealed = field(repr=False)


def place(plane: UUID) -> str:
    """The row that a client's key is sealed for."""
    return f"plane_targets/{plane}"


def address(text: str) -> Address:
    """`HOST:PORT`, with brackets around an address of IPv6. Raises Unusable."""
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise Unusable("the address has to be host:port, such as gateway.example.com:443 or [2001:db8::1]:443")
    return Address(_host(host), int(port))


def context(*, ca: str, certificate: str, key: str) -> ssl.SSLContext:
    """What a connection to this target is made with: TLS 1.3, its CA alone, our certificate. Raises Unusable."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        found.load_verify_locations(cadata=ca)
    except (ssl.SSLError, ValueError):
        raise Unusable("the CA is not a certificate in PEM") from None
    if not found.get_ca_certs():
        raise Unusable("the CA is not a certificate of an authority")
    try:
        _load(found, certificate + "\n" + key)
    except (ssl.SSLError, ValueError):
        raise Unusable("the client certificate and its key are not PEM, or do not belong together") from None
    return found


def _load(into: ssl.SSLContext, pem: str) -> None:
    """`load_cert_chain` wants a file: one in memory, so that the key never lies on a disk."""
    descriptor = os.memfd_create("client", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(pem)
        file.flush()
        # An encrypted key would ask for its password on the terminal.
        into.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")


def _host(text: str) -> str:
    bracketed = text.startswith("[") and text.endswith("]")
    try:
        literal = ipaddress.ip_address(text[1:-1] if bracketed else text)
    except ValueError:
        literal = None
    if literal is not None and (literal.version == 6) == bracketed:
        return str(literal)
    lowered = text.lower()
    # A last label of digits is an address to some resolvers: 127.1, 0x7f.1.
    if len(text) > _MOST_HOST or not _HOST.fullmatch(lowered) or re.match(r"[0-9]", lowered.rpartition(".")[2]):
        raise Unusable("the address has no host name that could be looked up")
    return lowered
