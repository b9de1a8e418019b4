"""Everything that a DataCluster's reconcile depends on, looked up once; or the reason why it can not go on.

Rules that span objects live here, because CEL can not see them. Of two rivals the older one wins, and what was
provisioned under a rule is never taken away because the rule became stricter.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bulkhead.api.conditions import Reason
from bulkhead.api.data_cluster import DataCluster, DeletionPolicy
from bulkhead.api.data_plane import DataPlane, Naming
from bulkhead.api.names import slug_problem
from bulkhead.api.plan import Plan, PlanSpec
from bulkhead.api.tenant import Tenant
from bulkhead.engines.contract import Access
from bulkhead.protocol.address import platform_url
from bulkhead.protocol.errors import Malformed
from bulkhead.reconcile.orphans import clear_up
from bulkhead.reconcile.planes import OpenPlane, Planes
from bulkhead.reconcile.view import View


@dataclass(frozen=True, slots=True)
class Unresolved:
    """Why nothing can be provisioned now, as it stands in the `Ready` condition."""

    reason: Reason
    message: str


class NotYet:
    """The plane's own first reconcile is not through; it brings its data clusters back. Nothing is to be said of it: a
    restart must not touch a single status."""


@dataclass(frozen=True, slots=True)
class Context:
    """The resolved surroundings of one DataCluster."""

    tenant: Tenant
    plan: PlanSpec
    plan_name: str
    plan_version: str
    plane: DataPlane
    open_plane: OpenPlane
    access: Access

    @property
    def opaque(self) -> bool:
        """Whether physical names hide the slug from neighbours."""
        return self.plane.spec.naming is Naming.OPAQUE


def resolve(cluster: DataCluster, view: View, planes: Planes) -> Context | NotYet | Unresolved:
    """Tenant, plan and plane of `cluster`, after every rule that spans objects."""
    if view.outline(cluster.metadata.uid) is None and (wrong := slug_problem(cluster.metadata.name)):
        # The API server refuses it; a CRD whose rules were taken out, or a restored object, does not get around that.
        return Unresolved(Reason.INVALID_SPEC, f"metadata.name {wrong}")
    tenant = view.tenant(cluster.spec.tenant_ref.name)
    if tenant is None:
        return Unresolved(
            Reason.TENANT_NOT_FOUND,
            f'spec.tenantRef names the Tenant "{cluster.spec.tenant_ref.name}", which does not exist: create it',
        )
    if tenant.metadata.deletion_timestamp and view.outline(cluster.metadata.uid) is None:
        return Unresolved(
            Reason.TENANT_DELETING,
            f'the Tenant "{tenant.metadata.name}" is being deleted: nothing new is made for it',
        )
    if problem := _rival(cluster, tenant, view):
        return problem
    plane = view.data_plane(cluster.spec.data_plane_ref.name)
    if plane is None:
        return Unresolved(
            Reason.PLANE_NOT_FOUND,
            f'spec.dataPlaneRef names the DataPlane "{cluster.spec.data_plane_ref.name}", which does not exist: '
            "create it",
        )
    plan = _plan(tenant, plane, view)
    if isinstance(plan, Unresolved):
        return plan
    if problem := _room(cluster, tenant, plan.spec, plane, view):
        return problem
    open_plane = planes.open_plane(plane)
    if open_plane is None:
        return NotYet()
    return Context(
        tenant=tenant,
        plan=plan.spec,
        plan_name=plan.metadata.name,
        plan_version=f"{plan.metadata.uid}/{plan.metadata.generation}",
        plane=plane,
        open_plane=open_plane,
        access=access_wanted(cluster, view),
    )


def access_wanted(cluster: DataCluster, view: View) -> Access:
    """Suspending the DataCluster, its Tenant, or it on the platform cuts access."""
    tenant = view.tenant(cluster.spec.tenant_ref.name)
    suspended = cluster.spec.suspended or (tenant is not None and tenant.spec.suspended)
    return Access.CUT if suspended or suspended_by_platform(cluster, view) else Access.OPEN


def suspended_by_platform(cluster: DataCluster, view: View) -> bool:
    """What the platform said last, as the record has it. It holds while the platform is silent, and while the plane
    can not be read; it ends when the plane has no platform any more, or another one."""
    outline = view.outline(cluster.metadata.uid)
    if outline is None or not outline.suspended:
        return False
    plane = view.data_plane(cluster.spec.data_plane_ref.name)
    return plane is None or platform_of(plane) == outline.platform


def platform_of(plane: DataPlane) -> str:
    """URL of the plane's platform in its canonical form; empty: it has none that can be used."""
    try:
        return platform_url(plane.spec.platform.url) if plane.spec.platform is not None else ""
    except Malformed:
        return ""


