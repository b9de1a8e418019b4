"""Physical names: what a DataCluster is called in each engine, and which names nobody may have.

Every name derives from the slug (the DataCluster's name) or, with `naming: Opaque`, from a hash of its UID. Names are
written to the record before first use and never computed again. That no two DataClusters can reach the same name, and
that no name is a prefix that reaches another's, is a property that `tests/unit/api/test_names.py` holds over pairs.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

SLUG_PATTERN = r"^[a-z]([a-z0-9-]{0,46}[a-z0-9])?\Z"
"""At most 48 characters, starting with a letter. `--` and `_` are refused too: both separate parts of derived names."""

RESERVED_SLUGS = (
    "admin", "all", "any", "app", "authenticated", "bulkhead", "consoleadmin", "default", "diagnostics",
    "information-schema", "minio", "none", "pgbouncer", "postgres", "public", "readonly", "readwrite", "replication",
    "root", "same", "samegroup", "samerole", "samerolegroup", "sameuser", "streaming-replica", "system", "template0",
    "template1", "test", "user", "writeonly",
)  # fmt: skip
"""Names with a meaning of their own in an engine, in pg_hba.conf or in Kubernetes."""

RESERVED_PREFIXES = ("bh-", "bulkhead", "cnpg-", "kube-", "minio-", "pg-", "same", "t-")
"""`same*` are keywords of pg_hba.conf, `t-` is our own opaque form, the others belong to engines or to us."""

EXTENSIONS_SCHEMA = "extensions"
"""Where extensions live in each tenant's database, owned by the operator. Never in `public`: a script of an extension
runs as superuser, and in a schema that a tenant can write to it could be made to call the tenant's functions."""
RESERVED_SCHEMAS = ("public", EXTENSIONS_SCHEMA, "information_schema")
"""Schemas that are in every database already; those of Postgres beside them start with `pg_`."""


class PhysicalNames(msgspec.Struct, frozen=True, kw_only=True):
    """The names of one DataCluster in Kubernetes and in each engine."""

    namespace: str
    database: str
    """Also the NOLOGIN group role that owns the schemas, so that `samerole` in pg_hba.conf confines each login."""
    bucket: str
    policy: str
    collection: str
    indexes: tuple[str, ...]
    identity_prefix: str
    """Login roles and access keys are `{prefix}` plus a generation, see `login` and `access_key`."""
    uid6: str
    """First 6 hex digits of the UID's hash: makes an access key unique for ever, even where a slug comes back."""

    def listed(self, indexes: tuple[str, ...]) -> tuple[str, ...]:
        """Physical names of these indexes, derived from the stem that was written down."""
        return tuple(f"{self.database}_{index}" for index in indexes)

    def login(self, generation: int) -> str:
        """Login role of Postgres for a generation."""
        return f"{self.database}_{generation}"

    def access_key(self, generation: int) -> str:
        """MinIO user for a generation; never used twice, or MinIO would revive the former one's STS credentials."""
        return f"{self.identity_prefix}-{self.uid6}-{generation}"


def slug_problem(slug: str) -> str | None:
    """Why `slug` can not be the name of a DataCluster, as a sentence with the way out; None where it can."""
    if "--" in slug:
        return f'"{slug}" contains "--", which separates parts of derived names: use single dashes'
    if not re.fullmatch(SLUG_PATTERN, slug):
        return f'"{slug}" must be 1 to 48 characters of a-z, 0-9 and "-", start with a letter and not end with "-"'
    if slug in RESERVED_SLUGS:
        return f'"{slug}" is reserved: it has a meaning of its own in an engine; choose another name'
    for prefix in RESERVED_PREFIXES:
        if slug.startswith(prefix):
            return f'"{slug}" starts with the reserved prefix "{prefix}": choose another name'
    return None


def physical_names(slug: str, uid: str, indexes: tuple[str, ...], *, opaque: bool) -> PhysicalNames:
    """Derive every name of the DataCluster `slug` with that UID. `indexes` are the short names from its spec."""
    digest = hashlib.sha256(uid.encode()).hexdigest()
    stem = f"t-{digest[:16]}" if opaque else slug
    return PhysicalNames(
        namespace=f"tenant-{stem}",
        database=stem,
        bucket=f"{stem}-data",
        policy=stem,
        collection=f"{stem}_entries",
        indexes=tuple(f"{stem}_{index}" for index in indexes),
        identity_prefix=stem,
        uid6=digest[:6],
    )
