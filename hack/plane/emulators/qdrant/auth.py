"""Who is calling: API keys and JSON Web Tokens, checked in the order of the real server."""

import hashlib
import hmac
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

import msgspec

from hack.plane.emulators.qdrant.access import FULL, Access, CollectionMode, GlobalMode
from hack.plane.emulators.qdrant.errors import ApiError

LEEWAY_SECONDS = 30
NOT_ACCEPTED = "Invalid API key or JWT"
STATEFUL_FAILURE = "Invalid JWT, stateful validation failed"

Scalar = str | int | bool


class Grant(msgspec.Struct):
    collection: str
    access: CollectionMode
    payload: Any = None


class Match(msgspec.Struct):
    key: str
    value: Scalar


class ValueExists(msgspec.Struct):
    collection: str
    matches: list[Match]


class Claims(msgspec.Struct):
    """Claims that are not named here are ignored, `nbf` too. No `access` is full access."""

    sub: str | None = None
    exp: Annotated[int, msgspec.Meta(ge=0)] | None = None
    access: GlobalMode | list[Grant] = "m"
    value_exists: ValueExists | None = None
    subject: str | None = None


class Header(msgspec.Struct):
    alg: str


class ValueLookup(Protocol):
    """Whether a point of `collection` holds every one of these values; None when there is no such collection."""

    def __call__(self, collection: str, matches: Sequence[tuple[str, Scalar]]) -> bool | None: ...


@dataclass(frozen=True, slots=True)
class Keys:
    """The administrator's keys. An empty key is a key, as on the real server: whoever sends an empty header is in."""

    api_key: str | None = field(repr=False)
    alt_api_key: str | None = field(repr=False)
    jwt_rbac: bool

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Keys":
        return cls(
            api_key=environment.get("QDRANT__SERVICE__API_KEY"),
            alt_api_key=environment.get("QDRANT__SERVICE__ALT_API_KEY"),
            jwt_rbac=environment.get("QDRANT__SERVICE__JWT_RBAC", "").lower() in {"true", "1"},
        )

    def secrets(self) -> list[str]:
        return [key for key in (self.api_key, self.alt_api_key) if key is not None]


class Authenticator:
    """Turns the credential of a request into an `Access`, or refuses it in plain text."""

    def __init__(self, keys: Keys, value_exists: ValueLookup, now: Callable[[], float]) -> None:
        self._keys = keys
        self._value_exists = value_exists
        self._now = now

    def authenticate(self, headers: Mapping[str, str]) -> Access:
        secrets = self._keys.secrets()
        if not secrets:
            return FULL
        credential = _credential(headers)
        if any(hmac.compare_digest(secret.encode(), credential.encode()) for secret in secrets):
            return FULL
        if not self._keys.jwt_rbac:
            raise _unauthorized(NOT_ACCEPTED)
        claims = self._claims(credential, secrets)
        self._require_value(claims.value_exists)
        if isinstance(claims.access, str):
            return Access(everywhere=claims.access)
        return Access(collections={grant.collection: grant.access for grant in claims.access})

    def _claims(self, token: str, secrets: Sequence[str]) -> Claims:
        """The claims that one of the secrets signed; the first that took the token for one says why it is refused."""
        refusals = []
        for secret in secrets:
            try:
                claims = _decode(token, secret, self._now())
            except ApiError as refusal:
                refusals.append(refusal)
                continue
            if claims is not None:
                return claims
        raise refusals[0] if refusals else _unauthorized(NOT_ACCEPTED)

    def _require_value(self, wanted: ValueExists | None) -> None:
        if wanted is None:
            return
        found = self._value_exists(wanted.collection, [(match.key, match.value) for match in wanted.matches])
        if found is None:
            raise _forbidden(STATEFUL_FAILURE)
        if not found:
            raise _unauthorized(STATEFUL_FAILURE)


def _unauthorized(text: str) -> ApiError:
    return ApiError(401, text, plain=True)


def _forbidden(text: str) -> ApiError:
    return ApiError(403, text, plain=True)


def _credential(headers: Mapping[str, str]) -> str:
    key = headers.get("api-key")
    if key is not None and key.isascii():  # present but empty or wrong still wins over a good bearer token
        return key
    bearer = headers.get("authorization", "")
    if not bearer.startswith("Bearer ") or not bearer.isascii():
        raise _unauthorized("Must provide an API key or an Authorization bearer token")
    return bearer.removeprefix("Bearer ")


def _decode(token: str, secret: str, now: float) -> Claims | None:
    """The claims, None for what is no token at all; raises what is wrong with a token."""
    claims = _verified(token, secret)
    if claims is None:
        return None
    if claims.exp is not None and claims.exp < int(now) - LEEWAY_SECONDS:
        raise _forbidden("ExpiredSignature")
    if complaints := _complaints(claims.access):
        raise _unauthorized("\n".join(complaints))
    return claims


def _verified(token: str, secret: str) -> Claims | None:
    """The claims that this secret signed with HS256, the only algorithm that is accepted."""
    try:
        header, payload, signature = token.split(".")
        given = _base64(signature)
        if msgspec.json.decode(_base64(header), type=Header).alg != "HS256":
            return None
        expected = hmac.new(secret.encode(), f"{header}.{payload}".encode(), hashlib.sha256).digest()
        if not hmac.compare_digest(expected, given):
            raise _forbidden("InvalidSignature")
        return msgspec.json.decode(_base64(payload), type=Claims)
    except (ValueError, msgspec.DecodeError):
        return None


def _base64(part: str) -> bytes:
    if "=" in part:
        raise ValueError("a token's parts carry no padding")
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _complaints(access: GlobalMode | list[Grant]) -> list[str]:
    if isinstance(access, str):
        return []
    seen: set[str] = set()
    complaints = []
    for position, grant in enumerate(access):
        if grant.collection in seen:
            complaints.append(f"access[{position}].collection: Collection name should be unique")
        if grant.payload is not None:
            complaints.append(
                f"access[{position}].payload: The 'payload' constraint is deprecated and should not be used"
            )
        seen.add(grant.collection)
    return complaints
