r"""Strings and numbers of specs that are more than strings and numbers: checked alike here and by the API server.

Every string has a longest form, so that the cost of each CEL rule is bounded, and none may hold a control character.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from bulkhead.api.duration import DURATION_PATTERN
from bulkhead.api.names import SLUG_PATTERN
from bulkhead.api.rules import Rule, checked, literal, matching, slug_rules

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_DOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_IPV6 = r"[0-9a-f]*:[0-9a-f:.]+"
_PORT = r"(:[1-9][0-9]{0,4})?"

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
"""Where an unencrypted connection to an engine is accepted."""

CLOSED_RANGES = (
    "127.0.0.0/8", "169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32",
    "::1/128", "fe80::/10", "fd00:ec2::/32", "fd20:ce::254/128",
)  # fmt: skip
"""Loopback, link-local and the clouds' metadata services: no egress rule ever opens any of them. Those that are not
link-local: Alibaba Cloud, Azure's WireServer, Oracle Cloud, and by IPv6 AWS and Google Cloud."""

ObjectName = Annotated[
    str,
    Meta(max_length=253),
    matching(rf"^{_DOMAIN}\Z", 'must be the name of an object: lower-case a-z, 0-9, "-" and ".", such as "engines-ca"'),
]

Slug = Annotated[str, Meta(max_length=48, pattern=SLUG_PATTERN), checked(*slug_rules("self"))]

Port = Annotated[int, Meta(ge=1, le=65535)]

ClockSkewMinutes = Annotated[int, Meta(ge=-(2**33), le=2**33)]
"""Any two clocks of the years 1 to 9999 are less apart."""

Host = Annotated[
    str,
    Meta(max_length=253),
    matching(
        rf"^({_DOMAIN}|{_IPV6})\Z",
        'must be one host name or address, without scheme or port, such as "postgres.data.svc"',
    ),
    checked(Rule('!self.contains(":") || isIP(self)', 'holds ":" but is no IPv6 address: give the port in its field')),
]

_URL_RULES = (
    Rule(
        'isURL(self) && (url(self).getPort() == "" || int(url(self).getPort()) <= 65535)',
        "must have a port between 1 and 65535, or none",
    ),
    Rule(
        '!self.contains("[") || isIP(self.substring(self.indexOf("[") + 1, self.indexOf("]")))',
        "must have an IPv6 address between the brackets",
    ),
    Rule(
        f'self.startsWith("https://") || url(self).getHostname() in {literal(LOOPBACK_HOSTS)}',
        'must start with "https://": "http://" is accepted for a loopback address only',
    ),
)

EngineUrl = Annotated[
    str,
    Meta(max_length=300),
    matching(
        rf"^https?://({_DOMAIN}|\[{_IPV6}\]){_PORT}\Z",
        'must be a URL without path, query and user, such as "https://minio.data.svc:9000"',
    ),
    checked(*_URL_RULES),
]

ServiceUrl = Annotated[
    str,
    Meta(max_length=500),
    matching(
        rf"^https?://({_DOMAIN}|\[{_IPV6}\]){_PORT}(/[A-Za-z0-9._~-]+)*/?\Z",
        'must be a URL without query and user, such as "https://platform.example.com"',
    ),
    checked(*_URL_RULES),
]

NETWORK = Rule(
    "isCIDR(self) && string(cidr(self).masked()) == self",
    'must be a network in its usual form, without host bits, such as "203.0.113.0/24" or "2001:db8::/32"',
)

Cidr = Annotated[
    str,
    Meta(max_length=43),
    matching(r"^[0-9a-f:.]{2,39}/[0-9]{1,3}\Z", 'must be a range of addresses, such as "203.0.113.0/24"'),
    checked(NETWORK),
]

Duration = Annotated[
    str,
    Meta(min_length=2, max_length=18),
    matching(DURATION_PATTERN, 'must be hours, minutes and seconds, such as "24h" or "1h30m"'),
]

Size = Annotated[
    str,
    Meta(max_length=12),
    matching(r"^[1-9][0-9]{0,8}(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?\Z", 'must be a number of bytes, such as "10Gi"'),
    checked(
        Rule(
            '!quantity(self).isLessThan(quantity("1Mi")) && quantity(self).isLessThan(quantity("1Ei"))',
            "must be at least 1Mi and less than 1Ei",
        )
    ),
]

Extension = Annotated[
    str,
    Meta(max_length=63),
    matching(r"^[a-z][a-z0-9_-]*\Z", 'must be the name of a Postgres extension, such as "pg_trgm"'),
]


def lasting(least: str, most: str) -> Meta:
    """Bounds of a `Duration`, both included."""
    within = f"duration(self) >= duration({literal(least)}) && duration(self) <= duration({literal(most)})"
    return checked(Rule(within, f"must be between {least} and {most}"))
