"""The kinds that the operator reads or writes, and where they lie on the API server."""

from __future__ import annotations

import re
from typing import NamedTuple

from bulkhead.api.meta import GROUP, VERSION
from bulkhead.kube.errors import Invalid

# What the API server itself allows in a path: anything else could leave the segment ("..", "/", "%2f", "?").
_SEGMENT = re.compile(r"(?!\.\.?$)[A-Za-z0-9._:-]{1,253}")


class Resource(NamedTuple):
    """One kind in one version. A tuple, because it is hashed for every event of a watch."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """As in an object's `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def collection(self, namespace: str | None = None) -> str:
        """Path of all objects, in one namespace or in all. Raises Invalid."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if namespace is None:
            return f"{root}/{self.plural}"
        if not self.namespaced:
            raise Invalid(f"{self.plural} do not lie in a namespace")
        return f"{root}/namespaces/{_segment(namespace)}/{self.plural}"

    def path(self, name: str, namespace: str | None = None, subresource: str = "") -> str:
        """Path of one object, or of its subresource.

        Raises Invalid where the name can not be one segment of a path or the namespace is missing: the path would be
        that of something else, such as the whole collection, which a DELETE would empty.
        """
        if self.namespaced and namespace is None:
            raise Invalid(f"{self.plural} lie in a namespace")
        path = f"{self.collection(namespace)}/{_segment(name)}"
        return f"{path}/{subresource}" if subresource else path


def _segment(name: str) -> str:
    if not _SEGMENT.fullmatch(name):
        raise Invalid(f"{name!r} can not be the name of an object")
    return name


DATA_PLANES = Resource(GROUP, VERSION, "dataplanes", "DataPlane", namespaced=False)
PLANS = Resource(GROUP, VERSION, "plans", "Plan", namespaced=False)
TENANTS = Resource(GROUP, VERSION, "tenants", "Tenant", namespaced=False)
DATA_CLUSTERS = Resource(GROUP, VERSION, "dataclusters", "DataCluster", namespaced=False)
OWN_KINDS = (DATA_PLANES, PLANS, TENANTS, DATA_CLUSTERS)

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
SECRETS = Resource("", "v1", "secrets", "Secret", namespaced=True)
RESOURCE_QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota", namespaced=True)
LIMIT_RANGES = Resource("", "v1", "limitranges", "LimitRange", namespaced=True)
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", namespaced=True)
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", namespaced=True)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)
CUSTOM_RESOURCE_DEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
