"""What a plane on its own leaves in a folder, so that others find it: who runs it, and how to reach its servers."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from hack.plane.certificates import write_private
from hack.plane.gateway import Gateway
from hack.plane.kubernetes import ApiServer
from hack.plane.minio import Minio
from hack.plane.plane import Plane
from hack.plane.platform import Replica
from hack.plane.postgres import Postgres
from hack.plane.search import Meilisearch
from hack.plane.vectors import Qdrant

STATE_FILE = "state.json"


class AlreadyUp(Exception):
    """Another plane uses the folder."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    name: str
    pid: int
    log_file: str


@dataclass(frozen=True, slots=True)
class KubernetesFacts:
    url: str
    kubeconfig: str
    audit_log: str
    kubectl: str


@dataclass(frozen=True, slots=True)
class PostgresFacts:
    host: str
    port: int
    superuser: str
    version: str
    ca_file: str | None
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MinioFacts:
    url: str
    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class QdrantFacts:
    url: str
    emulated: bool
    api_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class MeilisearchFacts:
    url: str
    emulated: bool
    master_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PlatformFacts:
    """ca_pem: empty: it speaks plain HTTP. program: the `bulkhead` of whoever maintains it; holds secrets."""

    url: str
    ca_pem: str
    program: str


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """client_certificate, client_key: that the platform shows it. ca_pem: what its clusters are verified with."""

    address: str
    ca_pem: str
    client_certificate: str
    client_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PlaneFacts:
    """How to reach each part of a plane; None: it was started without.

    Attributes:
        ca_pem: what the certificates of the engines are verified with.
    """

    root: str
    ca_pem: str
    servers: list[ServerFacts]
    kubernetes: KubernetesFacts | None
    postgres: PostgresFacts | None
    minio: MinioFacts | None
    qdrant: QdrantFacts | None
    meilisearch: MeilisearchFacts | None
    platform: PlatformFacts | None
    gateway: GatewayFacts | None


@dataclass(frozen=True, slots=True)
class State:
    """The content of the state file.

    Attributes:
        pid, started: the process that runs the plane, and when it was started (clock ticks since boot): a process that
            was given the same id later is another.
        plane: None while it starts.
    """

    pid: int
    started: int
    plane: PlaneFacts | None = None


def read_state(folder: Path) -> State | None:
    """The state in a folder, None if no plane was started there. It holds secrets."""
    try:
        return msgspec.json.decode((folder / STATE_FILE).read_bytes(), type=State)
    except FileNotFoundError:
        return None


def write_state(folder: Path, state: State) -> None:
    """Replace the state at once: a reader sees the old one or the new one."""
    text = msgspec.json.format(msgspec.json.encode(state)).decode()
    write_private(folder / f"{STATE_FILE}.new", text).replace(folder / STATE_FILE)


def remove_state(folder: Path) -> None:
    (folder / STATE_FILE).unlink(missing_ok=True)


def runs(state: State) -> bool:
    """Whether the process that wrote the state is still there."""
    return started_at(state.pid) == state.started


def started_at(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot; None: there is none."""
    try:
        # The name, in parentheses, may hold spaces and parentheses itself.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    ended = fields[0] in {"Z", "X"}
    return None if ended else int(fields[19])


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold the folder for one plane.

    Raises:
        AlreadyUp: another process holds it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyUp(f"a plane is already up in {folder}") from None
        yield


def own_state(plane: PlaneFacts | None = None) -> State:
    """The state that this process writes about itself."""
    started = started_at(os.getpid())
    assert started is not None  # noqa: S101 - this process is running
    return State(os.getpid(), started, plane)


def facts_of(plane: Plane) -> PlaneFacts:
    return PlaneFacts(
        root=str(plane.root),
        ca_pem=plane.ca_pem,
        servers=[ServerFacts(server.name, server.pid, str(server.log_file)) for server in plane.servers],
        kubernetes=kubernetes_facts(plane.find(ApiServer), plane),
        postgres=postgres_facts(plane.find(Postgres)),
        minio=minio_facts(plane.find(Minio)),
        qdrant=qdrant_facts(plane.find(Qdrant)),
        meilisearch=meilisearch_facts(plane.find(Meilisearch)),
        platform=platform_facts(plane.find(Replica)),
        gateway=gateway_facts(plane.find(Gateway)),
    )


def kubernetes_facts(api: ApiServer | None, plane: Plane) -> KubernetesFacts | None:
    if api is None:
        return None
    return KubernetesFacts(api.url, str(plane.kubeconfig), str(api.audit_log), str(plane.kubectl_program))


def postgres_facts(postgres: Postgres | None) -> PostgresFacts | None:
    if postgres is None:
        return None
    return PostgresFacts(
        host=postgres.host,
        port=postgres.port,
        superuser=postgres.superuser,
        version=postgres.version,
        ca_file=None if postgres.ca_file is None else str(postgres.ca_file),
        password=postgres.password,
    )


def minio_facts(minio: Minio | None) -> MinioFacts | None:
    return None if minio is None else MinioFacts(minio.url, minio.access_key, minio.secret_key)


def qdrant_facts(qdrant: Qdrant | None) -> QdrantFacts | None:
    return None if qdrant is None else QdrantFacts(qdrant.url, qdrant.emulated, qdrant.api_key)


def meilisearch_facts(search: Meilisearch | None) -> MeilisearchFacts | None:
    return None if search is None else MeilisearchFacts(search.url, search.emulated, search.master_key)


def platform_facts(replica: Replica | None) -> PlatformFacts | None:
    if replica is None:
        return None
    platform = replica.platform
    return PlatformFacts(platform.url, platform.ca_pem, str(platform.program))


def gateway_facts(gateway: Gateway | None) -> GatewayFacts | None:
    if gateway is None:
        return None
    return GatewayFacts(gateway.address, gateway.ca_pem, gateway.client.certificate, gateway.client.key)
