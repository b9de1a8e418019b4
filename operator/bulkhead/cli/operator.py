"""`bulkhead operator`: runs the operator until it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable

import uvloop

from bulkhead import app
from bulkhead.cli.terminal import fail
from bulkhead.kube.access import AccessError, find_access
from bulkhead.telemetry import logs

HEARTBEAT_SECONDS = (1.0, 50.0)
"""Fewer would be a flood of calls; with more, late by their jitter, a single lost one would be the two minutes of
silence that the platform takes for the end (protocol 4)."""
DRIFT_SECONDS = (1.0, 86_400.0)
"""Fewer would ask the engines for nothing else; with more, what somebody changed by hand would stay for days."""


def configure(parser: argparse.ArgumentParser, seams: app.Seams | None) -> None:
    """Say what the command takes, and set `run` in its options: what does it, and gives the exit status."""
    parser.description = "Run the operator against the cluster of KUBECONFIG or of the pod's service account."
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--namespace", default="", help="its own namespace; empty: that of the pod or kubeconfig")
    parser.add_argument("--workers", type=_positive, default=app.Settings.workers, help="keys reconciled at once")
    parser.add_argument("--probe-host", default=app.Settings.probe_host, help="address of /healthz, /readyz, /metrics")
    parser.add_argument("--probe-port", type=int, default=app.Settings.probe_port, help="their port; 0: a free one")
    parser.add_argument(
        "--drift-seconds",
        type=_seconds(*DRIFT_SECONDS),
        default=app.Settings.drift_seconds,
        help="between two surveys of every engine",
    )
    parser.add_argument(
        "--heartbeat-seconds",
        type=_seconds(*HEARTBEAT_SECONDS),
        default=app.Settings.heartbeat_seconds,
        help="between two heartbeats to the platform",
    )
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.set_defaults(run=lambda options: _run(options, seams))


def _run(options: argparse.Namespace, seams: app.Seams | None) -> int:
    logs.configure(options.log_level, sys.stdout)
    try:
        access = find_access(os.environ)
    except AccessError as error:
        return fail(error, 2)
    settings = app.Settings(
        namespace=options.namespace or access.namespace,
        workers=options.workers,
        probe_host=options.probe_host,
        probe_port=options.probe_port,
        drift_seconds=options.drift_seconds,
        heartbeat_seconds=options.heartbeat_seconds,
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(app.run(access, settings, seams))
    return 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


def _seconds(least: float, most: float) -> Callable[[str], float]:
    def parsed(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None
        if not least <= value <= most:  # nor is NaN
            raise argparse.ArgumentTypeError(f"{text} is not between {least:g} and {most:g} seconds")
        return value

    return parsed
