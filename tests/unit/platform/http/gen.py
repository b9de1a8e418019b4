"""Builders for rows and requests."""

from __future__ import annotations

import uuid
from typing import Any

from bulkhead.platform.http.route import Call, Caller, Joined, Route, Unauthenticated, User

ID = uuid.UUID("6f1c2a3e-0000-4000-8000-000000000001")
ORGANISATION = uuid.UUID("6f1c2a3e-0000-4000-8000-0000000000aa")
ANYBODY = Unauthenticated("a test says so")


async def nothing(_: Call[Any, Any]) -> None:
    """A handler."""


def row(method: str = "GET", path: str = "/things", caller: Caller = ANYBODY, **options: Any) -> Route:
    return Route(method, path, options.pop("summary", f"{method} {path}"), caller, nothing, **options)


def joined(kind: str = "cluster", *scopes: str) -> Joined:
    return Joined(
        identity_id=ID,
        kind=kind,
        organisation_id=ORGANISATION,
        plane_id=ID,
        key_id="0" * 32,
        scopes=frozenset(scopes),
    )


def user(*abilities: str) -> User:
    return User(
        organisation_id=ORGANISATION,
        subject="ada",
        issuer="https://id.example.com",
        abilities=frozenset(abilities),
        source="human",
    )
