"""`bulkhead platform verify-audit`: whether the audit is what was signed and exported."""

from __future__ import annotations

import argparse
import asyncio
import os

from bulkhead.cli.terminal import fail, say
from bulkhead.platform.audit import verify
from bulkhead.platform.settings import Environment, Wrong


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes, and set `run` in its options."""
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
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        environment = Environment(os.environ)
        dsn = environment.maintenance().text
        export = None if options.without_export else environment.needed_export_directory()
        outcome = asyncio.run(verify.verify(dsn, export, first_key=options.first_key))
    except (Wrong, verify.NoVerdict) as error:
        return fail(error, 2)
    for line in verify.lines_for_people(outcome):
        say(line)
    return 0 if outcome.report.intact else 1
