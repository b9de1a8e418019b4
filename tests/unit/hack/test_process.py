import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hack.plane.process import Launch, ProcessError, Server, Warden, tail
from hack.plane.warden import descendants, parent_of
from tests.unit.hack.waiting import has_ended, started, until

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
async def warden(tmp_path: Path) -> AsyncIterator[Warden]:
    async with Warden.running(tmp_path / "warden.log") as running:
        yield running


class Script(Server):
    """A server in shell: it is ready once it has made the file `ready`."""

    def __init__(self, warden: Warden, folder: Path, script: str) -> None:
        self._ready = folder / "ready"
        launch = Launch(["/bin/sh", "-c", script], folder / "script.log", env={"PATH": "/usr/bin:/bin"}, cwd=folder)
        super().__init__("script", warden, launch)

    async def answers(self) -> bool:
        return self._ready.exists()


def alive(pid: int) -> bool:
    return parent_of(pid) is not None


async def test_a_server_that_ends_early_tells_the_end_of_its_log(warden: Warden, tmp_path: Path) -> None:
    server = Script(warden, tmp_path, "echo bind: address already in use; exit 3")
    with pytest.raises(ProcessError, match=r"script ended with exit code 3.*\nbind: address already in use"):
        await server.start()


async def test_a_server_that_is_not_ready_in_time_is_ended(warden: Warden, tmp_path: Path) -> None:
    server = Script(warden, tmp_path, "echo still loading; exec sleep 60")
    with pytest.raises(ProcessError, match="script was not ready within 0 s"):
        await server.start(seconds=0.3)
    assert not server.running


async def test_a_program_that_does_not_exist_is_named(warden: Warden, tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="while starting /no/such/program"):
        await warden.spawn(Launch(["/no/such/program"], tmp_path / "log"))


async def test_a_stopped_server_starts_again(warden: Warden, tmp_path: Path) -> None:
    server = Script(warden, tmp_path, "touch ready; exec sleep 60")
    await server.start()
    first = server.pid
    await server.stop()
    assert not alive(first)
    await server.start()
    assert alive(server.pid)


async def test_stopping_asks_before_it_kills(warden: Warden, tmp_path: Path) -> None:
    server = Script(warden, tmp_path, "trap 'touch asked; exit 0' TERM; touch ready; while :; do sleep 0.01; done")
    await server.start()
    await server.stop()
    assert (tmp_path / "asked").exists()


async def test_a_server_that_will_not_stop_is_killed(warden: Warden, tmp_path: Path) -> None:
    server = Script(warden, tmp_path, "trap '' TERM; touch ready; while :; do sleep 0.01; done")
    await server.start()
    await server.stop(seconds=0.1)
    assert not server.running


async def test_killing_takes_the_descendants_along(warden: Warden, tmp_path: Path) -> None:
    server = Script(warden, tmp_path, "setsid sleep 60 & setsid sleep 60 & touch ready; wait")
    await server.start()
    assert await until(lambda: len(descendants(server.pid)) == 2)
    below = descendants(server.pid)
    await server.kill()
    assert not any(alive(pid) for pid in below)


async def test_a_server_that_does_not_run_can_not_be_stopped(warden: Warden, tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="script does not run"):
        await Script(warden, tmp_path, "").stop()


async def test_a_command_that_fails_tells_the_end_of_its_log(warden: Warden, tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"sh ended with exit code 4.*\nno space left"):
        await warden.run(Launch(["/bin/sh", "-c", "echo no space left; exit 4"], tmp_path / "log"))


async def test_commands_that_end_at_once_are_not_missed(warden: Warden, tmp_path: Path) -> None:
    launch = Launch(["/bin/true"], tmp_path / "log")
    await asyncio.gather(*(warden.run(launch) for _ in range(50)))


async def test_nothing_is_inherited_but_what_is_given(
    warden: Warden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "of-the-user")
    await warden.run(Launch(["/usr/bin/env"], tmp_path / "log", env={"GIVEN": "1"}))
    assert (tmp_path / "log").read_text() == "GIVEN=1\n"


async def test_the_folder_is_removed_after_the_last_process(tmp_path: Path) -> None:
    folder = tmp_path / "plane"
    folder.mkdir()
    async with Warden.running(tmp_path / "warden.log", remove=folder) as warden:
        process = await warden.spawn(Launch(["/bin/sleep", "60"], folder / "log"))
        assert folder.exists()
    assert not alive(process.pid)
    assert not folder.exists()


async def test_a_process_that_ignores_the_order_to_stop_is_killed_at_the_end(tmp_path: Path) -> None:
    async with Warden.running(tmp_path / "warden.log") as warden:
        server = Script(warden, tmp_path, "trap '' TERM; touch ready; while :; do sleep 0.01; done")
        await server.start()
        pid = server.pid
    assert not alive(pid)


async def test_its_processes_end_when_the_warden_is_killed(tmp_path: Path) -> None:
    async with Warden.running(tmp_path / "warden.log") as warden:
        process = await warden.spawn(Launch(["/bin/sleep", "60"], tmp_path / "log"))
        os.kill(warden.pid, signal.SIGKILL)
        assert await until(lambda: not process.running)
        assert await until(lambda: not alive(process.pid))
        with pytest.raises(ProcessError, match="the warden of this plane has ended"):
            await warden.spawn(Launch(["/bin/true"], tmp_path / "log"))


PARENT = """
import asyncio, json, pathlib, sys
from hack.plane.process import Launch, Warden
from hack.plane.warden import descendants

async def main(folder):
    async with Warden.running(folder / "warden.log", remove=folder) as warden:
        process = await warden.spawn(Launch(["/bin/sh", "-c", "setsid sleep 60 & wait"], folder / "log"))
        while not (below := descendants(process.pid)):
            await asyncio.sleep(0.01)
        print(json.dumps([warden.pid, process.pid, *below]), flush=True)
        await asyncio.Event().wait()

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_nothing_is_left_when_the_parent_is_ended_by(number: signal.Signals, tmp_path: Path) -> None:
    folder = tmp_path / "plane"
    folder.mkdir()
    with started([sys.executable, "-c", PARENT, str(folder)], REPOSITORY, subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids: list[int] = json.loads(parent.stdout.readline())
        assert all(alive(pid) for pid in pids)
        os.killpg(parent.pid, number)
        assert await has_ended(parent)
    assert await until(lambda: not any(alive(pid) for pid in pids))
    assert not folder.exists()


def test_the_environment_is_not_shown() -> None:
    assert "hunter2" not in repr(Launch(["x"], Path("log"), env={"PASSWORD": "hunter2"}))


def test_a_log_that_is_not_there_adds_nothing_to_a_message(tmp_path: Path) -> None:
    assert tail(tmp_path / "none") == ""
