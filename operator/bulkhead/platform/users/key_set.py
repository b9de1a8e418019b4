"""Keys of identity providers: discovered, fetched over checked connections, and kept for a while.

    known and fresh         used
    known and old           used, and looked for anew beside it; after an hour the provider has to answer
    of a kid never seen     looked for anew, at most once a minute, whoever asks for whatever
    provider away           what is known goes on to be used; issuer_unavailable where nothing is

Everything that a provider sends is bounded, and read as data: a key is used only with an algorithm of its own kind.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import jwt
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from bulkhead.platform.destinations import Failed
from bulkhead.platform.outbound import Outbound
from bulkhead.protocol.problems import Code, Problem

log = structlog.get_logger(__name__)

DISCOVERY: Final = "/.well-known/openid-configuration"
MOST_BYTES: Final = 262144
SECONDS: Final = 4.0
"""For each of the two requests that a look takes."""
LOOK_SECONDS: Final = 60.0
"""Between two looks at one issuer, successful or not."""
FRESH_SECONDS: Final = 600.0
OLD_SECONDS: Final = 3600.0
"""After which a key that the provider may have withdrawn is used no more."""
MOST_KEYS: Final = 32
LEAST_RSA_BITS: Final = 2048
MOST_RSA_BITS: Final = 8192

_KINDS: Final[Mapping[str, tuple[str, str | None]]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Type and curve of the keys that an algorithm takes."""


@dataclass(slots=True)
class _Known:
    """What is known of one issuer. Times are monotonic seconds; minus infinity: never."""

    keys: Sequence[Mapping[str, Any]] = ()
    fetched: float = -math.inf
    looked: float = -math.inf
    look: asyncio.Task[None] | None = field(default=None)


class KeySets:
    """Of all issuers; those that are asked for are configured, so there are few. clock: seconds, monotonic"""

    def __init__(self, outbound: Outbound, *, clock: Callable[[], float]) -> None:
        self._outbound = outbound
        self._clock = clock
        self._known: dict[str, _Known] = {}

    async def key(self, issuer: str, kid: Any, algorithm: str) -> jwt.PyJWK:
        """The key of `issuer` that a token names. Raises Problem login_invalid, issuer_unavailable."""
        if kid is not None and not isinstance(kid, str):
            raise Problem(Code.LOGIN_INVALID, "its kid is no text")
        known = self._known.setdefault(issuer, _Known())
        found = chosen(self._live(known), kid, algorithm)
        if found is None:
            await self._looked(issuer, known)
            found = chosen(self._live(known), kid, algorithm)
        elif self._clock() - known.fetched > FRESH_SECONDS:
            self._begin(issuer, known)
        if found is not None:
            return found
        if not self._live(known):
            wait = math.ceil(max(1.0, known.looked + LOOK_SECONDS - self._clock()))
            raise Problem(Code.ISSUER_UNAVAILABLE, retry_after=wait)
        raise Problem(Code.LOGIN_INVALID, "it is signed with a key that its issuer does not list")

    def _live(self, known: _Known) -> Sequence[Mapping[str, Any]]:
        return known.keys if self._clock() - known.fetched <= OLD_SECONDS else ()

    async def _looked(self, issuer: str, known: _Known) -> None:
        """Once a look is over, if one may be begun or is under way."""
        self._begin(issuer, known)
        if known.look is not None:
            # Shielded: one who leaves does not take the answer from the others.
            await asyncio.shield(known.look)

    def _begin(self, issuer: str, known: _Known) -> None:
        if known.look is None and self._clock() - known.looked >= LOOK_SECONDS:
            known.looked = self._clock()
            known.look = asyncio.create_task(self._look(issuer, known))

    async def _look(self, issuer: str, known: _Known) -> None:
        try:
            known.keys = await self._fetched(issuer)
            known.fetched = self._clock()
        except Failed as error:
            log.warning("issuer_unavailable", issuer=issuer, error=f"{type(error).__name__}: {error}")
        finally:
            known.look = None

    async def _fetched(self, issuer: str) -> Sequence[Mapping[str, Any]]:
        document = await self._document(issuer.rstrip("/") + DISCOVERY)
        if document.get("issuer") != issuer:
            raise Failed("its discovery document is of another issuer")
        where = document.get("jwks_uri")
        if not isinstance(where, str):
            raise Failed("its discovery document names no key set")
        keys = (await self._document(where)).get("keys")
        if not isinstance(keys, list) or len(keys) > MOST_KEYS:
            raise Failed(f"its key set is no list of at most {MOST_KEYS} keys")
        return tuple(key for key in keys if isinstance(key, dict))

    async def _document(self, url: str) -> Mapping[str, Any]:
        answer = await self._outbound.get(url, {"Accept": "application/json"}, most_bytes=MOST_BYTES, seconds=SECONDS)
        if answer.status != 200:
            raise Failed(f"it answered {answer.status}")
        try:
            return msgspec.json.decode(answer.body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Failed("it answered no JSON object") from None


def chosen(keys: Sequence[Mapping[str, Any]], kid: str | None, algorithm: str) -> jwt.PyJWK | None:
    """The one key that can be meant; None: there is none, or more than one. Pure."""
    fitting = [key for key in keys if (kid is None or key.get("kid") == kid) and _fits(key, algorithm)]
    return _read(fitting[0], algorithm) if len(fitting) == 1 else None


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    kind, curve = _KINDS[algorithm]
    if key.get("kty") != kind or (curve is not None and key.get("crv") != curve):
        return False
    return bool(key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm)


def _read(key: Mapping[str, Any], algorithm: str) -> jwt.PyJWK | None:
    # The public parts alone, whatever else is published.
    public = {name: key[name] for name in ("kty", "crv", "n", "e", "x", "y") if name in key}
    try:
        read = jwt.PyJWK(public, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if isinstance(read.key, RSAPublicKey) and not LEAST_RSA_BITS <= read.key.key_size <= MOST_RSA_BITS:
        return None
    return read
