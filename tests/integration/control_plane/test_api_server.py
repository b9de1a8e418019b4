"""The CRDs, roles and admission policies that ship, on a real API server."""

from __future__ import annotations

import contextlib
import copy
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPSConnection
from ipaddress import ip_network
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import pytest
import yaml
import yarl
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from bulkhead.api import labels
from bulkhead.api.data_cluster import DataCluster
from bulkhead.api.data_plane import DataPlane
from bulkhead.api.duration import seconds
from bulkhead.api.meta import API_VERSION, Struct
from bulkhead.api.names import slug_problem
from bulkhead.api.plan import Compute, Plan, PlanSpec
from bulkhead.api.quantity import size_in_bytes
from bulkhead.api.tenant import Tenant
from bulkhead.engines.contract import ClaimFirst, Do
from bulkhead.reconcile.children import Owner, contents
from bulkhead.reconcile.tenant import Create, decide, listed
from hack.plane.plane import Plane
from tests.integration.control_plane.engines import decisions
from tests.unit.api import gen

ROOT = Path(__file__).parents[3]
OPERATOR = "system:serviceaccount:bulkhead-system:bulkhead-operator"
KINDS: dict[str, type[Struct]] = {"DataPlane": DataPlane, "Plan": Plan, "Tenant": Tenant, "DataCluster": DataCluster}
UID = "3f9a1c2e-0000-4000-8000-000000000001"

Json = dict[str, Any]
S = TypeVar("S", bound=Struct)
# Whole specs shrink for minutes, and the message names the field anyway.
UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said."""

    code: int
    body: Json

    @property
    def accepted(self) -> bool:
        return self.code < 300

    @property
    def message(self) -> str:
        return str(self.body.get("message", ""))


@dataclass(frozen=True, slots=True)
class Api:
    """One caller of the API server: the administrator, or whom that one impersonates."""

    line: HTTPSConnection
    user: str = ""
    groups: tuple[str, ...] = ()

    def send(self, method: str, path: str, body: Json | None = None, kind: str = "application/json") -> Answer:
        content = b"" if body is None else json.dumps(body).encode()
        self.line.putrequest(method, path)
        for name, value in self._headers(kind, len(content)):
            self.line.putheader(name, value)
        self.line.endheaders(content)
        response = self.line.getresponse()
        return Answer(response.status, json.loads(response.read() or b"{}"))

    def create(self, manifest: Json, *, dry_run: bool = False) -> Answer:
        return self.send("POST", f"{path_of(manifest)}{'?dryRun=All' if dry_run else ''}", manifest)

    def replace(self, manifest: Json, subresource: str = "") -> Answer:
        return self.send("PUT", f"{path_of(manifest)}/{name_of(manifest)}{subresource}", manifest)

    def patch(self, manifest: Json, patch: Json, subresource: str = "") -> Answer:
        path = f"{path_of(manifest)}/{name_of(manifest)}{subresource}"
        return self.send("PATCH", path, patch, "application/merge-patch+json")

    def delete(self, manifest: Json) -> Answer:
        return self.send("DELETE", f"{path_of(manifest)}/{name_of(manifest)}")

    def _headers(self, kind: str, length: int) -> list[tuple[str, str]]:
        headers = [("Content-Type", kind), ("Content-Length", str(length)), ("Accept", "application/json")]
        if self.user:
            headers.append(("Impersonate-User", self.user))
        return headers + [("Impersonate-Group", group) for group in self.groups]


PATHS = {
    "Namespace": "/api/v1/namespaces",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Service": "/api/v1/namespaces/{}/services",
    "Pod": "/api/v1/namespaces/{}/pods",
    "LimitRange": "/api/v1/namespaces/{}/limitranges",
    "ResourceQuota": "/api/v1/namespaces/{}/resourcequotas",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies",
    "Ingress": "/apis/networking.k8s.io/v1/namespaces/{}/ingresses",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
}


def path_of(manifest: Json) -> str:
    if manifest["kind"] in KINDS:
        return f"/apis/{API_VERSION}/{manifest['kind'].lower()}s"
    return PATHS[manifest["kind"]].format(manifest["metadata"].get("namespace", ""))


def name_of(manifest: Json) -> str:
    return str(manifest["metadata"]["name"])


def made(kind: str, name: str, spec: Mapping[str, Any]) -> Json:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": copy.deepcopy(dict(spec))}


def data_cluster(name: str = "acme", **spec: Any) -> Json:
    return made("DataCluster", name, {"tenantRef": {"name": "acme"}, **spec})


def tenant(name: str = "acme", **spec: Any) -> Json:
    return made("Tenant", name, spec)


def plan(name: str = "basic", **spec: Any) -> Json:
    return made("Plan", name, spec)


def postgres(**fields: Any) -> Json:
    return {"host": "postgres.data.svc", "adminSecretRef": {"name": "postgres-admin"}, **fields}


def vectors(**fields: Any) -> Json:
    return {"url": "https://qdrant.data.svc:6333", "adminSecretRef": {"name": "qdrant-admin"}, **fields}


def object_store(**fields: Any) -> Json:
    return {"endpoint": "https://minio.data.svc:9000", "adminSecretRef": {"name": "minio-admin"}, **fields}


def data_plane(name: str = "default", **spec: Any) -> Json:
    return made("DataPlane", name, spec or {"postgres": postgres()})


def peer(**target: Any) -> Json:
    return data_plane(postgres=postgres(network=[{"ports": [5432], **target}]))


def namespaced(kind: str, version: str, namespace: str, name: str, **content: Any) -> Json:
    return {"apiVersion": version, "kind": kind, "metadata": {"namespace": namespace, "name": name}, **content}


def secret(namespace: str, name: str, *, managed: bool = False) -> Json:
    manifest = namespaced("Secret", "v1", namespace, name, data={"key": "dmFsdWU="})
    if managed:
        manifest["metadata"]["labels"] = {labels.MANAGED_BY: labels.MANAGED_BY_BULKHEAD}
    return manifest


def network_policy(namespace: str, name: str = "open") -> Json:
    spec = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}
    return namespaced("NetworkPolicy", "networking.k8s.io/v1", namespace, name, spec=spec)


def ingress(namespace: str) -> Json:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    return namespaced("Ingress", "networking.k8s.io/v1", namespace, "web", spec={"defaultBackend": backend})


def service(namespace: str, name: str, **spec: Any) -> Json:
    return namespaced("Service", "v1", namespace, name, spec={"ports": [{"port": 80}], **spec})


def role_binding(namespace: str, name: str, role: str, user: str = "jane") -> Json:
    group = "rbac.authorization.k8s.io"
    return namespaced(
        "RoleBinding",
        f"{group}/v1",
        namespace,
        name,
        roleRef={"apiGroup": group, "kind": "ClusterRole", "name": role},
        subjects=[{"apiGroup": group, "kind": "User", "name": user}],
    )


def tenant_namespace(name: str = "tenant-acme", uid: str = UID) -> Json:
    marks = {labels.DATA_CLUSTER_UID: uid, "pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": marks}}


@pytest.fixture(scope="module")
def line(plane: Plane) -> Iterator[HTTPSConnection]:
    """A connection to the API server as its administrator, once the policies are in force."""
    connection = HTTPSConnection(urlsplit(plane.api.url).netloc, context=plane.api.context, timeout=30)
    with contextlib.closing(connection):
        wait_until_in_force(Api(connection))
        yield connection


def wait_until_in_force(admin: Api) -> None:
    """Policies are compiled in the background, all together: one canary is enough."""
    canary = tenant("canary", deletionProtection=True)
    assert admin.create(canary).accepted
    deadline = time.monotonic() + 30
    while admin.delete(canary).accepted:
        assert time.monotonic() < deadline, "the admission policies are not in force"
        admin.create(canary)
    assert admin.patch(canary, {"spec": {"deletionProtection": False}}).accepted
    assert admin.delete(canary).accepted


@pytest.fixture
def admin(line: HTTPSConnection) -> Api:
    return Api(line)


@pytest.fixture
def operator(line: HTTPSConnection) -> Api:
    return Api(line, OPERATOR, ("system:serviceaccounts", "system:serviceaccounts:bulkhead-system"))


@pytest.fixture(scope="module")
def root(line: HTTPSConnection) -> Api:
    """Somebody with every right, but not in the group that is exempt for emergencies."""
    api = Api(line)
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "root"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "root"}],
    }
    assert api.send("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).accepted
    return Api(line, "root")


@pytest.fixture(scope="module")
def namespace(line: HTTPSConnection) -> str:
    """A tenant's namespace, as the operator makes it."""
    made = Api(line, OPERATOR).create(tenant_namespace())
    assert made.accepted, made.message
    return "tenant-acme"


