"""DataPlane: the engines that tenants of one Kubernetes cluster share, and how to reach and administer them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from msgspec import Meta as Bounds

from bulkhead.api.meta import NAME_LENGTH, Conditions, LocalRef, Meta, Struct
from bulkhead.api.rules import SET, Rule, literal, matching
from bulkhead.api.scalars import (
    LOOPBACK_HOSTS,
    Cidr,
    ClockSkewMinutes,
    Duration,
    EngineUrl,
    Extension,
    Host,
    ObjectName,
    Port,
    ServiceUrl,
    lasting,
)

LabelKey = Annotated[
    str,
    Bounds(max_length=317),
    matching(
        r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*/)?"
        r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z",
        'must be the key of a label, such as "app" or "example.com/app"',
    ),
]

LabelValue = Annotated[
    str,
    Bounds(max_length=63),
    matching(r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?\Z", "must be the value of a label, or empty"),
]

Region = Annotated[
    str,
    Bounds(max_length=63),
    matching(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z", 'must be a-z, 0-9 and "-" inside, such as "us-east-1"'),
]

ImageGlob = Annotated[
    str,
    Bounds(max_length=512),
    matching(
        r"^[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9*][a-z0-9._*-]*)+\Z",
        'must be a registry and a path in which "*" stands for one part, such as "ghcr.io/example/*"',
    ),
]


class Naming(StrEnum):
    SLUG = "Slug"
    OPAQUE = "Opaque"


class TlsMode(StrEnum):
    VERIFY_FULL = "verify-full"
    VERIFY_CA = "verify-ca"
    DISABLE = "disable"


class ObjectStoreDriver(StrEnum):
    MINIO = "minio"


class VectorsDriver(StrEnum):
    QDRANT = "qdrant"


class SearchDriver(StrEnum):
    MEILISEARCH = "meilisearch"


class Operator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(Struct, frozen=True, kw_only=True):
    """One demand on a label, as in Kubernetes."""

    RULES: ClassVar = (
        Rule(
            'self.operator in ["In", "NotIn"] ? has(self.values) && size(self.values) > 0 : '
            "!has(self.values) || size(self.values) == 0",
            "values must be given for In and NotIn, and left out for Exists and DoesNotExist",
        ),
    )

    key: LabelKey
    """Key of the label."""
    operator: Operator
    """`In`, `NotIn`, `Exists` or `DoesNotExist`."""
    values: Annotated[tuple[LabelValue, ...], Bounds(max_length=16), SET] = ()
    """Values for `In` and `NotIn`."""


class LabelSelector(Struct, frozen=True, kw_only=True):
    """Selects by labels, as in Kubernetes; an empty one selects everything."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Bounds(max_length=16)] = {}
    """Labels that must be there."""
    match_expressions: Annotated[tuple[LabelRequirement, ...], Bounds(max_length=16)] = ()
    """Demands that must hold."""


class NetworkPeer(Struct, frozen=True, kw_only=True):
    """One peer that tenants' policies open: selectors or a CIDR, with TCP ports as seen after DNAT.

    A NetworkPolicy can not name a DNS host, so it can not be derived from the engine's address.
    """

    RULES: ClassVar = (
        Rule(
            "has(self.cidr) ? !has(self.namespaceSelector) && !has(self.podSelector) : has(self.namespaceSelector)",
            "must name its target in one way: either cidr, or namespaceSelector and, narrowing it, podSelector",
        ),
    )

    ports: Annotated[tuple[Port, ...], Bounds(min_length=1, max_length=16), SET]
    """TCP ports of the pods or addresses themselves, not of a Service before them."""
    cidr: Cidr | None = None
    """Range of addresses outside the cluster."""
    namespace_selector: LabelSelector | None = None
    """Namespaces whose pods are meant."""
    pod_selector: LabelSelector | None = None
    """Which of these pods; omitted: all."""


Peers = Annotated[tuple[NetworkPeer, ...], Bounds(max_length=16)]


