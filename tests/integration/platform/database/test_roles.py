"""What the roles may: as little as their work needs, whatever the code above them does."""

from __future__ import annotations

from typing import LiteralString

import psycopg
import pytest
from psycopg import errors, sql

from bulkhead.platform.database.pools import Role, TooPowerful, refuse_power
from tests.integration.platform.rows import Rows
from tests.integration.platform.server import VERSIONS, Database, Login, PlatformServer, one, rows

pytestmark = pytest.mark.parametrize("database", VERSIONS, indirect=True, scope="module")

GROUPS = ("api", "worker", "maintenance", "lookup", "sealer")
SERVING: tuple[Login, ...] = ("api", "worker", "maintenance")
LOOK_UPS = {
    "service_key(text)",
    "registration_token(bytea)",
    "identity(uuid)",
    "challenge(bytea)",
    "api_token(text)",
    "issuer(text)",
    "membership(text,text)",
    "platform_admin(text)",
}
SCOPE_FUNCTIONS = {"scope_organisation()", "scope_plane()", "scope_token()", "scope_platform_admin()"}
PUBLIC = (
    """SELECT relname FROM pg_class, aclexplode(relacl) a
       WHERE relnamespace = 'bulkhead'::regnamespace AND a.grantee = 0""",
    """SELECT oid::regprocedure FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) a
       WHERE pronamespace = 'bulkhead'::regnamespace AND a.grantee = 0""",
    "SELECT nspname FROM pg_namespace, aclexplode(nspacl) a WHERE nspname = 'bulkhead' AND a.grantee = 0",
)
"""Whatever is granted to PUBLIC in the schema; functions are by default."""
AUDIT = ("audit_intake", "audit_chain", "audit_heads")


@pytest.fixture(scope="module", autouse=True)
async def audited(database: Database) -> None:
    """A row in each table of the audit, so that there is something to change."""
    async with database.superuser() as session:
        made = Rows(session)
        organisation = await made.organisation()
        key = await made.signing_key("audit_head")
        await made.sealed(organisation)
        await made.intake(organisation)
        head = await rows(session, "SELECT sequence, hash FROM audit_chain")
        await made.insert("audit_heads", sequence=head[0][0], hash=head[0][1], kid=key["kid"], statement="s")


async def test_only_the_owner_owns_tables_and_nobody_else_may_make_any(database: Database) -> None:
    async with database.superuser() as session:
        assert await rows(
            session,
            """SELECT DISTINCT relowner::regrole::text FROM pg_class
               WHERE relnamespace = 'bulkhead'::regnamespace AND relkind IN ('r', 'p', 'S')""",
        ) == [("owner",)]
        for group in GROUPS:
            role = f"bulkhead_platform_{group}"
            assert await one(session, "SELECT has_schema_privilege(%s, 'bulkhead', 'CREATE')", (role,)) is False
            creates = "SELECT has_database_privilege(%s, current_database(), 'CREATE')"
            assert await one(session, creates, (role,)) is False


@pytest.mark.parametrize("login", SERVING)
async def test_a_log_in_can_take_no_role_but_its_own(database: Database, login: Login) -> None:
    async with database.session(login) as session:
        for role in ("postgres", "owner", *(f"bulkhead_platform_{group}" for group in GROUPS if group != login)):
            with pytest.raises(errors.InsufficientPrivilege):
                await session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))


async def test_nobody_logs_in_as_a_group_or_is_made_a_member_of_what_owns_functions(database: Database) -> None:
    async with database.superuser() as session:
        assert not await rows(
            session,
            """SELECT rolname FROM pg_roles WHERE rolname LIKE 'bulkhead\\_platform\\_%%'
               AND (rolcanlogin OR rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)""",
            (),
        )
        members = await rows(
            session,
            """SELECT m.rolname::text FROM pg_auth_members a JOIN pg_roles g ON g.oid = a.roleid
                   JOIN pg_roles m ON m.oid = a.member
               WHERE g.rolname IN ('bulkhead_platform_lookup', 'bulkhead_platform_sealer') AND a.set_option""",
        )
        assert {name for (name,) in members} == {"owner"}


async def test_the_owner_inherits_no_sight_of_rows(database: Database) -> None:
    async with database.session("owner") as session:
        assert await one(session, "SELECT count(*) FROM organisations") == 0


async def test_public_may_nothing(database: Database) -> None:
    async with database.superuser() as session:
        for query in PUBLIC:
            assert await rows(session, query) == []


async def test_functions_that_act_as_their_owner_are_the_look_ups_and_the_sealer_and_find_no_other_schema(
    database: Database,
) -> None:
    async with database.superuser() as session:
        found = await rows(
            session,
            """SELECT oid::regprocedure::text, proowner::regrole::text, proconfig, provolatile::text,
                      (SELECT array_agg(a.grantee::regrole::text ORDER BY 1) FROM aclexplode(proacl) a
                       WHERE a.grantee <> proowner)
               FROM pg_proc WHERE pronamespace = 'bulkhead'::regnamespace AND prosecdef""",
        )
    by_name = {name.removeprefix("bulkhead."): rest for name, *rest in found}
    assert set(by_name) == LOOK_UPS | {"seal(integer)"}
    for name in LOOK_UPS:
        assert by_name[name] == [
            "bulkhead_platform_lookup",
            ["search_path=bulkhead, pg_temp"],
            "s",
            ["bulkhead_platform_api"],
        ], name
    assert by_name["seal(integer)"] == [
        "bulkhead_platform_sealer",
        ["search_path=bulkhead, pg_temp"],
        "v",
        ["bulkhead_platform_worker"],
    ]


