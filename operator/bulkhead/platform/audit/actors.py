"""Who a caller is, in the words of the audit."""

from __future__ import annotations

from bulkhead.platform.audit.entry import Actor, ActorKind
from bulkhead.platform.http.route import Admin, Anonymous, Joined, Principal, TokenHolder, User

PLATFORM = Actor(kind=ActorKind.PLATFORM)
"""The service by itself."""


def actor(caller: Principal, source: str) -> Actor:
    """`caller`, at the address `source`. ValueError for Anonymous, who does nothing that is recorded."""
    match caller:
        case User() | Admin():
            return Actor(
                kind=ActorKind.USER,
                id=caller.subject,
                issuer=caller.issuer,
                credential=caller.token_id or "",
                address=source,
            )
        case Joined():
            return Actor(
                kind=ActorKind(caller.kind), id=str(caller.identity_id), credential=caller.key_id or "", address=source
            )
        case TokenHolder():
            return Actor(kind=ActorKind.REGISTRATION_TOKEN, id=str(caller.token_id), address=source)
        case Anonymous():
            raise ValueError("nobody in particular does nothing that is recorded")
