"""Programs that are forked from a process that has imported what they need."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hack.plane.process import Launch, Process, ProcessError, Warden
from hack.plane.warden import parent_of
from tests.unit.hack.waiting import until

REPOSITORY = Path(__file__).parents[3]
SECONDS = 20.0
SLEEPS = "print('up', flush=True); import time; time.sleep(60)"
SHOWS = """
import json, os, random, signal, sys
print(json.dumps({
    "environment": dict(os.environ),
    "arguments": sys.argv[1:],
    "main": sys.modules["__main__"].__dict__["__file__"],
    "path": sys.path[0],
    "folder": os.getcwd(),
    "descriptors": {name: os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")[:-1]},
    "session": os.getsid(0) == os.getpid(),
    "umask": os.umask(0),
    "handlers": [number for number in signal.valid_signals() if callable(signal.getsignal(number))],
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "random": random.random(),
    "imported": sys.modules["imported"].by,
}))
"""


@dataclass(frozen=True, slots=True)
class Programs:
    """Programs of a test, and who starts them.

    Attributes:
        plane: the warden that all else is below.
    """

    plane: Warden
    folder: Path

    async def launch(self, script: str, *arguments: str, imports: str = "imported", **options: Any) -> Process:
        """Start a program in a process that has imported the module `imports`."""
        (self.folder / "program.py").write_text(script)
        path = f"{self.folder}:{REPOSITORY}"
        argv = (sys.executable, "-m", "program", *arguments)
        prepared = await self.plane.prepared((imports,), path)
        return await prepared.spawn(Launch(argv, self.log, env={"PYTHONPATH": path, "GIVEN": "1"}, **options))

    async def shown(self) -> dict[str, Any]:
        """What a program of SHOWS says of itself."""
        self.log.unlink(missing_ok=True)
        self.home.mkdir(exist_ok=True)
        process = await self.launch(SHOWS, "one", "two", cwd=self.home)
        assert await process.wait(SECONDS)
        assert process.exited.result() == 0, self.log.read_text()
        found: dict[str, Any] = json.loads(self.log.read_text())
        return found

    async def up(self) -> Process:
        """A program that runs."""
        process = await self.launch(SLEEPS)
        assert await until(lambda: "up" in self.log.read_text())
        return process

    @property
    def home(self) -> Path:
        """Where SHOWS runs."""
        return self.folder / "home"

    @property
    def log(self) -> Path:
        return self.folder / "program.log"


@pytest.fixture
async def programs(tmp_path: Path) -> AsyncIterator[Programs]:
    (tmp_path / "imported.py").write_text("import os\nby = os.getpid()\n")
    async with Warden.running(tmp_path / "warden.log") as plane:
        yield Programs(plane, tmp_path)


@pytest.mark.parametrize(
    ("script", "code"), [("", 0), ("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL)]
)
async def test_the_exit_code_is_that_of_the_program(programs: Programs, script: str, code: int) -> None:
    process = await programs.launch(script)
    assert await process.wait(SECONDS)
    assert process.exited.result() == code


async def test_what_it_raises_is_at_the_end_of_its_log(programs: Programs) -> None:
    process = await programs.launch("raise LookupError('no such thing')")
    assert await process.wait(SECONDS)
    assert process.exited.result() == 1
    assert programs.log.read_text().endswith("\nLookupError: no such thing\n")


async def test_it_is_as_if_started_anew(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "of-the-user")
    found = await programs.shown()
    assert found["environment"] == {"PYTHONPATH": f"{programs.folder}:{REPOSITORY}", "GIVEN": "1"}
    assert found["arguments"] == ["one", "two"]
    assert found["main"] == str(programs.folder / "program.py")
    assert found["path"] == found["folder"] == str(programs.home)
    assert found["descriptors"] == {"0": os.devnull, "1": str(programs.log), "2": str(programs.log)}
    assert (found["session"], found["umask"]) == (True, 0o077)
    assert found["handlers"] == [signal.SIGINT]
    assert found["blocked"] == []


async def test_two_share_what_was_imported_and_no_random_numbers(programs: Programs) -> None:
    first, second = await programs.shown(), await programs.shown()
    assert first["imported"] == second["imported"], "it was imported twice"
    assert first["random"] != second["random"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_signal_ends_it_however_early_it_comes(programs: Programs, number: signal.Signals) -> None:
    for _ in range(20):
        process = await programs.launch(SLEEPS)
        await (await programs.plane.prepared(("imported",), f"{programs.folder}:{REPOSITORY}")).signal(process, number)
        assert await process.wait(SECONDS)
        assert process.exited.result() == -number


async def test_it_ends_with_the_process_that_it_was_forked_from(programs: Programs) -> None:
    process = await programs.up()
    forked_from = parent_of(process.pid)
    assert forked_from is not None
    os.kill(forked_from, signal.SIGKILL)
    assert await until(lambda: parent_of(process.pid) is None)


async def test_it_ends_when_the_warden_is_killed(programs: Programs) -> None:
    process = await programs.up()
    os.kill(programs.plane.pid, signal.SIGKILL)
    assert await until(lambda: not process.running)
    assert await until(lambda: parent_of(process.pid) is None)


async def test_it_is_asked_to_end_before_the_servers_that_it_uses(tmp_path: Path) -> None:
    (tmp_path / "imported.py").touch()
    async with Warden.running(tmp_path / "warden.log") as plane:
        programs = Programs(plane, tmp_path)
        server = await plane.spawn(Launch(["/bin/sleep", "60"], tmp_path / "server.log"))
        told = f"""
import os, signal, sys, time
def asked(*_):
    os.kill({server.pid}, 0)
    print("it runs still")
    sys.exit()
signal.signal(signal.SIGTERM, asked)
{SLEEPS}"""
        await programs.launch(told)
        assert await until(lambda: "up" in programs.log.read_text())
    assert programs.log.read_text() == "up\nit runs still\n"


async def test_what_can_not_be_imported_is_told_and_breaks_nothing_else(programs: Programs) -> None:
    (programs.folder / "broken.py").write_text("import no_such_library")
    for _ in range(2):
        with pytest.raises(ProcessError, match=r"imported broken has ended(?s:.*)No module named 'no_such_library'"):
            await programs.launch("", imports="broken")
    await programs.plane.run(Launch(["/bin/true"], programs.folder / "log"))
    await programs.shown()


async def test_what_starts_a_thread_when_imported_is_not_forked(programs: Programs) -> None:
    thread = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
    (programs.folder / "threaded.py").write_text(thread)
    with pytest.raises(ProcessError, match="it can not be forked: to import threaded starts a thread"):
        await programs.launch("", imports="threaded")


async def test_only_a_module_can_be_forked(programs: Programs) -> None:
    prepared = await programs.plane.prepared(("imported",), f"{programs.folder}:{REPOSITORY}")
    with pytest.raises(ProcessError, match="while starting /bin/true: only `python -m`"):
        await prepared.spawn(Launch(["/bin/true"], programs.log))


async def test_two_at_once_are_forked_from_one(programs: Programs) -> None:
    first, second = await asyncio.gather(programs.launch(SLEEPS), programs.launch(SLEEPS))
    assert parent_of(first.pid) == parent_of(second.pid)
