"""A Meilisearch server for the contract: the real one where there is a binary, else the emulator."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import urllib3

from hack.plane.ports import Ports

REPOSITORY = Path(__file__).parents[3]
READY_WITHIN = 60.0
TASK_WITHIN = 20.0


def eventually(condition: Callable[[], bool], what: str, within: float = TASK_WITHIN) -> None:
    """Wait until the condition holds; fails with what was waited for."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(0.002)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server answered; `body` is None if it was no JSON."""

    status: int
    body: Any
    text: str


@dataclass(slots=True)
class Api:
    """Requests to one server, with any credential."""

    url: str
    master_key: str = field(repr=False)
    ca_pem: str | None = field(default=None, repr=False)
    _pool: urllib3.PoolManager = field(init=False, repr=False)

    def __post_init__(self) -> None:
        context = ssl.create_default_context(cadata=self.ca_pem) if self.ca_pem else None
        self._pool = urllib3.PoolManager(retries=False, timeout=30, ssl_context=context)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request. Bytes are sent as they are; anything else as JSON."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None and not isinstance(body, bytes):
            body = msgspec.json.encode(body)
            sent.setdefault("Content-Type", "application/json")
        # A body of None would make the client leave out the length that some servers insist on.
        answer = self._pool.request(method, self.url + path, body=body, headers=sent)
        text = answer.data.decode(errors="replace")
        try:
            parsed = msgspec.json.decode(answer.data) if answer.data else None
        except msgspec.DecodeError:
            parsed = None
        return Reply(answer.status, parsed, text)

    @contextmanager
    def opened(self, method: str, path: str, body: object, *, token: str | None) -> Iterator[int]:
        """A request whose answer has no end; gives the status."""
        sent = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = msgspec.json.encode(body)
        answer = self._pool.request(method, self.url + path, body=data, headers=sent, preload_content=False)
        try:
            yield answer.status
        finally:
            answer.close()

    def master(self, method: str, path: str, body: object = None) -> Any:
        """A request with the master key that has to succeed; returns the body."""
        reply = self.call(method, path, body, token=self.master_key)
        assert reply.status < 300, f"{method} {path}: {reply.status} {reply.text[:300]}"
        return reply.body

    def finished(self, task_uid: int) -> dict[str, Any]:
        """The task once nothing more happens to it."""
        found: dict[str, Any] = {}

        def done() -> bool:
            found.update(self.master("GET", f"/tasks/{task_uid}"))
            return found["status"] not in ("enqueued", "processing")

        eventually(done, f"task {task_uid} finishes")
        return found

    def done(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """A request with the master key whose task has to succeed; returns the task."""
        task = self.finished(self.master(method, path, body)["taskUid"])
        assert task["status"] == "succeeded", task
        return task


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def real_binary() -> str | None:
    """Where a real server is, if there is one."""
    return os.environ.get("BULKHEAD_MEILISEARCH_BIN") or shutil.which("meilisearch")


@dataclass(slots=True)
class Server:
    """One server process on its own directory and port; ended by its pid."""

    directory: Path
    master_key: str = field(repr=False)
    options: tuple[str, ...] = ()
    emulator_options: tuple[str, ...] = ()
    ca_pem: str | None = field(default=None, repr=False)
    """The authority of its certificate, if the options make it speak TLS."""
    port: int = field(init=False)
    _ports: Ports = field(default_factory=Ports, init=False, repr=False)
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.port = self._ports.reserve()

    @property
    def is_emulated(self) -> bool:
        """True unless a real server was found."""
        return real_binary() is None

    @property
    def api(self) -> Api:
        """Requests to this server."""
        scheme = "https" if self.ca_pem else "http"
        return Api(f"{scheme}://127.0.0.1:{self.port}", self.master_key, self.ca_pem)

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()
        self._ports.release()

    def start(self) -> None:
        """Start it, on the data of the last time, and wait until it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=REPOSITORY if self.is_emulated else self.directory,
                env={**os.environ, "MEILI_MASTER_KEY": self.master_key},
                stdout=log,
                stderr=log,
            )
        eventually(self._answers, "the server answers", READY_WITHIN)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the server ended early:\n{self.log()[-2000:]}"
        try:
            return self.api.call("GET", "/health").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def _command(self) -> list[str]:
        binary = real_binary()
        if binary is None:
            return [
                sys.executable, "-m", "hack.plane.emulators.meilisearch", "--host", "127.0.0.1",
                "--port", str(self.port), "--data-dir", str(self.directory / "data"), *self.options,
                *self.emulator_options,
            ]  # fmt: skip
        return [
            binary, "--http-addr", f"127.0.0.1:{self.port}", "--db-path", str(self.directory / "data.ms"), "--env",
            "production", "--no-analytics", "--dump-dir", str(self.directory / "dumps"), "--snapshot-dir",
            str(self.directory / "snapshots"), *self.options,
        ]  # fmt: skip

    def log(self) -> str:
        """What it printed."""
        return (self.directory / "server.log").read_text(errors="replace")

    def stop(self) -> None:
        """Ask it to end, and wait."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a word, as a crash does."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
