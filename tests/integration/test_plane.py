"""The local plane itself: that it is what the other tests take it for, and that it leaves nothing behind."""

import asyncio
import ipaddress
import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import get_args

import psycopg
import pytest
import urllib3
from minio import Minio

from hack.plane.plane import Part, Plane, PlaneOptions
from hack.plane.ports import LOOPBACK
from hack.plane.postgres_builds import PostgresVersion
from hack.plane.process import ProcessError, Server
from hack.plane.state import PlaneFacts, State, read_state
from hack.plane.warden import descendants, parent_of
from tests.postgres_builds import needs_postgres
from tests.unit.hack.waiting import has_ended, started, until
from tests.world import eventually

REPOSITORY = Path(__file__).parents[2]
READY_SECONDS = 20
START_SECONDS = 60


@pytest.fixture(scope="module")
async def plane() -> AsyncIterator[Plane]:
    async with Plane.start(PlaneOptions(fsync=False)) as running:
        yield running


async def apply(plane: Plane, *objects: dict[str, object]) -> None:
    await plane.kubectl("apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def namespace(name: str, **labels: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def deployment(name: str, replicas: int = 1) -> dict[str, object]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "example.invalid/web"}]},
            },
        },
    }


def minio_client(plane: Plane, secret_key: str | None = None) -> Minio:
    context = ssl.create_default_context(cadata=plane.minio.ca_pem)
    pool = urllib3.PoolManager(ssl_context=context, retries=False, timeout=5)
    return Minio(
        plane.minio.endpoint,
        access_key=plane.minio.access_key,
        secret_key=secret_key or plane.minio.secret_key,
        http_client=pool,
    )


async def sql(plane: Plane, statement: "psycopg.sql.SQL | str", database: str = "postgres") -> list[tuple[object, ...]]:
    async with await psycopg.AsyncConnection.connect(plane.postgres.dsn(database), autocommit=True) as connection:
        cursor = await connection.execute(psycopg.sql.SQL(statement) if isinstance(statement, str) else statement)
        return await cursor.fetchall() if cursor.description else []


def secrets_of(plane: Plane) -> list[str]:
    return [plane.postgres.password, plane.minio.secret_key, plane.qdrant.api_key, plane.meilisearch.master_key]


# What it is made of.


async def test_every_server_answers(plane: Plane) -> None:
    async def all_answer() -> bool:
        answering = {server.name: await server.answers() for server in plane.servers}
        assert answering == dict.fromkeys(
            [
                "etcd",
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kwok",
                "postgres",
                "minio",
                "qdrant",
                "meilisearch",
            ],
            True,
        )
        return True

    await eventually(all_answer)


async def test_it_is_ready_in_time(plane: Plane) -> None:
    assert plane.ready_seconds < READY_SECONDS


async def test_all_of_it_is_on_the_loopback_interface_alone(plane: Plane) -> None:
    own = {inode for server in plane.servers for inode in sockets_of([server.pid, *descendants(server.pid)])}
    addresses = {address for address, inode in listening() if inode in own}
    assert addresses
    assert all(ipaddress.ip_address(address).is_loopback for address in addresses)


def sockets_of(pids: list[int]) -> Iterator[str]:
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            target = str(descriptor.readlink())
            if target.startswith("socket:["):
                yield target.removeprefix("socket:[").removesuffix("]")


def listening() -> Iterator[tuple[str, str]]:
    """Address and inode of every listening TCP socket."""
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                yield address_of(fields[1].partition(":")[0], family), fields[9]


def address_of(text: str, family: socket.AddressFamily) -> str:
    # Words of four bytes, each in the byte order of the machine.
    words = [bytes.fromhex(text[at : at + 8]) for at in range(0, len(text), 8)]
    return socket.inet_ntop(family, b"".join(word[::-1] if sys.byteorder == "little" else word for word in words))


async def test_no_secret_is_in_a_log_or_a_command_line(plane: Plane) -> None:
    texts = [*logs_of(plane), *command_lines_of(plane)]
    assert not [secret for secret in secrets_of(plane) for text in texts if secret in text]


def logs_of(plane: Plane) -> Iterator[str]:
    for path in plane.root.rglob("*.log"):
        yield path.read_text(errors="replace")


def command_lines_of(plane: Plane) -> Iterator[str]:
    for server in plane.servers:
        yield Path(f"/proc/{server.pid}/cmdline").read_text()


# Kubernetes.


async def test_the_version_of_the_server_is_the_pinned_one(plane: Plane) -> None:
    version = json.loads(await plane.kubectl("version", "--output=json"))
    assert version["serverVersion"]["gitVersion"] == "v1.36.4"


async def test_a_deployment_becomes_available_without_a_kubelet(plane: Plane) -> None:
    await apply(plane, deployment("web", replicas=2))
    await plane.kubectl("wait", "deployment/web", "--for=condition=Available", "--timeout=30s")


