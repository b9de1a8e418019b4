"""Steps on databases, their sessions and what is inside them.

A database is made under a name of ours, closed to everybody; only once it bears its stamp and PUBLIC has nothing is it
opened and gets the name of its DataCluster. So whatever has that name and no stamp was never ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psycopg import sql

from bulkhead.api.names import EXTENSIONS_SCHEMA
from bulkhead.api.ownership import Stamp
from bulkhead.engines.postgres.roles import listed, stamped
from bulkhead.engines.postgres.seen import GRANTED
from bulkhead.engines.postgres.statement import (
    ERASE_SECONDS,
    MAKE_SECONDS,
    Place,
    Rights,
    Statement,
    mastery,
    names,
    script,
)

PINNED_PATH = sql.SQL('"$user", public, {}').format(sql.Identifier(EXTENSIONS_SCHEMA))
SEARCH_PATH = f'search_path="$user", public, {EXTENSIONS_SCHEMA}'
"""The default of each tenant's sessions, as `pg_db_role_setting` shows it; they may set their own."""
TERMINATION_MILLISECONDS = 3000

_CLOSED_TO_OTHERS = sql.SQL(
    "SELECT EXISTS (SELECT FROM pg_database d WHERE d.datname = {name} AND d.datallowconn "
    "AND shobj_description(d.oid, 'pg_database') = {stamp} AND pg_get_userbyid(d.datdba) = current_user "
    "AND NOT EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a "
    "WHERE a.grantee = 0 OR pg_get_userbyid(a.grantee) = ANY ({others})))"
)


@dataclass(frozen=True, slots=True)
class CreateDatabase(Statement):
    """Under a passing name and closed: until PUBLIC is shut out, any login of the server could connect."""

    name: str

    def __str__(self) -> str:
        return f'create database "{self.name}"'

    @property
    def place(self) -> Place:
        return Place(seconds=MAKE_SECONDS)

    def text(self, rights: Rights) -> sql.Composed:  # noqa: ARG002 - the same for every operator
        # template0: whatever an administrator has put into template1 is not for tenants.
        return sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' ALLOW_CONNECTIONS false").format(
            sql.Identifier(self.name)
        )

    def proof(self) -> sql.Composed:
        return sql.SQL(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = {} AND pg_get_userbyid(datdba) = current_user)"
        ).format(sql.Literal(self.name))


@dataclass(frozen=True, slots=True)
class NameDatabase(Statement):
    """Stamp a new database, shut PUBLIC out, open it to its group and give it its name: all or nothing."""

    draft: str
    name: str
    stamp: Stamp
    connection_limit: int

    def __str__(self) -> str:
        return f'give database "{self.name}" its stamp and name'

    def text(self, rights: Rights) -> sql.Composed:  # noqa: ARG002 - the same for every operator
        draft = sql.Identifier(self.draft)
        return script(
            *confinement(self.draft, self.name),
            commented(self.draft, self.stamp),
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {} ALLOW_CONNECTIONS true").format(
                draft, sql.Literal(self.connection_limit)
            ),
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(draft, sql.Identifier(self.name)),
        )

    def proof(self) -> sql.Composed:
        return closed_to_others(self.name, self.stamp)


@dataclass(frozen=True, slots=True)
class UseWarm(Statement):
    """Hand a database made in advance, with its group, to a DataCluster: all or nothing."""

    warm: str
    name: str
    stamp: Stamp
    connection_limit: int

    def __str__(self) -> str:
        return f'give warm database "{self.warm}" the stamp and name of "{self.name}"'

    def text(self, rights: Rights) -> sql.Composed:  # noqa: ARG002 - the same for every operator
        warm, name = sql.Identifier(self.warm), sql.Identifier(self.name)
        return script(
            stamped(self.warm, self.stamp),
            commented(self.warm, self.stamp),
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(warm, sql.Literal(self.connection_limit)),
            sql.SQL("ALTER ROLE {} RENAME TO {}").format(warm, name),
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(warm, name),
        )

    def proof(self) -> sql.Composed:
        return closed_to_others(self.name, self.stamp)


