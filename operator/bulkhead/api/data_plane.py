"""DataPlane: the engines that tenants of one Kubernetes cluster share, and how to reach and administer them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from bulkhead.api.meta import Condition, LocalRef, Meta, Struct


class Naming(StrEnum):
    SLUG = "Slug"
    OPAQUE = "Opaque"


class TlsMode(StrEnum):
    VERIFY_FULL = "verify-full"
    VERIFY_CA = "verify-ca"
    DISABLE = "disable"


class PostgresTls(Struct, frozen=True, kw_only=True):
    mode: TlsMode = TlsMode.VERIFY_FULL
    ca_secret_ref: LocalRef | None = None
    """Secret with the key `ca.crt`; omitted: the system's trust store."""


class Tls(Struct, frozen=True, kw_only=True):
    ca_secret_ref: LocalRef | None = None


class NetworkPeer(Struct, frozen=True, kw_only=True):
    """One peer that tenants' policies open: selectors or a CIDR, with TCP ports as seen after DNAT."""

    ports: tuple[int, ...]
    cidr: str = ""
    namespace_selector: dict[str, Any] | None = None
    pod_selector: dict[str, Any] | None = None


class PostgresEndpoint(Struct, frozen=True, kw_only=True):
    host: str
    admin_secret_ref: LocalRef
    port: int = 5432
    tls: PostgresTls = PostgresTls()
    warm_databases: int = 4
    allowed_extensions: tuple[str, ...] = ()
    network: tuple[NetworkPeer, ...] = ()


class ObjectStoreEndpoint(Struct, frozen=True, kw_only=True):
    endpoint: str
    """`https://host:port`; `http://` is accepted only for a loopback address."""
    admin_secret_ref: LocalRef
    driver: str = "minio"
    region: str = "us-east-1"
    tls: Tls = Tls()
    network: tuple[NetworkPeer, ...] = ()


class VectorsEndpoint(Struct, frozen=True, kw_only=True):
    url: str
    admin_secret_ref: LocalRef
    driver: str = "qdrant"
    tls: Tls = Tls()
    token_lifetime: str = "24h"  # noqa: S105 - a duration
    network: tuple[NetworkPeer, ...] = ()


class SearchEndpoint(Struct, frozen=True, kw_only=True):
    url: str
    admin_secret_ref: LocalRef
    driver: str = "meilisearch"
    tls: Tls = Tls()
    network: tuple[NetworkPeer, ...] = ()


class PlatformEndpoint(Struct, frozen=True, kw_only=True):
    url: str
    registration_token_secret_ref: LocalRef
    ca_secret_ref: LocalRef | None = None


class Gateway(Struct, frozen=True, kw_only=True):
    network: tuple[NetworkPeer, ...] = ()


class DataApiPolicy(Struct, frozen=True, kw_only=True):
    allowed_images: tuple[str, ...] = ()
    gateway: Gateway = Gateway()


class EgressPolicy(Struct, frozen=True, kw_only=True):
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


class Capacity(Struct, frozen=True, kw_only=True):
    data_clusters: int = 1000


class DataPlaneSpec(Struct, frozen=True, kw_only=True):
    postgres: PostgresEndpoint | None = None
    object_store: ObjectStoreEndpoint | None = None
    vectors: VectorsEndpoint | None = None
    search: SearchEndpoint | None = None
    platform: PlatformEndpoint | None = None
    data_api: DataApiPolicy = DataApiPolicy()
    egress: EgressPolicy = EgressPolicy()
    capacity: Capacity = Capacity()
    naming: Naming = Naming.SLUG
    default_plan_ref: LocalRef | None = None


class DataPlaneStatus(Struct, frozen=True, kw_only=True):
    observed_generation: int = 0
    data_clusters: int = 0
    versions: dict[str, str] = {}
    conditions: tuple[Condition, ...] = ()


class DataPlane(Struct, frozen=True, kw_only=True):
    metadata: Meta
    spec: DataPlaneSpec
    status: DataPlaneStatus = DataPlaneStatus()
