"""What Qdrant's answers mean: one total mapping onto the errors of every engine."""

from __future__ import annotations

import msgspec

from bulkhead.engines.errors import EngineError
from bulkhead.engines.http import Reply, status_error

RIGHTS = "put the server's API key under api-key of the Secret that vectors.adminSecretRef of the DataPlane names"


class _Failure(msgspec.Struct, frozen=True):
    error: str = ""


class _Envelope(msgspec.Struct, frozen=True):
    status: _Failure | str = ""


def error_of(reply: Reply, doing: str) -> EngineError:
    """The error that `reply` is, for any status that is no success."""
    return status_error(reply.status, _text(reply.body), doing, RIGHTS)


def _text(body: bytes) -> str:
    """`{"status": {"error": …}}`; where authentication fails, bare text."""
    try:
        status = msgspec.json.decode(body, type=_Envelope).status
    except msgspec.DecodeError:
        return body.decode(errors="replace")
    return status.error if isinstance(status, _Failure) else status
