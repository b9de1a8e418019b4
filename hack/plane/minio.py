"""MinIO: one server, one drive, TLS."""

import secrets
import ssl
from pathlib import Path

from hack.plane.ports import LOOPBACK
from hack.plane.private import write_private
from hack.plane.probe import status_of
from hack.plane.process import Launch, Server
from hack.plane.site import Site


class Minio(Server):
    """The object store.

    Attributes:
        endpoint: host:port; url: with the scheme.
        access_key, secret_key: the root credential, made for this plane.
        ca_pem: what its certificate is verified with.
    """

    def __init__(self, site: Site, program: Path) -> None:
        folder = site.folder("minio")
        self.endpoint = f"{LOOPBACK}:{site.ports.reserve()}"
        self.url = f"https://{self.endpoint}"
        self.access_key = f"root-{secrets.token_hex(4)}"
        self.secret_key = secrets.token_urlsafe(24)
        self.ca_pem = site.authority.certificate
        self._context = ssl.create_default_context(cadata=self.ca_pem)
        certificates = folder / "certificates"
        certificates.mkdir()
        own = site.authority.server("minio")
        write_private(certificates / "public.crt", own.certificate)
        write_private(certificates / "private.key", own.key)
        argv = [
            str(program),
            "server",
            f"--address={self.endpoint}",
            f"--certs-dir={certificates}",
            "--quiet",
            "--anonymous",  # without it, its greeting prints the root credential
            str(folder / "data"),
        ]
        env = {
            "HOME": str(folder),
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "MINIO_CALLHOME_ENABLE": "off",
        }
        super().__init__("minio", site.warden, Launch(argv, folder / "minio.log", env=env))

    async def answers(self) -> bool:
        # Not /ready: that answers 200 before the server can serve.
        return await status_of(f"{self.url}/minio/health/cluster", self._context) == 200
