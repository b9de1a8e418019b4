"""What the platform says to a Data API about a request that it passes on, and which keys it says it with.

Keys follow each other: each is signed by the one before it, because default deny leaves a data cluster no way to ask
anybody else. A cluster trusts the keys of its exchange or re-join as they came over TLS, and from then on follows the
links that the answers to its heartbeats carry. The platform signs with the newest key that the cluster acknowledged.
Who loses the thread (a platform restored to before its newest key) re-joins, and trusts anew.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, Literal, Self

from msgspec import Meta

from bulkhead.protocol import jws
from bulkhead.protocol.documents import Answer, Closed, canonical, decode
from bulkhead.protocol.errors import AssertionInvalid, Malformed, NotCurrent, Untrusted
from bulkhead.protocol.jws import Typ
from bulkhead.protocol.keys import PublicKey, SigningKey
from bulkhead.protocol.scalars import Compact, Kid, PlatformUrl, Sha256, UnixSeconds, Uuid

HEADER = "Bulkhead-Assertion"
"""Of the proxied request, exactly once."""
LIFETIME = 60
"""Seconds from signing to `exp`."""
LEEWAY = 60
"""Seconds by which the clocks of platform and Data API may differ (protocol 6)."""
KEPT_KEYS = 2
"""A cluster accepts the newest key that it knows and the one before it, whose assertions may be on their way."""
MOST_KEYS = 4
MOST_LINKS = 64


class Ability(StrEnum):
    """What a user may do in an organisation."""

    CLUSTER_READ = "CLUSTER_READ"
    CLUSTER_WRITE = "CLUSTER_WRITE"
    DATASET_READ = "DATASET_READ"
    DATASET_WRITE = "DATASET_WRITE"
    TOKEN_ADMIN = "TOKEN_ADMIN"  # noqa: S105 - an ability
    AUDIT_READ = "AUDIT_READ"


class Source(StrEnum):
    """Who stands behind a request, as its credential says."""

    HUMAN = "human"
    WORKER = "worker"
    MCP = "mcp"


class Method(StrEnum):
    """The methods that the proxy passes on."""

    GET = "GET"
    HEAD = "HEAD"
    OPTIONS = "OPTIONS"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"

    @property
    def safe(self) -> bool:
        """RFC 9110 section 9.2.1. Others need DATASET_WRITE, and their assertion's `jti` is good for one request."""
        return self in (Method.GET, Method.HEAD, Method.OPTIONS)


class Assertion(Closed, frozen=True, kw_only=True):
    """One request of one user to one cluster."""

    purpose: Literal["assertion"]
    iss: PlatformUrl
    aud: Uuid
    """The cluster."""
    sub: Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
    """The user, as its issuer names it."""
    organisation: Uuid
    abilities: Annotated[tuple[Ability, ...], Meta(max_length=len(Ability))]
    source: Source
    method: Method
    path: Sha256
    """`path_hash` of the request's target."""
    jti: Uuid
    exp: UnixSeconds

    def __post_init__(self) -> None:
        if len(set(self.abilities)) != len(self.abilities):
            raise Malformed("an ability is listed twice")


