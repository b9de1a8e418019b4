"""Webhooks as people administer them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

from msgspec import Meta

from bulkhead.platform.audit.actors import actor
from bulkhead.platform.audit.entry import Action, Details, Target, TargetKind
from bulkhead.platform.audit.record import Tx, record
from bulkhead.platform.destinations import Refused
from bulkhead.platform.events import signature, sql
from bulkhead.platform.events.delivery import place
from bulkhead.platform.events.emit import EventData, EventType, emit
from bulkhead.platform.http.route import Call, Route, User, UserWith
from bulkhead.platform.outbound import Outbound
from bulkhead.platform.signing.sealing import Sealing
from bulkhead.protocol.assertions import Ability
from bulkhead.protocol.credentials import Random
from bulkhead.protocol.documents import Answer, Closed, Request
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.scalars import Uuid

MOST_WEBHOOKS = 20
"""Of one organisation."""
MOST_ROWS = 200
OVERLAP = timedelta(hours=24)
"""For which the former secret signs beside the new one."""

READERS = UserWith(Ability.CLUSTER_READ.value)
WRITERS = UserWith(Ability.CLUSTER_WRITE.value)

WebhookUrl = Annotated[str, Meta(min_length=1, max_length=2048, description="https, without user and fragment")]
Types = Annotated[tuple[EventType, ...], Meta(min_length=1, max_length=len(EventType))]


class NewWebhook(Request, frozen=True, kw_only=True):
    """types: events that it is sent"""

    url: WebhookUrl
    types: Types


class WebhookChange(Request, frozen=True, kw_only=True):
    """What is null stays. enabled: false stops deliveries and drops what waits; true begins anew"""

    url: WebhookUrl | None = None
    types: Types | None = None
    enabled: bool | None = None


class PageQuery(Closed, frozen=True, kw_only=True):
    """after: the id of the last row that was read"""

    after: Uuid | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_ROWS)] = 100


class Webhook(Answer, frozen=True, kw_only=True):
    """Times in Unix seconds. failing_since: since when no delivery succeeded; disabled_at: it is sent nothing since"""

    id: str
    url: str
    types: tuple[str, ...]
    created_by: str
    created_at: int
    previous_secret_until: int | None
    failing_since: int | None
    disabled_at: int | None


class WebhookWithSecret(Webhook, frozen=True, kw_only=True):
    """secret: shown this once"""

    secret: str


class WebhookPage(Answer, frozen=True, kw_only=True):
    """next: `after` of the next page; null: this is the last."""

    webhooks: tuple[Webhook, ...]
    next: str | None


class Delivery(Answer, frozen=True, kw_only=True):
    """What became of one event at one webhook. error: the platform's word; bodies of answers are never kept"""

    id: str
    event: str
    type: str
    state: str
    attempts: int
    created_at: int
    last_attempt_at: int | None
    last_status: int | None
    error: str | None
    next_attempt_at: int | None


class DeliveryPage(Answer, frozen=True, kw_only=True):
    """The newest first. next: `after` of the next page; null: this is the last."""

    deliveries: tuple[Delivery, ...]
    next: str | None


