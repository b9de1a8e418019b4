"""DataCluster: one isolated environment of one tenant, the unit of isolation."""

from __future__ import annotations

from enum import StrEnum

from bulkhead.api.meta import Condition, LocalRef, Meta, Struct


class Distance(StrEnum):
    COSINE = "Cosine"
    DOT = "Dot"
    EUCLID = "Euclid"
    MANHATTAN = "Manhattan"


class DeletionPolicy(StrEnum):
    RETAIN = "Retain"
    DELETE = "Delete"


class Embedding(Struct, frozen=True, kw_only=True):
    provider: str = ""
    model: str = ""
    dimensions: int = 1536
    distance: Distance = Distance.COSINE


class PostgresRequest(Struct, frozen=True, kw_only=True):
    extensions: tuple[str, ...] = ()
    schemas: tuple[str, ...] = ()


class SearchRequest(Struct, frozen=True, kw_only=True):
    indexes: tuple[str, ...] = ("entries", "datasets")


class DataApiRequest(Struct, frozen=True, kw_only=True):
    image: str = ""
    replicas: int = 1


class EgressRule(Struct, frozen=True, kw_only=True):
    cidr: str
    ports: tuple[int, ...] = ()


class DataClusterSpec(Struct, frozen=True, kw_only=True):
    tenant_ref: LocalRef
    data_plane_ref: LocalRef = LocalRef(name="default")
    embedding: Embedding = Embedding()
    postgres: PostgresRequest = PostgresRequest()
    search: SearchRequest = SearchRequest()
    data_api: DataApiRequest = DataApiRequest()
    egress: tuple[EgressRule, ...] = ()
    suspended: bool = False
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    deletion_protection: bool = False


class Identity(Struct, frozen=True, kw_only=True):
    """The physical names, for people; the record is what counts."""

    namespace: str = ""
    database: str = ""
    bucket: str = ""
    collection: str = ""
    indexes: tuple[str, ...] = ()


class CredentialStatus(Struct, frozen=True, kw_only=True):
    generation: int
    issued_to: str
    expires_at: str = ""


class DataClusterStatus(Struct, frozen=True, kw_only=True):
    phase: str = ""
    observed_generation: int = 0
    tenant_uid: str = ""
    identity: Identity = Identity()
    credentials: dict[str, CredentialStatus] = {}
    endpoints: dict[str, str] = {}
    conditions: tuple[Condition, ...] = ()


class DataCluster(Struct, frozen=True, kw_only=True):
    metadata: Meta
    spec: DataClusterSpec
    status: DataClusterStatus = DataClusterStatus()
