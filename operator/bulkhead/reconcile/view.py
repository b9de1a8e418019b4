"""The newest watched state, as the flows ask for it. Looking never calls the API server."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from bulkhead.api import labels
from bulkhead.api.data_cluster import DataCluster
from bulkhead.api.data_plane import DataPlane
from bulkhead.api.plan import Plan
from bulkhead.api.record import Outline
from bulkhead.api.tenant import Tenant
from bulkhead.kube.children import Change, ChildMeta, ChildStore
from bulkhead.kube.resources import DATA_CLUSTERS, DATA_PLANES, NAMESPACES, PLANS, SECRETS, TENANTS, Resource
from bulkhead.kube.store import ObjectStore, Undecodable
from bulkhead.reconcile.records import outline_in, record_name

T = TypeVar("T")

_NONE: Mapping[str, None] = {}


class References(NamedTuple):
    """Whom a DataCluster names."""

    tenant: str
    plane: str


class View:
    """Objects of our kinds, their children's metadata and the records' outlines, with the indexes that flows need."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.planes = ObjectStore(DATA_PLANES, DataPlane)
        self.plans = ObjectStore(PLANS, Plan)
        self.tenants = ObjectStore(TENANTS, Tenant)
        self.clusters = ObjectStore(DATA_CLUSTERS, DataCluster)
        self._children = ChildStore()
        self._outlines: dict[str, Outline] = {}
        self._by_slug: dict[str, set[str]] = {}
        self._untold: set[str] = set()
        """UIDs of DataClusters whose record has no outline that can be read."""
        self._references: dict[str, References] = {}
        self._by_tenant: dict[str, dict[str, None]] = {}
        self._by_plane: dict[str, dict[str, None]] = {}

    def tenant(self, name: str) -> Tenant | None:
        return _decoded(self.tenants.get(name))

    def plan(self, name: str) -> Plan | None:
        return _decoded(self.plans.get(name))

    def data_plane(self, name: str) -> DataPlane | None:
        return _decoded(self.planes.get(name))

    def data_cluster(self, name: str) -> DataCluster | None:
        return _decoded(self.clusters.get(name))

    def data_clusters_of(self, tenant: str) -> Collection[DataCluster]:
        """Every DataCluster whose `tenantRef` names this Tenant, as far as they can be read."""
        return self._named(self._by_tenant.get(tenant, _NONE))

    def names_of(self, tenant: str) -> Collection[str]:
        """The names of all that there are, those that can not be read too."""
        return tuple(self._by_tenant.get(tenant, _NONE))

    def data_clusters_on(self, plane: str) -> Collection[DataCluster]:
        """Every DataCluster whose `dataPlaneRef` names this DataPlane, as far as they can be read."""
        return self._named(self._by_plane.get(plane, _NONE))

    def count_on(self, plane: str) -> int:
        """How many there are, those that can not be read too, without touching each."""
        return len(self._by_plane.get(plane, _NONE))

    def names_plane(self, plane: str) -> bool:
        """Whether a DataCluster or a record names this DataPlane; a record that does not tell which one counts."""
        return bool(self.count_on(plane) or self._untold) or any(each.plane == plane for each in self.outlines())

    @property
    def stores(self) -> tuple[ObjectStore[Any], ...]:
        """The stores of all our kinds."""
        return (self.planes, self.plans, self.tenants, self.clusters)

    def store_of(self, resource: Resource) -> ObjectStore[Any]:
        """The store of one of our kinds."""
        return next(store for store in self.stores if store.resource == resource)

    def changed(self, resource: Resource, name: str) -> tuple[References | None, References | None]:
        """Bring the indexes in line with a store that has news of this object. Returns whom a DataCluster named before
        and names now."""
        if resource != DATA_CLUSTERS:
            return None, None
        before = self._references.pop(name, None)
        after = _references(self.clusters.get(name), before)
        if before is not None:
            self._by_tenant[before.tenant].pop(name, None)
            self._by_plane[before.plane].pop(name, None)
        if after is not None:
            self._references[name] = after
            self._by_tenant.setdefault(after.tenant, {})[name] = None
            self._by_plane.setdefault(after.plane, {})[name] = None
        return before, after

    def _named(self, names: Mapping[str, None]) -> list[DataCluster]:
        found = (self.data_cluster(name) for name in names)
        return [cluster for cluster in found if cluster is not None]

    def child(self, resource: Resource, namespace: str, name: str) -> ChildMeta | None:
        return self._children.get(resource, name, namespace)

    def left(self, resource: Resource, namespace: str, name: str) -> int | None:
        """The ownership of fields that our own last write to a child left behind; None where that is not known."""
        return self._children.left(resource, name, namespace)

    def confirm(self, children: Iterable[ChildMeta]) -> None:
        """Take it as known that nobody wrote to these since we did."""
        self._children.confirm(children)

    def children_of(self, uid: str) -> list[ChildMeta]:
        """What belongs to a DataCluster: its namespace and what lies in there. Labels alone prove nothing: anybody can
        copy them onto objects of another namespace, where nothing is ours to count or to delete."""
        found = self._children.children_of(uid)
        homes = {"", *(child.key.name for child in found if child.key.resource == NAMESPACES)}
        return [child for child in found if child.key.namespace in homes]

    def put_child(self, resource: Resource, answer: dict[str, Any]) -> None:
        """Take over the answer to our own write, ahead of the watch."""
        if not self._children.put(resource, answer):
            return
        metadata = answer["metadata"]
        self._note_record(resource, metadata["name"], metadata.get("namespace", ""))

    def apply_child(self, change: Change, child: ChildMeta) -> bool:
        """Take over what a metadata watch reports; False where it is not news."""
        news = self._children.apply(change, child)
        if news:
            self._note_record(child.key.resource, child.key.name, child.key.namespace)
        return news

    def outline(self, uid: str) -> Outline | None:
        """What is known of the record of a DataCluster."""
        return self._outlines.get(uid)

    def has_record(self, uid: str) -> bool:
        """Whether a DataCluster has a record, readable or not."""
        return bool(self.secret_version(record_name(uid)))

    def secret_version(self, name: str) -> str:
        """Version of a Secret of the operator's own namespace; empty where there is none."""
        found = self._children.get(SECRETS, name, self._namespace)
        return found.resource_version if found is not None else ""

    def outlines(self) -> Iterator[Outline]:
        """Of every record, those of retained data too."""
        return iter(tuple(self._outlines.values()))

    def outlines_of_slug(self, slug: str) -> Iterator[Outline]:
        """Records of all DataClusters, living and gone, that have this name."""
        return (self._outlines[uid] for uid in tuple(self._by_slug.get(slug, ())))

    def _note_record(self, resource: Resource, name: str, namespace: str) -> None:
        if resource != SECRETS or namespace != self._namespace:
            return
        child = self._children.get(resource, name, namespace)
        uid = name.removeprefix("record-")
        if child is None or child.labels.get(labels.RECORD) != labels.RECORD_DATA_CLUSTER:
            self._forget_record(uid)
            return
        outline = outline_in(child.annotations)
        if outline is None:
            self._untold.add(uid)
        else:
            self._untold.discard(uid)
            self._outlines[outline.uid] = outline
            self._by_slug.setdefault(outline.slug, set()).add(outline.uid)

    def _forget_record(self, uid: str) -> None:
        self._untold.discard(uid)
        outline = self._outlines.pop(uid, None)
        if outline is not None:
            self._by_slug[outline.slug].discard(uid)


def _references(found: DataCluster | Undecodable | None, before: References | None) -> References | None:
    """Whom it names. One that can not be read, as after a rollback of the operator, still has its data somewhere; what
    of its references can not be read either is as it was before."""
    if not isinstance(found, Undecodable):
        return References(found.spec.tenant_ref.name, found.spec.data_plane_ref.name) if found else None
    known = before or References("", "")
    return References(
        _name_in(found.spec, "tenantRef") or known.tenant, _name_in(found.spec, "dataPlaneRef") or known.plane
    )


def _name_in(spec: Any, field: str) -> str:
    reference = spec.get(field) if isinstance(spec, Mapping) else None
    name = reference.get("name") if isinstance(reference, Mapping) else None
    return name if isinstance(name, str) else ""


def _decoded(found: T | Undecodable | None) -> T | None:
    """An object that does not fit our structs is nobody's input; the dispatcher says so in its status."""
    return None if isinstance(found, Undecodable) else found
