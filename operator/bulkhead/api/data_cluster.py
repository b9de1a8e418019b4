"""DataCluster: one isolated environment of one tenant, the unit of isolation."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from msgspec import Meta as Bounds

from bulkhead.api.meta import Conditions, LocalRef, Meta, Struct
from bulkhead.api.names import RESERVED_SCHEMAS
from bulkhead.api.rules import SET, Rule, checked, literal, map_by, matching, slug_rules
from bulkhead.api.scalars import CLOSED_RANGES, NETWORK, Cidr, ClockSkewMinutes, Extension, Port

Word = Annotated[
    str,
    Bounds(max_length=128),
    matching(r"^[A-Za-z0-9._:/-]*\Z", 'must be a name of letters, digits and ". _ : / -"'),
]

IndexName = Annotated[
    str,
    Bounds(max_length=31),
    matching(r"^[a-z][a-z0-9]*\Z", 'must be a-z and 0-9, starting with a letter, such as "entries"'),
]

SchemaName = Annotated[
    str,
    Bounds(max_length=63),
    matching(r"^[a-z][a-z0-9_]*\Z", 'must be a-z, 0-9 and "_", starting with a letter, such as "reporting"'),
    checked(
        Rule(
            f'!self.startsWith("pg_") && !(self in {literal(RESERVED_SCHEMAS)})',
            f'must not be {", ".join(map(literal, RESERVED_SCHEMAS))} or start with "pg_": each database has these '
            "already; leave it out, or choose another name",
        )
    ),
]

Image = Annotated[
    str,
    Bounds(max_length=512),
    matching(
        r"^([a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)+(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?"
        r"(@sha256:[0-9a-f]{64})?)?\Z",
        'must be a full image name, such as "ghcr.io/example/data-api:1.0", or "" for the reference Data API',
    ),
]

EgressCidr = Annotated[
    Cidr,
    checked(
        NETWORK,
        Rule(
            f"{literal(CLOSED_RANGES)}.all(closed, cidr(closed).ip().family() != cidr(self).ip().family() || "
            "(!cidr(closed).containsCIDR(self) && !cidr(self).containsCIDR(closed)))",
            f"must not touch loopback or metadata addresses ({', '.join(CLOSED_RANGES)}): choose a narrower range",
        ),
    ),
]


class Distance(StrEnum):
    COSINE = "Cosine"
    DOT = "Dot"
    EUCLID = "Euclid"
    MANHATTAN = "Manhattan"


class DeletionPolicy(StrEnum):
    RETAIN = "Retain"
    DELETE = "Delete"


class Embedding(Struct, frozen=True, kw_only=True):
    """How documents become vectors. A collection can not change its dimensions or distance."""

    RULES: ClassVar = (
        Rule(
            "self.dimensions == oldSelf.dimensions",
            "dimensions is immutable, because stored vectors have them: make another DataCluster and fill that",
        ),
        Rule(
            "self.distance == oldSelf.distance",
            "distance is immutable, because the collection is built for it: make another DataCluster and fill that",
        ),
    )

    provider: Word = ""
    """Who computes embeddings, such as `openai`. For the Data API to read; the operator calls nobody."""
    model: Word = ""
    """The embedding model, such as `text-embedding-3-small`. For the Data API to read."""
    dimensions: Annotated[int, Bounds(ge=1, le=65535)] = 1536
    """Length of each vector. Immutable."""
    distance: Distance = Distance.COSINE
    """How vectors are compared. Immutable."""


class PostgresRequest(Struct, frozen=True, kw_only=True):
    """What this environment wants of its Postgres database."""

    extensions: Annotated[tuple[Extension, ...], Bounds(max_length=32), SET] = ()
    """Extensions to create; each must be in the DataPlane's `allowedExtensions`."""
    schemas: Annotated[tuple[SchemaName, ...], Bounds(max_length=32), SET] = ()
    """Schemas to create beside `public`."""


class SearchRequest(Struct, frozen=True, kw_only=True):
    """What this environment wants of the search engine."""

    indexes: Annotated[tuple[IndexName, ...], Bounds(min_length=1, max_length=16), SET] = ("entries", "datasets")
    """Short names of its search indexes; the slug is put before each."""


class DataApiRequest(Struct, frozen=True, kw_only=True):
    """The Data API of this environment. No effect in this version: none is deployed yet."""

    image: Image = ""
    """Image of the Data API; empty: the reference Data API. Must match the DataPlane's `dataApi.allowedImages`."""
    replicas: Annotated[int, Bounds(ge=0, le=50)] = 1
    """How many pods serve it."""


class EgressRule(Struct, frozen=True, kw_only=True):
    """One range of addresses that pods of this environment may reach."""

    cidr: EgressCidr
    """The range, inside the DataPlane's `egress.allow` and outside its `egress.deny`."""
    ports: Annotated[tuple[Port, ...], Bounds(max_length=32), SET] = ()
    """TCP ports; none given: every port."""


