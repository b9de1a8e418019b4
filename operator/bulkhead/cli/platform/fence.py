"""`bulkhead platform fence`: after its database was restored from a backup."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from uuid import uuid4

from bulkhead.cli.terminal import fail, say
from bulkhead.platform import fence
from bulkhead.platform.audit.export import Export
from bulkhead.platform.database.pools import TooPowerful
from bulkhead.platform.settings import Environment, Wrong


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes, and set `run` in its options."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = """\
Begin a new epoch after the database was restored from a backup, and before it serves again. All or nothing; to say it
twice does no harm.

  registration tokens   that nobody redeemed end: mint new ones
  service keys          end; planes and clusters re-join by themselves, within minutes
  revocations           that the export holds are applied again, whatever the backup says
  API tokens            live on, but for those that the export says were revoked or rotated

Reads BULKHEAD_PLATFORM_MAINTENANCE_DSN and BULKHEAD_PLATFORM_EXPORT_DIRECTORY.
Exit status 0: fenced; 1: not fenced, and nothing was changed; 2: wrong settings."""
    parser.epilog = """\
After a restore: end all replicas, restore, `bulkhead platform migrate`, `bulkhead platform fence`, serve. Then
`bulkhead platform verify-audit` names what was lost, and should say: intact."""
    parser.add_argument(
        "--without-export",
        action="store_true",
        help="there is none: every API token is revoked instead, and whatever else was revoked since lives again",
    )
    parser.add_argument(
        "--while-serving", action="store_true", help="although replicas are live: they go on afterwards"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        environment = Environment(os.environ)
        dsn = environment.maintenance().text
        directory = None if options.without_export else environment.needed_export_directory()
        export = Export(directory, replica=f"fence-{uuid4()}", clock=time.time) if directory else None
        outcome = asyncio.run(fence.fence(dsn, directory, export, while_serving=options.while_serving))
    except (Wrong, TooPowerful) as error:
        return fail(error, 2)
    except fence.Unfenced as error:
        return fail(error, 1)
    for line in fence.lines_for_people(outcome):
        say(line)
    return 0
