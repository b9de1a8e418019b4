"""What the operator asked of the API server, from the audit log of a plane."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from hack.plane.installation import NAMESPACE, SERVICE_ACCOUNT

USER = f"system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}"
READING = frozenset({"get", "list", "watch"})


@dataclass(frozen=True, slots=True)
class Call:
    """One request that was answered, or a watch that was begun."""

    verb: str
    group: str
    resource: str
    """With its subresource, as roles spell it: `dataclusters/status`."""
    name: str
    namespace: str
    code: int
    continues: bool
    """Whether it asks for a further page of a list."""

    @property
    def mutating(self) -> bool:
        return self.verb not in READING


def calls(audit_log: Path, *, since: int = 0) -> Iterator[Call]:
    """The operator's calls on resources. `since`: a size that the log had at a moment; what is before is left out."""
    with audit_log.open("rb") as log:
        log.seek(since)
        lines = log.read().splitlines(keepends=True)
    for line in lines:
        if USER.encode() not in line or not line.endswith(b"\n"):
            continue
        event = json.loads(line)
        reference = event.get("objectRef")
        if event["user"]["username"] == USER and reference is not None and "resource" in reference:
            yield _call(event, reference)


def forbidden(audit_log: Path) -> list[Call]:
    """What the role that ships was too small for."""
    return [call for call in calls(audit_log) if call.code == HTTPStatus.FORBIDDEN]


def _call(event: dict[str, object], reference: dict[str, str]) -> Call:
    subresource = reference.get("subresource")
    status = event.get("responseStatus")
    return Call(
        verb=str(event["verb"]),
        group=reference.get("apiGroup", ""),
        resource=f"{reference['resource']}/{subresource}" if subresource else reference["resource"],
        name=reference.get("name", ""),
        namespace=reference.get("namespace", ""),
        code=int(status.get("code", 0)) if isinstance(status, dict) else 0,
        continues="continue" in parse_qs(urlsplit(str(event["requestURI"])).query),
    )
