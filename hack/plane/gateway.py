"""The gateway of a plane, as a process: a stand-in, see data_api.py."""

import asyncio
import datetime as dt
import signal
import sys

import msgspec

from bulkhead.protocol import documents
from bulkhead.protocol.assertions import Jwks, server_name
from hack.plane.certificates import Authority, write_private
from hack.plane.data_api import Cluster, Clusters
from hack.plane.emulation import REPOSITORY, emulator_environment
from hack.plane.ports import LOOPBACK
from hack.plane.process import Launch, Server
from hack.plane.site import Site


class Gateway(Server):
    """A gateway before the clusters that were admitted.

    Attributes:
        address: host:port.
        ca_pem: what the certificates of its clusters are verified with.
        client: the certificate and key that the platform shows it.
    """

    def __init__(self, site: Site, *, platform: str) -> None:
        """`platform`: the URL whose assertions are taken."""
        folder = site.folder("gateway")
        port = site.ports.reserve()
        now = dt.datetime.now(dt.UTC)
        self._authority = Authority("plane gateway", now)
        clients = Authority("plane gateway clients", now)
        self.address = f"{LOOPBACK}:{port}"
        self._port = port
        self.ca_pem = self._authority.certificate
        self.client = clients.client("platform")
        self._file = folder / "clusters.json"
        self._clusters = Clusters(platform=platform, client_ca=clients.certificate, clusters={})
        self._write()
        argv = [
            sys.executable,
            "-m",
            "hack.plane.data_api",
            f"--host={LOOPBACK}",
            f"--port={port}",
            f"--clusters={self._file}",
        ]
        env = emulator_environment() | {"PYTHONPATH": f"{REPOSITORY / 'operator'}:{REPOSITORY}"}
        super().__init__("gateway", site.warden, Launch(argv, folder / "gateway.log", env=env, cwd=folder))

    async def admit(self, cluster: str, jwks: Jwks, *, dsn: str = "") -> None:
        """From the next connection on it serves this cluster, which trusts `jwks` and has the database `dsn`."""
        own = self._authority.server(cluster, server_name(cluster))
        added = Cluster(certificate=own.certificate, key=own.key, jwks=jwks, dsn=dsn)
        self._clusters = msgspec.structs.replace(self._clusters, clusters={**self._clusters.clusters, cluster: added})
        self._write()
        if self.running:
            await self._warden.signal(self._running_process(), signal.SIGHUP)

    async def answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, self._port)
        except OSError:
            return False
        writer.close()
        return True

    def _write(self) -> None:
        write_private(self._file, documents.encode(self._clusters).decode())
