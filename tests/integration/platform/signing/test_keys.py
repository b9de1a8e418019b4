"""Signing keys in a database that two replicas share."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta

import psycopg
import pytest

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, transaction
from bulkhead.platform.signing.keys import SigningKeys
from bulkhead.platform.signing.ring import Broken, Ring
from bulkhead.platform.signing.sealing import Sealing, Unsealable
from bulkhead.protocol import assertions
from bulkhead.protocol.assertions import KeyUse
from tests.integration.platform.server import VERSIONS, Database, one, rows

pytestmark = pytest.mark.parametrize("database", VERSIONS, indirect=True, scope="module")

PLATFORM = "https://platform.example.com"
NEW, OLD = b"n" * 32, b"o" * 32


@pytest.fixture(autouse=True)
async def _empty(database: Database) -> None:
    async with database.superuser() as session:
        await session.execute("DELETE FROM signing_keys")


def keys(use: KeyUse = KeyUse.ASSERTION, **sealing: bytes) -> SigningKeys:
    """As another replica, or the same one after a restart, has them."""
    return SigningKeys(
        use,
        platform=PLATFORM,
        sealing=Sealing(sealing or {"old": OLD}, random=os.urandom),
        random=os.urandom,
        lifetime=timedelta(days=30),
    )


async def keep(pool: Pool, signing: SigningKeys | None = None) -> Ring:
    async with transaction(pool, Scope()) as tx:
        return await (signing or keys()).keep(tx)


async def age(database: Database, days: int) -> None:
    async with database.superuser() as session:
        await session.execute("UPDATE signing_keys SET created_at = created_at - make_interval(days => %s)", (days,))


async def test_replicas_that_start_together_make_one_first_key(database: Database, api: Pool) -> None:
    rings = await asyncio.gather(*(keep(api) for _ in range(4)))
    assert len({ring.newest.kid for ring in rings}) == 1
    async with database.superuser() as session:
        assert await one(session, "SELECT count(*) FROM signing_keys") == 1


async def test_replicas_that_find_the_newest_key_too_old_make_one_successor(database: Database, api: Pool) -> None:
    first = await keep(api)
    await age(database, 31)
    rings = await asyncio.gather(*(keep(api) for _ in range(4)))
    assert {tuple(row.kid for row in ring.rows) for ring in rings} == {(first.newest.kid, rings[0].newest.kid)}


async def test_a_key_that_is_young_enough_stays_the_newest(database: Database, api: Pool) -> None:
    first = await keep(api)
    await age(database, 29)
    assert (await keep(api)).newest.kid == first.newest.kid


async def test_a_cluster_follows_from_the_first_key_to_the_newest(database: Database, api: Pool) -> None:
    trusted = (await keep(api)).jwks
    for _ in range(3):
        await age(database, 31)
        await keep(api)
    ring = await keep(api)
    followed = assertions.follow(trusted, ring.links_after(trusted.newest.kid), platform=PLATFORM, use=KeyUse.ASSERTION)
    assert followed.newest.kid == ring.newest.kid


async def test_another_replica_opens_what_one_made(api: Pool) -> None:
    made = await keep(api)
    signing = keys()
    assert signing.opened((await keep(api, signing)).newest).public == made.newest.public


async def test_the_private_key_is_not_in_the_database(database: Database, api: Pool) -> None:
    signing = keys()
    seed = signing.opened((await keep(api, signing)).newest).reveal()
    async with database.superuser() as session:
        assert seed not in str(
            await rows(session, "SELECT s::text, encode(sealed_private, 'base64') FROM signing_keys s")
        )


async def test_all_is_sealed_anew_once_the_sealing_key_has_changed(database: Database, api: Pool) -> None:
    await keep(api)
    await age(database, 31)
    await keep(api)
    await keep(api, keys(new=NEW, old=OLD))
    later = keys(new=NEW)
    ring = await keep(api, later)
    assert [later.opened(row).public.kid for row in ring.rows] == [row.kid for row in ring.rows]


async def test_without_the_sealing_key_nothing_is_signed_and_nothing_is_made(database: Database, api: Pool) -> None:
    await keep(api)
    await age(database, 31)
    with pytest.raises(Unsealable, match="not in the settings"):
        await keep(api, keys(new=NEW))
    async with database.superuser() as session:
        assert await one(session, "SELECT count(*) FROM signing_keys") == 1


async def test_a_private_key_that_was_moved_to_another_row_is_not_opened(database: Database, api: Pool) -> None:
    await keep(api)
    await age(database, 31)
    ring = await keep(api)
    async with database.superuser() as session:
        await session.execute(
            "UPDATE signing_keys SET sealed_private = (SELECT sealed_private FROM signing_keys WHERE kid = %s)"
            " WHERE kid = %s",
            (ring.rows[0].kid, ring.rows[1].kid),
        )
    with pytest.raises(Unsealable, match=ring.rows[1].kid):
        keys().opened((await keep(api)).newest)


async def test_a_chain_that_somebody_broke_is_told(database: Database, api: Pool) -> None:
    for _ in range(3):
        await keep(api)
        await age(database, 31)
    ring = await keep(api)
    async with database.superuser() as session:
        await session.execute("ALTER TABLE signing_keys DROP CONSTRAINT signing_keys_purpose_predecessor_fkey")
        await session.execute("DELETE FROM signing_keys WHERE kid = %s", (ring.rows[1].kid,))
        try:
            with pytest.raises(Broken):
                await keep(api)
        finally:
            await session.execute("DELETE FROM signing_keys")
            await session.execute(
                "ALTER TABLE signing_keys ADD CONSTRAINT signing_keys_purpose_predecessor_fkey"
                " FOREIGN KEY (purpose, predecessor) REFERENCES signing_keys (purpose, kid)"
            )


async def test_who_signs_assertions_sees_no_key_of_the_audit_and_the_other_way_round(api: Pool, worker: Pool) -> None:
    assertion = await keep(api)
    head = await keep(worker, keys(KeyUse.AUDIT_HEAD))
    assert assertion.kids.isdisjoint(head.kids)
    for pool, seen in ((api, assertion.kids), (worker, head.kids)):
        async with transaction(pool, Scope()) as tx:
            assert {kid for (kid,) in await rows(tx, "SELECT kid FROM signing_keys")} == seen
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await keep(api, keys(KeyUse.AUDIT_HEAD))


async def test_whoever_asks_before_a_key_was_made_is_told(api: Pool) -> None:
    async with transaction(api, Scope()) as tx:
        with pytest.raises(LookupError, match="no signing key"):
            await keys().ring(tx)
