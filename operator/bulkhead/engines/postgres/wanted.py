"""What one DataCluster asks of Postgres, taken from its request."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from bulkhead.api.names import EXTENSIONS_SCHEMA
from bulkhead.api.ownership import Stamp
from bulkhead.api.quantity import size_in_bytes
from bulkhead.engines.contract import Access, Invalid, Request

DATABASE = "database"
"""The word for our one object with tenant data in `Holding.provisioned`."""
OPERATOR_SESSIONS = 3
"""Connections kept free in each database, so that its tenant can not lock a restricted operator out."""
_NAME_BYTES = 63
_MOST_KILOBYTES = 2**31 - 1


@dataclass(frozen=True, slots=True)
class WantedLogin:
    """One generation of the credential."""

    name: str
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What one DataCluster asks of this engine."""

    stamp: Stamp
    access: Access
    database: str
    """Also the name of its group role."""
    logins: tuple[WantedLogin, ...]
    connections: int
    """Of each login."""
    temp_file_kilobytes: int
    extensions: tuple[str, ...]
    schemas: tuple[str, ...]
    """Beside `public`."""
    server: str
    claimed: bool
    provisioned: bool

    @property
    def draft(self) -> str:
        """Name of the database until it is stamped and closed to everybody else."""
        return f"bh_new_{hashlib.sha256(str(self.stamp).encode()).hexdigest()[:16]}"

    @property
    def connection_limit(self) -> int:
        """Of the database: both generations may be in full use while consumers roll, and we must get in as well."""
        return self.connections * max(1, len(self.logins)) + OPERATOR_SESSIONS


def wanted_of(request: Request) -> Wanted:
    """What `request` asks of this engine."""
    names, spec, holding, limits = request.names, request.spec.postgres, request.holding, request.plan.postgres
    return Wanted(
        stamp=request.stamp,
        access=request.access,
        database=names.database,
        logins=tuple(WantedLogin(held.identity, held.verifier) for held in holding.credentials),
        connections=limits.connections,
        temp_file_kilobytes=min(max(1, size_in_bytes(limits.temp_file_limit) // 1024), _MOST_KILOBYTES),
        extensions=spec.extensions,
        schemas=tuple(schema for schema in spec.schemas if schema != "public"),
        server=holding.server,
        claimed=bool(holding.claimed_at),
        provisioned=DATABASE in holding.provisioned,
    )


def spec_problem(wanted: Wanted, allowed_extensions: Collection[str]) -> Invalid | None:
    """What in the spec this engine can not or must not give."""
    refused = [extension for extension in wanted.extensions if extension not in allowed_extensions]
    if refused:
        listed = ", ".join(f'"{extension}"' for extension in refused)
        return Invalid(
            "spec.postgres.extensions",
            f"{listed} is not in allowedExtensions of the DataPlane: remove it, or have the platform allow it",
        )
    for schema in wanted.schemas:
        if problem := _schema_problem(schema):
            return Invalid("spec.postgres.schemas", f'"{schema}" {problem}: choose another name')
    return None


def permitted(wanted: Wanted, allowed_extensions: Collection[str]) -> Wanted:
    """`wanted` without what `spec_problem` finds fault with."""
    return replace(
        wanted,
        extensions=tuple(extension for extension in wanted.extensions if extension in allowed_extensions),
        schemas=tuple(schema for schema in wanted.schemas if not _schema_problem(schema)),
    )


def _schema_problem(schema: str) -> str | None:
    if not schema or "\0" in schema:
        return "is no name"
    if len(schema.encode()) > _NAME_BYTES:
        return f"is longer than {_NAME_BYTES} bytes, and Postgres would cut it off"
    if schema.startswith("pg_") or schema == "information_schema":
        return "belongs to Postgres"
    if schema == EXTENSIONS_SCHEMA:
        return "is where the operator puts extensions"
    return None
