"""A vector server for the contract: the real one where there is a binary, else the emulator."""

import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from hack.plane.certificates import Authority
from hack.plane.emulation import emulator_environment, real_program
from hack.plane.ports import LOOPBACK, Ports
from hack.plane.private import write_private
from tests.contract.qdrant.wire import Answer, Connection

START_SECONDS = 60
STOP_SECONDS = 20
POLL_SECONDS = 0.02

API_KEY = "the-key-of-the-administrator-of-this-server"
ALTERNATIVE_KEY = "the-other-key-of-the-administrator-of-this-server"
BOTH_KEYS = {"API_KEY": API_KEY, "ALT_API_KEY": ALTERNATIVE_KEY, "JWT_RBAC": "true"}


class Server:
    """A server process on the loopback interface; ended by its process id, in whichever way a test wants.

    `settings` are those of its service, without the prefix of the environment variables. With `tls` it shows a
    certificate of an authority of its own.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str], *, tls: bool = False) -> None:
        self.settings = dict(settings)
        self._folder = folder
        self._ports = Ports()
        self._port, self._grpc_port = self._ports.reserve(), self._ports.reserve()
        self._certificates = _certificates(folder) if tls else None
        trusted = None if self._certificates is None else ssl.create_default_context(cafile=self._certificates[0])
        self.url = f"{'https' if tls else 'http'}://{LOOPBACK}:{self._port}"
        self.connection = Connection(self.url, trusted)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGTERM)
        self._ports.release()

    def start(self) -> None:
        log_file = self._folder / "log"
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), env=self._environment(), cwd=self._folder, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            assert self._process.poll() is None, log_file.read_text()
            assert time.monotonic() < deadline, "the server was not ready in time"
            time.sleep(POLL_SECONDS)

    def end(self, with_signal: signal.Signals) -> None:
        self.connection.close()
        if self._process is None:
            return
        self._process.send_signal(with_signal)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def restart(
        self, *, with_signal: signal.Signals = signal.SIGTERM, settings: Mapping[str, str] | None = None
    ) -> None:
        self.end(with_signal)
        self.settings = dict(self.settings if settings is None else settings)
        self.start()

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = API_KEY,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request with an API key or a token in the `api-key` header; `key=None` sends none."""
        credential = {} if key is None else {"api-key": key}
        return self.connection.send(method, path, body, headers=credential | dict(headers or {}))

    def send_raw(self, method: str, path: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        return self.connection.send(method, path, raw=content, headers=headers)

    def _is_ready(self) -> bool:
        try:
            return self.connection.send("GET", "/readyz").status == 200
        except OSError:
            self.connection.close()
            return False

    def _command(self) -> list[str]:
        program = real_program("qdrant", "BULKHEAD_QDRANT_BIN", os.environ)
        if program is not None:
            return [str(program), "--disable-telemetry"]
        command = [sys.executable, "-m", "hack.plane.emulators.qdrant", "--host", LOOPBACK]
        command += ["--port", str(self._port), "--data-dir", str(self._folder / "data")]
        if self._certificates is None:
            return command
        certificate, key = self._certificates
        return [*command, "--tls-cert", str(certificate), "--tls-key", str(key)]

    def _environment(self) -> dict[str, str]:
        service = {"HOST": LOOPBACK, "HTTP_PORT": str(self._port), "GRPC_PORT": str(self._grpc_port), **self.settings}
        storage = {"STORAGE_PATH": str(self._folder / "data"), "SNAPSHOTS_PATH": str(self._folder / "snapshots")}
        tls = {}
        if self._certificates is not None:
            service["ENABLE_TLS"] = "true"
            tls = dict(zip(("CERT", "KEY"), map(str, self._certificates), strict=True))
        sections = {"SERVICE": service, "STORAGE": storage, "TLS": tls}
        named = {
            f"QDRANT__{section}__{name}": value
            for section, values in sections.items()
            for name, value in values.items()
        }
        return emulator_environment() | named


def _certificates(folder: Path) -> tuple[Path, Path]:
    """Files with a certificate that is trusted alone, and its key."""
    authority = Authority("contract", datetime.now(UTC))
    own = authority.server("qdrant")
    return (
        write_private(folder / "server.crt", own.certificate + authority.certificate),
        write_private(folder / "server.key", own.key),
    )
