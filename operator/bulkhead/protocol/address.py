"""The platform's URL as both ends sign it: one spelling, whatever a spec or a setting says."""

from __future__ import annotations

import ipaddress
import re

from bulkhead.protocol.errors import Malformed

MOST_CHARACTERS = 512
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""Where `http` is accepted."""

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_URL = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?"
    r"(?P<path>(?:/[A-Za-z0-9._~-]+)*)/?",
    re.ASCII,
)
_SCHEME_AND_HOST = re.compile(r"[^/]*//[^/]*")
_DEFAULT_PORTS = {"https": 443, "http": 80}


def platform_url(text: str) -> str:
    """The canonical form: lower-case scheme and host, no default port, no final slash. Raises Malformed.

    A user, a query, a fragment, an escape, a dot segment and `http` to anywhere but loopback are refused.
    """
    if len(text) > MOST_CHARACTERS or not text.isascii():
        raise Malformed(f"the platform's URL has at most {MOST_CHARACTERS} characters of ASCII")
    found = _URL.fullmatch(_SCHEME_AND_HOST.sub(lambda head: head[0].lower(), text, count=1))
    if found is None:
        raise Malformed("the platform's URL must be like https://platform.example.com, without user, query or fragment")
    scheme, host, path = found["scheme"], _host(found["host"]), found["path"]
    if scheme == "http" and host not in LOOPBACK:
        raise Malformed("the platform's URL must start with https://: http:// is for a loopback address only")
    if any(segment in (".", "..") for segment in path.split("/")):
        raise Malformed("the platform's URL must have no dot segments")
    return f"{scheme}://{host}{_port(found['port'], scheme)}{path}"


def _host(host: str) -> str:
    if not host.startswith("["):
        return host
    try:
        return f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
    except ValueError:
        raise Malformed("the platform's URL has no IPv6 address between the brackets") from None


def _port(digits: str | None, scheme: str) -> str:
    if digits is None:
        return ""
    port = int(digits)
    if not 0 < port < 65536:
        raise Malformed("the platform's URL must have a port between 1 and 65535, or none")
    return "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