EgressRules = Annotated[tuple[EgressRule, ...], Bounds(max_length=16), map_by("cidr")]


class DataClusterSpec(Struct, frozen=True, kw_only=True):
    """What one isolated environment shall be."""

    RULES: ClassVar = (
        Rule(
            "self.tenantRef.name == oldSelf.tenantRef.name",
            "tenantRef is immutable, because data never changes hands: make a DataCluster of the other Tenant",
        ),
        Rule(
            "self.dataPlaneRef.name == oldSelf.dataPlaneRef.name",
            "dataPlaneRef is immutable, because data does not move: make a DataCluster on the other DataPlane",
        ),
    )

    tenant_ref: LocalRef
    """The Tenant that owns it. Immutable."""
    data_plane_ref: LocalRef = LocalRef(name="default")
    """The DataPlane whose engines hold it. Immutable."""
    embedding: Embedding = Embedding()
    """How documents become vectors."""
    postgres: PostgresRequest = PostgresRequest()
    """Its Postgres database."""
    search: SearchRequest = SearchRequest()
    """Its search indexes."""
    data_api: DataApiRequest = DataApiRequest()
    """Its Data API. No effect in this version."""
    egress: EgressRules = ()
    """What its pods may reach besides DNS and the engines; none given: nothing."""
    suspended: bool = False
    """True cuts every access and keeps the data; a suspended Tenant suspends its DataClusters too."""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """What deleting it does with the data: `Retain` keeps it, unreachable; `Delete` erases it. Where Tenant and
    DataCluster differ, `Retain` wins."""
    deletion_protection: bool = False
    """True makes the API server refuse to delete it."""


class Identity(Struct, frozen=True, kw_only=True):
    """The physical names, for people; the operator's record is what counts."""

    namespace: Annotated[str, Bounds(max_length=63)] = ""
    """Its namespace in this cluster."""
    database: Annotated[str, Bounds(max_length=63)] = ""
    """Its Postgres database."""
    bucket: Annotated[str, Bounds(max_length=63)] = ""
    """Its bucket in the object store."""
    collection: Annotated[str, Bounds(max_length=255)] = ""
    """Its vector collection."""
    indexes: Annotated[tuple[Annotated[str, Bounds(max_length=255)], ...], Bounds(max_length=16)] = ()
    """Its search indexes."""


class CredentialStatus(Struct, frozen=True, kw_only=True):
    """The credential in force for one engine, without its value."""

    generation: Annotated[int, Bounds(ge=0)]
    """Counts up with each rotation."""
    issued_to: Annotated[str, Bounds(max_length=255)]
    """The engine's name for it: login role, access key, token subject or key id."""
    expires_at: Annotated[str, Bounds(max_length=64)] = ""
    """When it ends; empty: never. It is renewed in time."""


class PlatformCluster(Struct, frozen=True, kw_only=True):
    """How the platform knows this environment."""

    cluster_id: Annotated[str, Bounds(max_length=36)] = ""
    """The platform's id of it; empty: it has not joined."""
    clock_skew_minutes: ClockSkewMinutes = 0
    """By how much the operator's clock is ahead of the platform's, behind it where negative; 0: by a minute at most, or
    nothing is known."""


NOT_JOINED = PlatformCluster()
"""The one that is left out of what is written: another equal one would not be."""


class DataClusterStatus(Struct, frozen=True, kw_only=True):
    """What was found at the last reconcile."""

    phase: Annotated[str, Bounds(max_length=32)] = ""
    """One word for people: Pending, Provisioning, Active, Suspended, Offline, Degraded or Deleting."""
    observed_generation: Annotated[int, Bounds(ge=0)] = 0
    """The generation of the spec that this status is about."""
    tenant_uid: Annotated[str, Bounds(max_length=63)] = ""
    """UID of the Tenant that it is bound to since its first use."""
    plan: Annotated[str, Bounds(max_length=253)] = ""
    """The Plan in force: the Tenant's, or its DataPlane's default."""
    identity: Identity = Identity()
    """The physical names."""
    credentials: Annotated[dict[str, CredentialStatus], Bounds(max_length=8)] = {}
    """The credential in force, by engine."""
    endpoints: Annotated[dict[str, Annotated[str, Bounds(max_length=512)]], Bounds(max_length=16)] = {}
    """Where each engine is reached, by engine."""
    platform: PlatformCluster = NOT_JOINED
    """How the platform knows it."""
    conditions: Conditions = ()
    """For machines: `Ready` and what it is made of; where its plane has a platform, `Registered` and `Connected`,
    which `Ready` does not depend on."""


class DataCluster(Struct, frozen=True, kw_only=True):
    """One isolated environment of one tenant on shared engines: a namespace, a database, a bucket, a vector
    collection and search indexes that nobody else can reach."""

    RULES: ClassVar = slug_rules("self.metadata.name", "metadata.name", unless="oldSelf.hasValue()")

    metadata: Meta
    spec: DataClusterSpec
    status: DataClusterStatus = DataClusterStatus()