BAD: dict[str, tuple[Json, tuple[str, ...]]] = {
    "a database of Postgres as a name": (data_cluster("template1"), ("metadata.name", "reserved", "choose another")),
    "a double dash in a name": (data_cluster("acme--x"), ("metadata.name", "--", "use single dashes")),
    "a name of 60 characters": (data_cluster("a" * 60), ("metadata.name", "1 to 48 characters")),
    "a reserved prefix": (data_cluster("pg-acme"), ("metadata.name", "reserved prefix", "choose another")),
    "a dot in a name": (data_cluster("acme.x"), ("metadata.name", "1 to 48 characters")),
    "a Tenant that would yield such a name": (tenant("template1"), ("metadata.name", "spec.dataClusters is omitted")),
    "a Tenant with 64 characters": (tenant("a" * 64, dataClusters=[]), ("metadata.name", "63")),
    "such a name in the list": (tenant(dataClusters=[{"name": "acme--x"}]), ("spec.dataClusters[0].name", "dashes")),
    "a reserved name in the list": (tenant(dataClusters=[{"name": "admin"}]), ("dataClusters[0].name", "reserved")),
    "a long name in the list": (tenant(dataClusters=[{"name": "a" * 60}]), ("dataClusters[0].name", "48")),
    "one name twice": (tenant(dataClusters=[{"name": "a"}, {"name": "a"}]), ("dataClusters[1]", "Duplicate")),
    "no dimensions": (data_cluster(embedding={"dimensions": 0}), ("spec.embedding.dimensions", "1")),
    "too many dimensions": (data_cluster(embedding={"dimensions": 65536}), ("spec.embedding.dimensions", "65535")),
    "an unknown distance": (data_cluster(embedding={"distance": "cosine"}), ("spec.embedding.distance", '"Cosine"')),
    "no tenantRef": (made("DataCluster", "acme", {}), ("spec.tenantRef", "Required")),
    "a tenantRef with a path": (data_cluster(tenantRef={"name": "../x"}), ("tenantRef.name", "name of an object")),
    "an extension with a quote": (data_cluster(postgres={"extensions": ['a"; x']}), ("extensions[0]", "pg_trgm")),
    "an extension twice": (data_cluster(postgres={"extensions": ["a", "a"]}), ("extensions[1]", "Duplicate")),
    "a schema of Postgres": (data_cluster(postgres={"schemas": ["pg_x"]}), ("schemas[0]", "choose another")),
    "the schema public": (data_cluster(postgres={"schemas": ["public"]}), ("schemas[0]", "public")),
    "the schema of Postgres itself": (data_cluster(postgres={"schemas": ["information_schema"]}), ("leave it out",)),
    "the schema that holds extensions": (
        data_cluster(postgres={"schemas": ["app", "extensions"]}),
        ("spec.postgres.schemas[1]", '"extensions"', "choose another name"),
    ),
    "the schema that holds extensions, in the list": (
        tenant(dataClusters=[{"name": "a", "postgres": {"schemas": ["extensions"]}}]),
        ("spec.dataClusters[0].postgres.schemas[0]", '"extensions"', "choose another name"),
    ),
    "an index with a star": (data_cluster(search={"indexes": ["a*"]}), ("search.indexes[0]", "a-z and 0-9")),
    "no index": (data_cluster(search={"indexes": []}), ("spec.search.indexes", "at least 1")),
    "17 indexes": (data_cluster(search={"indexes": [f"i{n}" for n in range(17)]}), ("spec.search.indexes", "16")),
    "an index of 32 characters": (data_cluster(search={"indexes": ["a" * 32]}), ("search.indexes[0]", "31")),
    "egress to metadata": (data_cluster(egress=[{"cidr": "169.254.169.254/32"}]), ("egress[0].cidr", "metadata")),
    "egress to metadata that is not link-local": (
        data_cluster(egress=[{"cidr": "100.100.100.200/32"}]),
        ("egress[0].cidr", "metadata"),
    ),
    "egress around metadata": (data_cluster(egress=[{"cidr": "0.0.0.0/0"}]), ("egress[0].cidr", "narrower")),
    "egress around metadata, IPv6": (data_cluster(egress=[{"cidr": "::/0"}]), ("egress[0].cidr", "narrower")),
    "egress to loopback": (data_cluster(egress=[{"cidr": "127.0.0.1/32"}]), ("egress[0].cidr", "loopback")),
    "egress to metadata, mapped": (data_cluster(egress=[{"cidr": "::ffff:169.254.0.0/112"}]), ("cidr", "usual form")),
    "egress with host bits": (data_cluster(egress=[{"cidr": "203.0.113.7/24"}]), ("egress[0].cidr", "host bits")),
    "egress to a name": (data_cluster(egress=[{"cidr": "example.com"}]), ("egress[0].cidr", "range of addresses")),
    "egress to port 0": (data_cluster(egress=[{"cidr": "203.0.113.0/24", "ports": [0]}]), ("egress[0].ports[0]", "1")),
    "one range twice": (data_cluster(egress=[{"cidr": "203.0.113.0/24"}] * 2), ("egress[1]", "Duplicate")),
    "an image with a space": (data_cluster(dataApi={"image": "a b"}), ("spec.dataApi.image", "full image name")),
    "an unknown deletionPolicy": (data_cluster(deletionPolicy="Erase"), ("spec.deletionPolicy", '"Retain"')),
    "a member with a line break": (
        tenant(members=[{"kind": "User", "name": "jane\nroot", "role": "Owner"}]),
        ("spec.members[0].name", "line breaks"),
    ),
    "a member that ends with a line break": (
        tenant(members=[{"kind": "User", "name": "jane\n", "role": "Owner"}]),
        ("spec.members[0].name", "line breaks"),
    ),
    "a member of Kubernetes itself": (
        tenant(members=[{"kind": "Group", "name": "system:masters", "role": "Viewer"}]),
        ("spec.members[0].name", "system:", "name your own"),
    ),
    "a service account as a member": (
        tenant(members=[{"kind": "ServiceAccount", "name": "x", "role": "Viewer"}]),
        ("spec.members[0].kind", '"User"'),
    ),
    "a member with two roles": (
        tenant(members=[{"kind": "User", "name": "j", "role": role} for role in ("Owner", "Viewer")]),
        ("spec.members[1]", "Duplicate"),
    ),
    "a member without a name": (
        tenant(members=[{"kind": "User", "name": "", "role": "Owner"}]),
        ("spec.members[0].name", "not empty"),
    ),
    "a display name with a line break": (tenant(displayName="A\nB"), ("spec.displayName", "one line")),
    "no engine": (data_plane(naming="Slug"), ("spec", "at least one engine")),
    "a host with a port": (data_plane(postgres=postgres(host="db:5432")), ("spec.postgres.host", "port")),
    "two hosts": (data_plane(postgres=postgres(host="a,b")), ("spec.postgres.host", "one host name")),
    "a socket as a host": (data_plane(postgres=postgres(host="/tmp")), ("spec.postgres.host", "one host name")),  # noqa: S108
    "port 65536": (data_plane(postgres=postgres(port=65536)), ("spec.postgres.port", "65535")),
    "no TLS to another machine": (
        data_plane(postgres=postgres(tls={"mode": "disable"})),
        ("spec.postgres", "verify-full"),
    ),
    "http to another machine": (
        data_plane(vectors=vectors(url="http://qdrant:6333")),
        ("spec.vectors.url", "https://"),
    ),
    "http to what looks like loopback": (
        data_plane(vectors=vectors(url="http://127.0.0.1.evil.example")),
        ("spec.vectors.url", "https://"),
    ),
    "a URL with a user": (
        data_plane(vectors=vectors(url="https://a:b@qdrant:6333")),
        ("spec.vectors.url", "without path, query and user"),
    ),
    "a URL with a path": (data_plane(vectors=vectors(url="https://qdrant/x")), ("spec.vectors.url", "without path")),
    "a URL with port 99999": (data_plane(vectors=vectors(url="https://q:99999")), ("spec.vectors.url", "65535")),
    "a region that S3 clients refuse": (
        data_plane(objectStore=object_store(region="eu-")),
        ("spec.objectStore.region", "inside", "us-east-1"),
    ),
    "a URL with a false IPv6": (data_plane(vectors=vectors(url="https://[::1::2]")), ("spec.vectors.url", "IPv6")),
    "tokens for two days": (data_plane(vectors=vectors(tokenLifetime="48h")), ("tokenLifetime", "24h")),
    "tokens without an end": (data_plane(vectors=vectors(tokenLifetime="0h")), ("tokenLifetime", "10m")),
    "a duration in days": (data_plane(vectors=vectors(tokenLifetime="1d")), ("tokenLifetime", "1h30m")),
    "an unknown driver": (data_plane(vectors=vectors(driver="x")), ("spec.vectors.driver", '"qdrant"')),
    "a peer without a target": (peer(), ("spec.postgres.network[0]", "cidr, or namespaceSelector")),
    "a peer with two targets": (
        peer(cidr="10.0.0.0/8", namespaceSelector={}),
        ("spec.postgres.network[0]", "one way"),
    ),
    "a peer by pods alone": (peer(podSelector={}), ("spec.postgres.network[0]", "one way")),
    "a selector with a bad key": (peer(namespaceSelector={"matchLabels": {"a b": "c"}}), ("matchLabels", "each key")),
    "In without values": (
        peer(namespaceSelector={"matchExpressions": [{"key": "a", "operator": "In"}]}),
        ("matchExpressions[0]", "values"),
    ),
    "no issuer for cert-manager": (
        data_plane(postgres=postgres(), certificates={"issuer": "CertManager"}),
        ("spec.certificates", "issuerRef"),
    ),
    "a size in words": (plan(objectStore={"size": "much"}), ("spec.objectStore.size", "10Gi")),
    "a size below 1Mi": (plan(objectStore={"size": "1k"}), ("spec.objectStore.size", "1Mi")),
    "a size beyond 64 bits": (plan(objectStore={"size": "999999999Pi"}), ("spec.objectStore.size", "1Ei")),
    "a temporary file limit beyond Postgres": (
        plan(postgres={"tempFileLimit": "2Ti"}),
        ("spec.postgres.tempFileLimit", "2Ti"),
    ),
    "no connections": (plan(postgres={"connections": 0}), ("spec.postgres.connections", "1")),
    "a quota of nothing known": (plan(compute={"quota": {"cpus": "1"}}), ("spec.compute.quota", "requests.cpu")),
    "half a pod": (plan(compute={"quota": {"pods": "500m"}}), ("spec.compute", "whole number")),
    "a quota as a number": (plan(compute={"quota": {"pods": 20}}), ("spec.compute.quota.pods", "string")),
    "an overlap without end": (
        plan(credentials={"rotateEvery": "2h", "overlap": "2h"}),
        ("spec.credentials", "shorter"),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_with_the_field_and_the_way_out(admin: Api, case: str) -> None:
    manifest, says = BAD[case]
    answer = admin.create(manifest, dry_run=True)
    assert answer.code == 422, f"{case}: accepted"
    assert [each for each in says if each not in answer.message] == [], answer.message
    assert "evaluation error" not in answer.message


GOOD: dict[str, Json] = {
    "a name alone": tenant("globex"),
    "a Tenant whose name is no slug, with a list": tenant("template1", dataClusters=[{"name": "globex"}]),
    "a Tenant without data clusters": tenant("acme.example.com", dataClusters=[]),
    "members with spaces inside": tenant(members=[{"kind": "Group", "name": "CN=Ops, O=Acme", "role": "Editor"}]),
    "the longest slug": data_cluster("a" * 48),
    "schemas that are called nearly like those that are taken": data_cluster(
        postgres={"schemas": ["extension", "extensions_", "publicity", "pg"]}
    ),
    "IPv6 egress": data_cluster(egress=[{"cidr": "2001:db8::/32", "ports": [443]}]),
    "a full image": data_cluster(dataApi={"image": f"ghcr.io/example/api:1.0@sha256:{'a' * 64}"}),
    "one engine": data_plane(),
    "http on loopback": data_plane(vectors=vectors(url="http://127.0.0.1:6333")),
    "http on IPv6 loopback": data_plane(vectors=vectors(url="http://[::1]:6333")),
    "no TLS on loopback": data_plane(postgres=postgres(host="127.0.0.1", tls={"mode": "disable"})),
    "an IPv6 host": data_plane(postgres=postgres(host="2001:db8::1")),
    "peers of every kind": data_plane(
        postgres=postgres(
            network=[
                {"ports": [5432], "cidr": "10.0.0.0/8"},
                {"ports": [5432], "namespaceSelector": {}},
                {"ports": [5432], "namespaceSelector": {}, "podSelector": {"matchLabels": {"a.example/b": "c"}}},
            ]
        )
    ),
    "quotas": plan(compute={"quota": {"requests.cpu": "500m", "pods": "20", "count/deployments.apps": "5"}}),
    "an unknown field, which is dropped": tenant("initech", colour="blue"),
}


@pytest.mark.parametrize("case", GOOD)
def test_good_input_is_accepted(admin: Api, case: str) -> None:
    answer = admin.create(GOOD[case], dry_run=True)
    assert answer.accepted, answer.message


def urls(spec: Json) -> list[str]:
    return [
        value
        for part in spec.values()
        if isinstance(part, dict)
        for key in ("url", "endpoint")
        if (value := part.get(key))
    ]


def usable(kind: str, manifest: Json) -> None:
    """Raises where an accepted value would make the reconciler raise later on."""
    spec = manifest["spec"]
    for url in urls(spec):
        assert yarl.URL(url).raw_host
        assert yarl.URL(url).port
    for cidr in [*spec.get("egress", {}).get("allow", ())] if kind == "DataPlane" else []:
        ip_network(cidr)
    for rule in spec.get("egress", ()) if kind == "DataCluster" else ():
        ip_network(rule["cidr"])
    if kind == "Plan":
        sizes = (spec["postgres"]["tempFileLimit"], spec["postgres"]["databaseSize"], spec["objectStore"]["size"])
        assert all(size_in_bytes(size) >= 2**20 for size in sizes)
        assert size_in_bytes(sizes[0]) // 1024 < 2**31, "temp_file_limit is an int of kB"
        assert seconds(spec["credentials"]["overlap"]) < seconds(spec["credentials"]["rotateEvery"])


HOSTILE = st.sampled_from(
    [
        "",
        " ",
        "a\n",
        "\n",
        "\x00",
        "'",
        '"; drop',
        "../..",
        "*",
        "-",
        "_",
        "acme--x",
        "system:x",
        "ü",
        "\U0001f600",
        "a" * 600,
    ]
) | st.text(max_size=40)


def spoilt(draw: st.DrawFn, value: Any) -> Any:
    """`value` with, now and then, something hostile in place of a part of it."""
    if draw(st.integers(0, 24)) == 0:
        return draw(HOSTILE | st.none() | st.integers() | st.just([]) | st.just({}))
    if isinstance(value, dict):
        return {key: spoilt(draw, each) for key, each in value.items()}
    if isinstance(value, list):
        return [spoilt(draw, each) for each in value]
    return value


@st.composite
def specs(draw: st.DrawFn, kind: str) -> Json:
    found: Json = draw(gen.specs_of(kind))
    return spoilt(draw, found) if draw(st.booleans()) else found


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck), phases=UNSHRUNK)
@given(data=st.data())
def test_what_the_api_server_accepts_decodes_as_it_was_meant(
    line: HTTPSConnection, kind: str, data: st.DataObject
) -> None:
    spec = data.draw(specs(kind))
    answer = Api(line).create(made(kind, "acme", {}) | {"spec": spec}, dry_run=True)
    if answer.code in {400, 422}:
        return
    assert answer.accepted, answer.message
    usable(kind, answer.body)
    stored = msgspec.convert(answer.body, KINDS[kind])
    sent = msgspec.convert(without_nulls({**answer.body, "spec": spec}), KINDS[kind])
    assert stored == sent, "a default of the API server is not that of the struct"


