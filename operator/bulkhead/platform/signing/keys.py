"""Signing keys of one purpose: made, opened, succeeded; two replicas that want one at the same time make one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from psycopg import AsyncConnection

from bulkhead.platform.signing import sql
from bulkhead.platform.signing.ring import Ring, Row, in_order
from bulkhead.platform.signing.sealing import Sealed, Sealing, Unsealable
from bulkhead.protocol import assertions
from bulkhead.protocol.assertions import KeyUse
from bulkhead.protocol.credentials import Random
from bulkhead.protocol.keys import KEY_BYTES, PublicKey, SigningKey

log = structlog.get_logger(__name__)

Tx = AsyncConnection[Any]

_PURPOSES = {KeyUse.ASSERTION: "assertion", KeyUse.AUDIT_HEAD: "audit_head"}


class SigningKeys:
    """The keys for one use.

    platform: the URL whose word they are
    lifetime: how old the newest may get before it is succeeded, by the database's clock
    """

    def __init__(self, use: KeyUse, *, platform: str, sealing: Sealing, random: Random, lifetime: timedelta) -> None:
        self._use = use
        self._platform = platform
        self._sealing = sealing
        self._random = random
        self._lifetime = lifetime
        self._opened: dict[str, SigningKey] = {}

    async def keep(self, tx: Tx) -> Ring:
        """The ring, with a first key where there was none, a new one where the newest is too old, and all under the
        sealing key of today. Call it at the start and now and then; `tx` must be able to write and be READ COMMITTED.

        Raises:
            Broken: the table holds no chain.
            Unsealable: the newest key can not be opened, so it can not vouch for the next.
        """
        await tx.execute(sql.LOCK, (self._purpose,))
        ring = await self._read(tx)
        if ring is None:
            await self._add(tx, None)
        elif ring.newest.age > self._lifetime:
            await self._add(tx, ring.newest)
        if ring is not None:
            await self._seal_anew(tx, ring)
        return await self.ring(tx)

    async def ring(self, tx: Tx) -> Ring:
        """All keys as they are now. LookupError where there is none: `keep` makes the first. Raises Broken."""
        ring = await self._read(tx)
        if ring is None:
            raise LookupError(f"there is no signing key of the purpose {self._purpose}")
        return ring

    def opened(self, row: Row) -> SigningKey:
        """The private key of a row. Raises Unsealable."""
        key = self._opened.get(row.kid)
        if key is None:
            key = SigningKey(self._sealing.open(row.sealed, _place(row.kid)))
            if key.public != row.public:
                raise Unsealable(f"{_place(row.kid)} holds the private key of another public key")
            self._opened[row.kid] = key
        return key

    @property
    def _purpose(self) -> str:
        return _PURPOSES[self._use]

    async def _read(self, tx: Tx) -> Ring | None:
        rows = await (await tx.execute(sql.KEYS, (self._purpose,))).fetchall()
        return in_order(
            Row(kid, PublicKey(bytes(public)), Sealed(bytes(text), under), predecessor, link or "", age)
            for kid, public, text, under, predecessor, link, age in rows
        )

    async def _add(self, tx: Tx, predecessor: Row | None) -> None:
        seed = self._random(KEY_BYTES)
        key = SigningKey(seed)
        link = self._link(predecessor, key.public) if predecessor else None
        sealed = self._sealing.seal(seed, _place(key.public.kid))
        await tx.execute(
            sql.INSERT,
            (
                key.public.kid,
                self._purpose,
                key.public.raw,
                sealed.text,
                sealed.under,
                predecessor.kid if predecessor else None,
                link,
            ),
        )
        log.info("signing_key_made", use=self._use.value, kid=key.public.kid, first=predecessor is None)

    def _link(self, predecessor: Row, successor: PublicKey) -> str:
        signer = self.opened(predecessor)
        return assertions.link(signer, successor, platform=self._platform, use=self._use).signature

    async def _seal_anew(self, tx: Tx, ring: Ring) -> None:
        for row in ring.rows:
            if self._sealing.stale(row.sealed):
                sealed = self._sealing.seal(self._sealing.open(row.sealed, _place(row.kid)), _place(row.kid))
                await tx.execute(sql.SEAL_ANEW, (sealed.text, sealed.under, row.kid))


def _place(kid: str) -> str:
    return f"signing_keys/{kid}"
