"""Who may do what: the Authorization header, API keys, tenant tokens.

The order of the checks and every text are the server's (its typo included): no usable header; the master key; a tenant
token, on search routes only; a key; the index in the path; the action.
"""

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from hack.plane.emulators.meilisearch import json_text
from hack.plane.emulators.meilisearch.actions import checked_by_route
from hack.plane.emulators.meilisearch.errors import ApiError
from hack.plane.emulators.meilisearch.json_text import JsonSyntaxError
from hack.plane.emulators.meilisearch.keys import Key, KeyRing, read_uuid
from hack.plane.emulators.meilisearch.shapes import Json, Object, compact
from hack.plane.emulators.meilisearch.times import SECOND, Clock

_TOKEN_ACTIONS: Final = frozenset({"search", "chatCompletions"})
_DIGESTS: Final[Mapping[str, str]] = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
_KNOWN_ALGORITHMS: Final = (
    "HS256", "HS384", "HS512", "ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA",
)  # fmt: skip

_CANNOT: Final = "cannot acces the index"  # codespell:ignore acces  # the server's typo


def invalid_key() -> ApiError:
    """The refusal that tells nothing."""
    return ApiError("invalid_api_key", "The provided API key is invalid.")


def _matches(pattern: str, uid: str) -> bool:
    return uid.startswith(pattern[:-1]) if pattern.endswith("*") else uid == pattern


def _listed(uids: Iterable[str]) -> str:
    return f"[{', '.join(compact(uid) for uid in sorted(set(uids)))}]"


@dataclass(frozen=True, slots=True)
class Access:
    """What the caller may see. `rules` are a tenant token's own: a filter (or null) by index pattern."""

    patterns: tuple[str, ...]
    may_create: bool
    rules: Mapping[str, Json] | None = None

    @property
    def sees_all(self) -> bool:
        """True if no index is hidden from the caller."""
        return "*" in self.patterns and (self.rules is None or "*" in self.rules)

    def key_allows(self, uid: str) -> bool:
        """True if the key lists the index."""
        return any(_matches(pattern, uid) for pattern in self.patterns)

    def token_allows(self, uid: str) -> bool:
        """True if there is no tenant token, or it lists the index."""
        return self.rules is None or any(_matches(pattern, uid) for pattern in self.rules)

    def allows(self, uid: str) -> bool:
        """True if the caller may use the index."""
        return self.key_allows(uid) and self.token_allows(uid)

    def may_create_index(self, uid: str) -> bool:
        """True if a write may make the index."""
        return self.may_create and self.allows(uid)

    def filter_for(self, uid: str) -> Json:
        """The filter that a tenant token adds to each search of the index: that of its most exact rule."""
        matching = [pattern for pattern in self.rules or () if _matches(pattern, uid)]
        if not matching or self.rules is None:
            return None
        return self.rules[max(matching, key=lambda pattern: (not pattern.endswith("*"), len(pattern)))]

    def require(self, uid: str) -> None:
        """Refuse an index that the path names and the caller may not use."""
        if not self.token_allows(uid):
            allowed = _listed(self.rules or ())
            message = f"The provided tenant token {_CANNOT} `{uid}`, allowed indexes are {allowed}."
            raise ApiError("invalid_api_key", message)
        if self.key_allows(uid):
            return
        if self.rules is not None:
            message = f"The API key used to generate this tenant token {_CANNOT} `{uid}`."
        else:
            message = f"The API key {_CANNOT} `{uid}`, authorized indexes are {_listed(self.patterns)}."
        raise ApiError("invalid_api_key", message)


EVERYTHING: Final = Access(("*",), may_create=True)


@dataclass(frozen=True, slots=True)
class _Token:
    key_uid: UUID
    rules: Mapping[str, Json]


