"""People by a token of their identity provider (OIDC): signature, issuer, audience and time, then who they are here.

head        one of the issuer's algorithms, none of a shared secret; nothing in it names a key but `kid`
iss         an issuer that this platform believes, to the letter
signature   by a key of the issuer's own set, of the kind that the algorithm takes
aud         one that the issuer's tokens have to be for
exp nbf iat against the clock, with a bounded leeway
sub         with iss: the person. What it may do is told by its membership now, never by the token
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import jwt
from jwt.types import Options
from psycopg.rows import class_row

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import look_up
from bulkhead.platform.users import sql
from bulkhead.platform.users.key_set import KeySets
from bulkhead.protocol.problems import Code, Problem

LEEWAY: Final = 60
"""Seconds by which the clocks of provider and platform may differ."""
MOST_SUBJECT: Final = 255
"""Characters (OpenID Connect Core 2)."""

_TYPES: Final = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})
"""Of tokens that say who calls; others of the same issuer, such as those of logout, say something else."""

# Times are looked at by `untimely`, by a clock that is injected, and sub by `_subject`.
_LOOKED_AT: Final = Options(
    require=["exp", "iss", "aud", "sub"],
    verify_exp=False,
    verify_nbf=False,
    verify_iat=False,
    verify_sub=False,
    verify_jti=False,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """A row of the look-up `issuer`."""

    id: UUID
    url: str
    audiences: list[str]
    algorithms: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A row of the look-up `membership`: what a person is now. now: by the database's clock."""

    membership_id: UUID | None
    organisation_id: UUID | None
    abilities: list[str] | None
    platform_admin: bool
    now: Any


@dataclass(frozen=True, slots=True)
class Person:
    """Who has logged in, and as what."""

    issuer: str
    subject: str
    standing: Standing


class Logins:
    """Checks JWTs. clock: Unix seconds"""

    def __init__(self, pool: Pool, keys: KeySets, *, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._keys = keys
        self._clock = clock

    async def person(self, token: str) -> Person:
        """Whom `token` names. Raises Problem, with what to do."""
        head, claims = _unverified(token)
        issuer = await self._issuer(claims.get("iss"))
        algorithm = _algorithm(head, issuer)
        key = await self._keys.key(issuer.url, head.get("kid"), algorithm)
        verified = _verified(token, key, algorithm, issuer)
        if wrong := untimely(verified, self._clock()):
            raise Problem(Code.LOGIN_INVALID, wrong)
        subject = _subject(verified)
        standing = await look_up(self._pool, sql.MEMBERSHIP, (issuer.url, subject), class_row(Standing))
        if standing is None:
            raise Problem(Code.MEMBERSHIP_MISSING)
        return Person(issuer.url, subject, standing)

    async def _issuer(self, url: Any) -> Issuer:
        if not isinstance(url, str) or not url.isprintable():
            raise Problem(Code.LOGIN_INVALID, "the token names no issuer")
        found = await look_up(self._pool, sql.ISSUER_BY_URL, (url,), class_row(Issuer))
        if found is None or not url.startswith(("https://", "http://")):
            raise Problem(Code.LOGIN_INVALID, "its issuer is none that this platform believes")
        return found


def untimely(claims: Mapping[str, Any], now: float) -> str:
    """Why a token is not of this time; empty: it is. now: Unix seconds. Pure."""
    for name, needed in (("exp", True), ("nbf", False), ("iat", False)):
        if name not in claims:
            if needed:
                return f"the token has no {name}"
            continue
        value = claims[name]
        if not _is_time(value):
            return f"{name} is no time"
        if name == "exp" and value <= now - LEEWAY:
            return "the token's time is over"
        if name != "exp" and value > now + LEEWAY:
            return f"the token is of the future, by its {name}"
    return ""


def _is_time(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _unverified(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Head and claims as somebody says they are: to look up whom to ask, and for nothing else."""
    try:
        said = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise Problem(Code.CREDENTIAL_MALFORMED, "neither an API token (oat_…) nor a JWT") from None
    return said["header"], said["payload"]


def _algorithm(head: Mapping[str, Any], issuer: Issuer) -> str:
    algorithm, type_ = head.get("alg"), head.get("typ", "")
    if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
        raise Problem(Code.LOGIN_INVALID, "its algorithm is none that this issuer signs with")
    if not isinstance(type_, str) or type_.lower() not in _TYPES:
        raise Problem(Code.LOGIN_INVALID, "it is a token for something else")
    if "crit" in head or "b64" in head or "zip" in head:
        raise Problem(Code.LOGIN_INVALID, "its head asks for what is not understood here")
    return algorithm


def _verified(token: str, key: jwt.PyJWK, algorithm: str, issuer: Issuer) -> Mapping[str, Any]:
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=issuer.audiences,
            issuer=issuer.url,
            options=_LOOKED_AT,
        )
    except jwt.InvalidAudienceError:
        raise Problem(Code.LOGIN_INVALID, "the token is for another audience") from None
    except jwt.MissingRequiredClaimError as missing:
        raise Problem(Code.LOGIN_INVALID, f"the token has no {missing.claim}") from None
    except (jwt.PyJWTError, ValueError, TypeError):
        raise Problem(Code.LOGIN_INVALID, "its signature does not fit") from None
    return claims


def _subject(claims: Mapping[str, Any]) -> str:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 1 <= len(subject) <= MOST_SUBJECT or not subject.isprintable():
        raise Problem(Code.LOGIN_INVALID, f"its sub has not 1 to {MOST_SUBJECT} printable characters")
    return subject
