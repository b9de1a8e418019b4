"""What a command says to the person at the terminal: results on standard output, all else on standard error."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """A line of the result."""
    print(text, flush=True)  # noqa: T201


def explain(text: str) -> None:
    """A line about the result, which is not part of it."""
    print(text, file=sys.stderr)  # noqa: T201


def fail(error: Exception | str, status: int) -> int:
    """Say what went wrong. Returns `status`."""
    explain(f"bulkhead: {error}")
    return status
