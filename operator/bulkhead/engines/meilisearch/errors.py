"""What Meilisearch's answers and failed tasks mean: one total mapping onto the errors of every engine."""

from __future__ import annotations

import msgspec

from bulkhead.engines.errors import EngineError, Refused, Unavailable
from bulkhead.engines.http import Reply, status_error

RIGHTS = "put the server's master key under master-key of the Secret that search.adminSecretRef of the DataPlane names"
_PASSING = frozenset({"internal", "system"})
"""Types of errors that are the server's own state: a full disk, too many open files, a bug."""


class Failure(msgspec.Struct, frozen=True):
    """The body of an error, and what a failed task holds."""

    message: str = ""
    code: str = ""
    type: str = ""


def failure_of(reply: Reply) -> Failure:
    """What `reply` says of its error; a body of another shape (a proxy's page, none at all) is taken as its text."""
    try:
        return msgspec.json.decode(reply.body, type=Failure)
    except msgspec.DecodeError:
        return Failure(message=reply.body.decode(errors="replace"))


def error_of(reply: Reply, doing: str) -> EngineError:
    """The error that `reply` is, for any status that is no success."""
    failure = failure_of(reply)
    error = status_error(reply.status, f"{failure.message} {failure.code}", doing, RIGHTS)
    return Unavailable(str(error)) if failure.type in _PASSING else error


def task_error(failure: Failure, doing: str) -> EngineError:
    """The error that a failed task is."""
    kind = Unavailable if failure.type in _PASSING else Refused
    return kind(f"while {doing}: the task failed: {' '.join(failure.message.split())[:300]} ({failure.code})")