@dataclass(frozen=True, slots=True)
class ConformDatabase(Statement):
    """Bring owner, privileges and limits of a database back to what they were made as."""

    name: str
    stamp: Stamp
    connection_limit: int
    intruders: tuple[str, ...] = ()
    """Logins and groups of neighbours that were let in."""
    foreign_owner: bool = False

    def __str__(self) -> str:
        return f'repair database "{self.name}"'

    def text(self, rights: Rights) -> sql.Composed:  # noqa: ARG002 - the same for every operator
        database = sql.Identifier(self.name)
        owner = sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(database) if self.foreign_owner else None
        return script(
            owner,
            *(
                sql.SQL("REVOKE ALL ON DATABASE {} FROM {} CASCADE").format(database, sql.Identifier(intruder))
                for intruder in self.intruders
            ),
            *confinement(self.name, self.name),
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {} ALLOW_CONNECTIONS true").format(
                database, sql.Literal(self.connection_limit)
            ),
        )

    def proof(self) -> sql.Composed:
        return closed_to_others(self.name, self.stamp, self.intruders)


@dataclass(frozen=True, slots=True)
class Furnish(Statement):
    """Make the schemas inside: `public` and those asked for belong to the group, that of extensions to us."""

    database: str
    schemas: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f'make the schemas of database "{self.database}"'

    @property
    def place(self) -> Place:
        return Place(self.database)

    @property
    def proof_place(self) -> Place:
        return self.place

    def text(self, rights: Rights) -> sql.Composed:  # noqa: ARG002 - the same for every operator
        return furniture(self.database, self.schemas)

    def proof(self) -> sql.Composed:
        owned = ("public", *self.schemas)
        return sql.SQL(
            "SELECT count(*) = {} FROM pg_namespace WHERE nspname = ANY ({}) AND pg_get_userbyid(nspowner) = {}"
        ).format(sql.Literal(len(owned)), names(owned), sql.Literal(self.database))


@dataclass(frozen=True, slots=True)
class CreateExtension(Statement):
    database: str
    extension: str

    def __str__(self) -> str:
        return f'create extension "{self.extension}" in database "{self.database}"'

    @property
    def place(self) -> Place:
        return Place(self.database, seconds=MAKE_SECONDS)

    @property
    def proof_place(self) -> Place:
        return self.place

    def text(self, rights: Rights) -> sql.Composed:  # noqa: ARG002 - the same for every operator
        return sql.SQL("CREATE EXTENSION IF NOT EXISTS {} WITH SCHEMA {}").format(
            sql.Identifier(self.extension), sql.Identifier(EXTENSIONS_SCHEMA)
        )

    def proof(self) -> sql.Composed:
        return sql.SQL("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = {})").format(
            sql.Literal(self.extension)
        )


@dataclass(frozen=True, slots=True)
class EndSessions(Statement):
    """End the live sessions of roles, which a role's own end or NOLOGIN does not."""

    stubborn: ClassVar[bool] = True
    database: str
    """Empty: it is not ours, so nobody is ended there."""
    ours: tuple[str, ...] = ()
    """Ended wherever they are."""
    strangers: tuple[str, ...] = ()
    """Ended in the database. Sessions there whose role is gone are ended always."""

    def __str__(self) -> str:
        roles = listed((*self.ours, *self.strangers)) or "roles that are gone"
        return f"end the sessions of {roles}"

    def text(self, rights: Rights) -> sql.Composed:  # noqa: ARG002 - the same for every operator
        return sql.SQL("SELECT pg_terminate_backend(a.pid, {}) {}").format(
            sql.Literal(TERMINATION_MILLISECONDS), self._unwelcome()
        )

    def proof(self) -> sql.Composed:
        return sql.SQL("SELECT NOT EXISTS (SELECT {})").format(self._unwelcome())

    def _unwelcome(self) -> sql.Composed:
        return sql.SQL(
            "FROM pg_stat_activity a LEFT JOIN pg_roles r ON r.oid = a.usesysid "
            "WHERE a.pid <> pg_backend_pid() AND coalesce(a.backend_type, 'client backend') = 'client backend' "
            "AND (r.rolname = ANY ({ours}) OR (a.datname = {database} AND (r.rolname = ANY ({strangers}) "
            "OR (r.oid IS NULL AND a.usesysid IS NOT NULL))))"
        ).format(ours=names(self.ours), strangers=names(self.strangers), database=sql.Literal(self.database))


@dataclass(frozen=True, slots=True)
class RollBackPrepared(Statement):
    """Roll back a prepared transaction, as its owner: it outlives its session and keeps its database from removal."""

    database: str
    owner: str
    gid: str

    def __str__(self) -> str:
        return f'roll back a prepared transaction of "{self.owner}" in database "{self.database}"'

    @property
    def place(self) -> Place:
        return Place(self.database, role=self.owner)

    def text(self, rights: Rights) -> sql.Composed:  # noqa: ARG002 - the same for every operator
        return sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(self.gid))

    def proof(self) -> sql.Composed:
        return sql.SQL("SELECT NOT EXISTS (SELECT FROM pg_prepared_xacts WHERE gid = {} AND database = {})").format(
            sql.Literal(self.gid), sql.Literal(self.database)
        )


