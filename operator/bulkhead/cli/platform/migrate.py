"""`bulkhead platform migrate`: the schema of its database."""

from __future__ import annotations

import argparse
import asyncio
import os

from bulkhead.cli.terminal import fail, say
from bulkhead.platform.database import migrate
from bulkhead.platform.settings import Environment, Wrong


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes, and set `run` in its options."""
    parser.description = (
        "Bring the database of BULKHEAD_PLATFORM_OWNER_DSN to this release's schema. "
        "The former release may serve while it runs, and after it."
    )
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument("--check", action="store_true", help="only say whether there is anything to do: 1 if there is")
    parser.add_argument("--wait-seconds", type=float, default=60.0, help="for another migration to end")
    parser.add_argument("--lock-seconds", type=float, default=5.0, help="for a table that is in use")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        dsn = Environment(os.environ).owner().text
        if options.check:
            return _report(asyncio.run(migrate.check(dsn)))
        asyncio.run(
            migrate.migrate(dsn, wait_seconds=options.wait_seconds, lock_seconds=options.lock_seconds, tell=say)
        )
    except Wrong as error:
        return fail(error, 2)
    except migrate.Stopped as error:
        return fail(error, 1)
    return 0


def _report(shortfall: str) -> int:
    say(shortfall or "the schema is current")
    return 1 if shortfall else 0