def consequences(found: Struct, namespace: str) -> list[Json]:
    """What the operator would write to the API server because of `found`, beside ordinary objects of other kinds."""
    owner = Owner(installation="test", uid=UID, slug="acme", tenant="acme", tenant_uid=UID, namespace=namespace)
    cluster = found if isinstance(found, DataCluster) else decoded(data_cluster(), DataCluster)
    plane = found if isinstance(found, DataPlane) else decoded(data_plane(postgres=postgres(), egress=ANY), DataPlane)
    compute = found.spec.compute if isinstance(found, Plan) else Compute()
    members = found.spec.members if isinstance(found, Tenant) else ()
    rendered: list[Json] = msgspec.to_builtins(
        [child.body for child in contents(owner, cluster, plane.spec, compute, members)]
    )
    actions = decide(found, {entry.name: None for entry in listed(found)}) if isinstance(found, Tenant) else []
    return rendered + [data_cluster(each.name, **each.spec) for each in actions if isinstance(each, Create)]


ANY = {"allow": ["0.0.0.0/0", "::/0"]}


def decoded(manifest: Json, kind: type[S]) -> S:
    return msgspec.convert({**manifest, "metadata": {**manifest["metadata"], "uid": UID}}, kind)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck), phases=UNSHRUNK)
