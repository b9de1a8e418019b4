"""What a row may say, and whom it lets through."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bulkhead.platform.http.route import (
    Admin,
    Anonymous,
    BoundKey,
    Caller,
    PlatformAdmin,
    Principal,
    RegistrationToken,
    ServiceKey,
    TokenHolder,
    UserOrPlane,
    UserWith,
    permit,
)
from bulkhead.protocol.problems import Code, Problem
from tests.unit.platform.http.gen import ANYBODY, ID, joined, row, user

BEAT = ServiceKey(("cluster",), "heartbeat")
OWN = {"id": str(ID)}
TOKEN = TokenHolder(token_id=ID)
ADMIN = Admin(subject="ada", issuer="https://id.example.com", source="human")


@pytest.mark.parametrize(
    ("caller", "principal"),
    [
        (BEAT, joined("cluster", "heartbeat", "sync")),
        (UserWith("AUDIT_READ"), user("AUDIT_READ")),
        (UserOrPlane("TOKEN_ADMIN", "mint"), user("TOKEN_ADMIN")),
        (UserOrPlane("TOKEN_ADMIN", "mint"), joined("plane", "mint")),
        (RegistrationToken(), TOKEN),
        (PlatformAdmin(), ADMIN),
        (BoundKey(), Anonymous()),
        (ANYBODY, Anonymous()),
    ],
)
def test_who_has_what_a_row_asks_for_is_let_through(caller: Caller, principal: Principal) -> None:
    permit(caller, principal, OWN)


@pytest.mark.parametrize(
    ("caller", "principal", "code"),
    [
        (BEAT, joined("plane", "heartbeat"), Code.CREDENTIAL_WRONG_KIND),
        (BEAT, joined("cluster", "sync"), Code.SCOPE_MISSING),
        (UserWith("AUDIT_READ"), user("CLUSTER_READ"), Code.ABILITY_MISSING),
        (UserOrPlane("TOKEN_ADMIN", "mint"), user(), Code.ABILITY_MISSING),
        (UserOrPlane("TOKEN_ADMIN", "mint"), joined("plane"), Code.SCOPE_MISSING),
        (UserOrPlane("TOKEN_ADMIN", "mint"), joined("cluster", "mint"), Code.CREDENTIAL_WRONG_KIND),
    ],
)
def test_who_lacks_something_is_told_what(caller: Caller, principal: Principal, code: Code) -> None:
    with pytest.raises(Problem) as told:
        permit(caller, principal, OWN)
    assert told.value.code == code


def test_another_identity_is_not_found_rather_than_forbidden() -> None:
    with pytest.raises(Problem) as told:
        permit(BEAT, joined("cluster", "heartbeat"), {"id": str(ID).replace("1", "2")})
    assert told.value.code == Code.NOT_FOUND


@pytest.mark.parametrize(
    ("caller", "principal"),
    [
        (BEAT, user("heartbeat")),
        (BEAT, Anonymous()),
        (UserWith("AUDIT_READ"), joined("plane", "AUDIT_READ")),
        (UserWith("AUDIT_READ"), TOKEN),
        (RegistrationToken(), Anonymous()),
        (RegistrationToken(), user()),
        (PlatformAdmin(), user("PLATFORM_ADMIN")),
        (UserWith("AUDIT_READ"), ADMIN),
        (ANYBODY, user()),
    ],
)
def test_an_authenticator_that_answers_with_another_kind_lets_nobody_through(
    caller: Caller, principal: Principal
) -> None:
    with pytest.raises(TypeError):
        permit(caller, principal, OWN)


class Form(msgspec.Struct):
    one: int


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("TRACE", "/things", {}),
        ("HEAD", "/things", {}),
        ("GET", "things", {}),
        ("GET", "/", {}),
        ("GET", "/things/", {}),
        ("GET", "/Things", {}),
        ("GET", "/things/{id:int}", {}),
        ("GET", "/things/{rest:path}/more", {}),
        ("GET", "/things/x{id}", {}),
        ("POST", "/things", {"raw": True, "body": Form}),
        ("POST", "/things/{id}", {}),
    ],
)
def test_a_row_that_means_nothing_is_an_error(method: str, path: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r": (no such|the path|a raw|an id)"):
        row(method, path, **options)