async def test_other_functions_read_the_scope_or_what_it_shows_refuse_or_see_one_row_alone(database: Database) -> None:
    async with database.superuser() as session:
        found = await rows(
            session,
            """SELECT oid::regprocedure::text FROM pg_proc
               WHERE pronamespace = 'bulkhead'::regnamespace AND NOT prosecdef""",
        )
    assert {name.removeprefix("bulkhead.") for (name,) in found} == SCOPE_FUNCTIONS | {
        "refuse_audit_change()",
        "keep_former_secret()",
        "keep_former_value()",
        "proxied_cluster(uuid,uuid)",
    }


async def test_the_look_up_role_reads_and_does_nothing_else(database: Database) -> None:
    async with database.superuser() as session:
        found = await rows(
            session,
            """SELECT DISTINCT a.privilege_type FROM pg_class, aclexplode(relacl) a
               WHERE relnamespace = 'bulkhead'::regnamespace AND a.grantee = 'bulkhead_platform_lookup'::regrole""",
        )
    assert found == [("SELECT",)]


@pytest.mark.parametrize("table", ["service_keys", "api_tokens", "webhooks", "registration_tokens"])
async def test_what_verifies_a_secret_is_read_by_nobody_who_serves_requests(database: Database, table: str) -> None:
    secret = ("hash", "salt", "fast_value", "previous_hash", "previous_fast_value", "sealed_secret", "digest")
    async with database.superuser() as session:
        found = await rows(
            session,
            """SELECT attname::text, has_column_privilege('bulkhead_platform_api', attrelid, attnum, 'SELECT')
               FROM pg_attribute WHERE attrelid = %s::regclass AND attname = ANY (%s)""",
            (f"bulkhead.{table}", list(secret)),
        )
    assert found
    assert not any(readable for _, readable in found)


@pytest.mark.parametrize("login", [*SERVING, "owner"])
@pytest.mark.parametrize("table", AUDIT)
async def test_audit_rows_are_changed_by_nobody(database: Database, login: Login, table: str) -> None:
    async with database.session(login) as session:
        for statement in ("UPDATE {} SET sequence = 1", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
            text = statement.replace("sequence = 1", "action = 'x'") if table == "audit_intake" else statement
            try:
                changed = (await session.execute(sql.SQL(text).format(sql.Identifier(table)))).rowcount
            except errors.InsufficientPrivilege:
                continue
            # The owner's DELETE from the intake is refused by row-level security, which is silent.
            assert (login, table, changed) == ("owner", "audit_intake", 0)
    async with database.superuser() as session:
        count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
        assert await (await session.execute(count)).fetchone() != (0,)


@pytest.mark.parametrize("table", ["audit_chain", "audit_heads"])
async def test_not_even_a_superuser_changes_the_chain_by_accident(database: Database, table: str) -> None:
    async with database.superuser() as session:
        for statement in ("UPDATE {} SET sequence = sequence", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
            with pytest.raises(errors.InsufficientPrivilege, match="append-only"):
                await session.execute(sql.SQL(statement).format(sql.Identifier(table)))


async def test_rows_are_sealed_by_the_worker_and_by_nobody_else(database: Database) -> None:
    async with database.session("worker") as session:
        assert await one(session, "SELECT seal(10)") >= 0
    for login in ("api", "maintenance", "owner"):
        async with database.session(login) as session:
            with pytest.raises(errors.InsufficientPrivilege):
                await session.execute("SELECT seal(10)")


@pytest.mark.parametrize("role", ["api", "worker", "maintenance"])
async def test_a_log_in_that_is_its_role_and_nothing_more_is_taken(database: Database, role: Role) -> None:
    async with database.session(role) as session:
        await refuse_power(session, role)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ("SUPERUSER", "is a superuser"),
        ("BYPASSRLS IN ROLE bulkhead_platform_api", "is BYPASSRLS"),
        ("IN ROLE bulkhead_platform_api, owner", "is the owner of the tables"),
        (
            "IN ROLE bulkhead_platform_api, bulkhead_platform_worker",
            "is a member of bulkhead_platform_api, bulkhead_pl",
        ),
        ("IN ROLE bulkhead_platform_worker", "is a member of bulkhead_platform_worker"),
        ("", "is a member of none of the roles"),
    ],
)
async def test_a_log_in_that_may_more_than_its_role_or_less_is_refused(
    server: PlatformServer, database: Database, attributes: LiteralString, reason: str
) -> None:
    async with server.superuser() as session:
        await session.execute("DROP ROLE IF EXISTS candidate")
        await session.execute(sql.SQL("CREATE ROLE candidate LOGIN PASSWORD 'candidate' ") + sql.SQL(attributes))
    dsn = psycopg.conninfo.make_conninfo(database.dsn("api"), user="candidate", password="candidate")
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as session:
        with pytest.raises(TooPowerful, match=reason):
            await refuse_power(session, "api")
    async with server.superuser() as session:
        await session.execute("DROP ROLE candidate")
