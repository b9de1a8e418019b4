"""A plane: a Kubernetes control plane and the engines that tenants share, on this machine, for the time of a block."""

import asyncio
import datetime as dt
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar

from hack.plane.accounts import unprivileged_account
from hack.plane.binaries import Tell, Toolbox
from hack.plane.certificates import Authority
from hack.plane.emulation import EmulatedEngine, real_program
from hack.plane.etcd import Etcd
from hack.plane.kubernetes import ApiServer, ControllerManager, Pki, Scheduler, client_user, kubeconfig
from hack.plane.minio import Minio
from hack.plane.ports import Ports
from hack.plane.postgres import Postgres
from hack.plane.postgres_builds import PostgresBuild, PostgresVersion, find_build
from hack.plane.private import write_private
from hack.plane.process import ProcessError, Server, Warden
from hack.plane.root import make_root
from hack.plane.search import Meilisearch
from hack.plane.site import Site
from hack.plane.vectors import Qdrant
from hack.plane.world import Kwok

S = TypeVar("S", bound=Server)
Beside = Callable[["Plane"], Coroutine[Any, Any, None]]


class Part(StrEnum):
    """What a plane can be made of."""

    KUBERNETES = "kubernetes"  # etcd, API server, controller manager
    WORKLOADS = "workloads"  # scheduler and KWOK: pods become ready
    POSTGRES = "postgres"
    MINIO = "minio"
    QDRANT = "qdrant"
    MEILISEARCH = "meilisearch"


PROGRAMS: Final[Mapping[Part, tuple[str, ...]]] = {
    Part.KUBERNETES: ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl"),
    Part.WORKLOADS: ("kube-scheduler", "kwok"),
    Part.MINIO: ("minio",),
}
KUBECTL_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class PlaneOptions:
    """What to start.

    Attributes:
        postgres: the major version.
        tls_postgres: whether Postgres serves TLS and nothing else.
        fsync: off, etcd and Postgres force nothing to disk, and where there is room all of it is in memory: for tests,
            never for figures that are published.
        outlives: whether it may go on when its user has logged out: what a user has in memory (/dev/shm) may be removed
            then (RemoveIPC of logind).
        directory: a new folder, where data and logs go and stay; None: a temporary one that is gone with the plane.
    """

    parts: frozenset[Part] = frozenset(Part)
    postgres: PostgresVersion = "18"
    tls_postgres: bool = False
    fsync: bool = True
    outlives: bool = False
    directory: Path | None = None

    def __post_init__(self) -> None:
        if Part.WORKLOADS in self.parts and Part.KUBERNETES not in self.parts:
            raise ValueError("workloads need kubernetes")


def say(message: str) -> None:
    """Progress goes to the standard error: the standard output belongs to whoever asked."""
    print(f"plane: {message}", file=sys.stderr, flush=True)


