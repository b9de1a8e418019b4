"""`bulkhead platform serve`: the service."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

import uvloop

from bulkhead.cli.terminal import fail
from bulkhead.platform import app
from bulkhead.platform.audit.export import Damaged, Unwritable
from bulkhead.platform.audit.look import Restored
from bulkhead.platform.database.pools import TooPowerful
from bulkhead.platform.http.server import Bounds
from bulkhead.platform.settings import Environment, Wrong
from bulkhead.telemetry import logs


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes, and set `run` in its options."""
    parser.description = (
        "Serve until SIGTERM: then say so to balancers, finish what runs, and end. A second SIGTERM ends at once. "
        "Exit status 2: wrong settings, or a database that was restored from a backup and has to be fenced first."
    )
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.add_argument(
        "--without-export",
        action="store_true",
        help="there is no export: nobody notices that the database was restored, and what was revoked lives again",
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    logs.configure(options.log_level, sys.stdout)
    try:
        settings = Environment(os.environ).serve(without_export=options.without_export)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(app.serve(settings, bounds=Bounds()))
    except (Wrong, TooPowerful, Restored, Damaged) as error:
        return fail(error, 2)
    except (Unwritable, OSError) as error:
        return fail(error, 1)
    return 0