class PostgresTls(Struct, frozen=True, kw_only=True):
    """How the connection to Postgres is secured."""

    mode: TlsMode = TlsMode.VERIFY_FULL
    """`verify-full` checks certificate and host name, `verify-ca` the certificate alone; `disable` is accepted for a
    loopback address only."""
    ca_secret_ref: LocalRef | None = None
    """Secret with the key `ca.crt`; omitted: the system's trust store."""


class Tls(Struct, frozen=True, kw_only=True):
    """How the connection to an engine is secured. The certificate is always verified."""

    ca_secret_ref: LocalRef | None = None
    """Secret with the key `ca.crt`; omitted: the system's trust store."""


class PostgresEndpoint(Struct, frozen=True, kw_only=True):
    """The Postgres server, 15 to 18."""

    RULES: ClassVar = (
        Rule(
            f'self.tls.mode != "disable" || self.host in {literal(LOOPBACK_HOSTS)}',
            'tls.mode "disable" is accepted for a loopback address only: use "verify-full", with tls.caSecretRef where '
            "the certificate is from a CA of your own",
        ),
    )

    host: Host
    """Host name or address, as operator and tenants' pods reach it. Immutable while the plane is in use."""
    admin_secret_ref: LocalRef
    """Secret with the keys `username` and `password` of a superuser, or of a role with CREATEROLE and CREATEDB."""
    port: Port = 5432
    """TCP port. Immutable while the plane is in use."""
    tls: PostgresTls = PostgresTls()
    """How the connection is secured."""
    warm_databases: Annotated[int, Bounds(ge=0, le=64)] = 4
    """How many empty databases are kept ready, so that a new tenant waits for no copy of a template."""
    allowed_extensions: Annotated[tuple[Extension, ...], Bounds(max_length=64), SET] = ()
    """Extensions that a DataCluster may ask for."""
    network: Peers = ()
    """Where tenants' pods find it; none given: their policies do not open it."""


class ObjectStoreEndpoint(Struct, frozen=True, kw_only=True):
    """The object store."""

    endpoint: EngineUrl
    """`https://host:port`; `http://` is accepted for a loopback address only. Immutable while the plane is in use."""
    admin_secret_ref: LocalRef
    """Secret with the keys `access-key` and `secret-key`."""
    driver: ObjectStoreDriver = ObjectStoreDriver.MINIO
    """What serves it. Immutable while the plane is in use."""
    region: Region = "us-east-1"
    """Region that clients sign for."""
    tls: Tls = Tls()
    """How the connection is secured."""
    network: Peers = ()
    """Where tenants' pods find it; none given: their policies do not open it."""


class VectorsEndpoint(Struct, frozen=True, kw_only=True):
    """The vector store."""

    url: EngineUrl
    """`https://host:port`; `http://` is accepted for a loopback address only. Immutable while the plane is in use."""
    admin_secret_ref: LocalRef
    """Secret with the key `api-key`."""
    driver: VectorsDriver = VectorsDriver.QDRANT
    """What serves it. Immutable while the plane is in use."""
    tls: Tls = Tls()
    """How the connection is secured."""
    token_lifetime: Annotated[Duration, lasting("10m", "24h")] = "24h"  # noqa: S105 - a duration
    """How long a tenant's token works; it is renewed after two thirds of that."""
    network: Peers = ()
    """Where tenants' pods find it; none given: their policies do not open it."""


class SearchEndpoint(Struct, frozen=True, kw_only=True):
    """The search engine."""

    url: EngineUrl
    """`https://host:port`; `http://` is accepted for a loopback address only. Immutable while the plane is in use."""
    admin_secret_ref: LocalRef
    """Secret with the key `master-key`."""
    driver: SearchDriver = SearchDriver.MEILISEARCH
    """What serves it. Immutable while the plane is in use."""
    tls: Tls = Tls()
    """How the connection is secured."""
    network: Peers = ()
    """Where tenants' pods find it; none given: their policies do not open it."""