def deletion_policy(cluster: DataCluster, tenant: Tenant | None) -> DeletionPolicy:
    """Where Tenant and DataCluster differ, Retain wins: data is erased only if nobody wants to keep it."""
    if tenant is not None and tenant.spec.deletion_policy is DeletionPolicy.RETAIN:
        return DeletionPolicy.RETAIN
    return cluster.spec.deletion_policy


def namesake(tenant: Tenant, bound_to: str) -> Unresolved | None:
    """That `tenant` only has the name of the Tenant, of the UID `bound_to`, to which a DataCluster is bound."""
    if tenant.metadata.uid == bound_to:
        return None
    return Unresolved(
        Reason.TENANT_UID_CHANGED,
        f'this DataCluster belongs to a former Tenant "{tenant.metadata.name}" with the UID {bound_to}; '
        "a namesake does not inherit its data: delete this DataCluster, or give the new Tenant another one",
    )


def _rival(cluster: DataCluster, tenant: Tenant, view: View) -> Unresolved | None:
    """Another owner of what this DataCluster asks for: another Tenant's UID, or the record of a namesake."""
    outline = view.outline(cluster.metadata.uid)
    if outline is not None and (problem := namesake(tenant, outline.tenant_uid)):
        return problem
    for other in view.outlines_of_slug(cluster.metadata.name):
        if other.uid != cluster.metadata.uid and other.plane == cluster.spec.data_plane_ref.name:
            left = "the retained data" if other.retained_at else "what nobody cleared up"
            return Unresolved(
                Reason.NAME_RESERVED,
                f'the names of "{cluster.metadata.name}" are reserved for {left} of a former DataCluster '
                f"(UID {other.uid}): choose another name; or {clear_up(other.uid)}",
            )
    return None


def _plan(tenant: Tenant, plane: DataPlane, view: View) -> Plan | Unresolved:
    ref = tenant.spec.plan_ref or plane.spec.default_plan_ref
    if ref is None:
        return Unresolved(
            Reason.PLAN_NOT_FOUND,
            f'neither the Tenant "{tenant.metadata.name}" (spec.planRef) nor the DataPlane "{plane.metadata.name}" '
            "(spec.defaultPlanRef) names a Plan: set one of them",
        )
    plan = view.plan(ref.name)
    if plan is None:
        return Unresolved(
            Reason.PLAN_NOT_FOUND, f'the Plan "{ref.name}" does not exist: create it, or name another one'
        )
    return plan


def _room(cluster: DataCluster, tenant: Tenant, plan: PlanSpec, plane: DataPlane, view: View) -> Unresolved | None:
    if view.outline(cluster.metadata.uid) is not None:
        return None  # a stricter plan or plane never takes away what is there
    if not _fits(cluster, view.data_clusters_of(tenant.metadata.name), plan.data_clusters):
        return Unresolved(
            Reason.PLAN_EXCEEDED,
            f'the plan of the Tenant "{tenant.metadata.name}" allows {plan.data_clusters} data clusters, and older '
            "ones use them all: choose a larger Plan, or delete one",
        )
    full = view.count_on(plane.metadata.name) > plane.spec.capacity.data_clusters
    if full and not _fits(cluster, view.data_clusters_on(plane.metadata.name), plane.spec.capacity.data_clusters):
        return Unresolved(
            Reason.CAPACITY_EXHAUSTED,
            f'the DataPlane "{plane.metadata.name}" is full ({plane.spec.capacity.data_clusters} data clusters, '
            "spec.capacity.dataClusters): use another plane",
        )
    return None


def _fits(cluster: DataCluster, rivals: Collection[DataCluster], places: int) -> bool:
    if len(rivals) <= places:
        return True
    mine = (cluster.metadata.creation_timestamp, cluster.metadata.uid)
    return sum((rival.metadata.creation_timestamp, rival.metadata.uid) < mine for rival in rivals) < places
