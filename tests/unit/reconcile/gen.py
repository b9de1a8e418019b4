"""Builders with defaults: the Tenant `acme` with one DataCluster of that name, on the DataPlane `default`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from bulkhead.api import labels
from bulkhead.api.data_cluster import DataCluster, DataClusterSpec, DataClusterStatus
from bulkhead.api.data_plane import (
    DataPlane,
    DataPlaneSpec,
    ObjectStoreEndpoint,
    PostgresEndpoint,
    SearchEndpoint,
    VectorsEndpoint,
)
from bulkhead.api.meta import LocalRef, Meta
from bulkhead.api.names import PhysicalNames, physical_names
from bulkhead.api.plan import Plan, PlanSpec
from bulkhead.api.record import Credential, EngineName, Holding, Outline, PlaneRecord, Record
from bulkhead.api.sensitive import Sensitive
from bulkhead.api.tenant import Tenant, TenantSpec, TenantStatus
from bulkhead.engines.contract import Access
from bulkhead.kube.children import ChildKey, ChildMeta
from bulkhead.kube.resources import (
    DATA_CLUSTERS,
    DATA_PLANES,
    NETWORK_POLICIES,
    PLANS,
    SECRETS,
    TENANTS,
    Resource,
)
from bulkhead.reconcile.children import Owner
from bulkhead.reconcile.context import Context
from bulkhead.reconcile.planes import OpenPlane
from bulkhead.reconcile.view import View

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NAMESPACE = "bulkhead-system"
INSTALLATION = "here"
PASSWORD = "correct-horse-battery"

ENGINES: Mapping[str, Any] = {
    "postgres": PostgresEndpoint(host="postgres.data.svc", admin_secret_ref=LocalRef(name="postgres-admin")),
    "object_store": ObjectStoreEndpoint(
        endpoint="https://minio.data.svc:9000", admin_secret_ref=LocalRef(name="minio-admin")
    ),
    "vectors": VectorsEndpoint(url="https://qdrant.data.svc:6333", admin_secret_ref=LocalRef(name="qdrant-admin")),
    "search": SearchEndpoint(url="https://search.data.svc:7700", admin_secret_ref=LocalRef(name="search-admin")),
}

AnyObject = DataCluster | Tenant | Plan | DataPlane
_RESOURCES: Mapping[type, Resource] = {
    DataCluster: DATA_CLUSTERS,
    Tenant: TENANTS,
    Plan: PLANS,
    DataPlane: DATA_PLANES,
}


def uid_of(name: str) -> str:
    return f"u-{name}"


def meta(name: str, uid: str = "", **fields: Any) -> Meta:
    defaults = {"generation": 1, "resource_version": "10", "creation_timestamp": "2026-01-01T00:00:00Z"}
    return Meta(name=name, uid=uid or uid_of(name), **{**defaults, **fields})


def cluster(
    name: str = "acme",
    *,
    tenant: str = "acme",
    plane: str = "default",
    metadata: Mapping[str, Any] | None = None,
    status: DataClusterStatus | None = None,
    **spec: Any,
) -> DataCluster:
    return DataCluster(
        metadata=meta(name, **{"uid": f"u-dc-{name}", **(metadata or {})}),
        spec=DataClusterSpec(tenant_ref=LocalRef(name=tenant), data_plane_ref=LocalRef(name=plane), **spec),
        status=status or DataClusterStatus(),
    )


def tenant(
    name: str = "acme", *, metadata: Mapping[str, Any] | None = None, status: TenantStatus | None = None, **spec: Any
) -> Tenant:
    return Tenant(metadata=meta(name, **(metadata or {})), spec=TenantSpec(**spec), status=status or TenantStatus())


def plan(name: str = "basic", *, metadata: Mapping[str, Any] | None = None, **spec: Any) -> Plan:
    return Plan(metadata=meta(name, **(metadata or {})), spec=PlanSpec(**spec))


def plane(name: str = "default", *, metadata: Mapping[str, Any] | None = None, **spec: Any) -> DataPlane:
    fields = {**ENGINES, "default_plan_ref": LocalRef(name="basic"), **spec}
    return DataPlane(metadata=meta(name, **(metadata or {})), spec=DataPlaneSpec(**fields))


def names(slug: str = "acme") -> PhysicalNames:
    return physical_names(slug, f"u-dc-{slug}", ("entries", "datasets"), opaque=False)


def credential(slug: str = "acme", **fields: Any) -> Credential:
    defaults = {"generation": 1, "identity": f"{slug}_1", "value": Sensitive(PASSWORD)}
    return Credential(**{**defaults, **fields})


def holding(slug: str = "acme", **fields: Any) -> Holding:
    defaults = {
        "server": "server-1",
        "claimed_at": "2026-11-22T11:00:00Z",
        "provisioned": ("database",),
        "credentials": (credential(slug),),
        "fingerprint": "print-1",
    }
    return Holding(**{**defaults, **fields})


def record(slug: str = "acme", **fields: Any) -> Record:
    defaults = {
        "installation": INSTALLATION,
        "uid": f"u-dc-{slug}",
        "slug": slug,
        "tenant": "acme",
        "tenant_uid": uid_of("acme"),
        "plane": "default",
        "names": names(slug),
        "holdings": {EngineName.POSTGRES: holding(slug)},
    }
    return Record(**{**defaults, **fields})


def plane_record(**fields: Any) -> PlaneRecord:
    return PlaneRecord(**{"installation": INSTALLATION, "uid": uid_of("default"), "proposal": "p-1", **fields})


def outline(slug: str = "acme", **fields: Any) -> Outline:
    return msgspec.structs.replace(record(slug).outline(settled="", children="", status=""), **fields)


def owner(slug: str = "acme") -> Owner:
    return Owner.of(record(slug))


def child(
    name: str = "default-deny",
    *,
    resource: Resource = NETWORK_POLICIES,
    namespace: str = "tenant-acme",
    owner_uid: str = "u-dc-acme",
    version: str = "10",
    digest: str = "d-1",
    ownership: int = 1,
    deleted: str = "",
    marks: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> ChildMeta:
    """An object as a metadata watch shows it; `marks` are labels beside those that say whose it is."""
    owned = {labels.DATA_CLUSTER: "acme", labels.DATA_CLUSTER_UID: owner_uid} if owner_uid else {}
    return ChildMeta(
        key=ChildKey(resource, namespace, name),
        uid=f"u-{resource.plural}-{namespace}-{name}",
        resource_version=version,
        labels={**owned, **(marks or {})},
        annotations={labels.CONTENT_HASH: digest, **(annotations or {})},
        ownership=ownership,
        deletion_timestamp=deleted,
    )


def record_child(known: Outline | None, *, uid: str = "", version: str = "10", text: str | None = None) -> ChildMeta:
    """The Secret that a record rests in; `text` stands in place of a readable outline."""
    written = text if text is not None else msgspec.json.encode(known).decode()
    name = known.uid if known is not None else uid
    return child(
        f"record-{name}",
        resource=SECRETS,
        namespace=NAMESPACE,
        owner_uid=name,
        version=version,
        marks={labels.RECORD: labels.RECORD_DATA_CLUSTER},
        annotations={labels.OUTLINE: written},
    )


def raw(wanted: AnyObject, *, version: str = "") -> dict[str, Any]:
    """As the API server shows it."""
    found: dict[str, Any] = msgspec.to_builtins(wanted)
    if version:
        found["metadata"]["resourceVersion"] = version
    return found


def resource_of(wanted: AnyObject) -> Resource:
    return _RESOURCES[type(wanted)]


def view(*seen: AnyObject | Outline | ChildMeta) -> View:
    """A View that was told of all these."""
    shown = View(NAMESPACE)
    for each in seen:
        show(shown, each)
    return shown


def show(shown: View, each: AnyObject | Outline | ChildMeta, *, version: str = "") -> None:
    """Tell the view of one more object, or of a newer state of it."""
    match each:
        case Outline():
            shown.apply_child("ADDED", record_child(each))
        case ChildMeta():
            shown.apply_child("ADDED", each)
        case _:
            resource = resource_of(each)
            shown.store_of(resource).put(raw(each, version=version))
            shown.changed(resource, each.metadata.name)


def unreadable(wanted: AnyObject) -> dict[str, Any]:
    """As a later release wrote it: with a word that our structs do not know."""
    found = raw(wanted)
    return {**found, "spec": {**found["spec"], "deletionPolicy": "Archive"}}


def show_unreadable(shown: View, wanted: AnyObject) -> None:
    """Tell the view of an object that it can not read."""
    shown.store_of(resource_of(wanted)).put(unreadable(wanted))
    shown.changed(resource_of(wanted), wanted.metadata.name)


def remove(shown: View, gone: AnyObject) -> None:
    """Tell the view that it went."""
    resource = resource_of(gone)
    shown.store_of(resource).remove(raw(gone, version="1000"))
    shown.changed(resource, gone.metadata.name)


def world(*more: AnyObject | Outline | ChildMeta) -> View:
    """A view of the Tenant `acme`, the Plan `basic` and the DataPlane `default`, and of what is given."""
    return view(tenant(), plan(), plane(), *more)


def context(**fields: Any) -> Context:
    """What a DataCluster of `acme` resolves to."""
    found = plan()
    defaults = {
        "tenant": tenant(),
        "plan": found.spec,
        "plan_name": found.metadata.name,
        "plan_version": f"{found.metadata.uid}/1",
        "plane": plane(),
        "open_plane": OpenPlane(uid_of("default"), "v-1"),
        "access": Access.OPEN,
    }
    return Context(**{**defaults, **fields})
