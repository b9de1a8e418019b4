"""Steps on roles: the group that owns what is in a database, and the logins that are its members.

A role is made and stamped in one transaction, so one without a stamp is never ours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from psycopg import sql

from bulkhead.api.ownership import Stamp
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.postgres.statement import (
    ANY_STAMP,
    ERASE_SECONDS,
    EVERYWHERE,
    MAKE_SECONDS,
    MOST_SETTINGS,
    SEPARATE_OPTIONS,
    Place,
    Rights,
    Statement,
    granted_to_ourselves,
    mastery,
    membership,
    names,
    script,
)

_STAMPED = sql.SQL(
    "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = {name} AND shobj_description(oid, 'pg_authid') = {stamp})"
)
_HOLDS_NOTHING = sql.SQL(
    "SELECT NOT EXISTS (SELECT FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid "
    "WHERE s.refclassid = 'pg_authid'::regclass AND s.classid <> 'pg_auth_members'::regclass AND r.rolname = {role} "
    # 0: what all databases share. DROP OWNED reaches that from any of them.
    "AND s.dbid IN (SELECT 0 UNION ALL SELECT oid FROM pg_database WHERE datname = {database}))"
)


@dataclass(frozen=True, slots=True)
class LoginTerms:
    """What holds for each login of a tenant."""

    group: str
    connections: int
    temp_file_kilobytes: int | None
    """None: we may not limit it."""

    def settings(self) -> tuple[str, ...]:
        """As `pg_roles.rolconfig` shows them."""
        limit = () if self.temp_file_kilobytes is None else (f"temp_file_limit={self.temp_file_kilobytes}kB",)
        return (f"role={self.group}", *limit)

    def alterations(self, login: str) -> tuple[sql.Composed, ...]:
        """Becoming the group at log-in makes it the owner of what is created, so a rotation reassigns nothing."""
        name = sql.Identifier(login)
        role = sql.SQL("ALTER ROLE {} SET role = {}").format(name, sql.Literal(self.group))
        if self.temp_file_kilobytes is None:
            return (role,)
        limit = sql.Literal(f"{self.temp_file_kilobytes}kB")
        return (role, sql.SQL("ALTER ROLE {} SET temp_file_limit = {}").format(name, limit))


@dataclass(frozen=True, slots=True)
class CreateGroup(Statement):
    name: str
    stamp: Stamp

    def __str__(self) -> str:
        return f'create group role "{self.name}"'

    def text(self, rights: Rights) -> sql.Composed:
        return script(
            sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(self.name)),
            stamped(self.name, self.stamp),
            mastery(self.name, rights),
        )

    def proof(self) -> sql.Composed:
        return _STAMPED.format(name=sql.Literal(self.name), stamp=sql.Literal(str(self.stamp)))


@dataclass(frozen=True, slots=True)
class CreateLogin(Statement):
    name: str
    stamp: Stamp
    verifier: Sensitive
    """Never the password: it would reach the server's log."""
    terms: LoginTerms

    def __str__(self) -> str:
        return f'create login "{self.name}"'

    def text(self, rights: Rights) -> sql.Composed:
        return script(
            sql.SQL("CREATE ROLE {} LOGIN INHERIT CONNECTION LIMIT {} PASSWORD {}").format(
                sql.Identifier(self.name), sql.Literal(self.terms.connections), sql.Literal(self.verifier.reveal())
            ),
            stamped(self.name, self.stamp),
            *self.terms.alterations(self.name),
            # Last: after each change of memberships Postgres reads all of ours anew before it lets us alter a role.
            membership(self.terms.group, self.name, rights),
            mastery(self.name, rights),
        )

    def proof(self) -> sql.Composed:
        return _STAMPED.format(name=sql.Literal(self.name), stamp=sql.Literal(str(self.stamp)))


@dataclass(frozen=True, slots=True)
class ConformGroup(Statement):
    """Bring a group back to what it was made as."""

    name: str
    strip: tuple[str, ...] = ()
    """Powers to take away."""

    def __str__(self) -> str:
        return f'repair group role "{self.name}"'

    def text(self, rights: Rights) -> sql.Composed:
        return script(
            sql.SQL("ALTER ROLE {} NOLOGIN{}").format(sql.Identifier(self.name), without(self.strip)),
            mastery(self.name, rights),
        )

    def proof(self) -> sql.Composed:
        return sql.SQL("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = {} AND NOT rolcanlogin)").format(
            sql.Literal(self.name)
        )


