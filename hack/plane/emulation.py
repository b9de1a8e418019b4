"""Engines that are real servers where there are some, else our emulators: both are started in the same place."""

import shutil
import ssl
import sys
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hack.plane.ports import LOOPBACK
from hack.plane.private import write_private
from hack.plane.probe import status_of
from hack.plane.process import Launch, Server
from hack.plane.site import Site

REPOSITORY = Path(__file__).parents[2]


def real_program(name: str, variable: str, environ: Mapping[str, str]) -> Path | None:
    """A real server: the one that the variable names, or one on PATH; None: it has to be emulated."""
    found = environ.get(variable) or shutil.which(name, path=environ.get("PATH", ""))
    return Path(found) if found else None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens and keeps its files."""

    port: int
    folder: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Command:
    """What is started, and what its environment adds to the credentials."""

    argv: list[str]
    env: dict[str, str]


class EmulatedEngine(Server):
    """An engine that speaks HTTPS.

    Attributes:
        url: its address.
        ca_pem: what its certificate is verified with.
        emulated: whether it is our emulator.
    """

    def __init__(self, site: Site, name: str, program: Path | None, *, health: str, access: Mapping[str, str]) -> None:
        """`program`: a real server; None: the emulator. `health`: a path. `access`: variables with credentials."""
        folder, own = site.folder(name), site.authority.server(name)
        certificate = write_private(folder / "server.crt", own.certificate)
        place = Place(site.ports.reserve(), folder, certificate, write_private(folder / "server.key", own.key))
        self.url = f"https://{LOOPBACK}:{place.port}"
        self.ca_pem = site.authority.certificate
        self.emulated = program is None
        self._health = health
        self._context = ssl.create_default_context(cadata=self.ca_pem)
        command = emulator(name, place) if program is None else self.real(program, place, site)
        env = {**command.env, **access}
        super().__init__(name, site.warden, Launch(command.argv, folder / f"{name}.log", env=env, cwd=folder))

    @abstractmethod
    def real(self, program: Path, place: Place, site: Site) -> Command:
        """How the real server is started."""

    async def answers(self) -> bool:
        return await status_of(f"{self.url}{self._health}", self._context) == 200


def emulator(name: str, place: Place) -> Command:
    argv = [
        sys.executable,
        "-m",
        f"hack.plane.emulators.{name}",
        f"--host={LOOPBACK}",
        f"--port={place.port}",
        f"--data-dir={place.folder / 'data'}",
        f"--tls-cert={place.certificate}",
        f"--tls-key={place.key}",
    ]
    return Command(argv, emulator_environment())


def emulator_environment() -> dict[str, str]:
    """The repository is on the path; nothing is written into it."""
    return {"PYTHONPATH": str(REPOSITORY)}
