"""The search engine: a real Meilisearch where there is one, else the emulator."""

import secrets
from pathlib import Path

from hack.plane.emulation import Command, EmulatedEngine, Place
from hack.plane.ports import LOOPBACK
from hack.plane.site import Site


class Meilisearch(EmulatedEngine):
    """The search engine.

    Attributes:
        master_key: the key from which it derives all others.
    """

    def __init__(self, site: Site, program: Path | None) -> None:
        """`program`: a real server; None: the emulator."""
        self.master_key = secrets.token_urlsafe(32)
        super().__init__(site, "meilisearch", program, health="/health", access={"MEILI_MASTER_KEY": self.master_key})

    def real(self, program: Path, place: Place, site: Site) -> Command:  # noqa: ARG002 - it needs no second port
        argv = [
            str(program),
            "--env=production",  # development serves a search page to anyone
            "--no-analytics",
            f"--http-addr={LOOPBACK}:{place.port}",
            f"--db-path={place.folder / 'data'}",
            f"--dump-dir={place.folder / 'dumps'}",
            f"--snapshot-dir={place.folder / 'snapshots'}",
            f"--ssl-cert-path={place.certificate}",
            f"--ssl-key-path={place.key}",
        ]
        return Command(argv, {})