class _NoToken(Exception):
    """The bearer is not shaped like a JWT, so it is taken for an API key."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Admits requests."""

    keys: KeyRing
    clock: Clock

    def admit(self, header: str | None, actions: tuple[str, ...], index: str | None) -> Access:
        """What the bearer of the header may see, if it may do all the actions; raises ApiError."""
        bearer = self._bearer(header)
        access = [self._admit(bearer, action, index) for action in actions]
        return access[0]

    def _bearer(self, header: str | None) -> str | None:
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        if scheme != "Bearer":
            raise _missing_header()
        if " " not in header:
            raise invalid_key()
        return token

    def _admit(self, bearer: str | None, action: str, index: str | None) -> Access:
        master_key = self.keys.master_key
        if master_key is None:
            return self._admit_without_master_key(action)
        if bearer is None:
            raise _missing_header()
        if hmac.compare_digest(bearer.encode(), master_key.encode()):
            return EVERYTHING
        key, rules = self._identify(bearer, action)
        access = Access(key.indexes, self._may(key, "indexes.create", None), rules)
        if index is not None:
            access.require(index)
        if not self._may(key, action, index):
            raise invalid_key()
        return access

    def _admit_without_master_key(self, action: str) -> Access:
        if action.startswith("keys."):
            message = (
                "Meilisearch is running without a master key. To access this API endpoint, you must have set a "
                "master key at launch."
            )
            raise ApiError("missing_master_key", message)
        return EVERYTHING

    def _identify(self, bearer: str, action: str) -> tuple[Key, Mapping[str, Json] | None]:
        try:
            token = self._read_token(bearer) if action in _TOKEN_ACTIONS else None
        except _NoToken:
            token = None
        key = self.keys.find(token.key_uid) if token else self.keys.by_value(bearer)
        if key is None:
            raise invalid_key()
        return key, token.rules if token else None

    def _may(self, key: Key, action: str, index: str | None) -> bool:
        if key.expires_nanos is not None and self.clock() >= key.expires_nanos:
            return False
        if action not in key.allowed:
            return False
        if "*" in key.indexes:
            return True
        if index is not None:
            return any(_matches(pattern, index) for pattern in key.indexes)
        return bool(key.indexes) and checked_by_route(action)

    def _read_token(self, bearer: str) -> _Token:
        message, dot, signature = bearer.rpartition(".")
        header_part, dot_before, claims_part = message.rpartition(".")
        if not dot or not dot_before:
            raise _NoToken
        algorithm = _algorithm(_decode(header_part))
        claims_text = _decode(claims_part)
        token, claims = _claims(claims_text)
        if algorithm not in _DIGESTS:
            raise _undecodable("InvalidAlgorithm")
        secret = self.keys.value_of(token.key_uid).encode()
        expected = hmac.new(secret, message.encode(), _DIGESTS[algorithm]).digest()
        if not hmac.compare_digest(expected, _decode(signature)):
            raise _undecodable("InvalidSignature")
        if "aud" in claims:
            raise _undecodable("InvalidAudience")
        self._check_expiry(claims.get("exp"))
        return token

    def _check_expiry(self, expires: Json) -> None:
        now = self.clock() // SECOND
        if isinstance(expires, int) and now > expires:
            raise ApiError(
                "invalid_api_key", f"Tenant token expired. Was valid up to `{expires}` and we're now `{now}`."
            )


def _missing_header() -> ApiError:
    return ApiError(
        "missing_authorization_header",
        "The Authorization header is missing. It must use the bearer authorization method.",
    )


def _undecodable(cause: str) -> ApiError:
    return ApiError("invalid_api_key", f"Could not decode tenant token, {cause}.")


def _decode(part: str) -> bytes:
    if len(part) % 4 == 1:
        raise _undecodable(f"Base64 error: Invalid input length: {len(part)}")
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        position, symbol = next(
            ((n, c) for n, c in enumerate(part) if not (c.isascii() and (c.isalnum() or c in "-_"))), (0, part[:1])
        )
        raise _undecodable(f"Base64 error: Invalid symbol {ord(symbol or '=')}, offset {position}.") from error


def _read_object(text: bytes) -> Object:
    try:
        value = json_text.decode(text)
    except JsonSyntaxError as error:
        raise _undecodable(f"JSON error: {error}") from error
    if not isinstance(value, dict):
        raise _undecodable(f"JSON error: invalid type: {_serde_kind(value)}, expected struct Claims at line 1 column 0")
    return value


def _json_error(text: bytes, cause: str, member: str | None = None) -> ApiError:
    column = json_text.member_ends(text)[member] if member else len(text)
    return _undecodable(f"JSON error: {cause} at line 1 column {column}")


def _algorithm(text: bytes) -> str:
    algorithm = _read_object(text).get("alg")
    if algorithm is None:
        raise _json_error(text, "missing field `alg`")
    if algorithm not in _KNOWN_ALGORITHMS:
        names = ", ".join(f"`{name}`" for name in _KNOWN_ALGORITHMS)
        raise _json_error(text, f"unknown variant `{algorithm}`, expected one of {names}", "alg")
    return str(algorithm)


def _claims(text: bytes) -> tuple[_Token, Object]:
    claims = _read_object(text)
    rules: Mapping[str, Json] | None = None
    key_uid: UUID | None = None
    for name, value in claims.items():
        if name == "searchRules":
            rules = _rules(text, value)
        elif name == "apiKeyUid":
            key_uid = _key_uid(text, value)
        elif name == "exp":
            _check_seconds(text, value)
    if rules is None:
        raise _json_error(text, "missing field `searchRules`")
    if key_uid is None:
        raise _json_error(text, "missing field `apiKeyUid`")
    return _Token(key_uid, rules), claims


def _rules(text: bytes, value: Json) -> Mapping[str, Json]:
    if isinstance(value, list) and all(isinstance(pattern, str) for pattern in value):
        return {str(pattern): None for pattern in value}
    if isinstance(value, dict) and all(rule is None or isinstance(rule, dict) for rule in value.values()):
        return {pattern: rule.get("filter") if isinstance(rule, dict) else None for pattern, rule in value.items()}
    raise _json_error(text, "data did not match any variant of untagged enum SearchRules", "searchRules")


def _key_uid(text: bytes, value: Json) -> UUID:
    if not isinstance(value, str):
        raise _json_error(text, f"invalid type: {_serde_kind(value)}, expected a formatted UUID string", "apiKeyUid")
    try:
        return read_uuid(value)
    except ValueError as error:
        raise _json_error(text, f"UUID parsing failed: {error}", "apiKeyUid") from error


def _check_seconds(text: bytes, value: Json) -> None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return
    raise _json_error(text, f"invalid type: {_serde_kind(value)}, expected i64", "exp")


def _serde_kind(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return f"boolean `{compact(value)}`"
        case int():
            return f"integer `{value}`"
        case float():
            return f"floating point `{compact(value)}`"
        case str():
            return f"string {compact(value)}"
        case list():
            return "sequence"
        case dict():
            return "map"
