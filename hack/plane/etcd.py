"""etcd: one member, reached through a socket in a folder that is its owner's alone."""

import os
from pathlib import Path
from typing import Final

from hack.plane.probe import status_of
from hack.plane.process import Launch, Server
from hack.plane.site import Site

CLIENT: Final = "unix://client:0"
PEER: Final = "unix://peer:0"
HEALTH: Final = "unix://health:0"
"""Sockets with the names `client:0`, `peer:0` and `health:0`: etcd wants a host and a port of what it advertises."""


class Etcd(Server):
    """The store of the API server, whose hundred connections are cheap so: over TLS they took a third of its start.

    Attributes:
        url: for a client that runs in `folder`: a path from the root may be longer than the name of a socket can be.
    """

    def __init__(self, site: Site, program: Path) -> None:
        self.folder = site.folder("etcd")
        self.folder.chmod(0o700)
        self.url = CLIENT
        argv = [
            str(program),
            "--name=plane",
            "--data-dir=data",
            f"--listen-client-urls={CLIENT}",
            f"--advertise-client-urls={CLIENT}",
            f"--listen-peer-urls={PEER}",
            f"--initial-advertise-peer-urls={PEER}",
            f"--initial-cluster=plane={PEER}",
            # Not on the socket of its clients, where it would look into each connection for what it speaks.
            f"--listen-client-http-urls={HEALTH}",
            "--log-level=warn",
        ]
        if not site.fsync:
            argv.append("--unsafe-no-fsync")
        super().__init__("etcd", site.warden, Launch(argv, self.folder / "etcd.log", cwd=self.folder))

    async def answers(self) -> bool:
        here = os.open(self.folder, os.O_PATH)  # short, whatever the path
        try:
            socket = Path(f"/proc/self/fd/{here}") / HEALTH.removeprefix("unix://")
            return await status_of("http://etcd/readyz", socket=socket) == 200
        finally:
            os.close(here)
