"""Reading the audit: an organisation its own rows, as they were sealed."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from bulkhead.platform.audit import sql
from bulkhead.platform.audit.entry import Action, Actor, Details, Target, read
from bulkhead.platform.http.route import Call, Route, User, UserWith
from bulkhead.protocol.assertions import Ability
from bulkhead.protocol.documents import Answer, Closed
from bulkhead.protocol.scalars import Count

MOST_ROWS = 200


class AuditQuery(Closed, frozen=True, kw_only=True):
    """Which rows. after: the `sequence` of the last one that was read; action: these acts alone"""

    after: Count = 0
    limit: Annotated[int, Meta(ge=1, le=MOST_ROWS)] = 100
    action: Action | None = None


class AuditRow(Answer, frozen=True, kw_only=True):
    """One act. sequence: its place in the platform's chain, which holds other organisations' rows between one's own."""

    sequence: int
    at: str
    action: Action
    actor: Actor
    target: Target
    details: Details


class AuditPage(Answer, frozen=True, kw_only=True):
    """Rows in the order in which they were sealed. next: `after` of the next page; null: this is the last."""

    rows: tuple[AuditRow, ...]
    next: int | None


def routes() -> tuple[Route, ...]:
    """The audit's rows of the table."""
    return (
        Route(
            "GET",
            "/v1/audit",
            "list what was done in your organisation, oldest first",
            UserWith(Ability.AUDIT_READ.value),
            _list,
            query=AuditQuery,
            answer=AuditPage,
        ),
    )


async def _list(call: Call[User, None]) -> AuditPage:
    query: AuditQuery = call.query
    tx = await call.tx()
    values = {
        "organisation": call.caller.organisation_id,
        "after": query.after,
        "limit": query.limit + 1,
        "action": query.action.value if query.action else None,
    }
    found = await (await tx.execute(sql.PAGE, values)).fetchall()
    rows = tuple(_row(sequence, bytes(text)) for sequence, text in found[: query.limit])
    return AuditPage(rows=rows, next=rows[-1].sequence if len(found) > query.limit else None)


def _row(sequence: int, text: bytes) -> AuditRow:
    said = read(text)
    return AuditRow(
        sequence=sequence,
        at=said.at,
        action=said.action,
        actor=said.actor,
        target=said.target,
        details=said.details,
    )
