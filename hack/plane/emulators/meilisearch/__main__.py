"""`python -m hack.plane.emulators.meilisearch`: run the server until it is told to stop.

The master key comes from MEILI_MASTER_KEY, as with the real server, so that it is in no process list.
"""

import argparse
import os
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import uvicorn

from hack.plane.emulators.meilisearch import app, engine
from hack.plane.emulators.meilisearch.engine import Options
from hack.plane.emulators.meilisearch.store import DataDirectoryInUse

_SHORTEST_MASTER_KEY = 16
_IDLE_SECONDS = 60


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Serve; returns the exit status."""
    given = _parser().parse_args(arguments)
    master_key = environment.get("MEILI_MASTER_KEY")
    if master_key is not None and len(master_key.encode()) < _SHORTEST_MASTER_KEY:
        print(f"error: the master key must be at least {_SHORTEST_MASTER_KEY} bytes", file=sys.stderr)
        return 1
    options = Options(
        directory=given.data_dir,
        master_key=master_key,
        version=given.report_version,
        payload_limit=given.http_payload_size_limit,
        hold_seconds=given.unreachable_host_seconds,
    )
    try:
        built = engine.build(options, time.time_ns, uuid.uuid4)
    except DataDirectoryInUse as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return _serve(given, built)


def _serve(given: argparse.Namespace, built: engine.Engine) -> int:
    crashed: list[bool] = []

    def stop() -> None:
        crashed.append(True)
        server.should_exit = True

    config = uvicorn.Config(
        app.build(built, stop),
        host=given.host,
        port=given.port,
        ssl_certfile=given.tls_cert,
        ssl_keyfile=given.tls_key,
        log_level="warning",
        access_log=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    server.run()
    return 1 if crashed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="meilisearch-emulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--tls-cert", type=Path)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--http-payload-size-limit", type=int, default=100 * 1024 * 1024, metavar="BYTES")
    parser.add_argument("--report-version", default="1.50.0", help="the version that `GET /version` tells")
    parser.add_argument(
        "--unreachable-host-seconds",
        type=float,
        default=240.0,
        help="how long a remote embedder or an export holds the queue before it fails",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
