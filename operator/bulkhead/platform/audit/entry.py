"""What the audit holds about one act: who did what to whom, with details from a closed list.

A field that is not here can not be recorded, and every text is bounded. Credentials that end up in one of them all the
same are cut to their label before anything is written.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from bulkhead.protocol import credentials
from bulkhead.protocol.documents import Closed, decode, encode
from bulkhead.protocol.scalars import Sha256, Uuid

MOST_BYTES = 32768
"""Of a row, as the table bounds it."""

Text = Annotated[str, Meta(max_length=512)]
Texts = Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=32)]
At = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")]

_OTHER_SECRETS = re.compile(r"whsec_[A-Za-z0-9+/=_-]+|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


class Action(StrEnum):
    """Every act that is recorded; `….refused` are those that somebody tried and was not let do."""

    ORGANISATION_CREATED = "organisation.created"
    ISSUER_CHANGED = "issuer.changed"
    ISSUER_DISABLED = "issuer.disabled"
    MEMBER_ADDED = "member.added"
    MEMBER_CHANGED = "member.changed"
    MEMBER_ENDED = "member.ended"
    PLATFORM_ADMIN_ADDED = "platform_admin.added"
    PLATFORM_ADMIN_ENDED = "platform_admin.ended"
    API_TOKEN_MINTED = "api_token.minted"  # noqa: S105 - an act
    API_TOKEN_ROTATED = "api_token.rotated"  # noqa: S105 - an act
    API_TOKEN_REVOKED = "api_token.revoked"  # noqa: S105 - an act
    PLANE_GRANTED = "plane.granted"
    PLANE_GRANT_WITHDRAWN = "plane.grant_withdrawn"
    PLANE_TARGET_SET = "plane.target_set"
    TENANT_MAPPED = "tenant.mapped"
    TENANT_UNMAPPED = "tenant.unmapped"
    REGISTRATION_TOKEN_MINTED = "registration_token.minted"  # noqa: S105 - an act
    REGISTRATION_TOKEN_REVOKED = "registration_token.revoked"  # noqa: S105 - an act
    REGISTRATION_REFUSED = "registration.refused"
    PLANE_JOINED = "plane.joined"
    PLANE_CONFIRMED = "plane.confirmed"
    PLANE_REJOINED = "plane.rejoined"
    CLUSTER_JOINED = "cluster.joined"
    CLUSTER_REJOINED = "cluster.rejoined"
    CLUSTER_REBOUND = "cluster.rebound"
    CLUSTER_DELETED = "cluster.deleted"
    CLUSTER_SUSPENDED = "cluster.suspended"
    CLUSTER_RESUMED = "cluster.resumed"
    REJOIN_REFUSED = "rejoin.refused"
    IDENTITY_REVOKED = "identity.revoked"
    SERVICE_KEY_REGISTERED = "service_key.registered"
    SERVICE_KEY_REVOKED = "service_key.revoked"
    PROXY_REQUESTED = "proxy.requested"
    PROXY_ENDED = "proxy.ended"
    PROXY_REFUSED = "proxy.refused"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_CHANGED = "webhook.changed"
    WEBHOOK_SECRET_ROTATED = "webhook.secret_rotated"  # noqa: S105 - an act
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_DELETED = "webhook.deleted"
    PLATFORM_FENCED = "platform.fenced"


class ActorKind(StrEnum):
    """What acted."""

    USER = "user"
    PLANE = "plane"
    CLUSTER = "cluster"
    REGISTRATION_TOKEN = "registration_token"  # noqa: S105 - a kind
    COMMAND_LINE = "command_line"
    """Somebody with the maintenance log-in, on a host of the platform."""
    PLATFORM = "platform"
    """The service by itself."""


class Actor(Closed, frozen=True, kw_only=True, omit_defaults=True):
    """Who acted.

    id: a user's subject, the UUID of a plane or cluster, the id of a token, a log-in; empty for the platform
    issuer: of a user's subject
    credential: id of the key or token that was shown, never more
    address: where the call came from
    """

    kind: ActorKind
    id: Text = ""
    issuer: Text = ""
    credential: Text = ""
    address: Text = ""


class TargetKind(StrEnum):
    """What was acted upon."""

    ORGANISATION = "organisation"
    ISSUER = "issuer"
    MEMBER = "member"
    API_TOKEN = "api_token"  # noqa: S105 - a kind
    REGISTRATION_TOKEN = "registration_token"  # noqa: S105 - a kind
    SERVICE_KEY = "service_key"
    PLANE = "plane"
    CLUSTER = "cluster"
    TENANT = "tenant"
    WEBHOOK = "webhook"
    PLATFORM = "platform"


class Target(Closed, frozen=True, kw_only=True, omit_defaults=True):
    """What was acted upon: its id, and a name that people know it by."""

    kind: TargetKind
    id: Text = ""
    name: Text = ""


class Details(Closed, frozen=True, kw_only=True, omit_defaults=True):
    """What else is worth knowing. Add a field where a new act needs one; never one that could hold a secret or a body.

    code: the problem code of a refusal
    abilities, scopes, types: as they are afterwards
    path: digest of the path, see `protocol.assertions.path_hash`
    bytes_in, bytes_out: of bodies
    """

    code: Text | None = None
    reason: Text | None = None
    label: Text | None = None
    fingerprint: Text | None = None
    plane: Uuid | None = None
    cluster: Uuid | None = None
    tenant: Text | None = None
    key: Text | None = None
    host: Text | None = None
    source: Text | None = None
    abilities: Texts | None = None
    scopes: Texts | None = None
    types: Texts | None = None
    expires_at: int | None = None
    epoch: int | None = None
    generation: int | None = None
    count: int | None = None
    method: Text | None = None
    path: Sha256 | None = None
    status: int | None = None
    bytes_in: int | None = None
    bytes_out: int | None = None
    milliseconds: int | None = None


class Entry(Closed, frozen=True, kw_only=True):
    """One act, as a handler records it. organisation: whose; None: the platform's own affairs."""

    action: Action
    organisation: Uuid | None
    actor: Actor
    target: Target
    details: Details = Details()


class Recorded(Entry, frozen=True, kw_only=True):
    """One act as its row holds it, with the time of its transaction by the database's clock."""

    at: At


def written(entry: Entry) -> str:
    """`entry` as JSON, without credentials. Malformed where a text is too long: then the act is not done either."""
    body = _OTHER_SECRETS.sub("***", credentials.masked(encode(entry).decode()))
    decode(Entry, body.encode(), most=MOST_BYTES)
    return body


def read(row: bytes) -> Recorded:
    """What a row holds. Raises Malformed."""
    return decode(Recorded, row, most=MOST_BYTES)