@given(data=st.data())
def test_what_follows_from_an_accepted_spec_is_accepted_too(
    line: HTTPSConnection, namespace: str, kind: str, data: st.DataObject
) -> None:
    admin = Api(line)
    answer = admin.create(made(kind, "acme", data.draw(gen.specs_of(kind))), dry_run=True)
    assume(answer.accepted)
    for manifest in consequences(msgspec.convert(answer.body, KINDS[kind]), namespace):
        follows = admin.create(manifest, dry_run=True)
        assert follows.accepted or follows.code == 409, follows.message


@pytest.mark.parametrize("kind", ["DataPlane", "Plan", "DataCluster"])
@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck), phases=UNSHRUNK)
@given(data=st.data())
def test_every_engine_knows_what_to_do_with_an_accepted_spec(
    line: HTTPSConnection, kind: str, data: st.DataObject
) -> None:
    answer = Api(line).create(made(kind, "acme", data.draw(gen.specs_of(kind))), dry_run=True)
    assume(answer.accepted)
    found = msgspec.convert(answer.body, KINDS[kind])
    cluster = (found if isinstance(found, DataCluster) else decoded(data_cluster(), DataCluster)).spec
    plan = found.spec if isinstance(found, Plan) else PlanSpec()
    plane = found if isinstance(found, DataPlane) else whole_plane(*cluster.postgres.extensions)
    assert [each for each in decisions(plane.spec, plan, cluster) if not isinstance(each, Do | ClaimFirst)] == []


