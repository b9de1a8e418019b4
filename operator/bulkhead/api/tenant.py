"""Tenant: a customer. Plan, members and policy; owns data clusters."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from msgspec import Meta as Bounds

from bulkhead.api.data_cluster import (
    DataApiRequest,
    DeletionPolicy,
    EgressRules,
    Embedding,
    PostgresRequest,
    SearchRequest,
)
from bulkhead.api.meta import NAME_LENGTH, Conditions, LocalRef, Meta, Struct
from bulkhead.api.rules import Rule, checked, map_by, matching, slug_rules
from bulkhead.api.scalars import Slug

DisplayName = Annotated[
    str,
    Bounds(max_length=256),
    matching(
        r"^[^\x00-\x1f\x7f-\x9f]*\Z", "must not hold line breaks or other control characters: write it on one line"
    ),
]

Subject = Annotated[
    str,
    Bounds(max_length=253),
    matching(
        r"^[^\x00-\x20\x7f-\xa0]([^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\xa0])?\Z",
        "must be the name of one user or group, not empty, without line breaks, other control characters or spaces at "
        "either end",
    ),
    checked(
        Rule(
            '!self.startsWith("system:")',
            'must not start with "system:": those are Kubernetes\' own users and groups; name your own',
        )
    ),
]

_LIST = "has(self.spec.dataClusters)"
_OLD_WITHOUT_LIST = "oldSelf.hasValue() && !has(oldSelf.value().spec.dataClusters)"
_AS_WHEN_OMITTED = (
    "spec.dataClusters.all(entry, entry.name != self.metadata.name || "
    f'(entry.embedding.dimensions == {Embedding().dimensions} && entry.embedding.distance == "{Embedding().distance}"))'
)
_KEEP_AS_WHEN_OMITTED = (
    f"spec.dataClusters: the DataCluster that is made when the list is omitted has {Embedding().dimensions} dimensions "
    f"and the distance {Embedding().distance}, both immutable: keep them in the entry named like the Tenant"
)


class MemberKind(StrEnum):
    USER = "User"
    GROUP = "Group"


class Role(StrEnum):
    OWNER = "Owner"
    EDITOR = "Editor"
    VIEWER = "Viewer"


class Member(Struct, frozen=True, kw_only=True):
    """Somebody who may work in the namespaces of this tenant."""

    kind: MemberKind
    """`User` or `Group`, as the API server's authentication names them."""
    name: Subject
    """Name of the user or group."""
    role: Role
    """`Owner`, `Editor` or `Viewer`: which of our ClusterRoles they are bound to."""


class DataClusterEntry(Struct, frozen=True, kw_only=True):
    """One DataCluster that is made for this tenant. Taking the entry out never deletes it."""

    name: Slug
    """Its name, from which every physical name derives."""
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


class TenantSpec(Struct, frozen=True, kw_only=True):
    """Plan, members and policy of a customer."""

    display_name: DisplayName = ""
    """Name for people. It stays in this object: no engine and no neighbour sees it."""
    plan_ref: LocalRef | None = None
    """The Plan; omitted: the DataPlane's `defaultPlanRef`."""
    data_plane_ref: LocalRef = LocalRef(name="default")
    """The DataPlane for DataClusters that are made from now on; those that exist stay where they are."""
    suspended: bool = False
    """True cuts every access to each of its DataClusters and keeps the data."""
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    """What deleting does with the data: `Retain` keeps it, unreachable; `Delete` erases it. Where Tenant and
    DataCluster differ, `Retain` wins."""
    deletion_protection: bool = False
    """True makes the API server refuse to delete the Tenant."""
    members: Annotated[tuple[Member, ...], Bounds(max_length=256), map_by("kind", "name")] = ()
    """Who may work in its namespaces."""
    data_clusters: Annotated[tuple[DataClusterEntry, ...], Bounds(max_length=64), map_by("name")] | None = None
    """Its DataClusters. Omitted: one, named like the Tenant; an empty list: none."""


class DataClusterSummary(Struct, frozen=True, kw_only=True):
    """One DataCluster of this tenant, as last seen."""

    name: Annotated[str, Bounds(max_length=63)]
    """Its name."""
    phase: Annotated[str, Bounds(max_length=32)] = ""
    """Its phase, for people."""
    ready: Annotated[str, Bounds(max_length=7)] = ""
    """Status of its condition `Ready`."""


class TenantStatus(Struct, frozen=True, kw_only=True):
    """What was found at the last reconcile."""

    phase: Annotated[str, Bounds(max_length=32)] = ""
    """One word for people."""
    observed_generation: Annotated[int, Bounds(ge=0)] = 0
    """The generation of the spec that this status is about."""
    plan: Annotated[str, Bounds(max_length=253)] = ""
    """The Plan in force; how many there are, where the defaults of several DataPlanes differ."""
    data_clusters: Annotated[tuple[DataClusterSummary, ...], Bounds(max_length=1000), map_by("name")] = ()
    """Its DataClusters, listed or not."""
    conditions: Conditions = ()
    """For machines."""


class Tenant(Struct, frozen=True, kw_only=True):
    """A customer. The smallest one is a name, and yields one DataCluster of that name."""

    RULES: ClassVar = (
        NAME_LENGTH,
        *slug_rules(
            "self.metadata.name",
            "metadata.name (it becomes a DataCluster's, as spec.dataClusters is omitted)",
            unless=f"{_LIST} || ({_OLD_WITHOUT_LIST})",
        ),
        Rule(f"has(oldSelf.spec.dataClusters) || !{_LIST} || self.{_AS_WHEN_OMITTED}", _KEEP_AS_WHEN_OMITTED),
        Rule(f"!has(oldSelf.spec.dataClusters) || {_LIST} || oldSelf.{_AS_WHEN_OMITTED}", _KEEP_AS_WHEN_OMITTED),
    )

    metadata: Meta
    spec: TenantSpec = TenantSpec()
    status: TenantStatus = TenantStatus()
