"""What is seen of one DataCluster on a Postgres server, and of the server itself. Decoded from one JSON answer each."""

from __future__ import annotations

import msgspec

from bulkhead.api.ownership import Stamp

PUBLIC = ""
"""Stands for everybody in a `Grant`."""
GRANTED = ("CONNECT", "TEMPORARY")
"""What the group may do with its database, sorted. Not CREATE: with it a tenant could create any trusted extension,
and the allow-list would be none."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything that a query answers."""


class Operator(Facts, frozen=True):
    """Who we are on this server."""

    name: str
    superuser: bool
    release: int
    """As `server_version_num`, for example 180004."""
    limits_temp_files: bool
    """Whether we may set `temp_file_limit` for others."""

    @property
    def major(self) -> int:
        return self.release // 10_000


class Grant(Facts, frozen=True):
    """What one role, or everybody, may do with a database."""

    grantee: str
    stamp: str | None
    privileges: tuple[str, ...]
    """Sorted; with a `*` where they may be handed on."""


class SeenDatabase(Facts, frozen=True):
    name: str
    stamp: str | None
    owned: bool
    """Whether we are its owner."""
    open: bool
    """Whether anybody at all can connect (`datallowconn`)."""
    connection_limit: int
    settings: tuple[str, ...] = ()
    """Those that we set ourselves, whatever their value is now."""
    grants: tuple[Grant, ...] = ()
    """Those of others than its owner."""

    def granted_to(self, grantee: str) -> tuple[str, ...]:
        """Privileges of exactly this grantee."""
        return tuple(privilege for grant in self.grants if grant.grantee == grantee for privilege in grant.privileges)


class Membership(Facts, frozen=True):
    """A role that another one is a member of."""

    role: str
    grantor: str
    usable: bool
    """Inherits its privileges and may SET ROLE to it."""


class Member(Facts, frozen=True):
    """A role that is a member of another one."""

    role: str
    stamp: str | None
    grantor: str


class SeenRole(Facts, frozen=True):
    name: str
    stamp: str | None
    login: bool
    connection_limit: int = -1
    powers: tuple[str, ...] = ()
    """Attributes that no tenant may have, such as `CREATEROLE`."""
    expires: bool = False
    settings: tuple[str, ...] = ()
    """Those that we set ourselves, whatever their value is now."""
    bloated: bool = False
    """Its settings are too large to be read, and none is shown."""
    member_of: tuple[Membership, ...] = ()
    members: tuple[Member, ...] = ()
    """Others than ourselves."""
    operated: bool = True
    """Whether we have its privileges and may become it."""
    verifier_digest: str | None = None
    """SHA-256 of the stored verifier in hex; None where we may not read it, see `Seen.estranged`."""


class SeenSessions(Facts, frozen=True):
    """Live sessions of one role in the database, or of one of our roles anywhere."""

    role: str
    """Empty: the role was dropped while its sessions lived on."""
    stamp: str | None


class Footprint(Facts, frozen=True):
    """A role of ours owns something in that database, or has been granted something there."""

    role: str
    database: str


class Prepared(Facts, frozen=True):
    """A prepared transaction: it outlives its session, and blocks the removal of its database."""

    gid: str
    owner: str
    """Empty: the role is gone."""
    database: str


class Inside(Facts, frozen=True):
    """What is seen from within the database."""

    schemas: dict[str, str]
    """Owner by name, of those that are wanted."""
    extensions: frozenset[str]
    extensions_usable: bool
    """Whether the group may use the schema that extensions live in."""


class Seen(Facts, frozen=True):
    """Everything of one DataCluster: what has its names, and what bears its stamp under whatever name."""

    identity: str
    operator: Operator
    databases: tuple[SeenDatabase, ...] = ()
    roles: tuple[SeenRole, ...] = ()
    sessions: tuple[SeenSessions, ...] = ()
    footprints: tuple[Footprint, ...] = ()
    """Of roles that may be dropped; not all of them, where there are very many."""
    prepared: tuple[Prepared, ...] = ()
    warm: tuple[str, ...] = ()
    """Databases made in advance that may be taken."""
    inside: Inside | None = None
    """None: not looked at, or not there."""
    estranged: frozenset[str] = frozenset()
    """Logins to which the server does not let us in with the passwords that we hold; empty: none, or not tried."""

    def database(self, name: str) -> SeenDatabase | None:
        return next((database for database in self.databases if database.name == name), None)

    def role(self, name: str) -> SeenRole | None:
        return next((role for role in self.roles if role.name == name), None)


def neighbour(stamp: str | None, ours: Stamp) -> bool:
    """Whether this is the stamp of another DataCluster, of whatever installation."""
    return Stamp.parse(stamp) not in (None, ours)
