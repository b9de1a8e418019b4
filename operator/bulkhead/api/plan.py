"""Plan: what a tier gets, enforced by each engine where the engine can."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta as Bounds

from bulkhead.api.meta import NAME_LENGTH, Conditions, Meta, Struct
from bulkhead.api.rules import Rule, checked, matching
from bulkhead.api.scalars import Duration, Size, lasting

TempFileLimit = Annotated[
    Size,
    checked(
        Rule(
            '!quantity(self).isLessThan(quantity("1Mi")) && quantity(self).isLessThan(quantity("2Ti"))',
            "must be at least 1Mi and less than 2Ti, the most that Postgres takes",
        )
    ),
]

QuotaName = Annotated[
    str,
    Bounds(max_length=90),
    matching(
        r"^((requests|limits)\.(cpu|memory|ephemeral-storage)|requests\.storage|pods|services|configmaps|secrets"
        r"|persistentvolumeclaims|replicationcontrollers|resourcequotas|services\.(loadbalancers|nodeports)"
        r"|count/[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?)\Z",
        'must be what a ResourceQuota counts, such as "requests.cpu", "pods" or "count/deployments.apps"',
    ),
]

QuotaValue = Annotated[
    str,
    Bounds(max_length=16),
    matching(
        r"^([0-9]{1,9}(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?|[0-9]{1,9}m|[0-9]{1,6}\.[0-9]{1,3})\Z",
        'must be a quantity in quotes, such as "2", "500m" or "4Gi"',
    ),
]

Cpu = Annotated[
    str,
    Bounds(max_length=10),
    matching(
        r"^([0-9]{1,6}m|[0-9]{1,4}(\.[0-9]{1,3})?)\Z", 'must be a number of CPUs in quotes, such as "100m" or "2"'
    ),
]


class PostgresLimits(Struct, frozen=True, kw_only=True):
    """Limits in Postgres."""

    connections: Annotated[int, Bounds(ge=1, le=10_000)] = 20
    """Most connections at a time."""
    temp_file_limit: TempFileLimit = "1Gi"
    """Most temporary disk space of one session, where the operator's role may set it."""
    database_size: Size = "10Gi"
    """Size of the database above which usage is to be reported; Postgres itself can not enforce it. No effect in this
    version."""


class ObjectStoreLimits(Struct, frozen=True, kw_only=True):
    """Limits in the object store."""

    size: Size = "50Gi"
    """Quota of the bucket."""


class VectorLimits(Struct, frozen=True, kw_only=True):
    """Limits in the vector store."""

    points: Annotated[int, Bounds(ge=1, le=1_000_000_000_000)] = 1_000_000
    """Most points in the collection; the engine counts them now and then only, so some more may get in."""


class SearchLimits(Struct, frozen=True, kw_only=True):
    """Limits in the search engine."""

    documents: Annotated[int, Bounds(ge=1, le=1_000_000_000_000)] = 1_000_000
    """Number of documents above which usage is to be reported; the engine itself can not enforce it. No effect in this
    version."""


class ContainerDefaults(Struct, frozen=True, kw_only=True):
    """Request and limit of a container that names none."""

    cpu: Cpu = "100m"
    """CPU."""
    memory: Size = "256Mi"
    """Memory."""


class Compute(Struct, frozen=True, kw_only=True):
    """Limits of the tenant's namespace."""

    RULES: ClassVar = (
        Rule(
            'self.quota.all(name, name.startsWith("requests.") || name.startsWith("limits.") || '
            'self.quota[name].matches("^[0-9]+$"))',
            'quota counts whole objects in everything but "requests." and "limits.": give a whole number, such as "20"',
        ),
    )

    quota: Annotated[dict[QuotaName, QuotaValue], Bounds(max_length=64)] = {}
    """Hard limits of the ResourceQuota, such as `requests.cpu`, `pods` or `count/deployments.apps`."""
    container_defaults: ContainerDefaults = ContainerDefaults()
    """The LimitRange: what a container gets that names nothing."""


class RateLimit(Struct, frozen=True, kw_only=True):
    """How many requests the Data API answers. No effect in this version."""

    per_minute: Annotated[int, Bounds(ge=1, le=1_000_000_000)] = 300
    """Requests in a minute."""
    per_hour: Annotated[int, Bounds(ge=1, le=1_000_000_000)] = 10_000
    """Requests in an hour."""
    per_day: Annotated[int, Bounds(ge=1, le=1_000_000_000)] = 100_000
    """Requests in a day."""


class CredentialPolicy(Struct, frozen=True, kw_only=True):
    """How long credentials live. No effect in this version: none is rotated on a schedule yet."""

    RULES: ClassVar = (
        Rule(
            "duration(self.overlap) < duration(self.rotateEvery)",
            "overlap must be shorter than rotateEvery, or old generations would pile up",
        ),
    )

    rotate_every: Annotated[Duration, lasting("1h", "87600h")] = "2160h"
    """Time between two rotations."""
    overlap: Annotated[Duration, lasting("1m", "8760h")] = "24h"
    """How long the former generation goes on working."""


class PlanSpec(Struct, frozen=True, kw_only=True):
    """What each tenant of this plan gets."""

    data_clusters: Annotated[int, Bounds(ge=0, le=1000)] = 1
    """Most DataClusters of one tenant."""
    postgres: PostgresLimits = PostgresLimits()
    """Limits in Postgres, for each DataCluster."""
    object_store: ObjectStoreLimits = ObjectStoreLimits()
    """Limits in the object store, for each DataCluster."""
    vectors: VectorLimits = VectorLimits()
    """Limits in the vector store, for each DataCluster."""
    search: SearchLimits = SearchLimits()
    """Limits in the search engine, for each DataCluster."""
    compute: Compute = Compute()
    """Limits of each DataCluster's namespace."""
    rate_limit: RateLimit = RateLimit()
    """How many requests the Data API answers. No effect in this version."""
    credentials: CredentialPolicy = CredentialPolicy()
    """How long credentials live. No effect in this version."""


class PlanStatus(Struct, frozen=True, kw_only=True):
    """Nothing is reported about a Plan yet; what its limits lead to stands in the DataClusters."""

    observed_generation: Annotated[int, Bounds(ge=0)] = 0
    """The generation of the spec that this status is about."""
    conditions: Conditions = ()
    """For machines."""


class Plan(Struct, frozen=True, kw_only=True):
    """What a tier gets: the limits that engines and Kubernetes hold each of its tenants to."""

    RULES: ClassVar = (NAME_LENGTH,)

    metadata: Meta
    spec: PlanSpec = PlanSpec()
    status: PlanStatus = PlanStatus()
