"""Errors of the API server.

KubeError
  Unavailable          no answer, a broken one, or 5xx: a write may have been done or not; trying again helps
    Disconnected       the connection could not be made, or broke before the answer was complete
    TooManyRequests    429: nothing was done; `retry_after` says when to come back
  Unauthorized         401: our credential is not, or no longer, accepted
  Forbidden            403: our role or an admission policy says no; a person must act
    Terminating        the namespace is being deleted and takes nothing new; it goes by itself
  NotFound             404: this object, or the namespace it would lie in, does not exist
  NotServed            404: this kind is not served; its CRD is missing or not yet established
  AlreadyExists        409 on create: somebody has the name
  Conflict             409: another resourceVersion or UID than the one we named
  Gone                 410: the resourceVersion or the list's continuation is too old; list again
  Invalid              any other 4xx: the API server will never take this request

`error_from` maps every answer onto these. Messages say what was tried (`while creating secrets "a/b": …`). What the
server says about a Secret is cut down to fields and reasons, because its own text may quote values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

_MESSAGE_LIMIT = 512
# Who may not do what: of no value, and what a person needs.
_BY_RBAC = re.compile(r'forbidden: User "[^"]*" cannot [a-z]+ resource "[^"]*" in API group "[^"]*"')


class KubeError(Exception):
    """Base of all; `reason` and `causes` are the machine-readable parts of the server's Status."""

    def __init__(self, message: str, *, reason: str = "", causes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.causes = causes


class Unavailable(KubeError):
    """No answer, or one that says "later". Whether a write was done is not known."""


class Disconnected(Unavailable):
    """The connection is gone; a read may be sent again at once."""


class TooManyRequests(Unavailable):
    """The server sheds load and has not done what we asked."""

    def __init__(
        self, message: str, *, reason: str = "", causes: tuple[str, ...] = (), retry_after: float = 1.0
    ) -> None:
        super().__init__(message, reason=reason, causes=causes)
        self.retry_after = retry_after
        """Seconds."""


class Unauthorized(KubeError):
    """Our credential is not accepted."""


class Forbidden(KubeError):
    """RBAC, an admission policy or a quota refused it."""


class Terminating(Forbidden):
    """The namespace is being deleted, so nothing can be created in it."""


class NotFound(KubeError):
    """The object does not exist."""


class NotServed(KubeError):
    """The API server does not know this kind."""


class AlreadyExists(KubeError):
    """The name is taken."""


class Conflict(KubeError):
    """A precondition on resourceVersion or UID does not hold: look again."""


class Gone(KubeError):
    """The resourceVersion is older than the server's history."""


class Invalid(KubeError):
    """The request itself is wrong."""


class _Cause(msgspec.Struct):
    reason: str = ""
    field: str = ""


class _Details(msgspec.Struct):
    name: str = ""
    kind: str = ""
    causes: list[_Cause] | None = None


class Status(msgspec.Struct):
    """The parts of a metav1.Status that decide which error it is."""

    kind: str = ""
    code: int = 0
    reason: str = ""
    message: str = ""
    details: _Details | None = None

    @property
    def causes(self) -> tuple[str, ...]:
        """Reasons of the causes, such as `NamespaceTerminating`."""
        return tuple(cause.reason for cause in self._raw_causes if cause.reason)

    @property
    def names_an_object(self) -> bool:
        """Whether the server looked for one object, so that its absence is known."""
        return self.details is not None and bool(self.details.name)

    def explain(self, *, confidential: bool) -> str:
        """What the server says, or, where it could quote a secret, only fields and reasons."""
        if not confidential:
            return " ".join(self.message.split())[:_MESSAGE_LIMIT] or self.reason
        if refused := _BY_RBAC.search(self.message):
            return refused[0]
        fields = ", ".join(f"{cause.field}: {cause.reason}" for cause in self._raw_causes)
        return " ".join(part for part in (self.reason, fields) if part)[:_MESSAGE_LIMIT]

    @property
    def _raw_causes(self) -> list[_Cause]:
        return (self.details.causes if self.details else None) or []


def status_from(body: bytes) -> Status:
    """The Status in an answer; an empty one where the answer is something else (a proxy's page, a cut body)."""
    try:
        status = msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Status()
    return status if status.kind == "Status" else Status()


def error_from(
    code: int, body: bytes, headers: Mapping[str, str], *, doing: str, confidential: bool = False
) -> KubeError:
    """The error that an answer with this status code is. Total: every code maps.

    `doing` says what was tried; `confidential` keeps the server's own words out of the message.
    """
    status = status_from(body)
    said = status.explain(confidential=confidential) or f"HTTP {code}"
    message = f"while {doing}: {said}"
    facts: dict[str, Any] = {"reason": status.reason, "causes": status.causes}
    if code == 429:
        return TooManyRequests(message, **facts, retry_after=_retry_after(headers))
    return _class_of(code, status)(message, **facts)


def _class_of(code: int, status: Status) -> type[KubeError]:
    if code == 403 and "NamespaceTerminating" in status.causes:
        return Terminating
    if code == 404:
        return NotFound if status.names_an_object else NotServed
    if code == 409:
        return AlreadyExists if status.reason == "AlreadyExists" else Conflict
    return _BY_CODE.get(code) or (Invalid if 400 <= code < 500 else Unavailable)


_BY_CODE: Mapping[int, type[KubeError]] = {
    401: Unauthorized,
    403: Forbidden,
    408: Unavailable,
    410: Gone,
}


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds of `Retry-After`; 1 where it is missing or a date, which the API server does not send."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else 1.0