class PlatformEndpoint(Struct, frozen=True, kw_only=True):
    """The central service that this plane and its DataClusters join by themselves. None of them needs it to work."""

    url: ServiceUrl
    """Its URL; `http://` is accepted for a loopback address only. Another one begins another registration."""
    registration_token_secret_ref: LocalRef
    """Secret with the key `token`: a registration token of the platform for this plane. Read until it has joined."""
    ca_secret_ref: LocalRef | None = None
    """Secret with the key `ca.crt`; omitted: the system's trust store."""


class Gateway(Struct, frozen=True, kw_only=True):
    """Who may reach the Data APIs."""

    network: Peers = ()
    """Where requests come from."""


class DataApiPolicy(Struct, frozen=True, kw_only=True):
    """Bounds of the tenants' Data APIs. No effect in this version: none is deployed yet."""

    allowed_images: Annotated[tuple[ImageGlob, ...], Bounds(max_length=32), SET] = ()
    """Images that a DataCluster may ask for; the reference Data API always is."""
    gateway: Gateway = Gateway()
    """Who may reach the Data APIs."""


class EgressPolicy(Struct, frozen=True, kw_only=True):
    """What a DataCluster may ask for in its `egress`. Loopback and metadata addresses are never opened."""

    allow: Annotated[tuple[Cidr, ...], Bounds(max_length=64), SET] = ()
    """Ranges inside which a rule must lie; none given: no egress at all."""
    deny: Annotated[tuple[Cidr, ...], Bounds(max_length=64), SET] = ()
    """Ranges that no rule may touch, such as those of pods and Services."""


class CertificateIssuer(StrEnum):
    BUILT_IN = "BuiltIn"
    CERT_MANAGER = "CertManager"


class IssuerKind(StrEnum):
    ISSUER = "Issuer"
    CLUSTER_ISSUER = "ClusterIssuer"


class IssuerRef(Struct, frozen=True, kw_only=True):
    """An issuer of cert-manager."""

    name: ObjectName
    """Its name."""
    kind: IssuerKind = IssuerKind.CLUSTER_ISSUER
    """`ClusterIssuer`, or `Issuer` in the operator's own namespace."""


class Certificates(Struct, frozen=True, kw_only=True):
    """Who issues the tenants' certificates. No effect in this version: none is issued yet."""

    RULES: ClassVar = (
        Rule(
            '(self.issuer == "CertManager") == has(self.issuerRef)',
            "issuerRef must be given for CertManager, and left out for BuiltIn",
        ),
    )

    issuer: CertificateIssuer = CertificateIssuer.BUILT_IN
    """`BuiltIn`: a CA of this plane's own; `CertManager`: the issuer in `issuerRef`."""
    issuer_ref: IssuerRef | None = None
    """The issuer, for `CertManager`."""


class Capacity(Struct, frozen=True, kw_only=True):
    """How much this plane takes."""

    data_clusters: Annotated[int, Bounds(ge=0, le=100_000)] = 1000
    """Most DataClusters; the ones beyond it wait with `CapacityExhausted`. Growth is another plane."""


class DataPlaneSpec(Struct, frozen=True, kw_only=True):
    """The engines and how to reach and administer them. An engine left out is not offered."""

    RULES: ClassVar = (
        Rule(
            "has(self.postgres) || has(self.objectStore) || has(self.vectors) || has(self.search)",
            "must offer at least one engine: add postgres, objectStore, vectors or search",
        ),
    )

    postgres: PostgresEndpoint | None = None
    """The Postgres server."""
    object_store: ObjectStoreEndpoint | None = None
    """The object store."""
    vectors: VectorsEndpoint | None = None
    """The vector store."""
    search: SearchEndpoint | None = None
    """The search engine."""
    platform: PlatformEndpoint | None = None
    """The central service; omitted: none."""
    data_api: DataApiPolicy = DataApiPolicy()
    """Bounds of the tenants' Data APIs. No effect in this version."""
    egress: EgressPolicy = EgressPolicy()
    """What a DataCluster may ask for in its `egress`."""
    certificates: Certificates = Certificates()
    """Who issues the tenants' certificates. No effect in this version."""
    capacity: Capacity = Capacity()
    """How much this plane takes."""
    naming: Naming = Naming.SLUG
    """`Slug`: physical names show the DataCluster's name, and neighbours can read them in `pg_database` and `pg_roles`;
    `Opaque`: they are made from a hash. Immutable while the plane is in use."""
    default_plan_ref: LocalRef | None = None
    """The Plan of tenants that name none."""


