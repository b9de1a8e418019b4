"""What may stand in a row of the audit."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.platform.audit.entry import Action, Actor, ActorKind, Details, Entry, Target, TargetKind, read, written
from bulkhead.protocol.credentials import ApiToken, RegistrationToken, ServiceKey
from bulkhead.protocol.errors import Malformed

AT = "2026-11-28T21:00:00.000001Z"


def entry(**details: Any) -> Entry:
    return Entry(
        action=Action.CLUSTER_SUSPENDED,
        organisation="8f14e45f-ceea-467f-9b6d-1f0c5a7c2d11",
        actor=Actor(kind=ActorKind.USER, id="ada", issuer="https://login.example.com"),
        target=Target(kind=TargetKind.CLUSTER, id="c9f0f895-fb98-4b91-b1c5-0a2d3e4f5a6b", name="acme"),
        details=Details(**details),
    )


@given(st.text(max_size=500), st.integers(-(2**63), 2**63 - 1))
def test_what_is_written_is_read_back(reason: str, count: int) -> None:
    given_ = entry(reason=reason.encode(errors="replace").decode(), count=count)
    found = read(f'{{"at":"{AT}",{written(given_)[1:]}'.encode())
    assert found.details == given_.details
    assert (found.at, found.action, found.actor, found.target) == (AT, given_.action, given_.actor, given_.target)


@pytest.mark.parametrize("kind", [RegistrationToken, ServiceKey, ApiToken])
def test_a_credential_is_cut_to_its_label_wherever_it_stands(kind: type[ApiToken]) -> None:
    credential = kind.generate(os.urandom)
    text = written(entry(reason=f"tried {credential.reveal()} twice", label=credential.reveal()))
    assert credential.secret.reveal() not in text
    assert json.loads(text)["details"]["label"] == f"{credential.label}_***"


@pytest.mark.parametrize(
    "secret", ["whsec_c2VjcmV0c2VjcmV0c2VjcmV0", "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"]
)
def test_other_secrets_do_not_come_in_either(secret: str) -> None:
    assert secret not in written(entry(reason=f"with {secret}"))


def test_a_text_beyond_its_bound_is_refused() -> None:
    with pytest.raises(Malformed):
        written(entry(reason="x" * 513))


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b'{"at":"yesterday"}', b"\xff"])
def test_what_is_no_row_is_not_read(text: bytes) -> None:
    with pytest.raises(Malformed):
        read(text)
