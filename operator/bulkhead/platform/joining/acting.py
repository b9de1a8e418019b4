"""Who acts, as the audit names it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from bulkhead.platform.audit.entry import Actor, ActorKind
from bulkhead.platform.http.route import Admin, Call, Joined, User


def actor_of(call: Call[Any, Any]) -> Actor:
    """The caller of `call`, who is one of a plane, a cluster, a user and a platform admin."""
    caller: Joined | User | Admin = call.caller
    match caller:
        case Joined(kind=kind, identity_id=id_, key_id=key):
            return Actor(kind=ActorKind(kind), id=str(id_), credential=key, address=call.source)
        case (
            User(subject=subject, issuer=issuer, token_id=token) | Admin(subject=subject, issuer=issuer, token_id=token)
        ):
            return Actor(kind=ActorKind.USER, id=subject, issuer=issuer, credential=token or "", address=call.source)


def organisation_of(caller: Joined | User | Admin) -> UUID | None:
    """Whose the caller is; None: nobody's."""
    return None if isinstance(caller, Admin) else caller.organisation_id
