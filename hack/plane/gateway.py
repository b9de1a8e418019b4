"""The gateway of a plane, as a process: a stand-in, see data_api.py."""

import asyncio
import base64
import datetime as dt
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import msgspec

from bulkhead.protocol import documents
from bulkhead.protocol.assertions import Jwks, server_name
from bulkhead.protocol.errors import Malformed
from hack.plane.certificates import Authority, KeyPair
from hack.plane.data_api import Cluster, Clusters
from hack.plane.emulation import REPOSITORY, emulator_environment
from hack.plane.kubernetes import ApiServer
from hack.plane.ports import LOOPBACK
from hack.plane.private import write_private
from hack.plane.process import Launch, Server
from hack.plane.site import Site

PUBLISHED: Final = "/api/v1/secrets?fieldSelector=metadata.name%3Ddata-api-secrets"
LOOK_SECONDS: Final = 1.0


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
        self._issued: dict[str, KeyPair] = {}
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
        await self.serve({**self._clusters.clusters, cluster: self._cluster(Published(cluster, jwks, dsn))})

    async def follow(self, api: ApiServer) -> None:
        """Serve what the operator publishes for Data APIs, as it changes, for ever."""
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):  # a control plane that is down publishes nothing new
                status, found = await api.request("GET", PUBLISHED)
                if status == HTTPStatus.OK:
                    await self.serve({each.id: self._cluster(each) for each in published(found["items"])})
            await asyncio.sleep(LOOK_SECONDS)

    async def serve(self, clusters: Mapping[str, Cluster]) -> None:
        """These and no others. It runs, or is not started yet."""
        if self._clusters.clusters == clusters:
            return
        self._clusters = msgspec.structs.replace(self._clusters, clusters=dict(clusters))
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

    def _cluster(self, published: "Published") -> Cluster:
        """With the certificate that it had before, so that connections stay when its keys follow each other."""
        if published.id not in self._issued:
            self._issued[published.id] = self._authority.server(published.id, server_name(published.id))
        own = self._issued[published.id]
        return Cluster(certificate=own.certificate, key=own.key, jwks=published.jwks, dsn=published.dsn)

    def _write(self) -> None:
        """At once: the program may be reading."""
        text = documents.encode(self._clusters).decode()
        write_private(self._file.with_suffix(".new"), text).replace(self._file)


@dataclass(frozen=True, slots=True)
class Published:
    """What the operator tells a Data API: its cluster's id, the keys that it trusts, and its database."""

    id: str
    jwks: Jwks
    dsn: str = field(repr=False)


def published(secrets: Iterable[dict[str, Any]]) -> Iterator[Published]:
    """What the Secrets of Data APIs hold."""
    for secret in secrets:
        # Not joined yet, or edited by hand: then the operator puts it right.
        with suppress(KeyError, ValueError, Malformed):
            text = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
            jwks = documents.decode(Jwks, text["PLATFORM_JWKS"].encode())
            yield Published(text["PLATFORM_CLUSTER_ID"], jwks, text["POSTGRES_URI"])