class PlatformPlane(Struct, frozen=True, kw_only=True):
    """How the platform knows this plane."""

    plane_id: Annotated[str, Bounds(max_length=36)] = ""
    """The platform's id of it; empty: it has not joined."""
    fingerprint: Annotated[str, Bounds(max_length=64)] = ""
    """Of its public key, to be compared with the one that the platform shows before it is confirmed there."""
    clock_skew_minutes: ClockSkewMinutes = 0
    """By how much the operator's clock is ahead of the platform's, behind it where negative; 0: by a minute at most, or
    nothing is known."""


NOT_JOINED = PlatformPlane()
"""The one that is left out of what is written: another equal one would not be."""


class DataPlaneStatus(Struct, frozen=True, kw_only=True):
    """What was found at the last look at the engines."""

    observed_generation: Annotated[int, Bounds(ge=0)] = 0
    """The generation of the spec that this status is about."""
    data_clusters: Annotated[int, Bounds(ge=0)] = 0
    """How many DataClusters use this plane. While it is not 0, the fields that lead to their data are immutable."""
    versions: Annotated[dict[str, Annotated[str, Bounds(max_length=64)]], Bounds(max_length=8)] = {}
    """Version of each engine's server, by engine."""
    platform: PlatformPlane = NOT_JOINED
    """How the platform knows it."""
    conditions: Conditions = ()
    """For machines: `Ready`, one per engine, `BackendSecure` and `OrphanedRecords`; with a platform `Registered` and
    `Connected`, which `Ready` does not depend on."""


_UNUSED = "!has(oldSelf.status) || !has(oldSelf.status.dataClusters) || oldSelf.status.dataClusters == 0"
_IN_USE = "can not be changed while DataClusters use this plane (status.dataClusters)"
_WAY_OUT = "make another DataPlane, or delete them first"


def _kept_while_used(engine: str, *fields: str) -> Rule:
    """The engine stays, and at the same place, while DataClusters have data there. Adding one is always fine.

    A rule of the whole object, because only there both spec and status are seen; a write to the spec can not change
    the status beside it.
    """
    new, old = f"self.spec.{engine}", f"oldSelf.spec.{engine}"
    same = " && ".join(f"{new}.{field} == {old}.{field}" for field in fields)
    return Rule(
        f"{_UNUSED} || !has({old}) || (has({new}) && {same})",
        f"spec.{engine}: {', '.join(fields)} {_IN_USE}: their data is there; {_WAY_OUT}",
    )


class DataPlane(Struct, frozen=True, kw_only=True):
    """The engines that the tenants of this cluster share, and how to reach and administer them."""

    RULES: ClassVar = (
        NAME_LENGTH,
        _kept_while_used("postgres", "host", "port"),
        _kept_while_used("objectStore", "driver", "endpoint"),
        _kept_while_used("vectors", "driver", "url"),
        _kept_while_used("search", "driver", "url"),
        Rule(
            f"{_UNUSED} || self.spec.naming == oldSelf.spec.naming",
            f"spec.naming {_IN_USE}: their names are in use; {_WAY_OUT}",
        ),
    )

    metadata: Meta
    spec: DataPlaneSpec
    status: DataPlaneStatus = DataPlaneStatus()
