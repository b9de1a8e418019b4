"""Whether a Qdrant server refuses what it must refuse: tried at each look at it, not taken from its settings."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import datetime

from bulkhead.api.ownership import Stamp
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines import release
from bulkhead.engines.errors import Insecure, Refused
from bulkhead.engines.http import Reply
from bulkhead.engines.qdrant.api import QdrantApi
from bulkhead.engines.qdrant.tokens import mint, require_strong, subject
from bulkhead.engines.release import Release

OLDEST: Release = (1, 16, 0)
"""The first with metadata on collections, which holds our stamp; JWT with `value_exists` came in 1.9."""
DECOY = "bulkhead_decoy"
"""The collection that probing tokens are for. It never exists."""
LEAK = (
    "Qdrant shows the name of every collection on /telemetry?details_level=2 to any tenant's token: block that path in "
    "front of the server, or use naming: Opaque"
)
_SECONDS = 600
"""Wide enough for a server whose clock is minutes off."""
_LISTING = "/collections"
_TELEMETRY = "/telemetry?details_level=2"


def require_release(version: str) -> None:
    """Raises Insecure for one that can not hold tenants apart."""
    release.require("Qdrant", version, OLDEST)


async def require_locked(api: QdrantApi, api_key: Sensitive) -> None:
    """Raises Insecure for a server that lets in whoever has no key, or one signed with nothing."""
    require_strong(api_key)
    for headers, who in (
        ({}, "somebody without a key"),
        ({"api-key": Sensitive("")}, "an empty key"),
        ({"api-key": unsigned_token()}, "a token signed with an empty key"),
    ):
        if not (await api.answers_to(headers, _LISTING)).refused("Qdrant"):
            raise Insecure(
                f"Qdrant answers {who}: set service.api_key, and neither it nor service.alt_api_key to an empty text "
                "(QDRANT__SERVICE__ALT_API_KEY= counts as one)"
            )


async def require_tokens_end(api: QdrantApi, api_key: Sensitive, stamp: Stamp, now: datetime) -> None:
    """Raises Insecure where a token opens something although its subject was never registered."""
    if not (await _listing_for(api, api_key, f"{stamp.uid}/never", now)).refused("Qdrant"):
        raise Insecure(
            "Qdrant honours a token whose subject is not registered: value_exists has no effect, so no token could be "
            "revoked; upgrade the server"
        )


async def require_tokens_work(api: QdrantApi, api_key: Sensitive, stamp: Stamp, now: datetime) -> None:
    """Raises Refused where a proper token opens nothing. Needs the operator's own entry in the register."""
    if (await _listing_for(api, api_key, subject(stamp.uid, 0), now)).refused("Qdrant"):
        raise Refused(
            "Qdrant does not honour tokens signed with our API key: set service.jwt_rbac: true on the server, and put "
            "its API key (no token, no read-only key) under api-key in adminSecretRef"
        )


async def leaks(api: QdrantApi, api_key: Sensitive, stamp: Stamp, now: datetime) -> tuple[str, ...]:
    """What a proper token can see of others. Needs the operator's own entry in the register."""
    token = _probing_token(api_key, subject(stamp.uid, 0), now)
    return (LEAK,) if (await api.answers_to({"api-key": token}, _TELEMETRY)).good else ()


async def _listing_for(api: QdrantApi, api_key: Sensitive, named: str, now: datetime) -> Reply:
    return await api.answers_to({"api-key": _probing_token(api_key, named, now)}, _LISTING)


def _probing_token(api_key: Sensitive, named: str, now: datetime) -> Sensitive:
    return mint(api_key, collection=DECOY, subject=named, expires_at=int(now.timestamp()) + _SECONDS)


def unsigned_token() -> Sensitive:
    """A JWT signed with an empty secret; written out by hand, since no library signs with nothing."""
    parts = ({"alg": "HS256", "typ": "JWT"}, {"access": [{"collection": DECOY, "access": "r"}]})
    text = b".".join(_base64(json.dumps(part).encode()) for part in parts)
    return Sensitive(b".".join((text, _base64(hmac.new(b"", text, hashlib.sha256).digest()))).decode())


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
