"""What a survey of all tenants compares: a digest of what is seen of one, and of what should be seen.

Left out is what a survey can not judge: verifiers, the inside of databases, and limits that not every operator may set.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from bulkhead.api.ownership import Stamp
from bulkhead.engines.contract import Access
from bulkhead.engines.postgres.databases import SEARCH_PATH
from bulkhead.engines.postgres.decide import intruders_of
from bulkhead.engines.postgres.seen import (
    GRANTED,
    PUBLIC,
    Facts,
    Grant,
    Member,
    Membership,
    SeenDatabase,
    SeenRole,
    neighbour,
)
from bulkhead.engines.postgres.wanted import Wanted


class Survey(Facts, frozen=True):
    """All that bears a stamp of one installation."""

    databases: tuple[SeenDatabase, ...]
    roles: tuple[SeenRole, ...]


def digests(survey: Survey, warm_prefix: str) -> Mapping[str, str]:
    """Digest by UID of the DataCluster. What was made in advance belongs to none yet."""
    databases: dict[Stamp, list[SeenDatabase]] = defaultdict(list)
    roles: dict[Stamp, list[SeenRole]] = defaultdict(list)
    for database in survey.databases:
        if (stamp := Stamp.parse(database.stamp)) and not database.name.startswith(warm_prefix):
            databases[stamp].append(database)
    for role in survey.roles:
        if (stamp := Stamp.parse(role.stamp)) and not role.name.startswith(warm_prefix):
            roles[stamp].append(role)
    return {stamp.uid: _digest(stamp, databases[stamp], roles[stamp]) for stamp in {*databases, *roles}}


def wanted_digest(wanted: Wanted) -> str:
    """What `digests` shows for a DataCluster when all is as wanted."""
    database, roles = ideal(wanted)
    return _digest(wanted.stamp, [database], roles)


def ideal(wanted: Wanted) -> tuple[SeenDatabase, tuple[SeenRole, ...]]:
    """The database and roles of a DataCluster as they are when nothing is left to do."""
    stamp, group = str(wanted.stamp), wanted.database
    database = SeenDatabase(
        name=wanted.database,
        stamp=stamp,
        owned=True,
        open=True,
        connection_limit=wanted.connection_limit,
        settings=(SEARCH_PATH,),
        grants=(Grant(grantee=group, stamp=stamp, privileges=GRANTED),),
    )
    members = tuple(Member(role=login.name, stamp=stamp, grantor="") for login in wanted.logins)
    logins = tuple(
        SeenRole(
            name=login.name,
            stamp=stamp,
            login=wanted.access is Access.OPEN,
            connection_limit=wanted.connections,
            settings=(f"role={group}",),
            member_of=(Membership(role=group, grantor="", usable=True),),
        )
        for login in wanted.logins
    )
    return database, (SeenRole(name=group, stamp=stamp, login=False, members=members), *logins)


def _digest(stamp: Stamp, databases: Iterable[SeenDatabase], roles: Sequence[SeenRole]) -> str:
    lines = [
        *(("database", database.name, *_shape_of_database(database, stamp)) for database in databases),
        *(("role", role.name, *_shape_of_role(role, stamp)) for role in roles),
    ]
    if not any(role.login for role in roles):
        # While access is cut nothing is kept up to date, and nothing needs to be.
        lines = [line[:2] for line in lines]
    return hashlib.sha256("\n".join(sorted(map(repr, lines))).encode()).hexdigest()[:16]


def _shape_of_database(database: SeenDatabase, stamp: Stamp) -> tuple[object, ...]:
    return (
        database.owned,
        database.open,
        database.connection_limit,
        SEARCH_PATH in database.settings,
        database.granted_to(database.name),
        database.granted_to(PUBLIC),
        intruders_of(database, stamp),
    )


def _shape_of_role(role: SeenRole, stamp: Stamp) -> tuple[object, ...]:
    return (
        role.login,
        role.connection_limit,
        role.powers,
        role.expires,
        role.operated,
        tuple(sorted(setting for setting in role.settings if setting.startswith("role="))),
        tuple(sorted({(held.role, held.usable) for held in role.member_of})),
        tuple(sorted(member.role for member in role.members if neighbour(member.stamp, stamp))),
    )
