"""`bulkhead`: one program, a subcommand for each of its services."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

import uvloop

from bulkhead import app
from bulkhead.kube.access import AccessError, find_access
from bulkhead.telemetry import logs


def main(arguments: Sequence[str] | None = None, seams: app.Seams | None = None) -> int:
    """Run what the command line asks for. Returns the exit status."""
    options = _parser().parse_args(arguments)
    logs.configure(options.log_level, sys.stdout)
    try:
        access = find_access(os.environ)
    except AccessError as error:
        print(f"bulkhead: {error}", file=sys.stderr)  # noqa: T201 - for the person at the terminal
        return 2
    settings = app.Settings(
        namespace=options.namespace or access.namespace,
        workers=options.workers,
        probe_host=options.probe_host,
        probe_port=options.probe_port,
        drift_seconds=options.drift_seconds,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(app.run(access, settings, seams))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bulkhead", description="A watertight data cluster for every tenant.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    operator = commands.add_parser(
        "operator",
        help="run the operator",
        description="Run the operator against the cluster of KUBECONFIG or of the pod's service account.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    operator.add_argument("--namespace", default="", help="its own namespace; empty: that of the pod or kubeconfig")
    operator.add_argument("--workers", type=_positive, default=app.Settings.workers, help="keys reconciled at once")
    operator.add_argument(
        "--probe-host", default=app.Settings.probe_host, help="address of /healthz, /readyz, /metrics"
    )
    operator.add_argument("--probe-port", type=int, default=app.Settings.probe_port, help="their port; 0: a free one")
    operator.add_argument(
        "--drift-seconds", type=float, default=app.Settings.drift_seconds, help="between two surveys of every engine"
    )
    operator.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


if __name__ == "__main__":
    sys.exit(main())
