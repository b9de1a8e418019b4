"""What the tables themselves refuse, and what they make cheap."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from psycopg import errors, sql

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, transaction
from tests.integration.platform.rows import Rows, Tenancy, digest, soon
from tests.integration.platform.server import VERSIONS, Client, Database, one, rows
from tests.world import eventually

pytestmark = pytest.mark.parametrize("database", VERSIONS, indirect=True, scope="module")

Wrong = Callable[[Rows, Tenancy], Awaitable[object]]
NOW = datetime.now(UTC)


async def _member(made: Rows, mine: Tenancy, abilities: list[str]) -> None:
    await made.membership(mine.organisation, await made.issuer(mine.organisation), abilities=abilities)


async def _ended(made: Rows, mine: Tenancy) -> None:
    hook, event = await made.webhook(mine.organisation), await made.event(mine.organisation)
    await made.delivery(mine.organisation, hook, event, state="delivered", ended_at=NOW)


WRONG: dict[str, Wrong] = {
    "a plane's confirmation of another key": lambda made, _: made.plane(
        confirmed_at=NOW, confirmed_by="admin", confirmed_key=digest()
    ),
    "a confirmation by nobody": lambda made, _: made.plane(confirmed_at=NOW),
    "a public key of another length": lambda made, _: made.plane(public_key=b"short"),
    "a cluster's key without an organisation": lambda made, mine: made.service_key(mine.cluster, None, kind="cluster"),
    "a fast value without an end": lambda made, mine: made.service_key(
        mine.cluster, mine.organisation, fast_value=digest(), fast_pepper="p"
    ),
    "a scrypt that is too cheap": lambda made, mine: made.service_key(mine.cluster, mine.organisation, scrypt_n=1024),
    "a scrypt whose N is no power of two": lambda made, mine: made.service_key(
        mine.cluster, mine.organisation, scrypt_n=16385
    ),
    "a key id of another form": lambda made, mine: made.service_key(mine.cluster, mine.organisation, id="../../etc"),
    "a key without a scope": lambda made, mine: made.service_key(mine.cluster, mine.organisation, scopes=[]),
    "a plane's token of an organisation": lambda made, mine: made.plane_token(organisation_id=mine.organisation),
    "a self-confirming cluster": lambda made, mine: made.cluster_token(
        mine.organisation, mine.plane, self_confirming=True
    ),
    "a plane's own token that lives for an hour": lambda made, mine: made.cluster_token(
        mine.organisation,
        mine.plane,
        minted_by_plane=True,
        bound_key=digest(),
        expires_at=datetime.now(UTC) + timedelta(hours=1),
    ),
    "a plane's own token that is bound to no key": lambda made, mine: made.cluster_token(
        mine.organisation, mine.plane, minted_by_plane=True
    ),
    "a token used in part": lambda made, mine: made.cluster_token(mine.organisation, mine.plane, used_at=NOW),
    "a token that was used and revoked": lambda made, mine: made.cluster_token(
        mine.organisation,
        mine.plane,
        revoked_at=NOW,
        used_at=NOW,
        claims_digest=digest(),
        identity_id=mine.cluster,
        key_id=mine.service_key,
    ),
    "a challenge that lives for an hour": lambda made, mine: made.challenge(
        mine.cluster, mine.organisation, purpose="other", expires_at=datetime.now(UTC) + timedelta(hours=1)
    ),
    "a challenge used after its end": lambda made, mine: made.challenge(
        mine.cluster,
        mine.organisation,
        purpose="other",
        expires_at=soon(),
        used_at=soon() + timedelta(hours=1),
        claims_digest=digest(),
        key_id=mine.service_key,
    ),
    "an applied generation without a next one": lambda made, mine: made.cluster(
        mine.organisation, mine.plane, applied_generation=2**31 - 1
    ),
    "a stream that replaces a newer one": lambda made, mine: made.stream(
        mine.organisation, mine.cluster, epoch=1, number=3, replaced_epoch=1, replaced_number=3
    ),
    "an ability that there is not": lambda made, mine: _member(made, mine, ["PLATFORM_ADMIN"]),
    "an issuer that signs with a shared secret": lambda made, _: made.issuer(algorithms=["HS256"]),
    "an issuer without an audience": lambda made, _: made.issuer(audiences=[]),
    "online without ever having been seen": lambda made, mine: made.liveness(uuid4(), mine.organisation, online=True),
    "a delivery that ended and is due": _ended,
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_state_can_not_be_written(database: Database, wrong: str) -> None:
    async with database.superuser() as session, session.transaction(force_rollback=True):
        made = Rows(session)
        mine = await Tenancy.made(made)
        await session.execute("DELETE FROM documents; DELETE FROM streams")
        with pytest.raises(errors.CheckViolation):
            await WRONG[wrong](made, mine)


async def test_a_cluster_is_one_wherever_it_registers(database: Database) -> None:
    async with database.superuser() as session:
        made, uid = Rows(session), uuid4()
        mine, other = await Tenancy.made(made), await made.organisation()
        await made.grant(other, mine.plane)
        await made.cluster(mine.organisation, mine.plane, uid=uid)
        with pytest.raises(errors.UniqueViolation):
            await made.cluster(other, mine.plane, uid=uid)


async def test_a_person_has_one_living_membership_and_may_come_back(database: Database) -> None:
    async with database.superuser() as session:
        made = Rows(session)
        organisation = await made.organisation()
        issuer = await made.issuer(organisation)
        first = await made.membership(organisation, issuer, subject="ada")
        with pytest.raises(errors.UniqueViolation):
            await made.membership(organisation, issuer, subject="ada")
        await session.execute("UPDATE memberships SET ended_at = now() WHERE id = %s", (first,))
        await made.membership(organisation, issuer, subject="ada")


async def test_an_identity_has_one_open_challenge_for_each_purpose(database: Database) -> None:
    async with database.superuser() as session:
        made = Rows(session)
        mine = await Tenancy.made(made)
        with pytest.raises(errors.UniqueViolation):
            await made.challenge(mine.cluster, mine.organisation, purpose="rejoin")


async def test_signing_keys_are_one_chain_without_a_fork(database: Database) -> None:
    async with database.superuser() as session:
        made = Rows(session)
        first = await made.signing_key("assertion")
        link = {
            "purpose": "assertion",
            "sealed_private": b"x" * 60,
            "sealed_under": "key",
            "predecessor": first["kid"],
            "link": "s",
        }
        await made.insert("signing_keys", kid="b" * 43, public_key=digest(), **link)
        with pytest.raises(errors.UniqueViolation):
            await made.insert("signing_keys", kid="c" * 43, public_key=digest(), **link)
        with pytest.raises(errors.UniqueViolation):
            await made.insert(
                "signing_keys", kid="d" * 43, public_key=digest(), **{**link, "predecessor": None, "link": None}
            )
        with pytest.raises(errors.ForeignKeyViolation):
            await made.insert("signing_keys", kid="e" * 43, public_key=digest(), **{**link, "purpose": "audit_head"})


async def test_a_sweeper_removes_nothing_before_its_time(database: Database) -> None:
    now = datetime.now(UTC)  # a module is imported long before its tests run
    late, old = now + timedelta(hours=1), now - timedelta(days=31)
    async with database.superuser() as session:
        made = Rows(session)
        mine = await Tenancy.made(made)
        gone = await made.cluster_token(
            mine.organisation, mine.plane, created_at=old, expires_at=old + timedelta(hours=1)
        )
        await made.quota(mine.organisation, window_start=old, window_end=old + timedelta(minutes=1))
        await made.event(mine.organisation, created_at=old, dispatched_at=old)
        kept = await made.event(mine.organisation, created_at=old)
    async with database.session("worker") as session:
        for table in ("registration_tokens", "quota_blocks", "events", "challenges"):
            await session.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
    async with database.superuser() as session:
        tokens = {row for (row,) in await rows(session, "SELECT id FROM registration_tokens")}
        assert tokens
        assert gone["id"] not in tokens
        assert (
            await one(session, "SELECT count(*) FROM quota_blocks WHERE window_end < %s", (old + timedelta(days=1),))
            == 0
        )
        assert await one(session, "SELECT count(*) FROM quota_blocks WHERE window_end < %s", (late,)) > 0
        assert await rows(session, "SELECT id FROM events WHERE created_at = %s", (old,)) == [(kept,)]
        assert await one(session, "SELECT count(*) FROM challenges") > 0


async def test_a_heartbeat_and_a_renewed_fast_value_touch_no_index(database: Database) -> None:
    async with database.superuser() as session:
        mine = await Tenancy.made(Rows(session))
    async with database.session("worker") as session:
        for _ in range(20):
            await session.execute("UPDATE liveness SET last_seen = now() WHERE identity_id = %s", (mine.cluster,))
            await session.execute("UPDATE service_keys SET last_used_at = now() WHERE id = %s", (mine.service_key,))

    async def counted() -> bool:
        async with database.superuser() as session:
            await session.execute("SELECT pg_stat_force_next_flush()")
            found = await rows(
                session,
                """SELECT relname::text, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables
                   WHERE relname IN ('liveness', 'service_keys') ORDER BY relname""",
            )
            return found == [("liveness", 20, 20), ("service_keys", 20, 20)]

    await eventually(counted)


async def chain(session: Client) -> list[tuple[int, bytes, bytes, bytes]]:
    return await rows(session, "SELECT sequence, entry, previous_hash, hash FROM audit_chain ORDER BY sequence")


def linked(before: bytes, sequence: int, entry: bytes) -> bytes:
    return hashlib.sha256(before + sequence.to_bytes(8, "big") + entry).digest()


async def record(pool: Pool, entry: bytes) -> None:
    async with transaction(pool, Scope(platform_admin=True)) as tx:
        await tx.execute("INSERT INTO audit_intake (action, entry) VALUES ('a.b', %s)", (entry,))


async def seal(pool: Pool, most: int = 1000) -> int:
    async with transaction(pool, Scope()) as tx:
        return int(await one(tx, "SELECT seal(%s)", (most,)))


async def test_each_link_of_the_chain_is_the_hash_of_the_link_before_its_number_and_its_bytes(
    database: Database, api: Pool, worker: Pool
) -> None:
    for number in range(5):
        await record(api, b'{"number": %d}' % number)
    assert await seal(worker, 2) == 2
    while await seal(worker, 2):
        pass
    async with database.superuser() as session:
        links = await chain(session)
        assert await one(session, "SELECT count(*) FROM audit_intake") == 0
    before = bytes(32)
    for expected, (sequence, entry, previous, found) in enumerate(links, start=1):
        assert sequence == expected
        assert previous == before
        assert found == linked(before, sequence, entry)
        before = found
    assert [entry for _, entry, _, _ in links][-5:] == [b'{"number": %d}' % number for number in range(5)]


async def test_a_row_that_commits_after_a_later_one_was_sealed_is_sealed_too(
    database: Database, api: Pool, worker: Pool
) -> None:
    async with transaction(api, Scope(platform_admin=True)) as slow:
        await slow.execute("INSERT INTO audit_intake (action, entry) VALUES ('a.b', 'early')")
        await record(api, b"late")
        assert await seal(worker) >= 1
    assert await seal(worker) == 1
    async with database.superuser() as session:
        assert [entry for _, entry, _, _ in await chain(session)][-2:] == [b"late", b"early"]


async def test_two_sealers_at_once_are_one(database: Database, api: Pool, worker: Pool) -> None:
    await seal(worker)
    for number in range(40):
        await record(api, b"%02d" % number)
    async with transaction(worker, Scope()) as first:
        assert await one(first, "SELECT seal(10)") == 10
        assert await seal(worker) == 0
    counts = await asyncio.gather(*(seal(worker, 10) for _ in range(8)))
    while await seal(worker):
        pass
    assert all(count in (0, 10) for count in counts)
    async with database.superuser() as session:
        assert [entry for _, entry, _, _ in await chain(session)][-40:] == [b"%02d" % number for number in range(40)]


@pytest.mark.parametrize(
    ("columns", "refusal"),
    [
        ({"hash": b"h" * 32}, errors.CheckViolation),
        ({"previous_hash": b"p" * 32}, errors.ForeignKeyViolation),
        ({"sequence": 1_000_000}, errors.ForeignKeyViolation),
        ({"sequence": 1}, errors.CheckViolation),
    ],
)
async def test_a_link_that_does_not_fit_is_refused(
    database: Database, api: Pool, worker: Pool, columns: dict[str, object], refusal: type[Exception]
) -> None:
    await record(api, b"last")
    await seal(worker)
    async with database.superuser() as session:
        last, _, _, previous = (await chain(session))[-1]
        number, link, entry = columns.get("sequence", last + 1), columns.get("previous_hash", previous), b"forged"
        assert isinstance(number, int)
        assert isinstance(link, bytes)
        with pytest.raises(refusal):
            await Rows(session).insert(
                "audit_chain",
                sequence=number,
                recorded_at=NOW,
                action="a.b",
                entry=entry,
                previous_hash=link,
                hash=columns.get("hash", linked(link, number, entry)),
            )


async def test_a_service_key_is_looked_up_with_its_identity_its_plane_and_its_grant(
    database: Database, api: Pool
) -> None:
    async with database.superuser() as session:
        mine = await Tenancy.made(Rows(session))
        await session.execute("UPDATE planes SET identity_revoked_at = %s WHERE id = %s", (NOW, mine.plane))
        await session.execute("UPDATE plane_grants SET revoked_at = %s WHERE plane_id = %s", (NOW, mine.plane))
        await session.execute("UPDATE clusters SET deleted_at = %s WHERE id = %s", (NOW, mine.cluster))
    async with transaction(api, Scope()) as tx:
        found = await rows(
            tx,
            """SELECT kind, identity_id, organisation_id, plane_id, identity_revoked_at, deleted_at, plane_revoked_at,
                      grant_revoked_at, online, desired_state, platform_epoch FROM service_key(%s)""",
            (mine.service_key,),
        )
    assert found == [("cluster", mine.cluster, mine.organisation, mine.plane, None, NOW, NOW, NOW, False, "active", 1)]


async def test_a_planes_own_key_is_looked_up_without_an_organisation(database: Database, api: Pool) -> None:
    async with database.superuser() as session:
        made = Rows(session)
        plane = await made.plane(identity_revoked_at=NOW)
        key = await made.service_key(plane, None)
    query = """SELECT kind, identity_id, organisation_id, plane_id, identity_revoked_at, grant_revoked_at
               FROM service_key(%s)"""
    async with transaction(api, Scope()) as tx:
        assert await rows(tx, query, (key,)) == [("plane", plane, None, plane, NOW, None)]


async def test_a_token_an_identity_and_a_challenge_are_looked_up_by_what_names_them(
    database: Database, api: Pool
) -> None:
    async with database.superuser() as session:
        made = Rows(session)
        mine = await Tenancy.made(made)
        token = await made.cluster_token(mine.organisation, mine.plane)
        challenge = await made.challenge(mine.cluster, mine.organisation, purpose="other")
    async with transaction(api, Scope()) as tx:
        assert await rows(tx, "SELECT id, organisation_id FROM registration_token(%s)", (token["digest"],)) == [
            (token["id"], mine.organisation)
        ]
        identities = "SELECT kind, organisation_id, plane_id FROM identity(%s)"
        assert await rows(tx, identities, (mine.cluster,)) == [("cluster", mine.organisation, mine.plane)]
        assert await rows(tx, identities, (mine.plane,)) == [("plane", None, mine.plane)]
        assert await rows(tx, identities, (uuid4(),)) == []
        assert await rows(tx, "SELECT identity_id, purpose FROM challenge(%s)", (challenge["nonce"],)) == [
            (mine.cluster, "other")
        ]


async def test_a_person_is_a_member_a_platform_admin_both_or_nobody(database: Database, api: Pool) -> None:
    url = f"https://{uuid4()}.example"
    async with database.superuser() as session:
        made = Rows(session)
        organisation = await made.organisation()
        issuer = await made.issuer(organisation, url=url)
        member = await made.membership(organisation, issuer, subject="member")
        both = await made.membership(organisation, issuer, subject="both")
        for subject in ("admin", "both"):
            await made.insert("platform_admins", issuer_id=issuer, subject=subject, created_by="cli")

    async def person(subject: str) -> list[tuple[UUID | None, bool]]:
        async with transaction(api, Scope()) as tx:
            query = "SELECT membership_id, platform_admin FROM membership(%s, %s)"
            return await rows(tx, query, (url, subject))

    assert await person("member") == [(member, False)]
    assert await person("admin") == [(None, True)]
    assert await person("both") == [(both, True)]
    assert await person("nobody") == []
    async with database.superuser() as session:
        await session.execute("UPDATE issuer_organisations SET ended_at = now() WHERE issuer_id = %s", (issuer,))
    assert await person("member") == []
    assert await person("both") == [(None, True)]
    async with database.superuser() as session:
        await session.execute("UPDATE issuers SET disabled_at = now() WHERE id = %s", (issuer,))
    assert await person("both") == []


async def test_an_api_token_ends_with_its_membership_its_issuer_and_what_binds_them(
    database: Database, api: Pool
) -> None:
    ends: tuple[tuple[str, str], ...] = (
        ("UPDATE memberships SET ended_at = %s WHERE id = %s", "membership"),
        ("UPDATE issuer_organisations SET ended_at = %s WHERE organisation_id = %s", "organisation"),
    )
    for statement, of in ends:
        async with database.superuser() as session:
            mine = await Tenancy.made(Rows(session))
            async with transaction(api, Scope()) as tx:
                query = "SELECT member_ended_at FROM api_token(%s)"
                assert await rows(tx, query, (mine.api_token,)) == [(None,)]
                await session.execute(statement, (NOW, getattr(mine, of)))
                assert await rows(tx, query, (mine.api_token,)) == [(NOW,)]
