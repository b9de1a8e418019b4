"""Writing an event: in the transaction of what it tells of, so that neither is without the other."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta
from psycopg import AsyncConnection

from bulkhead.platform.events import sql
from bulkhead.protocol.documents import Closed, encode
from bulkhead.protocol.scalars import UnixSeconds, Uuid

Tx = AsyncConnection[Any]

Text = Annotated[str, Meta(max_length=255)]


class EventType(StrEnum):
    """Everything that a webhook may ask for."""

    CLUSTER_JOINED = "cluster.joined"
    CLUSTER_REJOINED = "cluster.rejoined"
    CLUSTER_ONLINE = "cluster.online"
    CLUSTER_OFFLINE = "cluster.offline"
    CLUSTER_SUSPENDED = "cluster.suspended"
    CLUSTER_RESUMED = "cluster.resumed"
    CLUSTER_DELETED = "cluster.deleted"
    PLANE_REJOINED = "plane.rejoined"
    PLANE_ONLINE = "plane.online"
    PLANE_OFFLINE = "plane.offline"
    IDENTITY_REVOKED = "identity.revoked"
    API_TOKEN_REVOKED = "api_token.revoked"  # noqa: S105 - an event
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_PING = "webhook.ping"


class EventData(Closed, frozen=True, kw_only=True, omit_defaults=True):
    """What an event says. Add a field where a new type needs one; never one that could hold a secret or content.

    since: when it began, in Unix seconds
    """

    cluster: Uuid | None = None
    plane: Uuid | None = None
    name: Text | None = None
    tenant: Text | None = None
    webhook: Uuid | None = None
    token: Text | None = None
    reason: Text | None = None
    since: UnixSeconds | None = None


NOTHING = EventData()


async def emit(tx: Tx, organisation: UUID, type_: EventType, data: EventData = NOTHING) -> None:
    """Tell every webhook of `organisation` that asks for it, once this transaction is committed."""
    await tx.execute(sql.EMIT, (organisation, type_.value, encode(data).decode()))


async def emit_of_plane(tx: Tx, plane: UUID, type_: EventType, data: EventData) -> None:
    """As `emit`, to every organisation that the plane may act for."""
    await tx.execute(sql.EMIT_OF_PLANE, (type_.value, encode(data).decode(), plane))
