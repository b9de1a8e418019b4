"""Tenant: a customer. Plan, members and policy; owns data clusters."""

from __future__ import annotations

from enum import StrEnum

from bulkhead.api.data_cluster import (
    DataApiRequest,
    DeletionPolicy,
    EgressRule,
    Embedding,
    PostgresRequest,
    SearchRequest,
)
from bulkhead.api.meta import Condition, LocalRef, Meta, Struct


class MemberKind(StrEnum):
    USER = "User"
    GROUP = "Group"


class Role(StrEnum):
    OWNER = "Owner"
    EDITOR = "Editor"
    VIEWER = "Viewer"


class Member(Struct, frozen=True, kw_only=True):
    kind: MemberKind
    name: str
    role: Role


class DataClusterEntry(Struct, frozen=True, kw_only=True):
    name: str
    embedding: Embedding = Embedding()
    postgres: PostgresRequest = PostgresRequest()
    search: SearchRequest = SearchRequest()
    data_api: DataApiRequest = DataApiRequest()
    egress: tuple[EgressRule, ...] = ()


class TenantSpec(Struct, frozen=True, kw_only=True):
    display_name: str = ""
    plan_ref: LocalRef | None = None
    data_plane_ref: LocalRef = LocalRef(name="default")
    suspended: bool = False
    deletion_policy: DeletionPolicy = DeletionPolicy.RETAIN
    deletion_protection: bool = False
    members: tuple[Member, ...] = ()
    data_clusters: tuple[DataClusterEntry, ...] | None = None
    """Omitted: one, named like the tenant; empty: none."""


class DataClusterSummary(Struct, frozen=True, kw_only=True):
    name: str
    phase: str = ""
    ready: str = ""


class TenantStatus(Struct, frozen=True, kw_only=True):
    phase: str = ""
    observed_generation: int = 0
    data_clusters: tuple[DataClusterSummary, ...] = ()
    conditions: tuple[Condition, ...] = ()


class Tenant(Struct, frozen=True, kw_only=True):
    metadata: Meta
    spec: TenantSpec = TenantSpec()
    status: TenantStatus = TenantStatus()
