"""Processes of a plane: the client of the warden, and what every server has in common."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from hack.plane.accounts import Account

WARDEN: Final = Path(__file__).with_name("warden.py")
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0
POLL_SECONDS: Final = 0.05
TAIL_LINES: Final = 30

T = TypeVar("T")


class ProcessError(Exception):
    """A process could not be started, ended early or was not ready in time; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start one process.

    `env` is its whole environment: nothing is inherited. Secrets travel in it, never in `argv`, which anyone can read.
    """

    argv: Sequence[str | Path]
    log_file: Path
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: Path = Path("/")
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM


class Process:
    """A running child of the warden."""

    def __init__(self, pid: int, exited: asyncio.Future[int]) -> None:
        self.pid = pid
        self.exited = exited

    @property
    def running(self) -> bool:
        return not self.exited.done()

    async def wait(self, seconds: float) -> bool:
        """Whether it has ended within `seconds`."""
        await asyncio.wait([self.exited], timeout=seconds)
        return self.exited.done()


class Warden:
    """The parent of all processes of a plane: it ends them when this process is gone, however that came about."""

    def __init__(
        self,
        name: str,
        log_file: Path,
        child: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._name = name
        self._log_file = log_file
        self._child = child
        self._reader = reader
        self._writer = writer
        self._prepared: dict[tuple[tuple[str, ...], str], Warden] = {}
        self._preparing = asyncio.Lock()
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._processes: dict[int, asyncio.Future[int]] = {}
        self._listener = asyncio.create_task(self._listen())
        self._last_request = 0

    @classmethod
    @asynccontextmanager
    async def running(cls, log_file: Path, *, remove: Path | None = None) -> AsyncIterator["Warden"]:
        """A warden for the time of the block. At its end everything is stopped, then `remove` is deleted."""
        program = ("-I", "-S", str(WARDEN), str(os.getpid()), *(() if remove is None else (str(remove),)))
        warden = await cls._of("the warden of this plane", program, log_file)
        try:
            yield warden
        finally:
            await asyncio.shield(warden.close())

    @classmethod
    async def _of(
        cls, name: str, program: Sequence[str], log_file: Path, env: Mapping[str, str] | None = None
    ) -> "Warden":
        child, ours = start_warden(program, log_file, env)
        return cls(name, log_file, child, *await asyncio.open_connection(sock=ours))

    @property
    def pid(self) -> int:
        return self._child.pid

    async def prepared(self, modules: tuple[str, ...], path: str) -> "Warden":
        """A warden that starts Python programs by forking, after it has imported `modules` once from `path`, a
        PYTHONPATH with this repository on it: see hack/plane/prepared.py. It ends with this one."""
        async with self._preparing:
            found = self._prepared.get((modules, path))
            if found is None:
                log_file = self._log_file.with_name(f"prepared-{len(self._prepared)}.log")
                program = ("-P", "-m", "hack.plane.prepared", str(self.pid), *modules)
                name = f"what has imported {', '.join(modules)}"
                found = await self._of(name, program, log_file, {"PYTHONPATH": path})
                self._prepared[modules, path] = found
            return found

    async def spawn(self, launch: Launch) -> Process:
        answer = await self._ask(
            {
                "do": "spawn",
                "argv": [str(argument) for argument in launch.argv],
                "env": dict(launch.env),
                "cwd": str(launch.cwd),
                "log": str(launch.log_file),
                "uid": launch.account and launch.account.uid,
                "gid": launch.account and launch.account.gid,
                "stop_signal": int(launch.stop_signal),
            }
        )
        if "error" in answer:
            raise ProcessError(f"while starting {launch.argv[0]}: {answer['error']}")
        process: Process = answer["process"]
        return process

    async def run(self, launch: Launch, *, seconds: float = START_SECONDS) -> None:
        """Run a command to its end.

        Raises:
            ProcessError: it failed, or took longer than `seconds`.
        """
        process = await self.spawn(launch)
        name = Path(launch.argv[0]).name
        if not await process.wait(seconds):
            await self.signal(process, signal.SIGKILL, tree=True)
            raise ProcessError(f"{name} did not end within {seconds:.0f} s{tail(launch.log_file)}")
        if code := process.exited.result():
            raise ProcessError(f"{name} {ending(code)}{tail(launch.log_file)}")

    async def signal(self, process: Process, number: signal.Signals, *, tree: bool = False) -> None:
        """Send a signal, with `tree` to all its descendants too. One that has ended is left alone."""
        await self._ask({"do": "signal", "pid": process.pid, "signal": int(number), "tree": tree})

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._listener.done():
            raise ProcessError(f"{self._name} has ended, and every server with it{tail(self._log_file)}")
        self._last_request += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[self._last_request] = answer
        self._writer.write(json.dumps({"id": self._last_request, **request}).encode() + b"\n")
        return await answer

    async def _listen(self) -> None:
        with suppress(ConnectionError):
            async for line in self._reader:
                self._receive(json.loads(line))
        for answer in self._answers.values():
            settle(answer, {"error": f"{self._name} has ended{tail(self._log_file)}"})
        for exited in self._processes.values():
            settle(exited, -signal.SIGKILL)

    def _receive(self, message: dict[str, Any]) -> None:
        if "exited" in message:
            return settle(self._processes.pop(message["exited"]), message["code"])
        if "pid" in message:
            # Made here and not by who asked: the news of its end may be the next line, before that task runs again.
            exited = self._processes[message["pid"]] = asyncio.get_running_loop().create_future()
            message["process"] = Process(message["pid"], exited)
        return settle(self._answers.pop(message["id"]), message)

    async def close(self) -> None:
        """Stop everything and wait for it."""
        # Programs that are worth preparing are started last and often: they end before the servers that they use.
        for prepared in self._prepared.values():
            await prepared.close()
        # Its end of file is the order to stop everything; the socket stays open for what it still reports.
        with suppress(OSError):
            self._writer.write_eof()
        await asyncio.to_thread(self._child.wait)
        await self._listener
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


def start_warden(
    program: Sequence[str], log_file: Path, env: Mapping[str, str] | None
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """The program, as arguments of Python, and our end of the socket to it."""
    ours, its = socket.socketpair()
    with its, log_file.open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, *program],
            env=env,
            stdin=its.fileno(),
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,  # so Ctrl-C in a terminal does not reach it
        )
    return child, ours


def is_stopped(pid: int) -> bool:
    """Whether every thread of a process is stopped by a signal."""
    tasks = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(task.read_text().rpartition(")")[2].split()[0] in {"T", "t"} for task in tasks)


class Server(ABC):
    """One server of a plane: can be ended in any way and started again on the same port and data."""

    def __init__(self, name: str, warden: Warden, launch: Launch) -> None:
        self.name = name
        self.log_file = launch.log_file
        self._warden = warden
        self._launch = launch
        self._process: Process | None = None

    @abstractmethod
    async def answers(self) -> bool:
        """Whether it serves requests now. Never raises for a server that is down or still starting."""

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def ended_with(self) -> int:
        """Exit code of the last run, negative for a signal. Raises ProcessError: it runs, or never did."""
        if self._process is None or self._process.running:
            raise ProcessError(f"{self.name} has not ended")
        return self._process.exited.result()

    @property
    def pid(self) -> int:
        """Raises ProcessError: it does not run."""
        return self._running_process().pid

    async def start(self, *, seconds: float = START_SECONDS) -> None:
        """Start it, if it does not run, and wait until it answers.

        Raises:
            ProcessError: it ended early, or was not ready within `seconds`.
        """
        if self.running:
            return
        process = self._process = await self._warden.spawn(self._launch)
        try:
            async with asyncio.timeout(seconds):
                await self._wait_until_ready(process)
        except TimeoutError:
            await self.kill()
            raise ProcessError(f"{self.name} was not ready within {seconds:.0f} s{tail(self.log_file)}") from None

    async def stop(self, *, seconds: float = STOP_SECONDS) -> None:
        """Ask it to end, and kill it if it has not within `seconds`."""
        process = self._running_process()
        await self._warden.signal(process, self._launch.stop_signal)
        if not await process.wait(seconds):
            await self.kill()

    async def kill(self) -> None:
        """SIGKILL for it and all its descendants, as when the machine loses power."""
        process = self._running_process()
        await self._warden.signal(process, signal.SIGKILL, tree=True)
        await process.wait(STOP_SECONDS)

    async def pause(self) -> None:
        """Freeze it: connections are accepted by the kernel and never answered."""
        process = self._running_process()
        await self._warden.signal(process, signal.SIGSTOP, tree=True)
        # Threads stop one by one: until the last has, it may still answer.
        async with asyncio.timeout(STOP_SECONDS):
            while not is_stopped(process.pid):
                await process.wait(POLL_SECONDS)

    async def resume(self) -> None:
        await self._warden.signal(self._running_process(), signal.SIGCONT, tree=True)

    def _running_process(self) -> Process:
        if self._process is None or not self._process.running:
            raise ProcessError(f"{self.name} does not run")
        return self._process

    async def _wait_until_ready(self, process: Process) -> None:
        while not await self.answers():
            if await process.wait(POLL_SECONDS):
                raise ProcessError(f"{self.name} {ending(process.exited.result())}{tail(self.log_file)}")


def settle(future: asyncio.Future[T], result: T) -> None:
    """Set the result, unless whoever waited for it was cancelled."""
    if not future.done():
        future.set_result(result)


def ending(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def tail(log_file: Path, lines: int = TAIL_LINES) -> str:
    """The end of a log, as the second half of a message; empty when there is none."""
    try:
        with log_file.open(encoding="utf-8", errors="replace") as log:
            last = "".join(deque(log, lines)).rstrip()
    except OSError:
        return ""
    return f"; the end of {log_file}:\n{last}" if last else ""