@dataclass(frozen=True, slots=True)
class ConformLogin(Statement):
    """Bring a login back to what it was made as, or let it in again after access was cut."""

    name: str
    terms: LoginTerms
    strip: tuple[str, ...] = ()
    verifier: Sensitive | None = None
    """None: the stored one is right, or can not be seen."""

    def __str__(self) -> str:
        return f'repair login "{self.name}"'

    def text(self, rights: Rights) -> sql.Composed:
        password = sql.SQL(" PASSWORD {}").format(sql.Literal(self.verifier.reveal())) if self.verifier else sql.SQL("")
        return script(
            sql.SQL("ALTER ROLE {} LOGIN INHERIT{} CONNECTION LIMIT {} VALID UNTIL 'infinity'{}").format(
                sql.Identifier(self.name), without(self.strip), sql.Literal(self.terms.connections), password
            ),
            mastery(self.name, rights),
            membership(self.terms.group, self.name, rights),
            *self.terms.alterations(self.name),
        )

    def proof(self) -> sql.Composed:
        return sql.SQL(
            "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = {} AND rolcanlogin AND rolconnlimit = {})"
        ).format(sql.Literal(self.name), sql.Literal(self.terms.connections))


@dataclass(frozen=True, slots=True)
class ResetSettings(Statement):
    """Clear the settings of a role, which its tenant has made too large: each change of one unpacks and checks all."""

    overriding: ClassVar[bool] = True
    optional: ClassVar[bool] = True
    role: str

    def __str__(self) -> str:
        return f'reset the settings of role "{self.role}"'

    @property
    def place(self) -> Place:
        return Place(seconds=MAKE_SECONDS)

    def text(self, rights: Rights) -> sql.Composed:  # noqa: ARG002 - the same for every operator
        # To clear a setting of PL/pgSQL takes a superuser where that is not loaded, and the block loads it.
        return script(sql.SQL("DO $$BEGIN END$$"), sql.SQL("ALTER ROLE {} RESET ALL").format(sql.Identifier(self.role)))

    def proof(self) -> sql.Composed:
        return sql.SQL("SELECT coalesce(pg_column_size(rolconfig), 0) <= {} FROM pg_roles WHERE rolname = {}").format(
            sql.Literal(MOST_SETTINGS), sql.Literal(self.role)
        )


@dataclass(frozen=True, slots=True)
class RevokeMembership(Statement):
    """Take away a membership that reaches into a tenant, or out of one."""

    overriding: ClassVar[bool] = True
    role: str
    member: str
    grantor: str

    def __str__(self) -> str:
        return f'revoke role "{self.role}" from "{self.member}"'

    def text(self, rights: Rights) -> sql.Composed:
        # From 16 on a role may hold the same membership from several grantors, each revoked for itself.
        by = sql.SQL(" GRANTED BY {}").format(sql.Identifier(self.grantor))
        return sql.SQL("REVOKE {} FROM {}{} CASCADE").format(
            sql.Identifier(self.role),
            sql.Identifier(self.member),
            by if rights.major >= SEPARATE_OPTIONS else sql.SQL(""),
        )

    def proof(self) -> sql.Composed:
        return sql.SQL(
            "SELECT NOT EXISTS (SELECT FROM pg_auth_members WHERE pg_get_userbyid(roleid) = {} "
            "AND pg_get_userbyid(member) = {} AND pg_get_userbyid(grantor) = {})"
        ).format(sql.Literal(self.role), sql.Literal(self.member), sql.Literal(self.grantor))


@dataclass(frozen=True, slots=True)
class CloseDoor(RevokeMembership):
    """Before logins are disabled: where it is refused, that alone has to do."""

    optional: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class DisableLogins(Statement):
    """Let nobody in any more. `EndSessions`, which comes after it, ends what slipped in meanwhile and waits for it.

    A tenant may alter its own role, and where it does so over and over, each change of ours meets one of its: "tuple
    concurrently updated". So its sessions are ended in the same call, and what they had begun is rolled back.
    """

    overriding: ClassVar[bool] = True
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"disable login {listed(self.names)}"

    def text(self, rights: Rights) -> sql.Composed:  # noqa: ARG002 - the same for every operator
        return script(
            sql.SQL(
                "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid "
                "WHERE r.rolname = ANY ({})"
            ).format(names(self.names)),
            *(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(name)) for name in self.names),
        )

    def proof(self) -> sql.Composed:
        return sql.SQL("SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = ANY ({}) AND rolcanlogin)").format(
            names(self.names)
        )


@dataclass(frozen=True, slots=True)
class TakeOver(Statement):
    """Give ourselves the privileges of a role of ours, where an administrator has taken them."""

    role: str

    def __str__(self) -> str:
        return f'take over role "{self.role}"'

    def text(self, rights: Rights) -> sql.Composed:
        return granted_to_ourselves(self.role, rights)

    def proof(self) -> sql.Composed:
        return sql.SQL("SELECT pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = {}").format(
            sql.Literal(self.role)
        )


