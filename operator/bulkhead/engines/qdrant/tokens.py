"""Tokens of tenants: what they may open, how they are signed, and how they are kept from ever opening more.

A Qdrant token is a JWT signed with the API key itself. It opens one collection for points only (`prw`): with `rw` a
tenant could fill the disk with snapshots. The server keeps no list of tokens; `value_exists` makes it look, at each
request, for the token's subject in our own collection, so a token dies the moment its subject is taken out there.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import datetime
from typing import Any

import jwt

from bulkhead.api.ownership import Stamp
from bulkhead.api.record import Credential
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.errors import Insecure, Refused

REGISTER = "bulkhead_tokens"
"""Our own collection: one point per DataCluster with the subjects whose tokens are alive. No token opens it."""
REGISTER_FIELD = "tokens"
COLLECTION_FIELD = "collection"
MAX_LIFETIME = 24 * 3600
MIN_LIFETIME = 60
CLOCK_LEEWAY = 60
"""Seconds by which two replicas' clocks may differ without issuing each other's tokens anew."""
MIN_KEY_BYTES = 32
"""RFC 7518 section 3.2. Who holds a token can look for the key that signed it, offline and unseen."""

_NAMESPACE = uuid.UUID("6f2b3c8e-5a0d-5c1b-9a57-0b1d5b1e4c2a")


def subject(uid: str, generation: int) -> str:
    """Whom a token names. The UID makes it new for a successor of the same name, the generation for each rotation."""
    return f"{uid}/{generation}"


def point_id(stamp: Stamp) -> str:
    """Where the register keeps the subjects of one owner: always the same point, so writing it twice is one entry."""
    return str(uuid.uuid5(_NAMESPACE, str(stamp)))


def key_fingerprint(api_key: Sensitive) -> str:
    """Tells whether another API key is in force; 16 hex digits that say nothing of the key."""
    return hashlib.sha256(b"bulkhead/qdrant/" + api_key.reveal().encode()).hexdigest()[:16]


def require_strong(api_key: Sensitive) -> None:
    """Raises Insecure for a key that a tenant could find from its token, or that opens the server to everyone."""
    if len(api_key.reveal().encode()) < MIN_KEY_BYTES:
        raise Insecure(
            f"the Qdrant API key has fewer than {MIN_KEY_BYTES} bytes: it signs tenants' tokens, so they could find it "
            "by trying; set a longer random one on the server and under api-key in adminSecretRef"
        )


def mint(api_key: Sensitive, *, collection: str, subject: str, expires_at: int) -> Sensitive:
    """A token for the points of `collection`, until `expires_at` (Unix seconds) and while `subject` is registered.

    Raises Insecure for a weak key, Refused for one that can not sign, ValueError where the token would open anything
    but that: the finished text is read back, because one without `access` would be an administrator's.
    """
    require_strong(api_key)
    claims = {
        "sub": subject,
        "subject": subject,  # what the server's audit log names
        "exp": expires_at,
        "access": [{"collection": collection, "access": "prw"}],
        "value_exists": {"collection": REGISTER, "matches": [{"key": REGISTER_FIELD, "value": subject}]},
    }
    try:
        token = jwt.encode(claims, api_key.reveal(), algorithm="HS256")
    except jwt.InvalidKeyError:
        raise Refused("the Qdrant API key looks like a public key and can not sign tokens; use random text") from None
    _require_confined(jwt.decode(token, options={"verify_signature": False}))
    return Sensitive(token)


def _require_confined(claims: dict[str, Any]) -> None:
    """Whatever changes above: a token leaves only if it is for one collection, for points, for a time, revocable."""
    match claims:
        case {
            "exp": int(expires_at),
            "access": [{"collection": str(collection), "access": "prw", **extra}],
            "value_exists": {"collection": "bulkhead_tokens", "matches": [{"key": "tokens", "value": str(value)}]},
        } if expires_at > 0 and collection and value and not extra:
            return
    raise ValueError("a token that opens more than the points of one collection must not leave")


def issue(
    api_key: Sensitive, *, uid: str, collection: str, generation: int, now: datetime, lifetime: int
) -> Credential:
    """A credential with a fresh token, to be renewed when a third of its `lifetime` (seconds) is left."""
    issued = int(now.timestamp())
    named = subject(uid, generation)
    return Credential(
        generation=generation,
        identity=named,
        value=mint(api_key, collection=collection, subject=named, expires_at=issued + lifetime),
        signed_by=key_fingerprint(api_key),
        expires_at=issued + lifetime,
        renew_at=issued + lifetime * 2 // 3,
    )


def holds(credential: Credential, api_key: Sensitive, now: datetime, lifetime: int) -> bool:
    """Whether a token stays as it is: signed with the key in force, not due, not made for longer than allowed now."""
    moment = int(now.timestamp())
    signed = credential.signed_by == key_fingerprint(api_key)
    return signed and moment < credential.renew_at and credential.expires_at <= moment + lifetime + CLOCK_LEEWAY


def bounded(lifetime: int) -> int:
    """`lifetime` in seconds within what a token may have: longer would outlast a lost one, shorter would only churn."""
    return max(MIN_LIFETIME, min(lifetime, MAX_LIFETIME))