async def test_pod_security_refuses_a_privileged_pod(plane: Plane) -> None:
    await apply(plane, namespace("confined", **{"pod-security.kubernetes.io/enforce": "restricted"}))
    with pytest.raises(ProcessError, match="violates PodSecurity"):
        await plane.kubectl("run", "root", "--image=x", "--privileged", "--namespace=confined")


async def test_a_deleted_namespace_goes_away_with_what_it_holds(plane: Plane) -> None:
    await apply(plane, namespace("leaving"))
    await plane.kubectl("create", "secret", "generic", "one", "--namespace=leaving")
    await plane.kubectl("delete", "namespace", "leaving", "--timeout=30s")
    with pytest.raises(ProcessError, match="not found"):
        await plane.kubectl("get", "namespace", "leaving")


async def test_a_user_has_only_the_rights_that_rbac_gives(plane: Plane) -> None:
    login = plane.kubeconfig_for("alice@example.com", ["readers"])
    with pytest.raises(ProcessError, match=r'User "alice@example\.com" cannot list resource "secrets"'):
        await plane.kubectl("get", "secrets", f"--kubeconfig={login}")


async def test_a_service_account_logs_in_with_a_token(plane: Plane) -> None:
    await plane.kubectl("create", "serviceaccount", "robot")
    login = await plane.kubeconfig_for_service_account("default", "robot")
    said = await plane.kubectl("auth", "whoami", f"--kubeconfig={login}")
    assert "system:serviceaccount:default:robot" in said


async def test_the_audit_log_tells_who_was_refused_what(plane: Plane) -> None:
    login = plane.kubeconfig_for("mallory")
    with pytest.raises(ProcessError, match="Forbidden"):
        await plane.kubectl("get", "configmaps", f"--kubeconfig={login}")
    events = [json.loads(line) for line in plane.audit_log.read_text().splitlines()]
    refused = [event for event in events if event["user"]["username"] == "mallory"]
    assert {(event["verb"], event["responseStatus"]["code"]) for event in refused if "objectRef" in event} == {
        ("list", 403)
    }


async def test_the_engines_authority_is_no_way_into_kubernetes(plane: Plane) -> None:
    context = ssl.create_default_context(cadata=plane.ca_pem)
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.open_connection(LOOPBACK, int(plane.api.url.rpartition(":")[2]), ssl=context)


# Engines.


