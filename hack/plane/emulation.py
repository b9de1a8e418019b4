"""How our emulators of engines are started."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from hack.plane.ports import LOOPBACK

REPOSITORY = Path(__file__).parents[2]


def real_program(name: str, variable: str, environ: Mapping[str, str]) -> Path | None:
    """A real server: the one that the variable names, or one on PATH; None: it has to be emulated."""
    found = environ.get(variable) or shutil.which(name, path=environ.get("PATH", ""))
    return Path(found) if found else None


def emulator_command(name: str, port: int, folder: Path, certificate: Path, key: Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        f"hack.plane.emulators.{name}",
        f"--host={LOOPBACK}",
        f"--port={port}",
        f"--data-dir={folder / 'data'}",
        f"--tls-cert={certificate}",
        f"--tls-key={key}",
    ]


def emulator_environment() -> dict[str, str]:
    """The repository is on the path; nothing is written into it."""
    return {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
