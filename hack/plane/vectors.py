"""The vector engine: a real Qdrant where there is one, else the emulator."""

import secrets
import ssl
from pathlib import Path

from hack.plane.certificates import write_private
from hack.plane.emulation import emulator_command, emulator_environment
from hack.plane.ports import LOOPBACK
from hack.plane.probe import status_of
from hack.plane.process import Launch, Server
from hack.plane.site import Site


class Qdrant(Server):
    """The vector engine.

    Attributes:
        url, api_key: its address, and the key that may do anything and signs tokens (HS256).
        ca_pem: what its certificate is verified with.
        emulated: whether it is our emulator.
    """

    def __init__(self, site: Site, program: Path | None) -> None:
        """`program`: a real server; None: the emulator."""
        folder = site.folder("qdrant")
        port = site.ports.reserve()
        self.url = f"https://{LOOPBACK}:{port}"
        self.api_key = secrets.token_urlsafe(32)
        self.ca_pem = site.authority.certificate
        self.emulated = program is None
        self._context = ssl.create_default_context(cadata=self.ca_pem)
        own = site.authority.server("qdrant")
        certificate = write_private(folder / "server.crt", own.certificate)
        key = write_private(folder / "server.key", own.key)
        access = {"QDRANT__SERVICE__API_KEY": self.api_key, "QDRANT__SERVICE__JWT_RBAC": "true"}
        if program is None:
            argv = emulator_command("qdrant", port, folder, certificate, key)
            env = emulator_environment()
        else:
            argv = [str(program), "--disable-telemetry"]
            env = real_settings(port, site.ports.reserve(), folder, certificate, key)
        super().__init__("qdrant", site.warden, Launch(argv, folder / "qdrant.log", env=env | access, cwd=folder))

    async def answers(self) -> bool:
        return await status_of(f"{self.url}/readyz", self._context) == 200


def real_settings(port: int, grpc_port: int, folder: Path, certificate: Path, key: Path) -> dict[str, str]:
    return {
        "QDRANT__SERVICE__HOST": LOOPBACK,
        "QDRANT__SERVICE__HTTP_PORT": str(port),
        "QDRANT__SERVICE__GRPC_PORT": str(grpc_port),
        "QDRANT__SERVICE__ENABLE_TLS": "true",
        "QDRANT__TLS__CERT": str(certificate),
        "QDRANT__TLS__KEY": str(key),
        "QDRANT__STORAGE__STORAGE_PATH": str(folder / "data"),
        "QDRANT__STORAGE__SNAPSHOTS_PATH": str(folder / "snapshots"),
    }
