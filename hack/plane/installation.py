"""Bulkhead on a plane: manifests applied, engines declared, the operator run as a process under the role that ships."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from hack.plane.emulation import REPOSITORY
from hack.plane.minio import Minio
from hack.plane.plane import Plane, together
from hack.plane.ports import LOOPBACK
from hack.plane.postgres import Postgres
from hack.plane.probe import status_of
from hack.plane.process import START_SECONDS, Launch, Server
from hack.plane.search import Meilisearch
from hack.plane.vectors import Qdrant

NAMESPACE: Final = "bulkhead-system"
SERVICE_ACCOUNT: Final = "bulkhead-operator"
RUN_AS_PROCESS: Final = frozenset({"Deployment", "PodDisruptionBudget"})
"""Kinds of the manifests that are not applied: no kubelet of a plane could run the image."""
PYTHONPATH: Final = f"{REPOSITORY / 'operator'}:{REPOSITORY}"
IMPORTED: Final = ("bulkhead.cli.operator",)
"""What an operator needs, whichever program it is."""


@dataclass(frozen=True, slots=True)
class Installation:
    """An installed Bulkhead.

    Attributes:
        kubeconfig: logs in as the operator's service account, with the role that ships and nothing more.
        prepared: each start of an operator is a fork of a process that has imported it, for tests that start many; see
            hack/plane/prepared.py for what is not the same. Otherwise it is the real command line.
    """

    plane: Plane
    kubeconfig: Path
    prepared: bool = False

    def operator(
        self,
        name: str = "operator",
        *,
        program: tuple[str, ...] = ("bulkhead.cli.main",),
        arguments: tuple[str, ...] = (),
    ) -> "Operator":
        """An operator, not started yet. Two of one installation need two names.

        Args:
            program: module, and what it is told before the subcommand.
            arguments: of the subcommand.
        """
        made = Operator(self, name, program, arguments)
        self.plane.servers.append(made)
        return made


async def install(plane: Plane, *, postgres_operator: tuple[str, str] | None = None) -> Installation:
    """Apply what ships, declare all engines that run as the DataPlane `default`, and a Plan `basic`.

    Args:
        postgres_operator: name and password of a restricted role; None: the superuser.
    """
    installed = await ship(plane)
    await declare(plane, postgres_operator=postgres_operator)
    return installed


async def ship(plane: Plane) -> Installation:
    """Apply what ships and nothing else: no engine is declared."""
    rendered = await plane.kubectl("kustomize", str(REPOSITORY / "manifests"))
    shipped = [each for each in yaml.load_all(rendered, Loader=yaml.CSafeLoader) if each["kind"] not in RUN_AS_PROCESS]
    await apply(plane, *shipped)
    names = [each["metadata"]["name"] for each in shipped if each["kind"] == "CustomResourceDefinition"]
    async with together() as group:
        group.create_task(plane.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", *names))
        kubeconfig = group.create_task(plane.kubeconfig_for_service_account(NAMESPACE, SERVICE_ACCOUNT))
    return Installation(plane, kubeconfig.result())


async def declare(plane: Plane, *, postgres_operator: tuple[str, str] | None = None) -> None:
    """Declare all engines that run as the DataPlane `default`, and a Plan `basic`. See `install`."""
    await apply(plane, *secrets(plane, postgres_operator))
    quota = {"requests.cpu": "2", "requests.memory": "4Gi", "pods": "20"}
    await apply(plane, plan(compute={"quota": quota}), data_plane(plane))


async def apply(plane: Plane, *objects: dict[str, Any]) -> None:
    """`kubectl apply` of these objects."""
    items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    await plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=json.dumps(items))


def secrets(plane: Plane, postgres_operator: tuple[str, str] | None = None) -> Iterator[dict[str, Any]]:
    """The admin credentials of all engines that run, in the operator's namespace."""
    yield secret("engines-ca", {"ca.crt": plane.ca_pem})
    if postgres := plane.find(Postgres):
        username, password = postgres_operator or (postgres.superuser, postgres.password)
        yield secret("postgres-admin", {"username": username, "password": password})
    if minio := plane.find(Minio):
        yield secret("minio-admin", {"access-key": minio.access_key, "secret-key": minio.secret_key})
    if qdrant := plane.find(Qdrant):
        yield secret("qdrant-admin", {"api-key": qdrant.api_key})
    if meilisearch := plane.find(Meilisearch):
        yield secret("meilisearch-admin", {"master-key": meilisearch.master_key})


