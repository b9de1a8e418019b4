"""A plane or a cluster as joining writes it: made or bound anew, given a service key, its older keys retired."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import class_row

from bulkhead.platform.joining import sql
from bulkhead.platform.keys import fast, standing
from bulkhead.platform.keys.service_key import FoundKey
from bulkhead.platform.keys.verify import Outcome
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.proofs import IdentityKind

Tx = AsyncConnection[Any]

SCOPES = {
    IdentityKind.PLANE: ("heartbeat", "keys", "tokens"),
    IdentityKind.CLUSTER: ("heartbeat", "sync", "keys", "delete"),
}
"""What a service key that joining gives is good for."""


KEY_LIFETIME = timedelta(days=90)
KEY_SPREAD = timedelta(days=18)
"""By which keys end earlier, each by its own share: those that were made together are not rotated together."""


def lifetime(key_id: str) -> timedelta:
    """Of the service key with this id, whose digits are random. Its successor is asked for in time (protocol 3)."""
    return KEY_LIFETIME - KEY_SPREAD * (int(key_id[:8], 16) / 16**8)


async def give_key(
    tx: Tx,
    *,
    key_id: str,
    kind: IdentityKind,
    identity: UUID,
    organisation: UUID | None,
    label: str,
    secret: Outcome,
    claims_digest: bytes,
    epoch: int,
) -> None:
    """Write a service key. secret: its digest hashed, with a fast value from the start: what joins calls at once."""
    if secret.hashed is None or secret.fast is None:
        raise ValueError("a new key rests hashed, with a fast value")
    await tx.execute(
        sql.MAKE_KEY,
        {
            "id": key_id,
            "kind": kind.value,
            "identity": identity,
            "organisation": organisation,
            "label": label,
            "scopes": list(SCOPES[kind]),
            **secret.hashed.columns,
            **fast.columns(secret.fast),
            "claims_digest": claims_digest,
            "epoch": epoch,
            "lifetime": lifetime(key_id),
        },
    )


async def retire_other_keys(tx: Tx, identity: UUID, key: str) -> None:
    """Who joins again has lost what it had: nobody else is to go on with that."""
    await tx.execute(sql.RETIRE_OTHER_KEYS, {"identity": identity, "key": key})


async def key_of(tx: Tx, identity: UUID, claims_digest: bytes) -> str | None:
    """The key that the same claims were given before; None: they are new. Problem where it was ended since."""
    row = await (await tx.execute(sql.KEY_OF_CLAIMS, (identity, claims_digest))).fetchone()
    if row is None:
        return None
    key = str(row[0])
    if code := await key_refusal(tx, key):
        raise Problem(code)
    return key


async def key_refusal(tx: Tx, key: str) -> Code | None:
    """Why that service key opens nothing, as `tx` sees it now; None: it does."""
    async with tx.cursor(row_factory=class_row(FoundKey)) as cursor:
        await cursor.execute(sql.SERVICE_KEY, (key,))
        found = await cursor.fetchone()
    return standing.refusal(found.standing) if found else Code.KEY_UNKNOWN


async def server_time(tx: Tx) -> int:
    """Unix seconds by the database's clock, for showing a skew."""
    row = await (await tx.execute(sql.NOW)).fetchone()
    return int(row[0]) if row else 0
