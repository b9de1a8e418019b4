"""Serves the emulator: `python -m hack.plane.emulators.qdrant --port N --data-dir D`.

Keys come from the environment, under the names of the real server: QDRANT__SERVICE__API_KEY,
QDRANT__SERVICE__ALT_API_KEY and QDRANT__SERVICE__JWT_RBAC.
"""

import argparse
import os
import secrets
import shutil
import time
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import uvicorn

from hack.plane.emulators.qdrant.app import App
from hack.plane.emulators.qdrant.archive import Archive
from hack.plane.emulators.qdrant.auth import Authenticator, Keys
from hack.plane.emulators.qdrant.building import built_on_use
from hack.plane.emulators.qdrant.catalog import Catalog
from hack.plane.emulators.qdrant.collections import Collections
from hack.plane.emulators.qdrant.routing import Router
from hack.plane.emulators.qdrant.service import Service
from hack.plane.emulators.qdrant.snapshots import Snapshots
from hack.plane.emulators.qdrant.store import Store

PEER_BITS = 53
IDLE_SECONDS = 60
STOP_SECONDS = 1


def assembled(data: Path, environment: Mapping[str, str]) -> App:
    """The application over the data in a folder, as it was left there."""
    store = Store(data / "store.sqlite")
    peer = store.fact("peer", str(secrets.randbits(PEER_BITS)))
    catalog = Catalog(store, lambda: _disk_percent(data), time.monotonic)
    router = Router()
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    Service(catalog, str(uuid.uuid4()), started).register(router)
    Collections(catalog, int(peer)).register(router)
    Snapshots(catalog, Archive(data / "snapshots", peer, time.time)).register(router)
    authenticator = Authenticator(Keys.from_environment(environment), catalog.value_exists, time.time)
    return App(router, authenticator, _points_of(catalog, router))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="qdrant-emulator", description="A stand-in for Qdrant.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--tls-cert", type=Path)
    parser.add_argument("--tls-key", type=Path)
    given = parser.parse_args(arguments)
    # Local mode warns of what this server is meant to be: exact, without indexes, not for large collections.
    warnings.simplefilter("ignore", UserWarning)
    uvicorn.run(
        assembled(given.data_dir, os.environ),
        host=given.host,
        port=given.port,
        ssl_certfile=given.tls_cert,
        ssl_keyfile=given.tls_key,
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


def _points_of(catalog: Catalog, router: Router) -> Callable[[], None]:
    def register() -> None:
        # Imported here and not above: numpy and the client's models take longer than all the rest of the start.
        with built_on_use():
            from hack.plane.emulators.qdrant.core import Core  # noqa: PLC0415
            from hack.plane.emulators.qdrant.reading import Reading  # noqa: PLC0415
            from hack.plane.emulators.qdrant.writing import Writing  # noqa: PLC0415

        core = Core(catalog)
        Writing(catalog, core).register(router)
        Reading(catalog, core).register(router)

    return register


def _disk_percent(folder: Path) -> int:
    usage = shutil.disk_usage(folder)
    return (usage.total - usage.free) * 100 // usage.total


if __name__ == "__main__":
    main()
