"""Whether a request may pass to a cluster now, and whether one that runs may go on: pure."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from bulkhead.platform.proxy.target import Target
from bulkhead.protocol.problems import Code, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A cluster as its row, its plane and its plane's target tell.

    granted: its plane may act for its organisation
    now: Unix seconds by the database's clock
    """

    plane: UUID
    name: str
    deleted: bool
    revoked: bool
    suspended: bool
    acknowledged_kid: str | None
    online: bool
    granted: bool
    plane_revoked: bool
    target: Target | None
    now: int


def admit(state: State | None) -> tuple[State, Target]:
    """The state and the target of a cluster that a request may pass to. Problem where it may not."""
    standing = _standing(state)
    if not standing.online:
        raise Problem(Code.CLUSTER_OFFLINE)
    if standing.target is None:
        raise Problem(Code.TARGET_UNSET)
    return standing, standing.target


def go_on(state: State | None, target: Target) -> None:
    """Let a running request to `target` go on, or raise the Problem that ends it.

    A cluster that is not heard of ends none: its operator may be down while its data is served.
    """
    if _standing(state).target != target:
        raise Problem(Code.TARGET_UNSET, "the target of its plane was changed")


def _standing(state: State | None) -> State:
    if state is None or state.deleted:
        raise Problem(Code.NOT_FOUND, "your organisation has no such cluster")
    if not state.granted:
        raise Problem(Code.GRANT_WITHDRAWN)
    if state.plane_revoked:
        raise Problem(Code.PLANE_REVOKED)
    if state.revoked:
        raise Problem(Code.IDENTITY_REVOKED)
    if state.suspended:
        raise Problem(Code.CLUSTER_SUSPENDED)
    return state