@dataclass(frozen=True, slots=True)
class Disown(Statement):
    """Part a role from everything in one database: what it owns goes to `heir`, what it was granted is revoked.

    Without it a neighbour's GRANT would keep a role from being dropped. Reassigned first, so that DROP OWNED, which
    comes after, never drops an object.
    """

    overriding: ClassVar[bool] = True
    role: str
    database: str
    heir: str
    """Empty: ourselves."""
    by_force: bool = False
    """The tenants' sessions in that database are ended before."""

    def __str__(self) -> str:
        return f'part role "{self.role}" from database "{self.database}"'

    @property
    def place(self) -> Place:
        return Place(self.database, seconds=ERASE_SECONDS)

    @property
    def forced(self) -> Statement | None:
        return None if self.by_force else replace(self, by_force=True)

    def text(self, rights: Rights) -> sql.Composed:  # noqa: ARG002 - the same for every operator
        return script(_ending_tenants(self.database) if self.by_force else None, *self.parting())

    def parting(self) -> tuple[sql.Composed, sql.Composed]:
        role = sql.Identifier(self.role)
        heir = sql.Identifier(self.heir) if self.heir else sql.SQL("CURRENT_USER")
        return (
            sql.SQL("REASSIGN OWNED BY {} TO {}").format(role, heir),
            sql.SQL("DROP OWNED BY {}").format(role),
        )

    def proof(self) -> sql.Composed:
        return _HOLDS_NOTHING.format(role=sql.Literal(self.role), database=sql.Literal(self.database))


@dataclass(frozen=True, slots=True)
class DropRole(Statement):
    """Drop a role, in one transaction with its parting from the last database that it has something in.

    A neighbour may grant something to it anew each time that it has been parted. Then that neighbour's sessions are
    ended first, and the server tries as often as a GRANT slips in between. To rename the role out of their sight would
    not do: whoever may log in reads all names of roles in the catalogue.
    """

    overriding: ClassVar[bool] = True
    stubborn: ClassVar[bool] = True
    name: str
    last: Disown | None = None
    """None: it has nothing anywhere."""
    by_force: bool = False

    def __str__(self) -> str:
        return f'drop role "{self.name}"'

    @property
    def place(self) -> Place:
        return self.last.place if self.last else EVERYWHERE

    @property
    def forced(self) -> Statement | None:
        return replace(self, by_force=True) if self.last and not self.by_force else None

    def text(self, rights: Rights) -> sql.Composed:  # noqa: ARG002 - the same for every operator
        drop = sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(self.name))
        if self.last is None:
            return drop
        together = script(*self.last.parting(), drop)
        if not self.by_force:
            return together
        body = _AS_OFTEN_AS_NEEDED.format(together).as_string()
        return script(_ending_tenants(self.last.database), sql.SQL("DO {}").format(sql.Literal(body)))

    def proof(self) -> sql.Composed:
        return sql.SQL("SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {})").format(sql.Literal(self.name))


_AS_OFTEN_AS_NEEDED = sql.SQL(
    "BEGIN FOR attempt IN 1..50 LOOP BEGIN {}; RETURN; "
    # "tuple concurrently updated" is an internal error.
    "EXCEPTION WHEN dependent_objects_still_exist OR internal_error THEN NULL; END; END LOOP; END"
)


def _ending_tenants(database: str) -> sql.Composed:
    return sql.SQL(
        "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid "
        "WHERE a.datname = {} AND starts_with(shobj_description(r.oid, 'pg_authid'), {})"
    ).format(sql.Literal(database), sql.Literal(ANY_STAMP))


def stamped(role: str, stamp: Stamp) -> sql.Composed:
    """Puts the stamp on a role."""
    return sql.SQL("COMMENT ON ROLE {} IS {}").format(sql.Identifier(role), sql.Literal(str(stamp)))


def without(powers: tuple[str, ...]) -> sql.Composed:
    """Options that take powers away. Only those that are there: naming others needs rights that we may not have."""
    return sql.SQL("").join([sql.SQL(_TAKEN[power]) for power in powers])


_TAKEN = {
    "SUPERUSER": " NOSUPERUSER",
    "CREATEROLE": " NOCREATEROLE",
    "CREATEDB": " NOCREATEDB",
    "REPLICATION": " NOREPLICATION",
    "BYPASSRLS": " NOBYPASSRLS",
}


def listed(items: tuple[str, ...]) -> str:
    """Names as people read them."""
    return ", ".join(f'"{item}"' for item in items)
