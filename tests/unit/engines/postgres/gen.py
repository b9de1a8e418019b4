"""Builders with defaults: a DataCluster `acme` that is claimed, has one login and wants access."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec

from bulkhead.api.data_cluster import DataClusterSpec, PostgresRequest
from bulkhead.api.data_plane import PostgresEndpoint, PostgresTls, TlsMode
from bulkhead.api.meta import LocalRef
from bulkhead.api.names import physical_names
from bulkhead.api.ownership import Stamp
from bulkhead.api.plan import PlanSpec, PostgresLimits
from bulkhead.api.record import Credential, Holding
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.contract import Access, Request, ServerRequest
from bulkhead.engines.postgres.decide import digest_of_verifier, terms_of
from bulkhead.engines.postgres.portrait import ideal
from bulkhead.engines.postgres.scram import scram_verifier
from bulkhead.engines.postgres.seen import Inside, Operator, Seen, SeenDatabase, SeenRole
from bulkhead.engines.postgres.server import SeenServer, SeenWarm, warm_prefix
from bulkhead.engines.postgres.wanted import Wanted, wanted_of

INSTALLATION = "here"
IDENTITY = "7000000000000000001"
PLANE_UID = "8c1f0d3e-0000-4000-8000-00000000aaaa"
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
EXTENSIONS = ("pg_trgm", "vector")


def uid_of(slug: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, slug))


def stamp(slug: str = "acme", installation: str = INSTALLATION) -> Stamp:
    return Stamp(installation, uid_of(slug))


def credential(slug: str = "acme", generation: int = 1) -> Credential:
    password = Sensitive(f"pw-of-{slug}-{generation}")
    return Credential(
        generation=generation,
        identity=f"{slug}_{generation}",
        value=password,
        verifier=scram_verifier(password, lambda count: b"s" * count),
    )


def holding(
    slug: str = "acme",
    *,
    server: str = IDENTITY,
    claimed: bool = True,
    provisioned: bool = False,
    generations: tuple[int, ...] = (1,),
) -> Holding:
    return Holding(
        server=server,
        claimed_at="2026-11-22T12:00:00Z" if claimed else "",
        provisioned=("database",) if provisioned else (),
        credentials=tuple(credential(slug, generation) for generation in generations),
    )


def request(
    slug: str = "acme",
    *,
    access: Access = Access.OPEN,
    connections: int = 20,
    temp_file_limit: str = "1Gi",
    extensions: tuple[str, ...] = (),
    schemas: tuple[str, ...] = (),
    held: Holding | None = None,
) -> Request:
    return Request(
        stamp=stamp(slug),
        names=physical_names(slug, uid_of(slug), ("entries",), opaque=False),
        spec=DataClusterSpec(
            tenant_ref=LocalRef(name=slug), postgres=PostgresRequest(extensions=extensions, schemas=schemas)
        ),
        plan=PlanSpec(postgres=PostgresLimits(connections=connections, temp_file_limit=temp_file_limit)),
        holding=holding(slug) if held is None else held,
        access=access,
    )


def held(request: Request, **changes: Any) -> Request:
    """`request` with other facts in its holding."""
    return dataclasses.replace(request, holding=msgspec.structs.replace(request.holding, **changes))


def cut(request: Request) -> Request:
    return dataclasses.replace(request, access=Access.CUT)


def closely(request: Request) -> Request:
    return dataclasses.replace(request, closely=True)


def wanted(slug: str = "acme", **changes: Any) -> Wanted:
    return dataclasses.replace(wanted_of(request(slug)), **changes)


def operator(*, superuser: bool = True, release: int = 180004, limits_temp_files: bool = True) -> Operator:
    return Operator(name="bh_op", superuser=superuser, release=release, limits_temp_files=limits_temp_files)


def nothing(**changes: Any) -> Seen:
    """A server that holds nothing of ours."""
    return Seen(**{"identity": IDENTITY, "operator": operator(), **changes})


def complete(wanted: Wanted, **changes: Any) -> Seen:
    """What is seen when nothing is left to do."""
    operator_seen = changes.get("operator", operator())
    database, (group, *logins) = ideal(wanted)
    verifiers = {login.name: login.verifier for login in wanted.logins}
    finished = tuple(
        msgspec.structs.replace(
            login,
            settings=terms_of(wanted, operator_seen).settings(),
            verifier_digest=digest_of_verifier(verifiers[login.name]),
        )
        for login in logins
    )
    inside = Inside(
        schemas=dict.fromkeys(("public", *wanted.schemas), wanted.database),
        extensions=frozenset({"plpgsql", *wanted.extensions}),
        extensions_usable=True,
    )
    return nothing(**{"databases": (database,), "roles": (group, *finished), "inside": inside, **changes})


def with_database(seen: Seen, name: str = "acme", /, **changes: Any) -> Seen:
    """`seen` with other facts of one database."""
    databases = tuple(
        msgspec.structs.replace(found, **changes) if found.name == name else found for found in seen.databases
    )
    return msgspec.structs.replace(seen, databases=databases)


def with_role(seen: Seen, name: str, /, **changes: Any) -> Seen:
    """`seen` with other facts of one role."""
    roles = tuple(msgspec.structs.replace(found, **changes) if found.name == name else found for found in seen.roles)
    return msgspec.structs.replace(seen, roles=roles)


def but(seen: Seen, **changes: Any) -> Seen:
    return msgspec.structs.replace(seen, **changes)


def database(name: str = "acme", *, mark: str | None = None, open: bool = True) -> SeenDatabase:  # noqa: A002 - as the field
    return SeenDatabase(name=name, stamp=mark, owned=True, open=open, connection_limit=-1)


def role(name: str = "acme", *, mark: str | None = None, login: bool = False) -> SeenRole:
    return SeenRole(name=name, stamp=mark, login=login)


def endpoint(*, mode: TlsMode = TlsMode.DISABLE, host: str = "postgres.data.svc", port: int = 5432) -> PostgresEndpoint:
    return PostgresEndpoint(
        host=host,
        port=port,
        admin_secret_ref=LocalRef(name="postgres-admin"),
        tls=PostgresTls(mode=mode),
        allowed_extensions=EXTENSIONS,
    )


def server_request(*, remembered: str = IDENTITY) -> ServerRequest:
    return ServerRequest(stamp=Stamp(INSTALLATION, PLANE_UID), holding=Holding(server=remembered), proposal="")


def server(**changes: Any) -> SeenServer:
    """A server in order: nothing open to PUBLIC, nothing made in advance."""
    facts = {
        "identity": IDENTITY,
        "operator": operator(),
        "version": "18.4",
        "standby": False,
        "search_path": "pg_catalog,pg_temp",
        "encrypted": True,
        "creates": True,
        "signals": True,
        "prepares": False,
    }
    return SeenServer(**{**facts, **changes})


def warm(number: int = 1, **changes: Any) -> SeenWarm:
    """A warm database that may be taken."""
    mark = str(Stamp(INSTALLATION, PLANE_UID))
    facts = {"name": f"{warm_prefix(INSTALLATION)}{number}", "database": True, "owned": True, "open": True}
    return SeenWarm(**{**facts, "stamp": mark, "group_stamp": mark, **changes})
