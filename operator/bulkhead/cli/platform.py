"""`bulkhead platform`: the platform service and what its maintainers do."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from bulkhead.platform.database import migrate
from bulkhead.platform.settings import Environment, Wrong


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes, and set `run` in its options: what does it, and gives the exit status."""
    parser.description = "Settings are variables BULKHEAD_PLATFORM_...; each command names those that it lacks."
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _migrate(commands.add_parser("migrate", help="bring the database to this release's schema"))


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


def _report(shortfall: str) -> int:
    _say(shortfall or "the schema is current")
    return 1 if shortfall else 0


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - for the person at the terminal


def _fail(error: Exception, status: int) -> int:
    print(f"bulkhead: {error}", file=sys.stderr)  # noqa: T201 - for the person at the terminal
    return status