@dataclass(frozen=True, slots=True)
class DropDatabase(Statement):
    overriding: ClassVar[bool] = True
    name: str

    def __str__(self) -> str:
        return f'drop database "{self.name}"'

    @property
    def place(self) -> Place:
        return Place(seconds=ERASE_SECONDS)

    def text(self, rights: Rights) -> sql.Composed:  # noqa: ARG002 - the same for every operator
        return sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name))

    def proof(self) -> sql.Composed:
        return sql.SQL("SELECT NOT EXISTS (SELECT FROM pg_database WHERE datname = {})").format(sql.Literal(self.name))


@dataclass(frozen=True, slots=True)
class OpenWarm(Statement):
    """Give a new warm database its group and shut PUBLIC out, as `NameDatabase` does for a DataCluster."""

    name: str
    stamp: Stamp

    def __str__(self) -> str:
        return f'make the group role of warm database "{self.name}"'

    def text(self, rights: Rights) -> sql.Composed:
        return script(
            sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(self.name)),
            stamped(self.name, self.stamp),
            mastery(self.name, rights),
            *confinement(self.name, self.name),
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(self.name)),
        )

    def proof(self) -> sql.Composed:
        return sql.SQL(
            "SELECT EXISTS (SELECT FROM pg_database d JOIN pg_roles r ON r.rolname = d.datname "
            "WHERE d.datname = {} AND d.datallowconn)"
        ).format(sql.Literal(self.name))


@dataclass(frozen=True, slots=True)
class FurnishWarm(Statement):
    """Make the schemas of a warm database and stamp it: the stamp says that it may be taken."""

    name: str
    stamp: Stamp

    def __str__(self) -> str:
        return f'furnish warm database "{self.name}"'

    @property
    def place(self) -> Place:
        return Place(self.name)

    def text(self, rights: Rights) -> sql.Composed:  # noqa: ARG002 - the same for every operator
        return script(furniture(self.name, ()), commented(self.name, self.stamp))

    def proof(self) -> sql.Composed:
        return closed_to_others(self.name, self.stamp)


@dataclass(frozen=True, slots=True)
class CloseToPublic(Statement):
    """Shut everybody out of a database of the server's own: tenants' logins could connect to it."""

    name: str

    def __str__(self) -> str:
        return f'revoke the privileges of PUBLIC on database "{self.name}"'

    def text(self, rights: Rights) -> sql.Composed:  # noqa: ARG002 - the same for every operator
        return sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(self.name))

    def proof(self) -> sql.Composed:
        return sql.SQL(
            "SELECT NOT EXISTS (SELECT FROM pg_database d, "
            "aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE d.datname = {} AND a.grantee = 0)"
        ).format(sql.Literal(self.name))


def confinement(database: str, group: str) -> tuple[sql.Composed, ...]:
    """Only the group may use the database. The proof reads the ACL back: for who is not its owner, REVOKE is a
    warning and no more."""
    name, role = sql.Identifier(database), sql.Identifier(group)
    return (
        sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name),
        sql.SQL("REVOKE ALL ON DATABASE {} FROM {} CASCADE").format(name, role),
        sql.SQL("GRANT {} ON DATABASE {} TO {}").format(sql.SQL(", ").join(map(sql.SQL, GRANTED)), name, role),
        sql.SQL("ALTER DATABASE {} SET search_path = {}").format(name, PINNED_PATH),
    )


def furniture(group: str, schemas: tuple[str, ...]) -> sql.Composed:
    """Everything inside a database that is there before its first login."""
    role, extensions = sql.Identifier(group), sql.Identifier(EXTENSIONS_SCHEMA)
    owned = ("public", *schemas)
    return script(
        *(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)) for schema in owned),
        *(sql.SQL("ALTER SCHEMA {} OWNER TO {}").format(sql.Identifier(schema), role) for schema in owned),
        sql.SQL("REVOKE ALL ON SCHEMA public FROM PUBLIC"),
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(extensions),
        sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(extensions, role),
    )


def commented(database: str, stamp: Stamp) -> sql.Composed:
    """Puts the stamp on a database."""
    return sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(database), sql.Literal(str(stamp)))


def closed_to_others(name: str, stamp: Stamp, others: tuple[str, ...] = ()) -> sql.Composed:
    """A SELECT of whether the database is stamped, ours, open, and PUBLIC and `others` have nothing in it."""
    return _CLOSED_TO_OTHERS.format(name=sql.Literal(name), stamp=sql.Literal(str(stamp)), others=names(others))
