"""What `make demo` and `make demo-down` run.

python -m hack.demo up      start the plane if it does not run, and show
python -m hack.demo down    end everything that the demo started
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from rich.console import Console

from hack.plane import detached
from hack.plane.state import AlreadyUp, running

PLANE = ("up", "--bulkhead", "--platform", "--no-fsync", "--without=workloads")
"""Nothing of it outlives it, and what becomes available by itself is no part of what is shown."""


def main(arguments: list[str]) -> int:
    """Run `up` or `down`. Returns the exit status."""
    folder = detached.default_folder().with_name("demo")
    if arguments == ["down"]:
        return detached.down(folder)
    if arguments not in ([], ["up"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return up(folder, Console(highlight=False))
    except AlreadyUp as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if running(folder):
            detached.down(folder)
        return 130


def up(folder: Path, console: Console) -> int:
    """Start the plane, show, and say how to go on."""
    started = time.monotonic()
    state = running(folder)
    if state is not None and state.plane is None:
        console.print("another demo is starting: go on when it is up")
        return 1
    if state is None and not start(folder, console):
        return 1
    from hack.demo.show import show  # noqa: PLC0415 - see `start`

    return show(folder, console, started)


def start(folder: Path, console: Console) -> bool:
    """Whether the plane is ready."""
    console.rule("[bold]A local plane, Bulkhead and its platform on it")
    with detached.starting(folder, (*PLANE, f"--state={folder}")) as plane:
        # What shows takes a second to import: in that time the plane has begun to start.
        with detached.interrupted_later():
            import hack.demo.show  # noqa: F401, PLC0415
        return plane.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