class Plane:
    """A running plane.

    Attributes:
        root: the folder with all data and logs.
        site: for servers that run beside those of the plane and end with it.
        ca_pem: what the certificates of all engines are verified with.
        ready_seconds: from the first process to the last readiness, without finding or building programs.
    """

    def __init__(self, site: Site, programs: Mapping[str, Path]) -> None:
        self.root = site.root
        self.ca_pem = site.authority.certificate
        self.servers: list[Server] = []
        self.ready_seconds = 0.0
        self.site = site
        self._programs = programs
        self._kubernetes_authority = Authority("plane kubernetes", now())

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        options: PlaneOptions | None = None,
        *,
        tell: Tell = say,
        beside: Mapping[Part, Beside] = MappingProxyType({}),
    ) -> AsyncIterator["Plane"]:
        """A plane that is ready, for the time of the block. However the block or this process ends, nothing stays.

        Args:
            beside: done by then too; each begins when its part serves: Postgres, or the API server.

        Raises:
            BinaryMissing: a program is missing and can not be made.
            NoAccount: this process is root, and there is no other user to run Postgres as.
            ProcessError: a server ended early or was not ready in time; the message holds the end of its log.
        """
        options = options or PlaneOptions()
        account = unprivileged_account() if Part.POSTGRES in options.parts else None
        root, remove = make_root(options.directory, account, lasting=options.fsync or options.outlives)
        async with Warden.running(root / "warden.log", remove=remove) as warden:
            programs = await Toolbox(warden, os.environ, tell).paths(*programs_of(options.parts))
            build = await postgres_build(options, tell)
            with reserved_ports() as ports:
                site = Site(root, warden, ports, Authority("plane engines", now()), account, options.fsync)
                plane = cls(site, programs)
                await plane._start(options, build, beside)
                for name in plane.emulated:
                    tell(f"{name}: no real server in BULKHEAD_{name.upper()}_BIN or on PATH, so it is emulated")
                tell(f"ready in {plane.ready_seconds:.1f} s, in {root}")
                yield plane

    @property
    def emulated(self) -> list[str]:
        """Names of the engines that are no real servers."""
        return [each.name for each in self.servers if isinstance(each, EmulatedEngine) and each.emulated]

    @property
    def api(self) -> ApiServer:
        return self._server(ApiServer)

    @property
    def etcd(self) -> Etcd:
        return self._server(Etcd)

    @property
    def controller_manager(self) -> ControllerManager:
        return self._server(ControllerManager)

    @property
    def scheduler(self) -> Scheduler:
        return self._server(Scheduler)

    @property
    def kwok(self) -> Kwok:
        return self._server(Kwok)

    @property
    def postgres(self) -> Postgres:
        return self._server(Postgres)

    @property
    def minio(self) -> Minio:
        return self._server(Minio)

    @property
    def qdrant(self) -> Qdrant:
        return self._server(Qdrant)

    @property
    def meilisearch(self) -> Meilisearch:
        return self._server(Meilisearch)

    @property
    def audit_log(self) -> Path:
        return self.api.audit_log

    @property
    def kubeconfig(self) -> Path:
        """Logs in as a cluster administrator."""
        return self.root / "admin.kubeconfig"

    @property
    def kubectl_program(self) -> Path:
        """The kubectl of the same version as the API server."""
        return self._programs["kubectl"]

    def kubeconfig_for(self, user: str, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig that logs in as this user, with no rights but those that RBAC gives."""
        pair = self._kubernetes_authority.client(user, groups)
        path = self.root / f"{user.replace('/', '_')}.kubeconfig"
        return write_private(path, kubeconfig(self.api, client_user(pair)))

    async def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """A kubeconfig with a token of an existing service account, as a pod of it would get."""
        token = await self.kubectl("create", "token", name, f"--namespace={namespace}", "--duration=24h")
        path = self.root / f"{namespace}_{name}.kubeconfig"
        return write_private(path, kubeconfig(self.api, {"token": token.strip()}))

    async def kubectl(self, *arguments: str, text: str = "") -> str:
        """What kubectl prints, run as the administrator with `text` as its input.

        Raises:
            ProcessError: it failed; the message is what it said.
        """
        command = [str(self.kubectl_program), *arguments]
        env = {"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.root)}
        ran = await asyncio.to_thread(run_text, command, env, text)
        if ran.returncode:
            raise ProcessError(f"kubectl {' '.join(arguments)}: {ran.stderr.strip()}")
        return ran.stdout

    def find(self, kind: type[S]) -> S | None:
        """The server of this class, None if the plane was started without."""
        return next((server for server in self.servers if isinstance(server, kind)), None)

    def _server(self, kind: type[S]) -> S:
        found = self.find(kind)
        if found is None:
            raise LookupError(f"this plane was started without {kind.__name__}")
        return found

    def _add(self, server: S) -> S:
        self.servers.append(server)
        return server

    async def _start(self, options: PlaneOptions, build: PostgresBuild | None, beside: Mapping[Part, Beside]) -> None:
        started = time.monotonic()
        async with together() as others:

            def serves(part: Part) -> None:
                if part in beside:
                    others.create_task(beside[part](self))

            async with together() as group:
                if Part.KUBERNETES in options.parts:
                    group.create_task(self._start_kubernetes(serves, workloads=Part.WORKLOADS in options.parts))
                if build is not None:
                    group.create_task(self._start_postgres(build, serves, tls=options.tls_postgres))
                for engine in self._engines(options.parts):
                    group.create_task(self._add(engine).start())
            self.ready_seconds = time.monotonic() - started

    def _engines(self, parts: Collection[Part]) -> Iterator[Server]:
        """The engines that need nothing but to be started."""
        if Part.MINIO in parts:
            yield Minio(self.site, self._programs["minio"])
        if Part.QDRANT in parts:
            yield Qdrant(self.site, real_program("qdrant", "BULKHEAD_QDRANT_BIN", os.environ))
        if Part.MEILISEARCH in parts:
            yield Meilisearch(self.site, real_program("meilisearch", "BULKHEAD_MEILISEARCH_BIN", os.environ))

    async def _start_kubernetes(self, serves: Callable[[Part], None], *, workloads: bool) -> None:
        pki = Pki(self.site.folder("pki"), self._kubernetes_authority, Authority("plane front proxy", now()))
        etcd = self._add(Etcd(self.site, self._programs["etcd"]))
        api = self._add(ApiServer(self.site, self._programs["kube-apiserver"], pki, etcd))
        write_private(self.kubeconfig, kubeconfig(api, client_user(pki.admin)))
        await etcd.start()
        await api.start()
        serves(Part.KUBERNETES)
        async with asyncio.TaskGroup() as group:
            manager = ControllerManager(self.site, self._programs["kube-controller-manager"], pki, api)
            group.create_task(self._add(manager).start())
            if workloads:
                group.create_task(self._start_workloads(pki, api))

    async def _start_workloads(self, pki: Pki, api: ApiServer) -> None:
        scheduler = self._add(Scheduler(self.site, self._programs["kube-scheduler"], pki, api))
        kwok = self._add(Kwok(self.site, self._programs["kwok"], pki, api))
        await kwok.add_node()
        async with asyncio.TaskGroup() as group:
            group.create_task(scheduler.start())
            group.create_task(kwok.start())

    async def _start_postgres(self, build: PostgresBuild, serves: Callable[[Part], None], *, tls: bool) -> None:
        postgres = self._add(Postgres(self.site, build, tls=tls))
        await postgres.initialise()
        await postgres.start()
        serves(Part.POSTGRES)


async def postgres_build(options: PlaneOptions, tell: Tell) -> PostgresBuild | None:
    if Part.POSTGRES not in options.parts:
        return None
    return await find_build(options.postgres, tls=options.tls_postgres, environ=os.environ, tell=tell)


def run_text(command: list[str], env: Mapping[str, str], text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=env, input=text, capture_output=True, text=True, timeout=KUBECTL_SECONDS, check=False
    )


def programs_of(parts: Collection[Part]) -> list[str]:
    return [name for part, names in PROGRAMS.items() if part in parts for name in names]


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@contextmanager
def reserved_ports() -> Iterator[Ports]:
    ports = Ports()
    try:
        yield ports
    finally:
        ports.release()


@asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """Tasks side by side; the first failure is raised as itself, the others are noted on it."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        first, *others = leaves(failures)
        for other in others:
            first.add_note(str(other))
        raise first from None


def leaves(failures: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for failure in failures.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            yield from leaves(failure)
        else:
            yield failure
