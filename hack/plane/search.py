"""The search engine: a real Meilisearch where there is one, else the emulator."""

import secrets
import ssl
from pathlib import Path

from hack.plane.certificates import write_private
from hack.plane.emulation import emulator_command, emulator_environment
from hack.plane.ports import LOOPBACK
from hack.plane.probe import status_of
from hack.plane.process import Launch, Server
from hack.plane.site import Site


class Meilisearch(Server):
    """The search engine.

    Attributes:
        url, master_key: its address, and the key from which it derives all others.
        ca_pem: what its certificate is verified with.
        emulated: whether it is our emulator.
    """

    def __init__(self, site: Site, program: Path | None) -> None:
        """`program`: a real server; None: the emulator."""
        folder = site.folder("meilisearch")
        port = site.ports.reserve()
        self.url = f"https://{LOOPBACK}:{port}"
        self.master_key = secrets.token_urlsafe(32)
        self.ca_pem = site.authority.certificate
        self.emulated = program is None
        self._context = ssl.create_default_context(cadata=self.ca_pem)
        own = site.authority.server("meilisearch")
        certificate = write_private(folder / "server.crt", own.certificate)
        key = write_private(folder / "server.key", own.key)
        if program is None:
            argv = emulator_command("meilisearch", port, folder, certificate, key)
            env = emulator_environment()
        else:
            argv = real_command(program, port, folder, certificate, key)
            env = {}
        launch = Launch(argv, folder / "meilisearch.log", env=env | {"MEILI_MASTER_KEY": self.master_key}, cwd=folder)
        super().__init__("meilisearch", site.warden, launch)

    async def answers(self) -> bool:
        return await status_of(f"{self.url}/health", self._context) == 200


def real_command(program: Path, port: int, folder: Path, certificate: Path, key: Path) -> list[str]:
    return [
        str(program),
        "--env=production",  # development serves a search page to anyone
        "--no-analytics",
        f"--http-addr={LOOPBACK}:{port}",
        f"--db-path={folder / 'data'}",
        f"--dump-dir={folder / 'dumps'}",
        f"--snapshot-dir={folder / 'snapshots'}",
        f"--ssl-cert-path={certificate}",
        f"--ssl-key-path={key}",
    ]
