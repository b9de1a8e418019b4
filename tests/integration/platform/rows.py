"""Builders of rows, written by a superuser: what a test finds there before it begins."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.integration.platform.server import Client

Row = dict[str, Any]

SCRYPT = {"scrypt_n": 16384, "scrypt_r": 8, "scrypt_p": 1, "salt": b"s" * 16, "hash": b"h" * 32}


def digest() -> bytes:
    return os.urandom(32)


def credential_id() -> str:
    return os.urandom(16).hex()


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=50)


@dataclass(frozen=True)
class Rows:
    """Each builder gives the row as it is; `columns` say what matters to the test."""

    session: Client

    async def insert(self, table: str, **columns: Any) -> Row:
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        values = sql.SQL(", ").join([sql.Placeholder()] * len(columns))
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING *").format(sql.Identifier(table), names, values)
        async with self.session.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(statement, tuple(columns.values()))
            row = await cursor.fetchone()
        assert row is not None
        return row

    async def organisation(self, **columns: Any) -> UUID:
        row = await self.insert("organisations", **{"name": f"organisation {uuid4()}", **columns})
        return UUID(str(row["id"]))

    async def plane(self, **columns: Any) -> UUID:
        default = {"id": uuid4(), "uid": uuid4(), "name": "plane", "public_key": digest(), "epoch": 1}
        row = await self.insert("planes", **{**default, **columns})
        return UUID(str(row["id"]))

    async def grant(self, organisation: UUID, plane: UUID, **columns: Any) -> Row:
        return await self.insert(
            "plane_grants", organisation_id=organisation, plane_id=plane, granted_by="admin", **columns
        )

    async def cluster(self, organisation: UUID, plane: UUID, **columns: Any) -> UUID:
        default = {
            "id": uuid4(),
            "uid": uuid4(),
            "name": "acme",
            "tenant": "acme",
            "tenant_uid": uuid4(),
            "public_key": digest(),
            "epoch": 1,
        }
        row = await self.insert("clusters", organisation_id=organisation, plane_id=plane, **{**default, **columns})
        return UUID(str(row["id"]))

    async def liveness(self, identity: UUID, organisation: UUID | None, **columns: Any) -> Row:
        return await self.insert("liveness", **_of(identity, organisation), **columns)

    async def service_key(self, identity: UUID, organisation: UUID | None, **columns: Any) -> str:
        default = {"id": credential_id(), "scopes": ["heartbeat"], "claims_digest": digest(), "epoch": 1, **SCRYPT}
        row = await self.insert("service_keys", **{**_of(identity, organisation), **default, **columns})
        return str(row["id"])

    async def cluster_token(self, organisation: UUID, plane: UUID, **columns: Any) -> Row:
        default = {
            "digest": digest(),
            "kind": "cluster",
            "uid": uuid4(),
            "name": "acme",
            "tenant": "acme",
            "tenant_uid": uuid4(),
            "minted_by": "admin",
            "epoch": 1,
            "expires_at": soon(),
        }
        return await self.insert(
            "registration_tokens", organisation_id=organisation, plane_id=plane, **{**default, **columns}
        )

    async def plane_token(self, **columns: Any) -> Row:
        default = {
            "digest": digest(),
            "kind": "plane",
            "name": "plane",
            "minted_by": "admin",
            "epoch": 1,
            "expires_at": soon(),
        }
        return await self.insert("registration_tokens", **{**default, **columns})

    async def challenge(self, identity: UUID, organisation: UUID | None, **columns: Any) -> Row:
        default = {"nonce": digest(), "purpose": "rejoin", "expires_at": soon()}
        return await self.insert("challenges", **_of(identity, organisation), **{**default, **columns})

    async def stream(self, organisation: UUID, cluster: UUID, **columns: Any) -> Row:
        default = {"epoch": 1, "number": 1, "snapshot_digest": digest(), "sequence": 0, "digest": digest()}
        return await self.insert("streams", organisation_id=organisation, cluster_id=cluster, **{**default, **columns})

    async def document(self, organisation: UUID, cluster: UUID, **columns: Any) -> Row:
        default = {"kind": "dataset", "id": str(uuid4()), "body": Jsonb({})}
        return await self.insert(
            "documents", organisation_id=organisation, cluster_id=cluster, **{**default, **columns}
        )

    async def issuer(self, *organisations: UUID, **columns: Any) -> UUID:
        """One that may speak for these organisations."""
        default = {"url": f"https://{uuid4()}.example", "audiences": ["bulkhead"], "algorithms": ["EdDSA"]}
        issuer = UUID(str((await self.insert("issuers", **{**default, **columns}))["id"]))
        for organisation in organisations:
            await self.insert("issuer_organisations", issuer_id=issuer, organisation_id=organisation)
        return issuer

    async def membership(self, organisation: UUID, issuer: UUID, **columns: Any) -> UUID:
        default = {"subject": str(uuid4()), "abilities": ["CLUSTER_READ"], "created_by": "admin"}
        row = await self.insert("memberships", organisation_id=organisation, issuer_id=issuer, **{**default, **columns})
        return UUID(str(row["id"]))

    async def api_token(self, organisation: UUID, membership: UUID, **columns: Any) -> str:
        default = {
            "id": credential_id(),
            "name": "token",
            "abilities": ["CLUSTER_READ"],
            "source": "human",
            "epoch": 1,
            "expires_at": soon(),
            **SCRYPT,
        }
        row = await self.insert(
            "api_tokens", organisation_id=organisation, membership_id=membership, **{**default, **columns}
        )
        return str(row["id"])

    async def intake(self, organisation: UUID | None, **columns: Any) -> Row:
        return await self.insert(
            "audit_intake", organisation_id=organisation, **{"action": "token.mint", "entry": b"{}", **columns}
        )

    async def event(self, organisation: UUID, **columns: Any) -> UUID:
        row = await self.insert(
            "events", organisation_id=organisation, **{"type": "cluster.offline", "data": Jsonb({}), **columns}
        )
        return UUID(str(row["id"]))

    async def webhook(self, organisation: UUID, **columns: Any) -> UUID:
        default = {
            "url": "https://hook.example",
            "types": ["cluster.offline"],
            "sealed_secret": b"x" * 60,
            "sealed_under": "key",
            "created_by": "admin",
        }
        row = await self.insert("webhooks", organisation_id=organisation, **{**default, **columns})
        return UUID(str(row["id"]))

    async def delivery(self, organisation: UUID, webhook: UUID, event: UUID, **columns: Any) -> Row:
        return await self.insert(
            "deliveries", organisation_id=organisation, webhook_id=webhook, event_id=event, **columns
        )

    async def quota(self, organisation: UUID, **columns: Any) -> Row:
        now = datetime.now(UTC)
        default = {
            "subject": "someone",
            "window_start": now,
            "window_end": now + timedelta(minutes=1),
            "granted": 10,
        }
        return await self.insert("quota_blocks", organisation_id=organisation, **{**default, **columns})

    async def sealed(self, organisation: UUID | None) -> None:
        """A row that is in the chain."""
        await self.intake(organisation)
        await self.session.execute("SELECT seal(1000)")

    async def signing_key(self, purpose: str) -> Row:
        return await self.insert(
            "signing_keys",
            kid="k" * 43 if purpose == "assertion" else "h" * 43,
            purpose=purpose,
            public_key=digest(),
            sealed_private=b"x" * 60,
            sealed_under="key",
        )


@dataclass(frozen=True)
class Tenancy:
    """An organisation with a row in every table that can hold one of it.

    Attributes:
        plane: granted this organisation and no other.
        cluster: of this plane, in this organisation.
    """

    organisation: UUID
    plane: UUID
    cluster: UUID
    service_key: str
    membership: UUID
    api_token: str

    @classmethod
    async def made(cls, rows: Rows) -> Tenancy:
        organisation, plane = await rows.organisation(), await rows.plane()
        await rows.grant(organisation, plane)
        await rows.insert("plane_targets", plane_id=plane, address="gateway:443", ca="pem", set_by="admin")
        await rows.insert(
            "tenant_organisations", plane_id=plane, tenant="acme", organisation_id=organisation, set_by="admin"
        )
        cluster = await rows.cluster(organisation, plane)
        await rows.liveness(cluster, organisation)
        await rows.liveness(plane, None)
        key = await rows.service_key(cluster, organisation)
        await rows.service_key(plane, None)
        await rows.cluster_token(organisation, plane)
        await rows.challenge(cluster, organisation)
        await rows.challenge(plane, None)
        await rows.stream(organisation, cluster)
        await rows.document(organisation, cluster)
        membership = await rows.membership(organisation, await rows.issuer(organisation))
        token = await rows.api_token(organisation, membership)
        await rows.sealed(organisation)
        await rows.intake(organisation)
        await rows.delivery(organisation, await rows.webhook(organisation), await rows.event(organisation))
        await rows.quota(organisation)
        return cls(organisation, plane, cluster, key, membership, token)


def _of(identity: UUID, organisation: UUID | None) -> Row:
    kind = "plane" if organisation is None else "cluster"
    return {"kind": kind, "identity_id": identity, "organisation_id": organisation}