def whole_plane(*extensions: str) -> DataPlane:
    """One that offers all engines, and these extensions."""
    search = {"url": "https://meilisearch.data.svc:7700", "adminSecretRef": {"name": "meilisearch-admin"}}
    database = postgres(allowedExtensions=extensions)
    return decoded(
        data_plane(postgres=database, objectStore=object_store(), vectors=vectors(), search=search), DataPlane
    )


def without_nulls(value: Any) -> Any:
    """The API server takes a null for a field that was left out."""
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    name=st.from_regex(r"[a-z0-9.-]{1,64}", fullmatch=True) | gen.slugs | st.sampled_from(["postgres", "t-a", "pg-a"])
)
def test_the_api_server_and_we_agree_on_slugs(line: HTTPSConnection, name: str) -> None:
    assert Api(line).create(data_cluster(name), dry_run=True).accepted == (slug_problem(name) is None)


CHANGES: dict[str, tuple[Json, Json, tuple[str, ...]]] = {
    "dimensions": (
        data_cluster("c1", embedding={"dimensions": 768}),
        {"embedding": {"dimensions": 1536}},
        ("spec.embedding", "dimensions is immutable", "another DataCluster"),
    ),
    "dimensions, by leaving them out": (
        data_cluster("c2", embedding={"dimensions": 768}),
        {"embedding": None},
        ("dimensions is immutable",),
    ),
    "dimensions that were left out": (
        data_cluster("c3"),
        {"embedding": {"dimensions": 768}},
        ("dimensions is immutable",),
    ),
    "distance": (data_cluster("c4"), {"embedding": {"distance": "Dot"}}, ("distance is immutable",)),
    "tenantRef": (data_cluster("c5"), {"tenantRef": {"name": "globex"}}, ("tenantRef is immutable",)),
    "dataPlaneRef that was left out": (
        data_cluster("c6"),
        {"dataPlaneRef": {"name": "other"}},
        ("dataPlaneRef is immutable",),
    ),
    "dimensions in a Tenant's list": (
        tenant("t1", dataClusters=[{"name": "x1", "embedding": {"dimensions": 768}}]),
        {"dataClusters": [{"name": "x1", "embedding": {"dimensions": 1536}}]},
        ("spec.dataClusters[0].embedding", "dimensions is immutable"),
    ),
    "dimensions, while an entry moves in the list": (
        tenant("t2", dataClusters=[{"name": "x2"}]),
        {"dataClusters": [{"name": "y2"}, {"name": "x2", "embedding": {"dimensions": 768}}]},
        ("spec.dataClusters[1].embedding", "dimensions is immutable"),
    ),
    "dimensions, by a list where there was none": (
        tenant("t3"),
        {"dataClusters": [{"name": "t3", "embedding": {"dimensions": 768}}]},
        ("spec.dataClusters", "1536", "immutable"),
    ),
    "dimensions, by no list where there was one": (
        tenant("t4", dataClusters=[{"name": "t4", "embedding": {"dimensions": 768}}]),
        {"dataClusters": None},
        ("spec.dataClusters", "1536", "immutable"),
    ),
    "a list that gave the Tenant its odd name": (
        tenant("template0", dataClusters=[]),
        {"dataClusters": None},
        ("metadata.name", "reserved"),
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_data_depends_on_can_not_be_changed(admin: Api, case: str) -> None:
    manifest, change, says = CHANGES[case]
    assert admin.create(manifest).accepted
    answer = admin.patch(manifest, {"spec": change})
    assert answer.code == 422, f"{case}: accepted"
    assert [each for each in says if each not in answer.message] == [], answer.message
    assert admin.delete(manifest).accepted


def test_the_rest_of_a_data_cluster_can_be_changed(admin: Api) -> None:
    cluster = data_cluster("c9")
    assert admin.create(cluster).accepted
    change = {"suspended": True, "embedding": {"model": "m"}, "deletionPolicy": "Delete", "egress": []}
    assert admin.patch(cluster, {"spec": change}).accepted


def test_a_list_that_says_what_was_so_already_is_accepted(admin: Api) -> None:
    plain = tenant("t9")
    assert admin.create(plain).accepted
    assert admin.patch(plain, {"spec": {"dataClusters": [{"name": "t9"}, {"name": "t9-more"}]}}).accepted
    assert admin.patch(plain, {"spec": {"dataClusters": None}}).accepted


MOVES: dict[str, tuple[Json, str]] = {
    "host": ({"postgres": {"host": "other.data.svc"}}, "spec.postgres"),
    "port": ({"postgres": {"port": 5433}}, "spec.postgres"),
    "an engine taken out": ({"vectors": None}, "spec.vectors"),
    "url": ({"vectors": {"url": "https://other.data.svc:6333"}}, "spec.vectors"),
    "naming": ({"naming": "Opaque"}, "spec.naming"),
}


@pytest.mark.parametrize("case", MOVES)
def test_a_plane_in_use_stays_where_its_data_is(admin: Api, case: str) -> None:
    change, field = MOVES[case]
    plane = data_plane(f"plane-{case.replace(' ', '-')}", postgres=postgres(), vectors=vectors())
    assert admin.create(plane).accepted
    assert admin.patch(plane, {"status": {"dataClusters": 1}}, "/status").accepted
    refused = admin.patch(plane, {"spec": change})
    assert (refused.code, field in refused.message, "another DataPlane" in refused.message) == (422, True, True)
    sneaky = admin.patch(plane, {"spec": change, "status": {"dataClusters": 0}})
    assert sneaky.code == 422, "a write to the spec changed the status"
    assert admin.patch(plane, {"status": {"dataClusters": 0}}, "/status").accepted
    assert admin.patch(plane, {"spec": change}).accepted


def test_a_plane_in_use_takes_another_engine_and_other_secrets(admin: Api) -> None:
    plane = data_plane("plane-grows")
    assert admin.create(plane).accepted
    assert admin.patch(plane, {"status": {"dataClusters": 5}}, "/status").accepted
    change = {"vectors": vectors(), "postgres": {"adminSecretRef": {"name": "renewed"}, "warmDatabases": 9}}
    assert admin.patch(plane, {"spec": change}).accepted


CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/dataclusters.bulkhead.dev"


def test_a_list_of_reserved_names_that_grows_locks_up_nothing(admin: Api) -> None:
    """A name can not be changed, so one that exists must go on taking writes, or it could not even be deleted."""
    cluster = data_cluster("elder")
    assert admin.create(cluster).accepted
    text = json.dumps(admin.send("GET", CRD).body)
    grown = json.loads(text.replace(json.dumps('"admin",')[1:-1], json.dumps('"admin", "elder", "younger",')[1:-1]))
    assert admin.send("PUT", CRD, grown).accepted
    deadline = time.monotonic() + 30
    while admin.create(data_cluster("younger"), dry_run=True).accepted:
        assert time.monotonic() < deadline, "the new list is not in force"
    assert admin.patch(cluster, {"status": {"phase": "Active"}}, "/status").accepted
    assert admin.patch(cluster, {"spec": {"suspended": True}}).accepted
    assert admin.delete(cluster).accepted


async def test_a_list_tells_a_person_how_things_are(plane: Plane, admin: Api) -> None:
    cluster = data_cluster("shown")
    assert admin.create(cluster).accepted
    why = {"type": "Ready", "status": "False", "reason": "PlaneNotFound", "message": "no such plane"}
    status = {"phase": "Pending", "conditions": [{**why, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    assert admin.patch(cluster, {"status": status}, "/status").accepted
    head, row = (await plane.kubectl("get", "dc", "shown")).splitlines()
    assert head.split() == ["NAME", "READY", "PHASE", "TENANT", "PLANE", "AGE"]
    assert row.split()[:5] == ["shown", "False", "Pending", "acme", "default"]
    wide = await plane.kubectl("get", "dc", "shown", "-o", "wide")
    assert "PlaneNotFound" in wide
    assert "no such plane" in wide


@pytest.mark.parametrize("name", ["dp", "pl", "tn", "dc", "bulkhead"])
async def test_every_kind_has_a_short_name_and_the_category(plane: Plane, name: str) -> None:
    await plane.kubectl("get", name)


async def test_every_field_is_explained(plane: Plane) -> None:
    explained = await plane.kubectl("explain", "datacluster.spec.embedding.dimensions")
    assert "Length of each vector. Immutable." in explained


def test_the_operator_works_in_the_namespaces_that_it_made(operator: Api, namespace: str) -> None:
    assert operator.create(secret(namespace, "postgres-binding", managed=True)).accepted
    assert operator.replace(secret(namespace, "postgres-binding", managed=True)).accepted
    assert operator.create(network_policy(namespace, "default-deny")).accepted
    assert operator.create(role_binding(namespace, "owner", "bulkhead-owner")).accepted
    quota = namespaced("ResourceQuota", "v1", namespace, "bulkhead", spec={"hard": {"pods": "5"}})
    assert operator.create(quota).accepted
    assert operator.replace(quota).accepted


def test_the_operator_keeps_its_records_at_home(operator: Api) -> None:
    record = secret("bulkhead-system", f"record-{UID}")
    assert operator.create(record).accepted
    assert operator.send("GET", f"{path_of(record)}/{name_of(record)}").accepted
    assert operator.delete(record).accepted


@pytest.mark.parametrize("elsewhere", ["default", "kube-system"])
def test_the_operator_writes_nowhere_else(operator: Api, elsewhere: str) -> None:
    for manifest in (
        secret(elsewhere, "x"),
        network_policy(elsewhere),
        role_binding(elsewhere, "x", "bulkhead-viewer"),
    ):
        answer = operator.create(manifest)
        assert answer.code == 403
        assert elsewhere in answer.message
        assert labels.DATA_CLUSTER_UID in answer.message


def test_the_operator_binds_nobody_at_home(operator: Api) -> None:
    assert operator.create(role_binding("bulkhead-system", "x", "bulkhead-owner")).code == 403


@pytest.mark.parametrize("role", ["cluster-admin", "edit", "bulkhead-operator"])
def test_the_operator_binds_members_to_no_other_role(operator: Api, namespace: str, role: str) -> None:
    answer = operator.create(role_binding(namespace, f"as-{role}", role))
    assert answer.code == 403
    assert "attempting to grant" in answer.message or "bulkhead-owner" in answer.message


def test_the_operator_reads_no_secret_by_name_elsewhere(operator: Api, namespace: str) -> None:
    assert operator.send("GET", f"/api/v1/namespaces/{namespace}/secrets/postgres-binding").code == 403


def test_the_operator_makes_only_stamped_namespaces(operator: Api) -> None:
    plain = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tenant-plain"}}
    assert operator.create(plain).code == 403
    assert operator.create(tenant_namespace("kube-other")).code == 403


def test_the_operator_can_neither_take_nor_delete_a_namespace_that_exists(operator: Api, admin: Api) -> None:
    theirs = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tenant-theirs"}}
    assert admin.create(theirs).accepted
    stamp = {"metadata": {"labels": {labels.DATA_CLUSTER_UID: UID}}}
    assert operator.patch(theirs, stamp).code == 403
    assert operator.delete(theirs).code == 403


def test_nobody_else_makes_a_stamped_namespace(admin: Api, root: Api) -> None:
    """Its maker could read the Secrets that the operator would put there."""
    for caller in (admin, root):
        assert caller.create(tenant_namespace("tenant-lure")).code == 403


def test_nobody_changes_or_removes_a_stamp(admin: Api, operator: Api, namespace: str) -> None:
    of = tenant_namespace(namespace)
    for caller in (admin, operator):
        for value in ("another", None):
            answer = caller.patch(of, {"metadata": {"labels": {labels.DATA_CLUSTER_UID: value}}})
            assert (answer.code, "never changed" in answer.message) == (403, True)


def test_the_operator_repairs_the_labels_of_its_namespaces(operator: Api, namespace: str) -> None:
    assert operator.patch(tenant_namespace(namespace), {"metadata": {"labels": {"colour": "blue"}}}).accepted


def test_a_stamped_namespace_comes_to_its_end(operator: Api) -> None:
    """The controllers that empty it are refused nothing."""
    going = tenant_namespace("tenant-going", uid=UID.replace("1", "2"))
    assert operator.create(going).accepted
    assert operator.create(network_policy("tenant-going")).accepted
    assert operator.create(secret("tenant-going", "held", managed=True)).accepted
    assert operator.delete(going).accepted
    deadline = time.monotonic() + 30
    while operator.send("GET", "/api/v1/namespaces/tenant-going").code != 404:
        assert time.monotonic() < deadline, "the namespace hangs"


def test_nobody_else_opens_the_network_of_a_tenant(root: Api, namespace: str) -> None:
    for manifest in (network_policy(namespace), ingress(namespace)):
        answer = root.create(manifest)
        assert answer.code == 403
        assert "spec.egress" in answer.message


def test_networks_elsewhere_are_not_our_business(root: Api) -> None:
    assert root.create(network_policy("default")).accepted
    assert root.create(ingress("default")).accepted


def test_a_service_opens_nothing_to_the_outside(root: Api, namespace: str) -> None:
    assert root.create(service(namespace, "inside")).accepted
    for spec in ({"type": "NodePort"}, {"type": "LoadBalancer"}, {"externalIPs": ["203.0.113.1"]}):
        answer = root.create(service(namespace, "outside", **spec))
        assert (answer.code, "ClusterIP" in answer.message) == (403, True)


def test_nobody_else_labels_the_namespace_of_a_tenant(root: Api, namespace: str) -> None:
    of = tenant_namespace(namespace)
    answer = root.patch(of, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}})
    assert (answer.code, "annotation" in answer.message) == (403, True)
    assert root.patch(of, {"metadata": {"annotations": {"note": "fine"}}}).accepted


def test_in_an_emergency_an_administrator_passes(admin: Api, namespace: str) -> None:
    open_all = network_policy(namespace, "emergency")
    assert admin.create(open_all).accepted
    assert admin.delete(open_all).accepted


@pytest.fixture(scope="module")
def members(line: HTTPSConnection, namespace: str) -> dict[str, Api]:
    """One member of each role."""
    operator = Api(line, OPERATOR)
    for role in ("owner", "editor", "viewer"):
        assert operator.create(role_binding(namespace, f"bulkhead-{role}", f"bulkhead-{role}", user=role)).accepted
    return {role: Api(line, role) for role in ("owner", "editor", "viewer")}


@pytest.mark.parametrize("role", ["owner", "editor", "viewer"])
def test_no_member_can_undo_the_isolation(members: dict[str, Api], namespace: str, role: str) -> None:
    quota = namespaced("ResourceQuota", "v1", namespace, "more", spec={"hard": {"pods": "500"}})
    forbidden = (
        network_policy(namespace),
        ingress(namespace),
        quota,
        role_binding(namespace, "me", "bulkhead-owner", role),
    )
    assert [members[role].create(manifest).code for manifest in forbidden] == [403] * len(forbidden)
    assert members[role].send("GET", "/api/v1/namespaces/default/secrets").code == 403


def test_an_owner_keeps_secrets_of_its_own(members: dict[str, Api], namespace: str) -> None:
    own = secret(namespace, "own")
    assert members["owner"].create(own).accepted
    assert members["owner"].patch(own, {"data": {"key": "bW9yZQ=="}}).accepted
    assert members["owner"].delete(own).accepted


def test_an_owner_reads_but_never_writes_what_the_operator_manages(
    members: dict[str, Api], operator: Api, namespace: str
) -> None:
    managed = secret(namespace, "search-binding", managed=True)
    assert operator.create(managed).accepted
    owner = members["owner"]
    assert owner.send("GET", f"{path_of(managed)}/search-binding").accepted
    unlabel = {"metadata": {"labels": {labels.MANAGED_BY: None}}}
    answers = [owner.patch(managed, {"data": {}}), owner.patch(managed, unlabel), owner.delete(managed)]
    answers.append(owner.create(secret(namespace, "forged", managed=True)))
    assert [(answer.code, "Secret of your own" in answer.message) for answer in answers] == [(403, True)] * 4


def test_an_editor_runs_workloads_and_sees_no_secret(members: dict[str, Api], namespace: str) -> None:
    assert members["editor"].create(service(namespace, "web")).accepted
    assert members["editor"].send("GET", f"/api/v1/namespaces/{namespace}/secrets").code == 403


def test_a_viewer_sees_and_changes_nothing(members: dict[str, Api], namespace: str) -> None:
    assert members["viewer"].send("GET", f"/api/v1/namespaces/{namespace}/pods").accepted
    assert members["viewer"].create(service(namespace, "mine")).code == 403


@pytest.mark.parametrize(
    "manifest", [tenant("kept", deletionProtection=True), data_cluster("kept", deletionProtection=True)]
)
def test_what_is_protected_is_not_deleted_by_anybody(admin: Api, operator: Api, manifest: Json) -> None:
    assert admin.create(manifest).accepted
    refused = admin.delete(manifest)
    assert (refused.code, "spec.deletionProtection to false" in refused.message) == (403, True)
    assert operator.delete(manifest).code == 403
    everything = admin.send("DELETE", path_of(manifest) + "?fieldSelector=metadata.name%3Dkept")
    assert everything.code == 403
    assert admin.patch(manifest, {"spec": {"deletionProtection": False}}).accepted
    assert admin.delete(manifest).accepted


def test_no_policy_has_a_mistake_of_type(admin: Api) -> None:
    found = admin.send("GET", "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies").body["items"]
    ours = [each for each in found if each["metadata"]["name"].startswith("bulkhead-")]
    assert len(ours) == 8
    assert [each["status"].get("typeChecking", {}).get("expressionWarnings") for each in ours] == [None] * 8


def test_the_operator_s_pod_passes_its_own_pod_security(admin: Api) -> None:
    documents = yaml.safe_load_all((ROOT / "manifests" / "deployment.yaml").read_text())
    template = next(each for each in documents if each["kind"] == "Deployment")["spec"]["template"]
    pod = namespaced("Pod", "v1", "bulkhead-system", "probe", spec=template["spec"])
    answer = admin.create(pod, dry_run=True)
    assert answer.accepted, answer.message


def test_no_rule_grants_a_wildcard() -> None:
    documents = [
        each
        for path in (ROOT / "manifests").glob("*.yaml")
        for each in yaml.safe_load_all(path.read_text())
        if each["kind"] in ("Role", "ClusterRole")
    ]
    granted = [value for each in documents for rule in each["rules"] for values in rule.values() for value in values]
    assert len(documents) == 5
    assert "*" not in granted