def routes(*, sealing: Sealing, outbound: Outbound, random: Random, new_id: Callable[[], UUID]) -> tuple[Route, ...]:
    """The webhooks' rows of the table."""
    hooks = _Webhooks(sealing, outbound, random, new_id)
    one = "/v1/webhooks/{id:uuid}"
    return (
        Route(
            "POST",
            "/v1/webhooks",
            "have events sent to an address",
            WRITERS,
            hooks.create,
            body=NewWebhook,
            answer=WebhookWithSecret,
            status=201,
            codes=(Code.ADDRESS_REFUSED, Code.LIMIT_REACHED),
        ),
        Route("GET", "/v1/webhooks", "list webhooks", READERS, hooks.list, query=PageQuery, answer=WebhookPage),
        Route("GET", one, "read a webhook", READERS, hooks.read, answer=Webhook),
        Route(
            "PATCH",
            one,
            "change, stop or resume a webhook",
            WRITERS,
            hooks.change,
            body=WebhookChange,
            answer=Webhook,
            codes=(Code.ADDRESS_REFUSED,),
        ),
        Route("DELETE", one, "end a webhook and what waits for it", WRITERS, hooks.delete, status=204),
        Route(
            "POST",
            f"{one}/secret",
            "make a new secret; the former one signs beside it for a day",
            WRITERS,
            hooks.rotate,
            answer=WebhookWithSecret,
        ),
        Route(
            "POST",
            f"{one}/ping",
            "send a webhook.ping; see its deliveries",
            WRITERS,
            hooks.ping,
            status=202,
            codes=(Code.CONFLICT,),
        ),
        Route(
            "GET",
            f"{one}/deliveries",
            "list what became of its events, newest first",
            READERS,
            hooks.deliveries,
            query=PageQuery,
            answer=DeliveryPage,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Webhooks:
    sealing: Sealing
    outbound: Outbound
    random: Random
    new_id: Callable[[], UUID]

    async def create(self, call: Call[User, NewWebhook]) -> WebhookWithSecret:
        url, organisation = self._permitted(call.body.url), call.caller.organisation_id
        tx = await call.tx()
        await tx.execute(sql.LOCK, (str(organisation),))
        if await _count(tx) >= MOST_WEBHOOKS:
            raise Problem(Code.LIMIT_REACHED, f"an organisation has at most {MOST_WEBHOOKS} webhooks")
        webhook, secret = self.new_id(), signature.new_secret(self.random)
        sealed = self.sealing.seal(secret, place(webhook))
        types = [each.value for each in dict.fromkeys(call.body.types)]
        who = f"{call.caller.issuer} {call.caller.subject}"[:512]
        await tx.execute(sql.CREATE, (webhook, organisation, url, types, sealed.text, sealed.under, who))
        await _record(call, tx, Action.WEBHOOK_CREATED, webhook, Details(host=_host(url), types=tuple(types)))
        return _with_secret(await _one(tx, webhook), secret)

    async def list(self, call: Call[User, None]) -> WebhookPage:
        query: PageQuery = call.query
        tx = await call.tx()
        found = await _rows(tx, after=query.after, limit=query.limit + 1)
        page = found[: query.limit]
        return WebhookPage(webhooks=tuple(page), next=page[-1].id if len(found) > query.limit else None)

    async def read(self, call: Call[User, None]) -> Webhook:
        return await _one(await call.tx(), call.id("id"))

    async def change(self, call: Call[User, WebhookChange]) -> Webhook:
        body, webhook = call.body, call.id("id")
        url = self._permitted(body.url) if body.url is not None else None
        types = [each.value for each in dict.fromkeys(body.types)] if body.types is not None else None
        tx = await call.tx()
        await tx.execute(sql.CHANGE, {"id": webhook, "url": url, "types": types, "enabled": body.enabled})
        changed = await _one(tx, webhook)
        details = Details(
            host=_host(changed.url), types=changed.types, reason="disabled" if changed.disabled_at else "enabled"
        )
        await _record(call, tx, Action.WEBHOOK_CHANGED, webhook, details)
        return changed

    async def delete(self, call: Call[User, None]) -> None:
        tx, webhook = await call.tx(), call.id("id")
        former = await _one(tx, webhook)
        await tx.execute(sql.DELETE, (webhook,))
        await _record(call, tx, Action.WEBHOOK_DELETED, webhook, Details(host=_host(former.url)))

    async def rotate(self, call: Call[User, None]) -> WebhookWithSecret:
        tx, webhook = await call.tx(), call.id("id")
        secret = signature.new_secret(self.random)
        sealed = self.sealing.seal(secret, place(webhook))
        values = {"id": webhook, "overlap": OVERLAP, "secret": sealed.text, "under": sealed.under}
        await tx.execute(sql.ROTATE, values)
        rotated = await _one(tx, webhook)
        await _record(call, tx, Action.WEBHOOK_SECRET_ROTATED, webhook, Details(host=_host(rotated.url)))
        return _with_secret(rotated, secret)

    async def ping(self, call: Call[User, None]) -> None:
        tx, webhook = await call.tx(), call.id("id")
        if (await _one(tx, webhook)).disabled_at is not None:
            raise Problem(Code.CONFLICT, "the webhook is disabled")
        await emit(tx, call.caller.organisation_id, EventType.WEBHOOK_PING, EventData(webhook=str(webhook)))

    async def deliveries(self, call: Call[User, None]) -> DeliveryPage:
        query: PageQuery = call.query
        tx, webhook = await call.tx(), call.id("id")
        await _one(tx, webhook)
        values = {"webhook": webhook, "after": query.after, "limit": query.limit + 1}
        found = await (await tx.execute(sql.DELIVERIES, values)).fetchall()
        page = tuple(_delivery(row) for row in found[: query.limit])
        return DeliveryPage(deliveries=page, next=page[-1].id if len(found) > query.limit else None)

    def _permitted(self, url: str) -> str:
        try:
            return self.outbound.checked(url)
        except Refused as refused:
            raise Problem(Code.ADDRESS_REFUSED, str(refused)) from None


async def _count(tx: Tx) -> int:
    row = await (await tx.execute(sql.COUNT)).fetchone()
    return int(row[0]) if row else 0


async def _rows(tx: Tx, *, only: UUID | None = None, after: str | None = None, limit: int = 1) -> list[Webhook]:
    found = await (await tx.execute(sql.LIST, {"id": only, "after": after, "limit": limit})).fetchall()
    return [_webhook(row) for row in found]


async def _one(tx: Tx, webhook: UUID) -> Webhook:
    found = await _rows(tx, only=webhook)
    if not found:
        raise Problem(Code.NOT_FOUND)
    return found[0]


async def _record(call: Call[User, Any], tx: Tx, action: Action, webhook: UUID, details: Details) -> None:
    target = Target(kind=TargetKind.WEBHOOK, id=str(webhook))
    await record(tx, call.caller.organisation_id, actor(call.caller, call.source), action, target, details)


def _host(url: str) -> str:
    """Path and query stay out of the audit: they often hold a secret of the receiver's."""
    return urlsplit(url).hostname or ""


def _webhook(row: tuple[Any, ...]) -> Webhook:
    identity, url, types, created_by, created_at, previous_until, failing_since, disabled_at = row
    return Webhook(
        id=str(identity),
        url=url,
        types=tuple(types),
        created_by=created_by,
        created_at=created_at,
        previous_secret_until=previous_until,
        failing_since=failing_since,
        disabled_at=disabled_at,
    )


def _with_secret(webhook: Webhook, secret: bytes) -> WebhookWithSecret:
    fields = {name: getattr(webhook, name) for name in webhook.__struct_fields__}
    return WebhookWithSecret(**fields, secret=signature.shown(secret))


def _delivery(row: tuple[Any, ...]) -> Delivery:
    identity, event, type_, state, attempts, created_at, last_attempt_at, last_status, error, next_attempt_at = row
    return Delivery(
        id=str(identity),
        event=str(event),
        type=type_,
        state=state,
        attempts=attempts,
        created_at=created_at,
        last_attempt_at=last_attempt_at,
        last_status=last_status,
        error=error,
        next_attempt_at=next_attempt_at,
    )
