"""The warden: starts the servers of one plane, and ends them all when whoever asked for them is gone.

Runs as a program of its own, on the standard library alone and single-threaded, so that it is up in a few milliseconds:

    python -I -S warden.py PARENT_PID [DIRECTORY_TO_REMOVE]

It speaks JSON lines over the socket that is its standard input.

    {"id": 1, "do": "spawn", "argv": [...], "env": {...}, "cwd": "/", "log": "/…/x.log", "uid": null, "gid": null,
     "stop_signal": 15}                                                    -> {"id": 1, "pid": 4711}
    {"id": 2, "do": "signal", "pid": 4711, "signal": 9, "tree": true}      -> {"id": 2}
    a child ends                                                           -> {"exited": 4711, "code": -9}

Why a program between the plane and its servers: a parent that is killed with SIGKILL cleans nothing up, and
PR_SET_PDEATHSIG alone reaches neither grandchildren (the backends of Postgres) nor directories. The warden sees its
parent die (end of file on the socket, or the pidfd of the parent), ends the tree below it, and removes the directory.
Should the warden itself be killed, its children die by PR_SET_PDEATHSIG. hack/plane/prepared.py is one that forks.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
STOP_GRACE_SECONDS = 5.0
KILL_GRACE_SECONDS = 5.0
PRIVATE_UMASK = 0o077

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    parent, *directories = sys.argv[1:]
    warden = Warden(socket.socket(fileno=0), int(parent))
    try:
        warden.serve()
    finally:
        warden.end_everything()
        remove(directories)


def die_with_warden() -> None:
    """In the child, after the change of user (which clears the setting) and before exec (which keeps it)."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def parents() -> dict[int, int]:
    """Parent by process, for every process that can be seen."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (parent := parent_of(int(entry.name))) is not None:
            found[int(entry.name)] = parent
    return found


def parent_of(pid: int) -> int | None:
    try:
        # The name, in parentheses, may hold spaces and parentheses itself.
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return None


def descendants(root: int) -> list[int]:
    """Every process below `root`, parents before children."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found[1:]


def send(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def remove(directories: Iterable[str]) -> None:
    import shutil  # noqa: PLC0415 - its import costs more than the rest of the start

    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


class Warden:
    """Serves one parent until it is gone."""

    def __init__(self, channel: socket.socket, parent: int) -> None:
        self.channel = channel
        self.parent = parent
        self.stop_signals: dict[int, int] = {}  # of every child, in the order in which they were started
        self.doomed: dict[int, list[int]] = {}
        self.received = b""
        self.leaving = False
        self.selector = selectors.DefaultSelector()

    def serve(self) -> None:
        # Orphaned grandchildren become children of the warden, so none escapes its last look.
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._watch_signals()
        self._watch_parent()
        self.selector.register(self.channel, selectors.EVENT_READ, self._receive)
        while not self.leaving:
            for key, _ in self.selector.select():
                key.data()

    def _watch_signals(self) -> None:
        wakeup, notify = socket.socketpair()
        wakeup.settimeout(0)
        notify.settimeout(0)
        signal.set_wakeup_fd(notify.fileno(), warn_on_full_buffer=False)
        self.notify = notify  # kept: closing it would close the descriptor that the interpreter writes to
        # Handlers, not SIG_IGN: an ignored signal stays ignored in the servers after exec.
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._leave())

        def woken() -> None:
            wakeup.recv(4096)
            self._reap()

        self.selector.register(wakeup, selectors.EVENT_READ, woken)

    def _watch_parent(self) -> None:
        try:
            self.selector.register(os.pidfd_open(self.parent), selectors.EVENT_READ, self._leave)
        except ProcessLookupError:
            self._leave()

    def _leave(self) -> None:
        self.leaving = True

    def _receive(self) -> None:
        try:
            chunk = self.channel.recv(65536)
        except ConnectionError:
            chunk = b""
        if not chunk:
            return self._leave()
        *lines, self.received = (self.received + chunk).split(b"\n")
        for line in lines:
            self._answer(json.loads(line))
        return None

    def _answer(self, request: dict[str, Any]) -> None:
        try:
            answer = self._spawn(request) if request["do"] == "spawn" else self._signal(request)
        except (OSError, subprocess.SubprocessError) as error:
            answer = {"error": str(error)}
        self._tell({"id": request["id"], **answer})

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self.channel.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self._leave()

    def _spawn(self, request: dict[str, Any]) -> dict[str, Any]:
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            pid = self.start(request, log)
        finally:
            os.close(log)
        self.stop_signals[pid] = request["stop_signal"]
        return {"pid": pid}

    def start(self, request: dict[str, Any], log: int) -> int:
        """Make the process of a request that writes to `log`. Returns its id."""
        switch: dict[str, Any] = {}
        if request["uid"] is not None:
            switch = {"user": request["uid"], "group": request["gid"], "extra_groups": []}
        child = subprocess.Popen(
            request["argv"],
            env=request["env"],
            cwd=request["cwd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so Ctrl-C in a terminal reaches the plane alone, which stops them in order
            umask=PRIVATE_UMASK,
            preexec_fn=die_with_warden,  # noqa: PLW1509 - safe here: this process has one thread
            **switch,
        )
        child.returncode = 0  # its end is seen here, by number: this object is not to look for it too
        return child.pid

    def _signal(self, request: dict[str, Any]) -> dict[str, Any]:
        pid, number = request["pid"], request["signal"]
        if pid not in self.stop_signals:
            return {}
        targets = [pid, *(descendants(pid) if request["tree"] else ())]
        if number == signal.SIGKILL:
            self.doomed[pid] = targets[1:]
        send(targets, number)
        return {}

    def _reap(self) -> None:
        while (ended := wait_any()) is not None:
            pid, code = ended
            if self.stop_signals.pop(pid, None) is None:
                continue
            self._wait_until_gone(self.doomed.pop(pid, []))
            self._tell({"exited": pid, "code": code})

    def _wait_until_gone(self, pids: list[int]) -> None:
        """Backends that were killed with their postmaster hold its shared memory for a moment: a restart would fail."""
        deadline = time.monotonic() + KILL_GRACE_SECONDS
        while any(parent_of(pid) is not None for pid in pids) and time.monotonic() < deadline:
            for pid in pids:
                wait_one(pid)
            time.sleep(0.002)

    def end_everything(self) -> None:
        """Ask every server to stop, wait, then kill what is left below the warden."""
        # A paused server would sit on its signal until it is killed.
        send(descendants(os.getpid()), signal.SIGCONT)
        # Last started, first stopped: an API server without its etcd takes a minute to give up.
        for pid, stop_signal in reversed(self.stop_signals.items()):
            self._stop(pid, stop_signal)
        deadline = time.monotonic() + KILL_GRACE_SECONDS
        while (left := descendants(os.getpid())) and time.monotonic() < deadline:
            send(left, signal.SIGKILL)
            while wait_any() is not None:
                continue
            time.sleep(0.005)

    def _stop(self, pid: int, stop_signal: int) -> None:
        deadline = time.monotonic() + STOP_GRACE_SECONDS  # each its own: one that hangs takes nothing from the others
        send([pid], stop_signal)
        while parent_of(pid) is not None and time.monotonic() < deadline:
            wait_one(pid)
            time.sleep(0.005)


def wait_any() -> tuple[int, int] | None:
    """A child that has ended and its code (negative: the signal), None when there is none."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None


def wait_one(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


if __name__ == "__main__":
    main()
