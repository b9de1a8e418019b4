"""No organisation, no plane and nobody sees or touches a row that is not theirs: in every table that there is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg import errors, sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, transaction
from tests.integration.platform.rows import SCRYPT, Rows, Tenancy, credential_id, digest, soon
from tests.integration.platform.server import VERSIONS, Client, Database, one, rows

pytestmark = pytest.mark.parametrize("database", VERSIONS, indirect=True, scope="module")

OF_NO_ORGANISATION = {"migrations", "platform_state", "replicas", "audit_heads"}
"""All that has no row-level security."""
UNSCOPED = {"signing_keys"}
"""Split by role, not by scope: whoever serves requests signs assertions."""
NOT_READ = {"audit_intake", "platform_admins"}
"""What the role that serves requests can not read at all."""


@dataclass(frozen=True)
class Two:
    """Two organisations that have nothing in common, with a row of each in every table."""

    mine: Tenancy
    theirs: Tenancy


@pytest.fixture(scope="module")
async def two(database: Database) -> AsyncIterator[Two]:
    async with database.superuser() as session:
        made = Rows(session)
        await made.signing_key("assertion")
        await made.signing_key("audit_head")
        mine, theirs = await Tenancy.made(made), await Tenancy.made(made)
        await made.sealed(None)
        await made.intake(mine.organisation)
        await made.intake(theirs.organisation)
        yield Two(mine, theirs)


async def tables(session: Client) -> list[str]:
    found = await rows(
        session,
        """SELECT relname::text FROM pg_class WHERE relnamespace = 'bulkhead'::regnamespace AND relkind IN ('r', 'p')
           ORDER BY relname""",
    )
    return [name for (name,) in found]


async def with_organisation(session: Client) -> list[str]:
    found = await rows(
        session,
        """SELECT table_name::text FROM information_schema.columns
           WHERE table_schema = 'bulkhead' AND column_name = 'organisation_id' ORDER BY table_name""",
    )
    return [name for (name,) in found]


async def numbers(tx: Client, table: str, organisation: UUID | None = None) -> int:
    """Rows of a table that are seen: all, or those of one organisation."""
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
    if organisation is not None:
        query += sql.SQL(" WHERE organisation_id = {}").format(sql.Literal(organisation))
    row = await (await tx.execute(query)).fetchone()
    assert row is not None
    return int(row[0])


async def test_every_table_forces_row_level_security_but_for_those_of_no_organisation(database: Database) -> None:
    async with database.superuser() as session:
        without = await rows(
            session,
            """SELECT relname::text FROM pg_class
               WHERE relnamespace = 'bulkhead'::regnamespace AND relkind IN ('r', 'p')
                   AND NOT (relrowsecurity AND relforcerowsecurity)""",
        )
        assert {name for (name,) in without} == OF_NO_ORGANISATION
        assert not OF_NO_ORGANISATION & set(await with_organisation(session))


async def test_every_table_that_forces_row_level_security_has_policies_for_named_roles_alone(
    database: Database,
) -> None:
    async with database.superuser() as session:
        found = await rows(session, "SELECT tablename::text, policyname::text, roles::text[] FROM pg_policies")
        assert {table for table, _, _ in found} == set(await tables(session)) - OF_NO_ORGANISATION
        for table, policy, roles in found:
            (role,) = roles
            assert role.startswith("bulkhead_platform_"), (table, policy)


async def test_the_two_organisations_have_rows_in_every_table(database: Database, two: Two) -> None:
    async with database.superuser() as session:
        for table in await with_organisation(session):
            for one_of in (two.mine, two.theirs):
                assert await numbers(session, table, one_of.organisation), table
        for table in await tables(session):
            if table not in NOT_READ | OF_NO_ORGANISATION:
                assert await numbers(session, table), table


async def test_without_a_scope_no_row_of_any_table_is_seen(api: Pool, database: Database, two: Two) -> None:
    async with database.superuser() as session:
        names = set(await tables(session)) - OF_NO_ORGANISATION - UNSCOPED - NOT_READ
    async with transaction(api, Scope(organisation=two.mine.organisation, plane=two.mine.plane)):
        """A connection that had a scope before shows as little as a new one."""
    for table in names:
        async with transaction(api, Scope()) as tx:
            assert await numbers(tx, table) == 0, table


@pytest.mark.parametrize("table", sorted(NOT_READ))
async def test_what_requests_have_no_business_with_they_can_not_read(api: Pool, table: str) -> None:
    async def read() -> None:
        async with transaction(api, Scope(platform_admin=True)) as tx:
            await numbers(tx, table)

    with pytest.raises(errors.InsufficientPrivilege):
        await read()


async def test_an_organisation_sees_its_own_rows_and_none_of_another(api: Pool, database: Database, two: Two) -> None:
    async with database.superuser() as session:
        names = set(await with_organisation(session)) - NOT_READ
    for table in names:
        async with transaction(api, Scope(organisation=two.mine.organisation)) as tx:
            assert await numbers(tx, table, two.mine.organisation) > 0, table
            assert await numbers(tx, table) == await numbers(tx, table, two.mine.organisation), table


async def test_an_organisation_sees_of_organisations_and_planes_itself_and_those_that_act_for_it(
    api: Pool, two: Two
) -> None:
    async with transaction(api, Scope(organisation=two.mine.organisation)) as tx:
        assert await rows(tx, "SELECT id FROM organisations") == [(two.mine.organisation,)]
        assert await rows(tx, "SELECT id FROM planes") == [(two.mine.plane,)]
        assert await rows(tx, "SELECT plane_id FROM plane_targets") == [(two.mine.plane,)]
        assert await rows(tx, "SELECT url FROM issuers") == []


async def test_the_look_up_of_the_proxy_shows_an_organisation_its_own_clusters_and_leaves_no_scope(
    database: Database, two: Two
) -> None:
    async with database.session("api") as session:
        asked = "SELECT name FROM bulkhead.proxied_cluster(%s, %s)"
        assert len(await rows(session, asked, (two.mine.organisation, two.mine.cluster))) == 1
        assert await numbers(session, "clusters") == 0
        assert await rows(session, asked, (two.mine.organisation, two.theirs.cluster)) == []


async def test_a_plane_sees_itself_its_clusters_and_what_is_theirs(api: Pool, two: Two) -> None:
    async with transaction(api, Scope(plane=two.mine.plane)) as tx:
        assert await rows(tx, "SELECT id FROM planes") == [(two.mine.plane,)]
        assert await rows(tx, "SELECT id FROM clusters") == [(two.mine.cluster,)]
        assert await rows(tx, "SELECT id FROM organisations") == [(two.mine.organisation,)]
        assert await rows(tx, "SELECT cluster_id FROM streams") == [(two.mine.cluster,)]
        assert await rows(tx, "SELECT cluster_id FROM documents") == [(two.mine.cluster,)]
        for table in ("liveness", "service_keys", "challenges"):
            seen = await (
                await tx.execute(sql.SQL("SELECT identity_id FROM {}").format(sql.Identifier(table)))
            ).fetchall()
            assert {identity for (identity,) in seen} == {two.mine.plane, two.mine.cluster}, table
        for table in ("plane_grants", "tenant_organisations", "registration_tokens"):
            seen = await (await tx.execute(sql.SQL("SELECT plane_id FROM {}").format(sql.Identifier(table)))).fetchall()
            assert seen == [(two.mine.plane,)], table


async def test_a_plane_sees_nothing_else(api: Pool, database: Database, two: Two) -> None:
    theirs = {"planes", "clusters", "organisations", "streams", "documents", "liveness", "service_keys", "challenges"}
    theirs |= {"plane_grants", "tenant_organisations", "registration_tokens"}
    async with database.superuser() as session:
        others = set(await tables(session)) - OF_NO_ORGANISATION - UNSCOPED - NOT_READ - theirs
    for table in others:
        async with transaction(api, Scope(plane=two.mine.plane)) as tx:
            assert await numbers(tx, table) == 0, table


async def test_a_plane_whose_grant_ended_sees_its_clusters_no_more(api: Pool, database: Database) -> None:
    async with database.superuser() as session:
        mine = await Tenancy.made(Rows(session))
        await session.execute("UPDATE plane_grants SET revoked_at = now() WHERE plane_id = %s", (mine.plane,))
    async with transaction(api, Scope(plane=mine.plane)) as tx:
        for table in ("clusters", "registration_tokens", "streams", "documents", "organisations"):
            assert await numbers(tx, table) == 0, table
        for table in ("liveness", "service_keys", "challenges"):
            assert await numbers(tx, table) == 1, table
    async with transaction(api, Scope(organisation=mine.organisation)) as tx:
        assert await numbers(tx, "clusters") == 1
        assert await numbers(tx, "plane_targets") == 0


async def test_a_token_scope_sees_that_token_and_nothing_else(api: Pool, database: Database) -> None:
    async with database.superuser() as session:
        mine = await Rows(session).plane_token()
        await Rows(session).plane_token()
        names = set(await tables(session)) - OF_NO_ORGANISATION - UNSCOPED - NOT_READ - {"registration_tokens"}
    async with transaction(api, Scope(token=mine["id"])) as tx:
        assert await rows(tx, "SELECT id FROM registration_tokens FOR UPDATE") == [(mine["id"],)]
        for table in names:
            assert await numbers(tx, table) == 0, table


async def test_a_platform_admin_sees_what_the_decision_lists_and_no_row_of_a_tenant(
    api: Pool, database: Database, two: Two
) -> None:
    seen = {"organisations", "planes", "plane_grants", "plane_targets", "tenant_organisations", "issuers"}
    seen |= {"issuer_organisations"}
    async with database.superuser() as session:
        await Rows(session).plane_token()
        others = set(await tables(session)) - OF_NO_ORGANISATION - UNSCOPED - NOT_READ - seen
    async with transaction(api, Scope(platform_admin=True)) as tx:
        for table in seen:
            assert await numbers(tx, table) >= 2, table
        for table in others - {"registration_tokens", "liveness"}:
            assert await numbers(tx, table) == 0, table
        assert await rows(tx, "SELECT DISTINCT kind FROM registration_tokens") == [("plane",)]
        assert ("cluster",) not in await rows(tx, "SELECT kind FROM liveness")
        assert two.theirs.organisation in {row for (row,) in await rows(tx, "SELECT id FROM organisations")}


async def test_an_organisation_changes_no_row_of_another(api: Pool, database: Database, two: Two) -> None:
    async with database.superuser() as session:
        names = await with_organisation(session)
        columns = await updatable(session)
    changed = []
    for table in names:
        for column in columns.get(table, ()):
            async with transaction(api, Scope(organisation=two.mine.organisation)) as tx:
                update = sql.SQL("UPDATE {} SET {} = DEFAULT WHERE organisation_id = {}").format(
                    sql.Identifier(table), sql.Identifier(column), sql.Literal(two.theirs.organisation)
                )
                assert (await tx.execute(update)).rowcount == 0, (table, column)
                changed.append(table)
    assert {"clusters", "service_keys", "registration_tokens", "memberships", "webhooks"} <= set(changed)


async def test_an_organisation_deletes_no_row_of_another(api: Pool, database: Database, two: Two) -> None:
    async with database.superuser() as session:
        names = await with_organisation(session)
        deletable = {
            table
            for (table,) in await rows(
                session,
                """SELECT relname::text FROM pg_class WHERE relnamespace = 'bulkhead'::regnamespace
                   AND has_table_privilege('bulkhead_platform_api', oid, 'DELETE')""",
            )
        }
    assert deletable <= {"tenant_organisations", "plane_targets", "documents", "webhooks"}
    for table in deletable & set(names):
        async with transaction(api, Scope(organisation=two.mine.organisation)) as tx:
            delete = sql.SQL("DELETE FROM {} WHERE organisation_id = {}").format(
                sql.Identifier(table), sql.Literal(two.theirs.organisation)
            )
            assert (await tx.execute(delete)).rowcount == 0, table


async def test_an_organisation_inserts_no_row_for_another(api: Pool, database: Database, two: Two) -> None:
    async with database.superuser() as session:
        copies = await a_row_of_each(session, two.theirs.organisation)
    for table, row in copies.items():
        with pytest.raises(errors.InsufficientPrivilege):
            await insert(api, Scope(organisation=two.mine.organisation), table, row)


@pytest.mark.parametrize("scope", ["nobody", "plane", "token"])
async def test_nobody_a_plane_and_a_token_insert_no_row_for_an_organisation_that_is_not_theirs(
    api: Pool, database: Database, two: Two, scope: str
) -> None:
    async with database.superuser() as session:
        token = await Rows(session).plane_token()
        copies = await a_row_of_each(session, two.theirs.organisation)
    held = {"nobody": Scope(), "plane": Scope(plane=two.mine.plane), "token": Scope(token=token["id"])}[scope]
    for table, row in copies.items():
        with pytest.raises(errors.InsufficientPrivilege):
            await insert(api, held, table, row)


@pytest.mark.parametrize("who", ["plane", "organisation"])
async def test_a_tenant_is_bound_once_and_grants_mappings_and_targets_are_written_by_platform_admins_alone(
    api: Pool, database: Database, who: str
) -> None:
    async with database.superuser() as session:
        mine = await Tenancy.made(Rows(session))
    scope = Scope(plane=mine.plane) if who == "plane" else Scope(organisation=mine.organisation)
    bind = "UPDATE tenant_organisations SET tenant_uid = gen_random_uuid()"
    async with transaction(api, scope) as tx:
        assert (await tx.execute(bind)).rowcount == 1
    async with transaction(api, scope) as tx:
        assert (await tx.execute(bind)).rowcount == 0
        assert (await tx.execute("UPDATE plane_grants SET revoked_at = NULL")).rowcount == 0
        assert (await tx.execute("UPDATE plane_targets SET address = 'evil:443'")).rowcount == 0
        assert (await tx.execute("DELETE FROM plane_targets")).rowcount == 0
        assert (await tx.execute("DELETE FROM tenant_organisations")).rowcount == 0


async def test_nobody_who_serves_moves_a_row_to_another_organisation_or_identity(database: Database) -> None:
    fixed = (
        "organisation_id",
        "plane_id",
        "cluster_id",
        "identity_id",
        "membership_id",
        "id",
        "uid",
        "scopes",
        "epoch",
    )
    async with database.superuser() as session:
        found = await rows(
            session,
            """SELECT c.relname::text, a.attname::text, r.rolname::text
               FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                   CROSS JOIN pg_roles r
               WHERE c.relnamespace = 'bulkhead'::regnamespace AND c.relkind = 'r'
                   AND r.rolname IN ('bulkhead_platform_api', 'bulkhead_platform_worker')
                   AND a.attname = ANY (%s) AND has_column_privilege(r.oid, c.oid, a.attnum, 'UPDATE')""",
            (list(fixed),),
        )
    assert set(found) == {
        ("registration_tokens", "identity_id", "bulkhead_platform_api"),  # once: what redeemed it
        ("planes", "epoch", "bulkhead_platform_api"),  # re-joins
        ("clusters", "epoch", "bulkhead_platform_api"),
        ("streams", "epoch", "bulkhead_platform_api"),
        ("api_tokens", "epoch", "bulkhead_platform_api"),  # rotations
    }


async def test_every_foreign_key_between_rows_of_organisations_carries_the_organisation(database: Database) -> None:
    async with database.superuser() as session:
        names = await with_organisation(session)
        found = await rows(
            session,
            """SELECT conrelid::regclass::text, confrelid::regclass::text,
                      (SELECT array_agg(attname::text) FROM pg_attribute
                       WHERE attrelid = conrelid AND attnum = ANY (conkey)),
                      (SELECT array_agg(attname::text) FROM pg_attribute
                       WHERE attrelid = confrelid AND attnum = ANY (confkey))
               FROM pg_constraint WHERE contype = 'f' AND connamespace = 'bulkhead'::regnamespace""",
        )
    between = {(source, target) for source, target, _, _ in found if source in names and target in names}
    carried = {
        (source, target)
        for source, target, here, there in found
        if "organisation_id" in here and "organisation_id" in there
    }
    assert len(between) > 15
    # The chain goes through all organisations: a row that was left out of it must not go unseen in any.
    assert between - carried == {("audit_chain", "audit_chain")}


REDEEM = """UPDATE registration_tokens
            SET used_at = now(), claims_digest = sha256('claims'), identity_id = %s, key_id = %s WHERE id = %s"""


async def test_a_plane_joins_in_the_scope_of_its_token_and_of_itself(api: Pool, database: Database) -> None:
    async with database.superuser() as session:
        token, plane = await Rows(session).plane_token(), uuid4()
    async with transaction(api, Scope(token=token["id"], plane=plane)) as tx:
        joining = Joining(tx)
        await joining.insert("planes", id=plane, uid=uuid4(), name="plane", public_key=digest(), epoch=1)
        key = await joining.identity(plane, None)
        assert (await tx.execute(REDEEM, (plane, key, token["id"]))).rowcount == 1
        await joining.insert("audit_intake", action="plane.joined", entry=b"{}")
    async with transaction(api, Scope(plane=plane)) as tx:
        assert await rows(tx, "SELECT id FROM planes") == [(plane,)]
        assert await rows(tx, "SELECT id FROM service_keys") == [(key,)]


async def test_a_cluster_joins_in_the_scope_of_its_token_and_of_its_organisation(api: Pool, database: Database) -> None:
    async with database.superuser() as session:
        mine = await Tenancy.made(Rows(session))
        token, cluster = await Rows(session).cluster_token(mine.organisation, mine.plane), uuid4()
    async with transaction(api, Scope(token=token["id"], organisation=mine.organisation)) as tx:
        joining = Joining(tx)
        own = {"organisation_id": mine.organisation}
        names = {"name": "acme", "tenant": "acme", "tenant_uid": uuid4()}
        await joining.insert(
            "clusters", id=cluster, plane_id=mine.plane, uid=uuid4(), public_key=digest(), epoch=1, **names, **own
        )
        key = await joining.identity(cluster, mine.organisation)
        assert (await tx.execute(REDEEM, (cluster, key, token["id"]))).rowcount == 1
        await joining.insert("audit_intake", action="cluster.joined", entry=b"{}", **own)
        await joining.insert("events", type="cluster.joined", data=Jsonb({}), **own)


async def test_a_plane_mints_tokens_for_its_clusters_where_it_is_granted_their_organisation(
    api: Pool, database: Database
) -> None:
    async with database.superuser() as session:
        mine, theirs = await Tenancy.made(Rows(session)), await Tenancy.made(Rows(session))
    token = {
        "digest": digest(),
        "kind": "cluster",
        "plane_id": mine.plane,
        "uid": uuid4(),
        "name": "acme",
        "tenant": "acme",
        "tenant_uid": uuid4(),
        "bound_key": digest(),
        "minted_by": "plane",
        "minted_by_plane": True,
        "epoch": 1,
        "expires_at": soon(),
    }
    await insert(api, Scope(plane=mine.plane), "registration_tokens", {**token, "organisation_id": mine.organisation})
    await insert(
        api,
        Scope(plane=mine.plane),
        "audit_intake",
        {"organisation_id": mine.organisation, "action": "token.minted", "entry": b"{}"},
    )
    for wrong in ({"organisation_id": theirs.organisation}, {"plane_id": theirs.plane}):
        with pytest.raises(errors.InsufficientPrivilege):
            await insert(
                api,
                Scope(plane=mine.plane),
                "registration_tokens",
                {**token, "digest": digest(), "organisation_id": mine.organisation, **wrong},
            )


@dataclass(frozen=True)
class Joining:
    """Writes as requests do: without reading back what they may not read."""

    tx: Client

    async def insert(self, table: str, **columns: Any) -> None:
        await write(self.tx, table, columns)

    async def identity(self, identity: UUID, organisation: UUID | None) -> str:
        """What comes with every identity; gives the id of its key."""
        of = {
            "kind": "plane" if organisation is None else "cluster",
            "identity_id": identity,
            "organisation_id": organisation,
        }
        key = credential_id()
        await self.insert("liveness", **of)
        await self.insert("service_keys", id=key, scopes=["heartbeat"], claims_digest=digest(), epoch=1, **SCRYPT, **of)
        await self.insert("challenges", nonce=digest(), purpose="rejoin", expires_at=soon(), **of)
        return key


Crossing = Callable[[Rows, Tenancy, Tenancy], Awaitable[object]]
USED = {"used_at": "2026-01-01", "claims_digest": b"c" * 32}


async def a_membership_by_their_issuer(made: Rows, mine: Tenancy, theirs: Tenancy) -> None:
    await made.membership(mine.organisation, await made.issuer(theirs.organisation))


async def a_delivery_of_their_event(made: Rows, mine: Tenancy, theirs: Tenancy) -> None:
    hook, event = await made.webhook(mine.organisation), await made.event(theirs.organisation)
    await made.delivery(mine.organisation, hook, event)


async def a_delivery_to_their_webhook(made: Rows, mine: Tenancy, theirs: Tenancy) -> None:
    hook, event = await made.webhook(theirs.organisation), await made.event(mine.organisation)
    await made.delivery(mine.organisation, hook, event)


CROSSINGS: dict[str, Crossing] = {
    "a cluster on a plane that is not granted": lambda made, mine, theirs: made.cluster(
        mine.organisation, theirs.plane
    ),
    "a key of their cluster": lambda made, mine, theirs: made.service_key(theirs.cluster, mine.organisation),
    "liveness of their cluster": lambda made, mine, theirs: made.liveness(theirs.cluster, mine.organisation),
    "a challenge for their cluster": lambda made, mine, theirs: made.challenge(
        theirs.cluster, mine.organisation, purpose="other"
    ),
    "a stream of their cluster": lambda made, mine, theirs: made.stream(mine.organisation, theirs.cluster),
    "a document of their cluster": lambda made, mine, theirs: made.document(mine.organisation, theirs.cluster),
    "a token for a plane that is not granted": lambda made, mine, theirs: made.cluster_token(
        mine.organisation, theirs.plane
    ),
    "a token that gave a key of another identity": lambda made, mine, theirs: made.cluster_token(
        mine.organisation, mine.plane, **USED, identity_id=mine.cluster, key_id=theirs.service_key
    ),
    "a token that gave their cluster and its key": lambda made, mine, theirs: made.cluster_token(
        mine.organisation, mine.plane, **USED, identity_id=theirs.cluster, key_id=theirs.service_key
    ),
    "an API token of their member": lambda made, mine, theirs: made.api_token(mine.organisation, theirs.membership),
    "an API token minted by theirs": lambda made, mine, theirs: made.api_token(
        mine.organisation, mine.membership, minted_by_token=theirs.api_token
    ),
    "a mapping to an organisation that is not granted": lambda made, mine, theirs: made.insert(
        "tenant_organisations", plane_id=mine.plane, tenant="b", organisation_id=theirs.organisation, set_by="admin"
    ),
    "a membership by their issuer": a_membership_by_their_issuer,
    "a delivery of their event": a_delivery_of_their_event,
    "a delivery to their webhook": a_delivery_to_their_webhook,
}


@pytest.mark.parametrize("crossing", CROSSINGS)
async def test_a_row_that_refers_to_another_organisation_is_refused(database: Database, crossing: str) -> None:
    async with database.superuser() as session, session.transaction(force_rollback=True):
        made = Rows(session)
        mine, theirs = await Tenancy.made(made), await Tenancy.made(made)
        # So that the keys of the tables themselves are free.
        await session.execute("DELETE FROM documents; DELETE FROM streams; DELETE FROM liveness")
        with pytest.raises(errors.ForeignKeyViolation):
            await CROSSINGS[crossing](made, mine, theirs)


async def updatable(session: Client) -> dict[str, list[str]]:
    """What requests may update, of what takes its default by itself."""
    found = await rows(
        session,
        """SELECT c.relname::text, a.attname::text
           FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           WHERE c.relnamespace = 'bulkhead'::regnamespace AND c.relkind = 'r'
               AND has_column_privilege('bulkhead_platform_api', c.oid, a.attnum, 'UPDATE')""",
    )
    columns: dict[str, list[str]] = {}
    for table, column in found:
        columns.setdefault(table, []).append(column)
    return columns


async def a_row_of_each(session: Client, organisation: UUID) -> dict[str, dict[str, Any]]:
    """By table. Whoever seals has emptied the intake."""
    await Rows(session).intake(organisation)
    return {table: await a_row(session, table, organisation) for table in await with_organisation(session)}


async def a_row(session: Client, table: str, organisation: UUID) -> dict[str, Any]:
    """One of that organisation, without what the server makes."""
    made = await rows(
        session,
        """SELECT attname::text FROM pg_attribute
           WHERE attrelid = %s::regclass AND attnum > 0 AND (attgenerated <> '' OR attidentity <> '')""",
        (f"bulkhead.{table}",),
    )
    query = sql.SQL("SELECT * FROM {} WHERE organisation_id = %s LIMIT 1").format(sql.Identifier(table))
    async with session.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, (organisation,))
        row = await cursor.fetchone()
    assert row is not None, table
    return {name: value for name, value in row.items() if (name,) not in made and not isinstance(value, dict)}


async def insert(pool: Pool, scope: Scope, table: str, row: dict[str, Any]) -> None:
    async with transaction(pool, scope) as tx:
        await write(tx, table, row)


async def write(tx: Client, table: str, row: dict[str, Any]) -> None:
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join([sql.Placeholder()] * len(row)),
    )
    await tx.execute(statement, tuple(row.values()))


async def test_the_scope_of_a_transaction_is_that_of_its_caller_and_not_of_the_log_in(api: Pool, two: Two) -> None:
    async with transaction(api, Scope(organisation=two.theirs.organisation)) as tx:
        assert await one(tx, "SELECT id FROM clusters") == two.theirs.cluster
