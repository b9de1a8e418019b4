"""A platform's audit in a database of its own: acts, sealers as replicas have them, an export."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

from bulkhead.platform.audit import standing, verify
from bulkhead.platform.audit.entry import Action, Actor, ActorKind, Details, Target, TargetKind
from bulkhead.platform.audit.export import Export
from bulkhead.platform.audit.record import record
from bulkhead.platform.audit.sealer import Sealer
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, transaction
from bulkhead.platform.signing.keys import SigningKeys
from bulkhead.platform.signing.sealing import Sealing
from bulkhead.protocol.assertions import KeyUse
from tests.integration.platform.server import Client, Database, one, rows

ADA = Actor(kind=ActorKind.USER, id="ada", issuer="https://login.example.com")
SEALING_KEY = b"k" * 32


def signing_keys() -> SigningKeys:
    return SigningKeys(
        KeyUse.AUDIT_HEAD,
        platform="https://platform.example.com",
        sealing=Sealing({"kek": SEALING_KEY}, random=os.urandom),
        random=os.urandom,
        lifetime=timedelta(days=90),
    )


@dataclass(frozen=True)
class Platform:
    """One database with its log-ins, beside one export directory."""

    database: Database
    api: Pool
    worker: Pool
    directory: Path
    organisation: UUID

    @classmethod
    @asynccontextmanager
    async def of(cls, database: Database, directory: Path) -> AsyncIterator[Platform]:
        async with database.superuser() as session, database.pool("api") as api, database.pool("worker") as worker:
            name = str(uuid4())
            found = await one(session, "INSERT INTO organisations (name) VALUES (%s) RETURNING id", (name,))
            yield cls(database, api, worker, directory, UUID(str(found)))

    def sealer(self, *, export: Export | None = None, exported: bool = True) -> Sealer:
        """Of a replica that starts now."""
        writer = export or (self.export() if exported else None)
        return Sealer(self.worker, keys=signing_keys(), export=writer, known=standing.read(self.directory))

    def export(self) -> Export:
        return Export(self.directory, replica=str(uuid4()), clock=lambda: 1_790_000_000.0)

    async def act(self, number: int = 1) -> None:
        """As many acts, each in a transaction of its own."""
        for _ in range(number):
            async with transaction(self.api, Scope(organisation=self.organisation)) as tx:
                await self.act_in(tx)

    async def act_in(self, tx: Client) -> None:
        target = Target(kind=TargetKind.CLUSTER, id=str(uuid4()), name="acme")
        await record(tx, self.organisation, ADA, Action.CLUSTER_SUSPENDED, target, Details(reason="unpaid"))

    async def sealed(self, number: int) -> Sealer:
        """As many acts in the chain, and a signed head after them."""
        sealer = self.sealer()
        await self.act(number)
        await sealer.seal()
        await sealer.sign()
        return sealer

    async def verify(self, *, export: bool = True, first_key: str = "") -> verify.Outcome:
        dsn = self.database.dsn("maintenance")
        return await verify.verify(dsn, self.directory if export else None, first_key=first_key)

    async def sequences(self) -> list[int]:
        async with self.database.superuser() as session:
            return [number for (number,) in await rows(session, "SELECT sequence FROM audit_chain ORDER BY sequence")]


def wrong(outcome: verify.Outcome) -> list[str]:
    """What is wrong, by kind."""
    return [finding.kind.value for finding in outcome.report.findings]
