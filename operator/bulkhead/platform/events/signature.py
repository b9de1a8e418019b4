"""Signatures of deliveries in the form of Standard Webhooks (standardwebhooks.com): receivers have libraries for it.

webhook-id: the event's id, the same in each attempt: who has seen it passes it over
webhook-timestamp: Unix seconds of this attempt: who refuses old ones can not be replayed to
webhook-signature: "v1," and base64 of HMAC-SHA256 over id.timestamp.body; while the secret is rotated one for each
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from bulkhead.protocol.credentials import Random

SECRET_BYTES = 32
PREFIX = "whsec_"


def new_secret(random: Random) -> bytes:
    """The bytes that sign."""
    return random(SECRET_BYTES)


def shown(secret: bytes) -> str:
    """As its owner is given it, once."""
    return PREFIX + base64.b64encode(secret).decode()


def headers(secrets: Sequence[bytes], *, event: str, at: int, body: bytes) -> dict[str, str]:
    """What goes with `body`. secrets: each that is valid now."""
    signed = f"{event}.{at}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in secrets)
    return {
        "webhook-id": event,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
