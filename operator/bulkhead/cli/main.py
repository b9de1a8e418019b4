"""`bulkhead`: one program, a subcommand for each of its services.

Only the service that is named is imported: neither pays for the libraries of the other, nor needs them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bulkhead import app

SERVICES = {"operator": "run the operator", "platform": "run or maintain the platform service"}


def main(arguments: Sequence[str] | None = None, seams: app.Seams | None = None) -> int:
    """Run what the command line asks for. Returns the exit status. `seams`: the operator's."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="bulkhead", description="A watertight data cluster for every tenant.")
    services = parser.add_subparsers(required=True, metavar="SERVICE")
    for name, summary in SERVICES.items():
        service = services.add_parser(name, help=summary)
        if words[:1] == [name]:
            _configure(name, service, words[1:], seams)
    options = parser.parse_args(words)
    status: int = options.run(options)
    return status


def _configure(name: str, parser: argparse.ArgumentParser, words: Sequence[str], seams: app.Seams | None) -> None:
    if name == "operator":
        from bulkhead.cli import operator  # noqa: PLC0415 - imported only where it is what was asked for

        operator.configure(parser, seams)
    else:
        from bulkhead.cli import platform  # noqa: PLC0415 - imported only where it is what was asked for

        platform.configure(parser, words)


if __name__ == "__main__":
    sys.exit(main())
