"""What a DataCluster's namespace holds: closed by default, and opened only where plane and spec agree."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.api import labels
from bulkhead.api.data_cluster import EgressRule
from bulkhead.api.data_plane import EgressPolicy, LabelSelector, NetworkPeer
from bulkhead.api.plan import Compute, ContainerDefaults
from bulkhead.api.scalars import CLOSED_RANGES
from bulkhead.api.tenant import Member, MemberKind, Role
from bulkhead.kube.resources import (
    LIMIT_RANGES,
    NETWORK_POLICIES,
    RESOURCE_QUOTAS,
    ROLE_BINDINGS,
    SECRETS,
    Resource,
)
from bulkhead.reconcile import children
from bulkhead.reconcile.children import Child, Owner
from tests.unit.reconcile import gen

Network = IPv4Network | IPv6Network

LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
OWNER = gen.owner()


def contents(
    *,
    owner: Owner = OWNER,
    egress: Iterable[EgressRule] = (),
    allow: tuple[str, ...] = (),
    deny: tuple[str, ...] = (),
    members: Iterable[Member] = (),
    compute: Compute | None = None,
    **plane: Any,
) -> tuple[Child, ...]:
    cluster = gen.cluster(egress=tuple(egress))
    spec = gen.plane(egress=EgressPolicy(allow=allow, deny=deny), **plane).spec
    return children.contents(owner, cluster, spec, compute or Compute(), members)


def one(found: Iterable[Child], name: str, resource: Resource = NETWORK_POLICIES) -> Any:
    """Content of the child of that name, as it is sent."""
    (match,) = [each for each in found if (each.resource, each.name) == (resource, name)]
    return msgspec.to_builtins(match.body)


def named(found: Iterable[Child], resource: Resource) -> set[str]:
    return {each.name for each in found if each.resource == resource}


def rule(cidr: str, *ports: int) -> EgressRule:
    return EgressRule(cidr=cidr, ports=ports)


def opened(found: Iterable[Child]) -> list[str]:
    """Ranges that the policy for egress opens."""
    policies = [each for each in found if each.name == "allow-egress"]
    return [rule["to"][0]["ipBlock"]["cidr"] for each in policies for rule in each.body["spec"]["egress"]]


def with_peers(*peers: NetworkPeer) -> dict[str, Any]:
    """A plane whose Postgres is reached there, and no other engine anywhere."""
    return {"postgres": msgspec.structs.replace(gen.ENGINES["postgres"], network=peers)}


def test_every_pod_is_denied_both_ways() -> None:
    assert one(contents(), "default-deny")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_every_policy_is_for_every_pod() -> None:
    found = contents(egress=[rule("203.0.113.0/24")], allow=("203.0.113.0/24",))
    policies = [each for each in found if each.resource == NETWORK_POLICIES]
    assert all(each.body["spec"]["podSelector"] == {} for each in policies)


def test_no_policy_opens_the_way_in() -> None:
    found = contents(egress=[rule("203.0.113.0/24")], allow=("203.0.113.0/24",))
    assert not [each.name for each in found if "ingress" in each.body.get("spec", {})]


def test_without_peers_and_egress_only_dns_is_open() -> None:
    assert named(contents(), NETWORK_POLICIES) == {"default-deny", "allow-dns"}


def test_dns_is_open_on_its_ports_alone() -> None:
    (rule,) = one(contents(), "allow-dns")["spec"]["egress"]
    assert {(each["protocol"], each["port"]) for each in rule["ports"]} == {
        ("UDP", 53),
        ("TCP", 53),
        ("UDP", 5353),
        ("TCP", 5353),
    }


def test_dns_is_open_to_the_clusters_resolvers_alone() -> None:
    (rule,) = one(contents(), "allow-dns")["spec"]["egress"]
    pods = [peer for peer in rule["to"] if "ipBlock" not in peer]
    assert all({"namespaceSelector", "podSelector"} == peer.keys() for peer in pods)
    assert [peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer] == [{"cidr": "169.254.20.10/32"}]


def test_a_peer_by_range_is_opened_on_its_ports() -> None:
    found = contents(**with_peers(NetworkPeer(ports=(5432,), cidr="10.0.0.0/24")))
    assert one(found, "allow-engines")["spec"]["egress"] == [
        {"to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}], "ports": [{"protocol": "TCP", "port": 5432}]}
    ]


def test_a_peer_by_selectors_is_opened_where_both_match() -> None:
    namespaces, pods = LabelSelector(match_labels={"team": "data"}), LabelSelector(match_labels={"app": "postgres"})
    found = contents(**with_peers(NetworkPeer(ports=(5432,), namespace_selector=namespaces, pod_selector=pods)))
    (rule,) = one(found, "allow-engines")["spec"]["egress"]
    assert rule["to"] == [
        {
            "namespaceSelector": {"matchLabels": {"team": "data"}},
            "podSelector": {"matchLabels": {"app": "postgres"}},
        }
    ]


def test_a_peer_without_pod_selector_means_all_pods_of_these_namespaces() -> None:
    namespaces = LabelSelector(match_labels={"team": "data"})
    found = contents(**with_peers(NetworkPeer(ports=(5432,), namespace_selector=namespaces)))
    (rule,) = one(found, "allow-engines")["spec"]["egress"]
    assert rule["to"] == [{"namespaceSelector": {"matchLabels": {"team": "data"}}}]


@pytest.mark.parametrize("engine", gen.ENGINES)
def test_the_peers_of_every_engine_are_opened(engine: str) -> None:
    peer = NetworkPeer(ports=(1234,), cidr="10.0.0.0/24")
    found = contents(**{engine: msgspec.structs.replace(gen.ENGINES[engine], network=(peer,))})
    assert len(one(found, "allow-engines")["spec"]["egress"]) == 1


def test_an_engine_that_is_not_offered_opens_nothing() -> None:
    assert "allow-engines" not in named(contents(postgres=None), NETWORK_POLICIES)


def networks(version: int) -> st.SearchStrategy[Network]:
    bits = 32 if version == 4 else 128
    kind = IPv4Network if version == 4 else IPv6Network
    return st.builds(
        lambda address, length: kind((address, length), strict=False),
        st.integers(0, 2**bits - 1),
        st.integers(0, bits),
    )


ANY_NETWORK = st.one_of(networks(4), networks(6))
CLOSED = tuple(map(ip_network, CLOSED_RANGES))
NEAR = st.sampled_from(CLOSED).flatmap(
    lambda closed: st.integers(0, closed.prefixlen).map(lambda length: closed.supernet(new_prefix=length))
)
"""Ranges that hold a closed one, such as everything."""
RANGES = st.one_of(ANY_NETWORK, NEAR, st.sampled_from(CLOSED)).map(str)


def inside(inner: Network, outer: Network) -> bool:
    return inner.version == outer.version and outer.supernet_of(cast("Any", inner))


def touches(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def test_a_rule_inside_what_the_plane_allows_is_opened() -> None:
    assert opened(contents(egress=[rule("203.0.113.0/25")], allow=("203.0.113.0/24",))) == ["203.0.113.0/25"]


def test_nothing_is_opened_where_the_plane_allows_nothing() -> None:
    assert opened(contents(egress=[rule("203.0.113.0/24")])) == []


def test_a_rule_wider_than_what_the_plane_allows_stays_closed() -> None:
    assert opened(contents(egress=[rule("203.0.113.0/24")], allow=("203.0.113.0/25",))) == []


def test_a_rule_that_touches_what_the_plane_denies_stays_closed() -> None:
    found = contents(egress=[rule("10.0.0.0/8")], allow=("0.0.0.0/0",), deny=("10.96.0.0/12",))
    assert opened(found) == []


def test_a_rule_of_the_other_family_stays_closed() -> None:
    assert opened(contents(egress=[rule("2001:db8::/32")], allow=("0.0.0.0/0",))) == []


def test_an_allowed_rule_is_opened_beside_one_that_is_not() -> None:
    found = contents(egress=[rule("198.51.100.0/24"), rule("203.0.113.0/24")], allow=("203.0.113.0/24",))
    assert opened(found) == ["203.0.113.0/24"]


@pytest.mark.parametrize("closed", CLOSED_RANGES)
def test_no_plane_can_open_a_closed_range(closed: str) -> None:
    assert opened(contents(egress=[rule(closed)], allow=(closed,))) == []


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"],
)
def test_no_clouds_metadata_service_is_ever_opened(address: str) -> None:
    around = str(ip_network(address).supernet(prefixlen_diff=4))
    for asked in (str(ip_network(address)), around):
        assert opened(contents(egress=[rule(asked)], allow=(around,))) == []


@given(st.lists(RANGES, max_size=3), st.lists(RANGES, max_size=3), st.lists(RANGES, max_size=2))
def test_what_is_opened_is_allowed_not_denied_and_never_closed(
    asked: list[str], allow: list[str], deny: list[str]
) -> None:
    found = contents(egress=map(rule, asked), allow=tuple(allow), deny=tuple(deny))
    for network in map(ip_network, opened(found)):
        assert any(inside(network, ip_network(each)) for each in allow)
        assert not any(touches(network, ip_network(each)) for each in deny)
        assert not any(touches(network, each) for each in CLOSED)


@given(st.lists(RANGES, max_size=3), st.lists(RANGES, max_size=3))
def test_every_rule_is_either_opened_or_told_to_be_refused(asked: list[str], allow: list[str]) -> None:
    rules = tuple(map(rule, asked))
    refused = children.refused_egress(rules, EgressPolicy(allow=tuple(allow)))
    assert sorted((*refused, *opened(contents(egress=rules, allow=tuple(allow))))) == sorted(asked)


def test_the_ports_of_a_rule_are_opened_for_tcp() -> None:
    found = contents(egress=[rule("203.0.113.0/24", 443, 8443)], allow=("203.0.113.0/24",))
    (opened_rule,) = one(found, "allow-egress")["spec"]["egress"]
    assert opened_rule["ports"] == [{"protocol": "TCP", "port": 443}, {"protocol": "TCP", "port": 8443}]


def test_a_rule_without_ports_opens_every_port() -> None:
    found = contents(egress=[rule("203.0.113.0/24")], allow=("203.0.113.0/24",))
    assert one(found, "allow-egress")["spec"]["egress"] == [{"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}]


def member(role: Role, name: str = "ada", kind: MemberKind = MemberKind.USER) -> Member:
    return Member(kind=kind, name=name, role=role)


@pytest.mark.parametrize("role", Role)
def test_a_member_is_bound_to_our_own_role(role: Role) -> None:
    (binding,) = [each for each in contents(members=[member(role)]) if each.resource == ROLE_BINDINGS]
    assert binding.body["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": f"bulkhead-{role.value.lower()}",
    }


def test_a_user_and_a_group_of_one_role_share_a_binding() -> None:
    members = [member(Role.VIEWER), member(Role.VIEWER, "ops", MemberKind.GROUP)]
    body = one(contents(members=members), "bulkhead-viewer", ROLE_BINDINGS)
    assert [(each["kind"], each["name"]) for each in body["subjects"]] == [("User", "ada"), ("Group", "ops")]


def test_a_subject_of_the_system_is_bound_to_nothing() -> None:
    everybody = [member(Role.OWNER, "system:authenticated", MemberKind.GROUP)]
    assert not [each for each in contents(members=everybody) if each.resource == ROLE_BINDINGS]


def test_a_member_with_two_roles_has_both() -> None:
    members = [member(Role.VIEWER), member(Role.OWNER)]
    assert named(contents(members=members), ROLE_BINDINGS) == {"bulkhead-viewer", "bulkhead-owner"}


def test_nobody_is_bound_without_members() -> None:
    assert named(contents(), ROLE_BINDINGS) == set()


def test_the_plans_quota_is_the_namespaces() -> None:
    found = contents(compute=Compute(quota={"pods": "20"}))
    assert one(found, "bulkhead", RESOURCE_QUOTAS)["spec"] == {"hard": {"pods": "20"}}


def test_a_container_that_names_nothing_gets_the_plans_defaults() -> None:
    found = contents(compute=Compute(container_defaults=ContainerDefaults(cpu="50m", memory="64Mi")))
    (limit,) = one(found, "bulkhead", LIMIT_RANGES)["spec"]["limits"]
    assert (limit["default"], limit["defaultRequest"]) == ({"cpu": "50m", "memory": "64Mi"},) * 2


EVERYTHING = (
    children.namespace(OWNER),
    *contents(
        egress=[rule("203.0.113.0/24", 443)],
        allow=("203.0.113.0/24",),
        members=[member(Role.OWNER)],
        **with_peers(NetworkPeer(ports=(5432,), cidr="10.0.0.0/24")),
    ),
)
by_kind = pytest.mark.parametrize("each", EVERYTHING, ids=lambda each: f"{each.resource.plural}/{each.name}")


@by_kind
def test_every_child_bears_our_stamp(each: Child) -> None:
    assert each.body["metadata"]["labels"].items() >= {
        (labels.MANAGED_BY, "bulkhead"),
        (labels.INSTALLATION, gen.INSTALLATION),
        (labels.DATA_CLUSTER, "acme"),
        (labels.DATA_CLUSTER_UID, "u-dc-acme"),
        (labels.TENANT, "acme"),
        (labels.TENANT_UID, "u-acme"),
    }


@by_kind
def test_every_label_is_one_that_kubernetes_takes(each: Child) -> None:
    assert all(LABEL_VALUE.fullmatch(value) for value in each.body["metadata"]["labels"].values())


@by_kind
def test_every_child_bears_the_digest_of_its_content(each: Child) -> None:
    assert each.body["metadata"]["annotations"] == {labels.CONTENT_HASH: each.digest}


@by_kind
def test_every_child_lies_in_the_namespace_of_its_data_cluster(each: Child) -> None:
    expected = "tenant-acme" if each.resource.namespaced else ""
    assert (each.namespace, each.body["metadata"].get("namespace", "")) == (expected, expected)


@by_kind
def test_every_child_says_what_it_is(each: Child) -> None:
    assert (each.body["apiVersion"], each.body["kind"]) == (each.resource.api_version, each.resource.kind)


@pytest.mark.parametrize("mode", ["enforce", "audit", "warn"])
def test_pods_are_restricted_in_every_mode(mode: str) -> None:
    found = children.namespace(OWNER).body["metadata"]["labels"]
    assert found[f"pod-security.kubernetes.io/{mode}"] == "restricted"


def test_the_namespaces_name_is_the_records() -> None:
    assert children.namespace(gen.owner("globex")).name == "tenant-globex"


def digest(content: dict[str, Any], owner: Owner = OWNER, marks: dict[str, str] | None = None) -> str:
    return children.child(SECRETS, owner, "binding", content, marks or {}).digest


def test_the_digest_changes_with_the_content() -> None:
    assert digest({"data": {"a": "1"}}) != digest({"data": {"a": "2"}})


def test_the_digest_changes_with_the_labels() -> None:
    assert digest({}, marks={"example.com/x": "1"}) != digest({})


def test_the_digest_changes_with_the_owner() -> None:
    assert digest({}, owner=gen.owner("globex")) != digest({})


def test_the_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"data": {"a": "1", "b": "2"}}) == digest({"data": {"b": "2", "a": "1"}})


def test_rendering_twice_gives_the_same() -> None:
    assert contents(members=[member(Role.OWNER)]) == contents(members=[member(Role.OWNER)])


def test_no_two_children_have_the_same_place() -> None:
    keys = [each.key for each in EVERYTHING]
    assert len(set(keys)) == len(keys)
