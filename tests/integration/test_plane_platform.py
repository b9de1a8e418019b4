"""The platform service as a server of a plane: what ships, started, killed and ended like every other server."""

from __future__ import annotations

import json
import ssl
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest

from hack.plane.plane import Part, Plane, PlaneOptions
from hack.plane.platform import Platform, Replica
from hack.plane.probe import status_of
from hack.plane.process import ProcessError, Server
from hack.plane.state import read_state
from hack.plane.warden import descendants, parent_of
from tests.unit.hack.waiting import has_ended, started, until
from tests.world import eventually

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 60
WITHOUT = tuple(f"--without={part}" for part in Part if part is not Part.POSTGRES)


@pytest.fixture(scope="module")
async def plane() -> AsyncIterator[Plane]:
    async with Plane.start(PlaneOptions(parts=frozenset({Part.POSTGRES}), fsync=False)) as running:
        yield running


@pytest.fixture(scope="module")
async def platform(plane: Plane) -> Platform:
    return await Platform.install(plane)


@pytest.fixture(scope="module")
async def replica(platform: Platform) -> Replica:
    first = platform.replica()
    await first.start()
    return first


async def status_at_last(url: str, context: ssl.SSLContext | None = None) -> int | None:
    """The status of the first answer: a probe may be too short for a busy machine."""
    return await eventually(partial(status_of, url, context))


async def test_it_serves_at_its_url_with_a_certificate_of_the_planes_authority(
    platform: Platform, replica: Replica
) -> None:
    assert (replica.url, replica.url.partition(":")[0]) == (platform.url, "https")
    trusting = ssl.create_default_context(cadata=platform.ca_pem)
    assert await status_at_last(f"{platform.url}/v1/clusters", trusting) == 401
    assert await status_of(f"{platform.url}/v1/clusters", ssl.create_default_context()) is None


async def test_what_it_logs_is_in_its_file(replica: Replica) -> None:
    events = [json.loads(line)["event"] for line in replica.log_file.read_text().splitlines()]
    assert "serving" in events


async def test_a_second_replica_serves_from_the_same_database(platform: Platform, replica: Replica) -> None:
    second = platform.replica()
    await second.start()
    try:
        assert second.url != replica.url
        assert await eventually(second.answers)
    finally:
        await second.stop()


async def test_a_killed_one_comes_back_where_it_was(replica: Replica) -> None:
    await replica.kill()
    assert not await replica.answers()
    await replica.start()
    assert await eventually(replica.answers)


async def test_nobody_but_its_own_log_ins_reaches_its_database(platform: Platform, replica: Replica) -> None:
    assert replica.running
    await platform.database.postgres.create_operator("someone")
    async with await psycopg.AsyncConnection.connect(platform.database.superuser_dsn) as session:
        roles = await session.execute(
            "SELECT rolname, rolsuper FROM pg_roles "
            "WHERE rolcanlogin AND has_database_privilege(oid, 'platform', 'CONNECT')"
        )
        assert dict(await roles.fetchall()) == {
            "postgres": True,
            **{f"platform_{login}": False for login in ("owner", "api", "worker", "maintenance")},
        }


async def test_its_maintainers_program_mints_and_is_theirs_alone(platform: Platform, replica: Replica) -> None:
    assert replica.running
    token = await platform.run("token", "default", "--self-confirming")
    assert token.startswith("bht_")
    assert stat.S_IMODE(platform.program.stat().st_mode) == 0o700
    with pytest.raises(ProcessError, match="--hours is a whole number"):
        await platform.run("token", "default", "--hours=0")


async def test_no_secret_of_it_is_in_a_log_or_a_command_line(
    plane: Plane, platform: Platform, replica: Replica
) -> None:
    secrets = [
        *platform.database.passwords.values(),
        *(value for name, value in platform.serving().items() if "KEY" in name),
    ]
    texts = [*logs_of(plane), command_line_of(replica)]
    assert not [secret for secret in secrets for text in texts if secret in text]


def logs_of(plane: Plane) -> Iterator[str]:
    for path in plane.root.rglob("*.log"):
        yield path.read_text(errors="replace")


def command_line_of(server: Server) -> str:
    return Path(f"/proc/{server.pid}/cmdline").read_text()


async def test_without_tls_it_speaks_plain_http() -> None:
    async with Plane.start(PlaneOptions(parts=frozenset({Part.POSTGRES}), fsync=False)) as plane:
        platform = await Platform.install(plane, tls=False)
        await platform.replica().start()
        assert platform.url.startswith("http://")
        assert await status_at_last(f"{platform.url}/readyz") == 200


async def test_the_command_line_starts_it_and_it_ends_with_its_parent(tmp_path: Path) -> None:
    words = ("up", "--platform", "--no-fsync", *WITHOUT, "--state", str(tmp_path))
    with started([sys.executable, "-m", "hack.plane", *words], REPOSITORY) as process:
        assert await until(
            lambda: (state := read_state(tmp_path)) is not None and state.plane is not None, START_SECONDS
        )
        state = read_state(tmp_path)
        assert state is not None
        assert state.plane is not None
        assert state.plane.platform is not None
        context = ssl.create_default_context(cadata=state.plane.platform.ca_pem)
        assert await status_at_last(f"{state.plane.platform.url}/readyz", context) == 200
        below = descendants(process.pid)
        process.kill()
        assert await has_ended(process)
    assert await until(lambda: not [pid for pid in below if parent_of(pid) is not None])


async def test_what_is_to_be_installed_needs_its_part(tmp_path: Path) -> None:
    words = ("up", "--platform", "--without=postgres", "--state", str(tmp_path))
    with started([sys.executable, "-m", "hack.plane", *words], REPOSITORY) as process:
        assert await has_ended(process)
    assert process.returncode == 2
