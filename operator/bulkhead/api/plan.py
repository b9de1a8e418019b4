"""Plan: what a tier gets, enforced by each engine where the engine can."""

from __future__ import annotations

from bulkhead.api.meta import Meta, Struct


class PostgresLimits(Struct, frozen=True, kw_only=True):
    connections: int = 20
    temp_file_limit: str = "1Gi"
    database_size: str = "10Gi"


class ObjectStoreLimits(Struct, frozen=True, kw_only=True):
    size: str = "50Gi"


class VectorLimits(Struct, frozen=True, kw_only=True):
    points: int = 1_000_000


class SearchLimits(Struct, frozen=True, kw_only=True):
    documents: int = 1_000_000


class ContainerDefaults(Struct, frozen=True, kw_only=True):
    cpu: str = "100m"
    memory: str = "256Mi"


class Compute(Struct, frozen=True, kw_only=True):
    quota: dict[str, str] = {}
    container_defaults: ContainerDefaults = ContainerDefaults()


class RateLimit(Struct, frozen=True, kw_only=True):
    per_minute: int = 300
    per_hour: int = 10_000
    per_day: int = 100_000


class CredentialPolicy(Struct, frozen=True, kw_only=True):
    rotate_every: str = "2160h"
    overlap: str = "24h"


class PlanSpec(Struct, frozen=True, kw_only=True):
    data_clusters: int = 1
    postgres: PostgresLimits = PostgresLimits()
    object_store: ObjectStoreLimits = ObjectStoreLimits()
    vectors: VectorLimits = VectorLimits()
    search: SearchLimits = SearchLimits()
    compute: Compute = Compute()
    rate_limit: RateLimit = RateLimit()
    credentials: CredentialPolicy = CredentialPolicy()


class Plan(Struct, frozen=True, kw_only=True):
    metadata: Meta
    spec: PlanSpec = PlanSpec()