async def test_postgres_refuses_a_wrong_password(plane: Plane) -> None:
    dsn = psycopg.conninfo.make_conninfo(plane.postgres.dsn(), password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        await psycopg.AsyncConnection.connect(dsn)


async def test_postgres_logs_every_statement(plane: Plane) -> None:
    await sql(plane, "SELECT 'seen-in-the-log'")
    assert "seen-in-the-log" in plane.postgres.log_file.read_text()


async def test_the_operator_of_postgres_is_no_superuser_and_can_make_databases(plane: Plane) -> None:
    password = await plane.postgres.create_operator("bh_op")
    dsn = psycopg.conninfo.make_conninfo(plane.postgres.dsn(), user="bh_op", password=password)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute("CREATE DATABASE made_by_operator")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("CREATE ROLE above SUPERUSER")
    assert password not in plane.postgres.log_file.read_text()


async def test_minio_serves_its_root_user_and_no_other_secret(plane: Plane) -> None:
    minio_client(plane).make_bucket("plane-test")
    with pytest.raises(Exception, match="SignatureDoesNotMatch"):
        minio_client(plane, secret_key="wrong-secret").list_buckets()


async def test_a_killed_postgres_comes_back_with_its_data(plane: Plane) -> None:
    await sql(plane, "CREATE DATABASE kept")
    await plane.postgres.kill()
    assert not await plane.postgres.answers()
    await plane.postgres.start()
    assert await sql(plane, "SELECT 1 FROM pg_database WHERE datname = 'kept'") == [(1,)]


async def test_a_killed_object_store_comes_back_with_its_data(plane: Plane) -> None:
    minio_client(plane).make_bucket("kept")
    await plane.minio.kill()
    await plane.minio.start()
    assert minio_client(plane).bucket_exists("kept")


async def test_a_killed_control_plane_comes_back_with_its_data(plane: Plane) -> None:
    await apply(plane, namespace("kept"))
    await plane.api.kill()
    await plane.etcd.kill()
    await plane.etcd.start()
    await plane.api.start()
    assert "kept" in await plane.kubectl("get", "namespace", "kept", "--output=name")


@pytest.mark.parametrize("name", ["postgres", "minio", "qdrant", "meilisearch", "kube-apiserver"])
async def test_a_paused_server_is_silent_until_it_is_resumed(plane: Plane, name: str) -> None:
    server = next(server for server in plane.servers if server.name == name)
    await server.pause()
    assert not await server.answers()
    await server.resume()
    assert await answers_again(server)


async def answers_again(server: Server) -> bool:
    async with asyncio.timeout(READY_SECONDS):
        while not await server.answers():
            continue
    return True


async def test_a_port_that_someone_took_meanwhile_is_told(plane: Plane) -> None:
    await plane.minio.stop()
    host, _, port = plane.minio.endpoint.partition(":")
    with socket.create_server((host, int(port))), pytest.raises(ProcessError, match="port is already in use"):
        await plane.minio.start()
    await plane.minio.start()


@pytest.mark.parametrize("version", get_args(PostgresVersion))
async def test_a_postgres_with_tls_refuses_a_connection_without(version: PostgresVersion) -> None:
    """Version 15 with TLS comes from Debian alone, the others need npm or Debian."""
    await needs_postgres(version, tls=True)
    options = PlaneOptions(parts=frozenset({Part.POSTGRES}), postgres=version, tls_postgres=True, fsync=False)
    async with Plane.start(options) as plane:
        assert await sql(plane, "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == [
            (True, "TLSv1.3")
        ]
        plain = psycopg.conninfo.make_conninfo(plane.postgres.dsn(), sslmode="disable")
        with pytest.raises(psycopg.OperationalError, match="no encryption"):
            await psycopg.AsyncConnection.connect(plain)


# Side by side, and afterwards.


async def test_two_planes_run_side_by_side_and_share_nothing(plane: Plane) -> None:
    parts = frozenset({Part.KUBERNETES, Part.POSTGRES, Part.MINIO})
    async with Plane.start(PlaneOptions(parts=parts, fsync=False)) as other:
        await apply(other, namespace("only-here"))
        assert "only-here" not in await plane.kubectl("get", "namespaces", "--output=name")
        identity = "SELECT system_identifier FROM pg_control_system()"
        assert await sql(other, identity) != await sql(plane, identity)


async def test_a_part_that_was_left_out_is_named() -> None:
    async with Plane.start(PlaneOptions(parts=frozenset({Part.MINIO}))) as plane:
        with pytest.raises(LookupError, match="without Postgres"):
            _ = plane.postgres


async def test_a_block_that_ends_leaves_neither_process_nor_folder() -> None:
    async with Plane.start(PlaneOptions(parts=frozenset({Part.POSTGRES, Part.MINIO}), fsync=False)) as plane:
        pids = [server.pid for server in plane.servers]
    assert [pid for pid in pids if parent_of(pid) is not None] == []
    assert not plane.root.exists()


async def test_a_folder_of_ones_own_is_kept_with_its_logs(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("own") / "plane"
    async with Plane.start(PlaneOptions(parts=frozenset({Part.MINIO}), directory=folder)) as plane:
        assert plane.root == folder
    assert (folder / "minio" / "minio.log").exists()


def command(folder: Path, *arguments: str) -> AbstractContextManager["subprocess.Popen[bytes]"]:
    return started([sys.executable, "-m", "hack.plane", *arguments, "--state", str(folder)], REPOSITORY)


UP = ("up", "--no-fsync", "--without=kubernetes", "--without=qdrant", "--without=meilisearch")


async def facts_when_ready(folder: Path) -> PlaneFacts:
    def ready() -> bool:
        state = read_state(folder)
        return state is not None and state.plane is not None

    assert await until(ready, START_SECONDS)
    state = read_state(folder)
    assert isinstance(state, State)
    assert state.plane is not None
    return state.plane


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_nothing_is_left_when_the_plane_is_ended_by(number: signal.Signals, tmp_path: Path) -> None:
    with command(tmp_path, *UP) as process:
        facts = await facts_when_ready(tmp_path)
        assert facts.postgres is not None
        below = descendants(process.pid)
        assert len(below) > len(facts.servers)  # the warden, and what Postgres forked
        process.send_signal(number)
        assert await has_ended(process)
    assert await until(lambda: not [pid for pid in below if parent_of(pid) is not None])
    assert await until(lambda: is_gone(facts.root))


def is_gone(path: str) -> bool:
    return not Path(path).exists()


async def test_a_detached_plane_lives_until_it_is_told(tmp_path: Path) -> None:
    with command(tmp_path, *UP, "--detach") as starting:
        assert await has_ended(starting, START_SECONDS)
    facts = await facts_when_ready(tmp_path)
    assert all(parent_of(server.pid) is not None for server in facts.servers)
    with command(tmp_path, "down") as ending:
        assert await has_ended(ending)
    assert not [server for server in facts.servers if parent_of(server.pid) is not None]
    assert is_gone(facts.root)


async def test_a_second_plane_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with command(tmp_path, *UP) as first:
        await facts_when_ready(tmp_path)
        with command(tmp_path, *UP) as second:
            assert await has_ended(second)
            assert second.returncode == 1
        assert first.poll() is None
        first.terminate()
        assert await has_ended(first)
