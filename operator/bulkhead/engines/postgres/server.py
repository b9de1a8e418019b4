"""Rules for a Postgres server as a whole: may tenants be put on it, and what is made on it in advance. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from bulkhead.api.ownership import Stamp
from bulkhead.engines.contract import Do, EngineChanged, ServerRequest, engine_changed
from bulkhead.engines.errors import EngineError, Insecure, Refused, Unavailable
from bulkhead.engines.postgres.databases import CloseToPublic, CreateDatabase, DropDatabase, FurnishWarm, OpenWarm
from bulkhead.engines.postgres.roles import DropRole
from bulkhead.engines.postgres.seen import Facts, Operator
from bulkhead.engines.postgres.statement import MAINTENANCE, SEPARATE_OPTIONS, Statement

SUPPORTED = range(15, 19)
"""Major releases. Before 15 everybody may create in `public`, and a limit of temporary files can not be delegated."""
SHUT = (MAINTENANCE, "template1")
"""Databases that every server has, and that are open to PUBLIC when it is new."""
PINNED = "pg_catalog,pg_temp"
"""The `search_path` of all our sessions: names that a tenant could define are never looked up."""


class PublicDatabase(Facts, frozen=True):
    """A database that every login of the server can connect to."""

    name: str
    ours: bool
    """Whether we own it, so that we can shut it."""


class SeenWarm(Facts, frozen=True):
    """A database made in advance, with its group role of the same name; either may be missing. Those that are beyond
    our rights are not seen: whoever was operator before us has left them."""

    name: str
    database: bool
    owned: bool
    """Whether the database is our own, and not a former operator's."""
    open: bool
    stamp: str | None
    """Of the database; there once it is furnished."""
    group_stamp: str | None


class SeenServer(Facts, frozen=True):
    """What a look at the server shows."""

    identity: str
    operator: Operator
    version: str
    standby: bool
    search_path: str
    encrypted: bool
    creates: bool
    """Whether we may create roles and databases."""
    signals: bool
    """Whether we may end sessions of roles that are gone."""
    prepares: bool
    """Whether transactions can outlive their sessions (`max_prepared_transactions`)."""
    public: tuple[PublicDatabase, ...] = ()
    warm: tuple[SeenWarm, ...] = ()
    fresh: tuple[str, ...] = ()
    """Names for warm databases yet to be made, drawn by whoever looked."""


def warm_prefix(installation: str) -> str:
    """What the names of warm databases of an installation start with: two installations may share a server."""
    return f"bh_warm_{hashlib.sha256(installation.encode()).hexdigest()[:8]}_"


def problem_of(seen: SeenServer) -> EngineError | None:
    """Why no tenant may be put on this server, with the way out."""
    who = f'"{seen.operator.name}"'
    if seen.standby:
        return Unavailable("the server is a standby and can not be written: spec.postgres.host must name the primary")
    if seen.operator.major not in SUPPORTED:
        return Refused(f"PostgreSQL {seen.version} is not supported: {SUPPORTED[0]} to {SUPPORTED[-1]} are")
    if seen.search_path.replace(" ", "") != PINNED:
        return Refused(
            "the server does not take the search_path that we ask for at log-in, as if a pooler stood before it: "
            "spec.postgres.host must name the server itself"
        )
    if not seen.creates:
        return Refused(f"the role {who} may not create roles and databases; run: ALTER ROLE {who} CREATEROLE CREATEDB")
    if not seen.signals:
        return Refused(
            f"the role {who} may not end sessions of roles that are gone, so removals would hang; run: "
            f"GRANT pg_signal_backend TO {who}"
        )
    return _openness(seen)


def _openness(seen: SeenServer) -> Insecure | None:
    beyond_us = [database.name for database in seen.public if database.name in SHUT and not database.ours]
    if not beyond_us:
        return None
    grant = f'GRANT CONNECT ON DATABASE {MAINTENANCE} TO "{seen.operator.name}"'
    return Insecure(
        f"every tenant could connect to {' and '.join(beyond_us)}, and we may not revoke that; run as superuser: "
        f"REVOKE CONNECT ON DATABASE {', '.join(beyond_us)} FROM PUBLIC; {grant}"
    )


def advisories_of(seen: SeenServer) -> tuple[str, ...]:
    """Holes that do not forbid tenants, each with what closes it."""
    operator, found = seen.operator, []
    if not seen.encrypted:
        found.append("connections are not encrypted: give the server a certificate and set spec.postgres.tls")
    if not operator.limits_temp_files:
        found.append(
            "tempFileLimit of plans is not enforced; run as superuser: "
            f'GRANT SET ON PARAMETER temp_file_limit TO "{operator.name}"'
        )
    if not operator.superuser and operator.major < SEPARATE_OPTIONS:
        found.append(
            f"before PostgreSQL {SEPARATE_OPTIONS} CREATEROLE is almost superuser: keep the server for tenants alone"
        )
    if seen.prepares:
        found.append(
            "a tenant can hold locks by a prepared transaction, and so delay its own suspension and the removal of any "
            "other: set max_prepared_transactions to 0"
        )
    if others := [database.name for database in seen.public if database.name not in SHUT]:
        listed = ", ".join(f'"{name}"' for name in others)
        found.append(
            f"every tenant can connect to database {listed}; run: REVOKE CONNECT ON DATABASE {listed} FROM PUBLIC"
        )
    return tuple(found)


def decide_server(request: ServerRequest, seen: SeenServer, warm_databases: int) -> Do | EngineChanged:
    """Shut what every server leaves open, and keep `warm_databases` ready to be taken."""
    if changed := engine_changed(request.holding.server, seen.identity):
        return changed
    shut = (CloseToPublic(database.name) for database in seen.public if database.name in SHUT and database.ours)
    return Do((*shut, *_warm_steps(request.stamp, seen, warm_databases)))


def missing_warm(warm: Sequence[SeenWarm], warm_databases: int) -> int:
    """How many must be made to have `warm_databases`, those counted in that are half made."""
    return max(0, warm_databases - sum(found.owned for found in warm))


def _warm_steps(stamp: Stamp, seen: SeenServer, warm_databases: int) -> tuple[Statement, ...]:
    # Finished ones first, so that what is too many is dropped among those that are not.
    ours = sorted((found for found in seen.warm if found.owned), key=lambda found: (found.stamp is None, found.name))
    kept = ours[:warm_databases]
    return (
        *(step for found in kept for step in _finish(found, stamp)),
        *(step for name in seen.fresh for step in _make(name, stamp)),
        *(step for found in seen.warm if found not in kept for step in _drop(found)),
    )


def _make(name: str, stamp: Stamp) -> tuple[Statement, ...]:
    return (CreateDatabase(name), OpenWarm(name, stamp), FurnishWarm(name, stamp))


def _finish(found: SeenWarm, stamp: Stamp) -> tuple[Statement, ...]:
    """What a crash has left out."""
    if found.stamp is not None:
        return ()
    return _make(found.name, stamp)[2 if found.open else 1 :]


def _drop(found: SeenWarm) -> tuple[Statement, ...]:
    return (
        *((DropDatabase(found.name),) if found.database else ()),
        *((DropRole(found.name),) if found.group_stamp is not None else ()),
    )
