"""A plane that outlives the command that started it: `python -m hack.plane up` in a session of its own."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hack.plane.state import State, claimed, read_state, remove_state, running, runs

DOWN_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.1


def default_folder() -> Path:
    """Where it tells its state, if nothing else is said."""
    root = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(root) / "bulkhead" / "plane"


@dataclass(frozen=True, slots=True)
class Starting:
    """One that is not ready yet. process: what runs it; folder: where it tells its state; log_file: its progress"""

    process: "subprocess.Popen[bytes]"
    folder: Path
    log_file: Path

    def wait(self) -> bool:
        """Show its progress until it is ready. False: it ended before."""
        with self.log_file.open() as log:
            while self.process.poll() is None:
                sys.stderr.write(log.read())
                state = read_state(self.folder)
                if state is not None and state.pid == self.process.pid and state.plane is not None:
                    sys.stderr.write(log.read())
                    return True
                time.sleep(POLL_SECONDS)
            sys.stderr.write(log.read())
        return False


@contextmanager
def starting(folder: Path, words: Sequence[str]) -> Iterator[Starting]:
    """One that is started with these words of the command line. What leaves the block by an exception ends it.

    Raises:
        AlreadyUp: another process holds the folder.
    """
    process = None
    log_file = folder / "up.log"
    command = [sys.executable, "-m", "hack.plane", *words]
    with claimed(folder):
        remove_state(folder)
        log = log_file.open("w")
    try:
        with log, interrupted_later():
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        yield Starting(process, folder, log_file)
    except BaseException:
        if process is not None:
            process.terminate()
            process.wait()
        raise


@contextmanager
def interrupted_later() -> Iterator[None]:
    """Have Ctrl-C wait for the end of the block. A process that is just started would be forgotten by it, and there are
    libraries that swallow it while they are imported."""
    interrupts: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupts:
        raise KeyboardInterrupt


def down(folder: Path) -> int:
    """End the one process of the plane that runs there; its warden ends all others. Returns the exit status."""
    state = running(folder)
    if state is None:
        print(f"plane: no plane is up in {folder}", file=sys.stderr)
        return 0
    if any(_ended(state, number) for number in (signal.SIGTERM, signal.SIGKILL)):
        print("plane: ended", file=sys.stderr)
        return 0
    print(f"plane: process {state.pid} could not be ended", file=sys.stderr)
    return 1


def _ended(state: State, number: signal.Signals) -> bool:
    """Whether the process has gone after this signal."""
    try:
        process = os.pidfd_open(state.pid)
    except ProcessLookupError:
        return True
    try:
        # Asked again behind the descriptor, which can not come to mean another process any more.
        if runs(state):
            signal.pidfd_send_signal(process, number)
        return bool(select.select([process], [], [], DOWN_SECONDS)[0])
    finally:
        os.close(process)
