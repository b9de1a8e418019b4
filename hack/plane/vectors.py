"""The vector engine: a real Qdrant where there is one, else the emulator."""

import secrets
from pathlib import Path

from hack.plane.emulation import Command, EmulatedEngine, Place
from hack.plane.ports import LOOPBACK
from hack.plane.site import Site


class Qdrant(EmulatedEngine):
    """The vector engine.

    Attributes:
        api_key: the key that may do anything and signs tokens (HS256).
    """

    def __init__(self, site: Site, program: Path | None) -> None:
        """`program`: a real server; None: the emulator."""
        self.api_key = secrets.token_urlsafe(32)
        access = {"QDRANT__SERVICE__API_KEY": self.api_key, "QDRANT__SERVICE__JWT_RBAC": "true"}
        super().__init__(site, "qdrant", program, health="/readyz", access=access)

    def real(self, program: Path, place: Place, site: Site) -> Command:
        settings = {
            "QDRANT__SERVICE__HOST": LOOPBACK,
            "QDRANT__SERVICE__HTTP_PORT": str(place.port),
            "QDRANT__SERVICE__GRPC_PORT": str(site.ports.reserve()),
            "QDRANT__SERVICE__ENABLE_TLS": "true",
            "QDRANT__TLS__CERT": str(place.certificate),
            "QDRANT__TLS__KEY": str(place.key),
            "QDRANT__STORAGE__STORAGE_PATH": str(place.folder / "data"),
            "QDRANT__STORAGE__SNAPSHOTS_PATH": str(place.folder / "snapshots"),
        }
        return Command([str(program), "--disable-telemetry"], settings)
