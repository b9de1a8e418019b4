"""`bulkhead platform`: the platform service and what its maintainers do."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

import uvloop

from bulkhead.cli import grant
from bulkhead.platform import app
from bulkhead.platform.audit import verify
from bulkhead.platform.database import migrate
from bulkhead.platform.database.pools import TooPowerful
from bulkhead.platform.http.server import Bounds
from bulkhead.platform.settings import Environment, Wrong
from bulkhead.telemetry import logs


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes, and set `run` in its options: what does it, and gives the exit status."""
    parser.description = "Settings are variables BULKHEAD_PLATFORM_...; each command names those that it lacks."
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _serve(commands.add_parser("serve", help="run the service"))
    _migrate(commands.add_parser("migrate", help="bring the database to this release's schema"))
    grant.configure(commands.add_parser("grant", help="make organisations, members, platform admins and API tokens"))
    _verify_audit(commands.add_parser("verify-audit", help="say whether the audit is what was signed and exported"))


def _serve(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Serve until SIGTERM: then say so to balancers, finish what runs, and end. A second SIGTERM ends at once."
    )
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.set_defaults(run=_run_serve)


def _run_serve(options: argparse.Namespace) -> int:
    logs.configure(options.log_level, sys.stdout)
    try:
        settings = Environment(os.environ).serve()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(app.serve(settings, bounds=Bounds()))
    except (Wrong, TooPowerful) as error:
        return _fail(error, 2)
    return 0


def _migrate(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Bring the database of BULKHEAD_PLATFORM_OWNER_DSN to this release's schema. "
        "The former release may serve while it runs, and after it."
    )
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--check", action="store_true", help="only say whether there is anything to do: 1 if there is")
    parser.add_argument("--wait-seconds", type=float, default=60.0, help="for another migration to end")
    parser.add_argument("--lock-seconds", type=float, default=5.0, help="for a table that is in use")
    parser.set_defaults(run=_run_migrate)


def _run_migrate(options: argparse.Namespace) -> int:
    try:
        dsn = Environment(os.environ).owner().text
        if options.check:
            return _report(asyncio.run(migrate.check(dsn)))
        asyncio.run(
            migrate.migrate(dsn, wait_seconds=options.wait_seconds, lock_seconds=options.lock_seconds, tell=_say)
        )
    except Wrong as error:
        return _fail(error, 2)
    except migrate.Stopped as error:
        return _fail(error, 1)
    return 0


def _verify_audit(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Read the audit of BULKHEAD_PLATFORM_MAINTENANCE_DSN beside the export of BULKHEAD_PLATFORM_EXPORT_DIRECTORY, "
        "and say whether any row was changed, removed, moved or added since. Changes nothing. "
        "Exit status 0: intact; 1: not intact; 2: no verdict."
    )
    parser.add_argument(
        "--without-export", action="store_true", help="believe the database's own heads, which can be cut off with rows"
    )
    parser.add_argument(
        "--first-key",
        metavar="FINGERPRINT",
        default="",
        help="of the first signing key, as somebody noted it",
    )
    parser.set_defaults(run=_run_verify_audit)


def _run_verify_audit(options: argparse.Namespace) -> int:
    try:
        environment = Environment(os.environ)
        dsn = environment.maintenance().text
        export = None if options.without_export else environment.needed_export_directory()
        outcome = asyncio.run(verify.verify(dsn, export, first_key=options.first_key))
    except (Wrong, verify.NoVerdict) as error:
        return _fail(error, 2)
    for line in verify.lines_for_people(outcome):
        _say(line)
    return 0 if outcome.report.intact else 1


def _report(shortfall: str) -> int:
    _say(shortfall or "the schema is current")
    return 1 if shortfall else 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - for the person at the terminal


def _fail(error: Exception, status: int) -> int:
    print(f"bulkhead: {error}", file=sys.stderr)  # noqa: T201 - for the person at the terminal
    return status
