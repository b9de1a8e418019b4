"""What a plane on its own leaves in a folder, so that others find it: who runs it, and how to reach its servers."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from hack.plane.private import write_private

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


def running(folder: Path) -> State | None:
    """The state of the plane that runs there, None if none does."""
    state = read_state(folder)
    return state if state is not None and runs(state) else None


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
