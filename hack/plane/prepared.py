"""A warden of Python programs that has imported what they need, and starts each by forking: for tests that start many.

    python -P -m hack.plane.prepared PARENT_PID MODULE …

Nearly all of what a start of the operator costs is its imports. It speaks the protocol of hack/plane/warden.py, and
ends as that does when whoever asked for it, or PARENT_PID, is gone. All it can spawn is `python -m PROGRAM …`, under
its own account.

As of a process that was started anew: environment, `sys.argv`, `__main__`, folder, log, umask, session, descriptors,
what signals do, random numbers, the exit code, and that it dies with its warden.

Not so: whatever importing MODULE did, it did once, before the environment of the program was there, and is shared, as
is the seed of hashes; the collector of garbage leaves those objects alone; `/proc/PID/cmdline` is that of this process.
"""

from __future__ import annotations

import gc
import importlib
import os
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from hack.plane.warden import PRIVATE_UMASK, Warden, die_with_warden


class Forked(BaseException):
    """Raised in the child, for `main` to catch: what the warden was doing is no business of the program."""

    def __init__(self, request: dict[str, Any]) -> None:
        super().__init__()
        self.request = request


class Prepared(Warden):
    """A warden whose processes are copies of its own."""

    def start(self, request: dict[str, Any], log: int) -> int:
        if request["argv"][:2] != [sys.executable, "-m"] or request["uid"] is not None:
            raise subprocess.SubprocessError("only `python -m` under the same account can be forked")
        # A signal that comes before the child has let go of what is done here about signals would be lost.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        if pid := os.fork():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
            return pid
        die_with_warden()
        os.dup2(log, 1)
        os.dup2(log, 2)
        raise Forked(request)

    def let_go(self) -> None:
        """In the child: close what is the warden's, and do about signals what Python does at its start."""
        for key in self.selector.get_map().values():  # not unregistered: its epoll is that of the warden
            os.close(key.fd) if isinstance(key.fileobj, int) else key.fileobj.close()  # type: ignore[attr-defined]
        self.selector.close()
        signal.set_wakeup_fd(-1)
        self.notify.close()
        for number in signal.valid_signals():
            if callable(signal.getsignal(number)):
                signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())


def main() -> None:
    parent, *modules = sys.argv[1:]
    prepare(modules)
    warden = Prepared(socket.socket(fileno=0), int(parent))
    try:
        warden.serve()
    except Forked as forked:
        request = forked.request
    else:
        return warden.end_everything()
    warden.let_go()
    return run(request)


def prepare(modules: list[str]) -> None:
    for module in modules:
        importlib.import_module(module)
    # Only the thread that forks is in the child; whatever lock another one holds is locked there for ever.
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        sys.exit(f"it can not be forked: to import {', '.join(modules)} starts a thread")
    # Collections in the children would write to, and so copy, every page that they share.
    gc.collect()
    gc.freeze()


def run(request: dict[str, Any]) -> None:
    """Be what was asked for."""
    os.setsid()
    os.umask(PRIVATE_UMASK)
    os.chdir(request["cwd"])
    # The lowest that is free, so it is 0.
    os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)  # noqa: FBT003 - it takes no names
    os.environ.clear()
    os.environ.update(request["env"])
    _, _, program, *arguments = request["argv"]
    sys.argv = [program, *arguments]
    sys.path.insert(0, request["cwd"])  # as `-m` does
    runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
