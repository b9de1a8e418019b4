"""etcd: one member on the loopback interface, reached with client certificates only."""

import ssl
from pathlib import Path

from hack.plane.certificates import Authority, write_private
from hack.plane.ports import LOOPBACK
from hack.plane.probe import status_of
from hack.plane.process import Launch, Server
from hack.plane.site import Site


class Etcd(Server):
    """The store of the API server.

    Attributes:
        url, ca_file, certificate_file, key_file: what a client needs.
    """

    def __init__(self, site: Site, program: Path, authority: Authority) -> None:
        folder = site.folder("etcd")
        peer_url = f"https://{LOOPBACK}:{site.ports.reserve()}"
        self.url = f"https://{LOOPBACK}:{site.ports.reserve()}"
        own, user = authority.server("etcd"), authority.client("kube-apiserver")
        self.ca_file = write_private(folder / "ca.crt", authority.certificate)
        self.certificate_file = write_private(folder / "client.crt", user.certificate)
        self.key_file = write_private(folder / "client.key", user.key)
        certificate = write_private(folder / "server.crt", own.certificate)
        key = write_private(folder / "server.key", own.key)
        self._context = ssl.create_default_context(cadata=authority.certificate)
        self._context.load_cert_chain(self.certificate_file, self.key_file)
        argv = [
            str(program),
            "--name=plane",
            f"--data-dir={folder / 'data'}",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=plane={peer_url}",
            f"--cert-file={certificate}",
            f"--key-file={key}",
            f"--trusted-ca-file={self.ca_file}",
            "--client-cert-auth",
            f"--peer-cert-file={certificate}",
            f"--peer-key-file={key}",
            f"--peer-trusted-ca-file={self.ca_file}",
            "--peer-client-cert-auth",
            "--log-level=warn",
        ]
        if not site.fsync:
            argv.append("--unsafe-no-fsync")
        super().__init__("etcd", site.warden, Launch(argv, folder / "etcd.log"))

    async def answers(self) -> bool:
        return await status_of(f"{self.url}/readyz", self._context) == 200
