"""Which problems a row may answer: its own, and those of the way that leads to it."""

from __future__ import annotations

from collections.abc import Mapping

from bulkhead.platform.http.route import (
    BoundKey,
    Caller,
    PlatformAdmin,
    RegistrationToken,
    Route,
    ServiceKey,
    Unauthenticated,
    UserOrPlane,
    UserWith,
)
from bulkhead.protocol.problems import Code

ALWAYS = (
    Code.REQUEST_MALFORMED,
    Code.FRAMING_REFUSED,
    Code.HEADERS_TOO_LARGE,
    Code.TOO_SLOW,
    Code.UNAVAILABLE,
    Code.INTERNAL,
)
WITH_BODY = (Code.BODY_INVALID, Code.BODY_TOO_LARGE, Code.MEDIA_TYPE)

_CREDENTIAL = (Code.UNAUTHENTICATED, Code.CREDENTIAL_MALFORMED, Code.CREDENTIAL_WRONG_KIND, Code.RATE_LIMITED)
_KEY = (
    Code.KEY_UNKNOWN,
    Code.KEY_REVOKED,
    Code.KEY_EXPIRED,
    Code.KEY_FENCED,
    Code.BUSY,
    Code.IDENTITY_REVOKED,
    Code.IDENTITY_SUSPENDED,
    Code.CLUSTER_DELETED,
    Code.PLANE_REVOKED,
    Code.GRANT_WITHDRAWN,
    Code.SCOPE_MISSING,
)
_LOGIN = (
    Code.API_TOKEN_UNKNOWN,
    Code.API_TOKEN_EXPIRED,
    Code.API_TOKEN_REVOKED,
    Code.BUSY,
    Code.LOGIN_INVALID,
    Code.ISSUER_UNAVAILABLE,
    Code.MEMBERSHIP_MISSING,
    Code.ABILITY_MISSING,
)

OF_CALLER: Mapping[type[Caller], tuple[Code, ...]] = {
    ServiceKey: (*_CREDENTIAL, *_KEY),
    UserWith: (*_CREDENTIAL, *_LOGIN),
    UserOrPlane: (*_CREDENTIAL, *_LOGIN, *_KEY),
    PlatformAdmin: (*_CREDENTIAL, *_LOGIN),
    RegistrationToken: (
        *_CREDENTIAL,
        Code.TOKEN_UNKNOWN,
        Code.TOKEN_EXPIRED,
        Code.TOKEN_REVOKED,
        Code.PROOF_INVALID,
    ),
    BoundKey: (Code.PROOF_INVALID, Code.IDENTITY_UNKNOWN, Code.IDENTITY_REVOKED, Code.RATE_LIMITED),
    Unauthenticated: (),
}


def of_row(row: Route) -> frozenset[Code]:
    """All that a caller of this row has to be ready for."""
    body = WITH_BODY if row.body or row.raw else (Code.BODY_INVALID,)
    found = (Code.NOT_FOUND,) if row.parameters else ()
    return frozenset((*ALWAYS, *body, *found, *OF_CALLER[type(row.caller)], *row.codes))
