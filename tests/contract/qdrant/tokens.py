"""Tokens as anybody with the administrator's key could sign them, good and bad ones."""

import time
from collections.abc import Mapping
from typing import Any

import jwt

from tests.contract.qdrant.server import API_KEY

HOUR = 3600
WRONG_KEY = "a-key-that-this-server-has-never-heard-of"


def signed(claims: Mapping[str, Any], *, key: str = API_KEY, algorithm: str = "HS256") -> str:
    return jwt.encode({"exp": int(time.time()) + HOUR, **claims}, key, algorithm)


def for_collection(name: str, mode: str, **claims: Any) -> str:
    """A token with access to one collection; `mode` is "r", "prw" or "rw"."""
    return signed({"access": [{"collection": name, "access": mode}], **claims})


def expired(name: str, seconds: int) -> str:
    """A token that ran out so many seconds ago."""
    return for_collection(name, "rw", exp=int(time.time()) - seconds)


def value_exists(collection: str, **values: object) -> dict[str, Any]:
    return {"collection": collection, "matches": [{"key": key, "value": value} for key, value in values.items()]}