class Jwk(Answer, frozen=True, kw_only=True):
    """A public key that signs for the platform (RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    alg: Literal["EdDSA"]
    use: Literal["sig"]
    kid: Kid
    x: PublicKey

    def __post_init__(self) -> None:
        if self.kid != self.x.kid:
            raise Malformed("the kid is not the thumbprint of the key")

    @classmethod
    def of(cls, key: PublicKey) -> Self:
        """`key` as a JWK."""
        return cls(kty="OKP", crv="Ed25519", alg="EdDSA", use="sig", kid=key.kid, x=key)


class Jwks(Answer, frozen=True, kw_only=True):
    """The keys that are trusted, oldest first: the newest is the last."""

    keys: Annotated[tuple[Jwk, ...], Meta(min_length=1, max_length=MOST_KEYS)]

    def __post_init__(self) -> None:
        if len({key.kid for key in self.keys}) != len(self.keys):
            raise Malformed("a key is listed twice")

    @property
    def newest(self) -> Jwk:
        """The key that a cluster acknowledges by its `kid`, and that must have signed the next."""
        return self.keys[-1]

    def key(self, kid: str) -> PublicKey | None:
        """The key with this thumbprint, None where it is not trusted."""
        return next((key.x for key in self.keys if key.kid == kid), None)


class KeyUse(StrEnum):
    """What a chain of keys signs; a link of one chain is none of another."""

    ASSERTION = "assertion"
    AUDIT_HEAD = "audit-head"


class Succession(Closed, frozen=True, kw_only=True):
    """What a key signs about the one after it."""

    purpose: Literal["succession"]
    platform: PlatformUrl
    use: KeyUse
    predecessor: Kid
    successor: PublicKey


class Link(Answer, frozen=True, kw_only=True):
    """One key and the word of its predecessor for it."""

    key: Jwk
    signature: Compact
    """`Succession`, signed by the predecessor."""


Links = Annotated[tuple[Link, ...], Meta(max_length=MOST_LINKS)]


def link(predecessor: SigningKey, successor: PublicKey, *, platform: str, use: KeyUse) -> Link:
    """The link from `predecessor` to `successor`."""
    claims = Succession(
        purpose="succession", platform=platform, use=use, predecessor=predecessor.public.kid, successor=successor
    )
    return Link(key=Jwk.of(successor), signature=jws.sign(canonical(claims), Typ.SUCCESSION, predecessor))


def follow(trusted: Jwks, links: tuple[Link, ...], *, platform: str, use: KeyUse) -> Jwks:
    """What is trusted after `links`, each signed by the key before it. Raises Untrusted; `trusted` stays as it is then.

    Links to keys that are trusted already are passed over, so the same answer may come twice.
    """
    keys = trusted.keys
    for each in links:
        if all(each.key.kid != key.kid for key in keys):
            _require_successor(keys[-1].x, each, platform=platform, use=use)
            keys = (*keys, each.key)
    return Jwks(keys=keys[-KEPT_KEYS:]) if keys != trusted.keys else trusted


def server_name(cluster: str) -> str:
    """The name that the certificate of whoever answers for `cluster` must have, and the Host that it is asked by.

    cluster: its UUID. The name resolves nowhere (`.internal` is reserved for private use); the address is set apart
    """
    return f"{cluster}.clusters.bulkhead.internal"


def path_hash(target: bytes) -> str:
    """SHA-256 of the request's target as the Data API is sent it, byte for byte: path, and "?" and query if any."""
    return hashlib.sha256(target).hexdigest()


def sign(assertion: Assertion, key: SigningKey) -> str:
    """`assertion` as the proxied request carries it."""
    return jws.sign(canonical(assertion), Typ.ASSERTION, key)


def verify(text: str, trusted: Jwks, *, platform: str, cluster: str, method: str, target: bytes, now: int) -> Assertion:
    """What `text` asserts about this request to `cluster` at `now` (Unix seconds). Raises AssertionInvalid, NotCurrent.

    Whoever accepts a method that is not safe must also refuse a `jti` that it has seen.
    """
    assertion = _signed(text, trusted)
    if assertion.iss != platform or assertion.aud != cluster:
        raise AssertionInvalid("the assertion is of another platform or for another cluster")
    if assertion.method != method or assertion.path != path_hash(target):
        raise AssertionInvalid("the assertion is for another request")
    if not now - LEEWAY < assertion.exp <= now + LIFETIME + LEEWAY:
        raise NotCurrent(f"the assertion is not of this time: a clock is off by more than {LEEWAY} seconds")
    return assertion


def _signed(text: str, trusted: Jwks) -> Assertion:
    try:
        signed = jws.read(text, Typ.ASSERTION)
        key = trusted.key(signed.kid)
        if key is None or not signed.by(key):
            raise AssertionInvalid("the assertion is not signed with a key that is trusted here")
        return decode(Assertion, signed.payload)
    except Malformed as error:
        raise AssertionInvalid(f"the assertion can not be read: {error}") from None


def _require_successor(predecessor: PublicKey, each: Link, *, platform: str, use: KeyUse) -> None:
    try:
        signed = jws.read(each.signature, Typ.SUCCESSION)
        if not signed.by(predecessor):
            raise Untrusted("the next signing key is not signed by the newest one that is trusted")
        claims = decode(Succession, signed.payload)
    except Malformed as error:
        raise Untrusted(f"the next signing key's link can not be read: {error}") from None
    expected = Succession(
        purpose="succession", platform=platform, use=use, predecessor=predecessor.kid, successor=each.key.x
    )
    if claims != expected:
        raise Untrusted("the next signing key's link is for another key, platform or use")
