"""What a DataCluster's namespace holds besides Secrets: pure rendering of manifests.

Everything that enters a manifest from a spec was bounded by the schema; names come from the record. No field of a
tenant's spec names an object of another namespace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import msgspec

from bulkhead.api import labels
from bulkhead.api.data_cluster import DataCluster, EgressRule
from bulkhead.api.data_plane import DataPlaneSpec, EgressPolicy, NetworkPeer
from bulkhead.api.plan import Compute
from bulkhead.api.record import Record
from bulkhead.api.scalars import CLOSED_RANGES
from bulkhead.api.tenant import Member
from bulkhead.kube.client import FIELD_MANAGER
from bulkhead.kube.resources import LIMIT_RANGES, NAMESPACES, NETWORK_POLICIES, RESOURCE_QUOTAS, ROLE_BINDINGS, Resource

DNS_PORTS = (53, 5353)
"""5353 is OpenShift's DNS pod; policies see ports after DNAT."""


@dataclass(frozen=True, slots=True)
class Child:
    """One wanted object. `digest` covers all that we want of it, so that a watch of metadata sees drift."""

    resource: Resource
    name: str
    namespace: str
    body: Mapping[str, Any]
    digest: str

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.resource.plural, self.namespace, self.name)

    def claimed(self) -> dict[str, Any]:
        """The body, together with the statement that each field of it is ours and nobody else's."""
        content = {key: value for key, value in self.body.items() if key not in ("apiVersion", "kind", "metadata")}
        metadata = self.body["metadata"]
        content["metadata"] = {key: metadata[key] for key in ("labels", "annotations")}
        entry = {
            "manager": FIELD_MANAGER,
            "operation": "Update",
            "apiVersion": self.resource.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": _fields(content),
        }
        return {**self.body, "metadata": {**metadata, "managedFields": [entry]}}


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose children are rendered: what their labels say and where they go."""

    installation: str
    uid: str
    slug: str
    tenant: str
    tenant_uid: str
    namespace: str

    @classmethod
    def of(cls, record: Record) -> Owner:
        return cls(
            record.installation, record.uid, record.slug, record.tenant, record.tenant_uid, record.names.namespace
        )

    def labels(self) -> dict[str, str]:
        return {
            labels.MANAGED_BY: labels.MANAGED_BY_BULKHEAD,
            labels.INSTALLATION: self.installation,
            labels.DATA_CLUSTER: self.slug,
            labels.DATA_CLUSTER_UID: self.uid,
            labels.TENANT: self.tenant,
            labels.TENANT_UID: self.tenant_uid,
        }


def child(
    resource: Resource, owner: Owner, name: str, content: Mapping[str, Any], extra_labels: Mapping[str, str] = {}
) -> Child:
    """Wrap `content` (spec, data, rules …) into a labelled object that bears the digest of itself."""
    wanted_labels = {**owner.labels(), **extra_labels}
    digest = hashlib.sha256(msgspec.json.encode([wanted_labels, content], order="deterministic")).hexdigest()[:16]
    namespace = owner.namespace if resource.namespaced else ""
    metadata: dict[str, Any] = {"name": name, "labels": wanted_labels, "annotations": {labels.CONTENT_HASH: digest}}
    if namespace:
        metadata["namespace"] = namespace
    body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **content}
    return Child(resource, name, namespace, body, digest)


def _fields(value: Mapping[str, Any]) -> dict[str, Any]:
    """The names of all fields in FieldsV1. What the schema treats as one (a list, a roleRef) the API server folds."""
    return {f"f:{key}": _fields(each) if isinstance(each, Mapping) else {} for key, each in value.items()}


def namespace(owner: Owner) -> Child:
    """The namespace itself; Pod Security `restricted` at every level."""
    pod_security = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return child(NAMESPACES, owner, owner.namespace, {}, pod_security)


def contents(
    owner: Owner, cluster: DataCluster, plane: DataPlaneSpec, compute: Compute, members: Iterable[Member]
) -> tuple[Child, ...]:
    """Everything in the namespace but Secrets."""
    return (
        _quota(owner, compute),
        _limits(owner, compute),
        *_member_bindings(owner, members),
        *_network_policies(owner, cluster, plane),
    )


def refused_egress(rules: Iterable[EgressRule], policy: EgressPolicy) -> tuple[str, ...]:
    """CIDRs of `rules` that the plane does not allow: not inside `allow`, or touching `deny` or a closed range."""
    return tuple(rule.cidr for rule in rules if not _allowed(rule.cidr, policy))


def _quota(owner: Owner, compute: Compute) -> Child:
    return child(RESOURCE_QUOTAS, owner, "bulkhead", {"spec": {"hard": dict(compute.quota)}})


def _limits(owner: Owner, compute: Compute) -> Child:
    defaults = {"cpu": compute.container_defaults.cpu, "memory": compute.container_defaults.memory}
    limit = {"type": "Container", "default": defaults, "defaultRequest": defaults}
    return child(LIMIT_RANGES, owner, "bulkhead", {"spec": {"limits": [limit]}})


def _member_bindings(owner: Owner, members: Iterable[Member]) -> Iterable[Child]:
    """One RoleBinding per role, to our own ClusterRoles only: the built-in `edit` would undo the isolation. Subjects of
    the system itself (`system:authenticated` is everybody) are bound by nobody's spec, whatever the CRD lets through.
    """
    by_role: dict[str, list[dict[str, str]]] = {}
    for member in members:
        if member.name.startswith("system:"):
            continue
        subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": member.kind.value, "name": member.name}
        by_role.setdefault(f"bulkhead-{member.role.value.lower()}", []).append(subject)
    for role, subjects in sorted(by_role.items()):
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
        yield child(ROLE_BINDINGS, owner, role, {"roleRef": ref, "subjects": subjects})


def _network_policies(owner: Owner, cluster: DataCluster, plane: DataPlaneSpec) -> Iterable[Child]:
    yield _policy(owner, "default-deny", {"policyTypes": ["Ingress", "Egress"]})
    yield _policy(owner, "allow-dns", {"policyTypes": ["Egress"], "egress": [_dns_rule()]})
    engines = [rule for peers in _engine_peers(plane) for rule in map(_peer_rule, peers)]
    if engines:
        yield _policy(owner, "allow-engines", {"policyTypes": ["Egress"], "egress": engines})
    allowed = [rule for rule in cluster.spec.egress if _allowed(rule.cidr, plane.egress)]
    if allowed:
        egress = [{"to": [{"ipBlock": {"cidr": r.cidr}}], **_ports(r.ports, ("TCP",))} for r in allowed]
        yield _policy(owner, "allow-egress", {"policyTypes": ["Egress"], "egress": egress})


def _policy(owner: Owner, name: str, spec: Mapping[str, Any]) -> Child:
    return child(NETWORK_POLICIES, owner, name, {"spec": {"podSelector": {}, **spec}})


def _dns_rule() -> dict[str, Any]:
    """The cluster's resolvers: kube-dns and OpenShift's by selector, NodeLocal DNS by its address."""
    system = [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
            "podSelector": {"matchLabels": selector},
        }
        for name, selector in (
            ("kube-system", {"k8s-app": "kube-dns"}),
            ("openshift-dns", {"dns.operator.openshift.io/daemonset-dns": "default"}),
        )
    ]
    return {"to": [*system, {"ipBlock": {"cidr": "169.254.20.10/32"}}], **_ports(DNS_PORTS, ("UDP", "TCP"))}


def _engine_peers(plane: DataPlaneSpec) -> Iterable[tuple[NetworkPeer, ...]]:
    declared = (plane.postgres, plane.object_store, plane.vectors, plane.search)
    return (engine.network for engine in declared if engine is not None)


def _peer_rule(peer: NetworkPeer) -> dict[str, Any]:
    if peer.cidr:
        target: dict[str, Any] = {"ipBlock": {"cidr": peer.cidr}}
    else:
        selectors = {"namespaceSelector": peer.namespace_selector, "podSelector": peer.pod_selector}
        target = {key: value for key, value in selectors.items() if value is not None}
    return {"to": [target], **_ports(peer.ports, ("TCP",))}


def _ports(ports: Iterable[int], protocols: Iterable[str]) -> dict[str, Any]:
    """`ports` of a rule; no ports given means every port, which Kubernetes says by leaving the field out."""
    listed = [{"protocol": protocol, "port": port} for port in ports for protocol in protocols]
    return {"ports": listed} if listed else {}


def _allowed(cidr: str, policy: EgressPolicy) -> bool:
    wanted = ip_network(cidr, strict=False)
    closed = map(_network, (*policy.deny, *CLOSED_RANGES))
    if any(wanted.version == other.version and wanted.overlaps(other) for other in closed):
        return False
    return any(_inside(wanted, _network(allowed)) for allowed in policy.allow)


def _network(cidr: str) -> IPv4Network | IPv6Network:
    return ip_network(cidr, strict=False)


def _inside(inner: IPv4Network | IPv6Network, outer: IPv4Network | IPv6Network) -> bool:
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)