def secret(name: str, values: Mapping[str, str]) -> dict[str, Any]:
    """A Secret of the operator's namespace."""
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": dict(values)}


def plan(name: str = "basic", **spec: Any) -> dict[str, Any]:
    """A Plan; fields that are not given have the defaults of the CRD."""
    return {"apiVersion": "bulkhead.dev/v1alpha1", "kind": "Plan", "metadata": {"name": name}, "spec": spec}


def data_plane(plane: Plane, name: str = "default") -> dict[str, Any]:
    """The DataPlane of all engines that run."""
    spec = {**dict(_endpoints(plane)), "defaultPlanRef": {"name": "basic"}}
    return {"apiVersion": "bulkhead.dev/v1alpha1", "kind": "DataPlane", "metadata": {"name": name}, "spec": spec}


def _endpoints(plane: Plane) -> Iterator[tuple[str, dict[str, Any]]]:
    """Field and value of each engine in the spec of a DataPlane."""
    ca = {"caSecretRef": {"name": "engines-ca"}}
    if postgres := plane.find(Postgres):
        yield (
            "postgres",
            {
                "host": postgres.host,
                "port": postgres.port,
                "adminSecretRef": {"name": "postgres-admin"},
                "tls": {"mode": "verify-full", **ca} if postgres.ca_file else {"mode": "disable"},
                "allowedExtensions": ["pg_trgm", "pgcrypto"],
                "network": _peers(f":{postgres.port}"),
            },
        )
    if minio := plane.find(Minio):
        yield "objectStore", {"endpoint": minio.url, **_reached("minio-admin", minio.url, ca)}
    if qdrant := plane.find(Qdrant):
        yield "vectors", {"url": qdrant.url, **_reached("qdrant-admin", qdrant.url, ca)}
    if meilisearch := plane.find(Meilisearch):
        yield "search", {"url": meilisearch.url, **_reached("meilisearch-admin", meilisearch.url, ca)}


def _reached(admin: str, url: str, tls: dict[str, Any]) -> dict[str, Any]:
    return {"adminSecretRef": {"name": admin}, "tls": tls, "network": _peers(url)}


def _peers(url: str) -> list[dict[str, Any]]:
    port = int(url.rsplit(":", 1)[1])
    return [{"namespaceSelector": {}, "podSelector": {}, "ports": [port]}]


class Operator(Server):
    """An operator as a process of the plane.

    Attributes:
        url: of its probes and metrics.
    """

    def __init__(
        self, installed: Installation, name: str, program: tuple[str, ...], arguments: tuple[str, ...]
    ) -> None:
        site = installed.plane.site
        folder = site.folder(name)
        port = site.ports.reserve()
        self.url = f"http://{LOOPBACK}:{port}"
        argv = (
            *(sys.executable, "-m", *program, "operator", f"--namespace={NAMESPACE}"),
            *(f"--probe-host={LOOPBACK}", f"--probe-port={port}", *arguments),
        )
        env = {"KUBECONFIG": str(installed.kubeconfig), "PYTHONPATH": PYTHONPATH}
        self._installed = installed
        super().__init__(name, site.warden, Launch(argv, folder / "operator.log", env=env, cwd=folder))

    async def start(self, *, seconds: float = START_SECONDS) -> None:
        if self._installed.prepared:
            self._warden = await self._installed.plane.site.warden.prepared(IMPORTED, PYTHONPATH)
        await super().start(seconds=seconds)

    async def answers(self) -> bool:
        return await status_of(f"{self.url}/readyz") == 200
