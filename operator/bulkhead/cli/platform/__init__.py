"""`bulkhead platform`: the platform service and what its maintainers do.

Only the command that is named is imported: to mint a token takes nothing of what serves requests.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import Final

COMMANDS: Final = {
    "serve": "run the service",
    "migrate": "bring the database to this release's schema",
    "token": "mint the token with which a plane joins, once",
    "grant": "make organisations, members, platform admins and API tokens",
    "fence": "after a restore: end what was issued before it, and revoke again",
    "verify-audit": "say whether the audit is what was signed and exported",
}


def configure(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Say what the command takes. The one that begins `words` sets `run` in its options: does it, gives the status."""
    parser.description = "Settings are variables BULKHEAD_PLATFORM_...; each command names those that it lacks."
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if words[:1] == [name]:
            import_module(f"{__name__}.{name.replace('-', '_')}").configure(command)
