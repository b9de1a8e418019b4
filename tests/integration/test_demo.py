"""The demo as a newcomer runs it: what it shows holds, what it says to type works, and nothing is left of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hack.plane.state import read_state, started_at
from hack.plane.warden import descendants
from tests.unit.hack.waiting import has_ended, until

REPOSITORY = Path(__file__).parents[2]
UP_SECONDS = 240.0
SHOWN = (
    "acme     Ready",
    "globex   Ready",
    "DataPlane default Registered and Connected",
    '200 {"database": "acme"',
    "404",
    '"action": "proxy.requested"',
    "verdict     intact",
)
TYPED = ("export ", "kubectl get", "kubectl describe", "curl ", "bulkhead ")
"""How those of the printed commands begin that end by themselves and change nothing."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Where the demo keeps its state; whatever a failed test left is ended."""
    yield tmp_path
    run(tmp_path, "down")


def environment(home: Path) -> dict[str, str]:
    path = f"{REPOSITORY / 'operator'}:{REPOSITORY}"
    return {**os.environ, "XDG_STATE_HOME": str(home), "PYTHONPATH": path, "COLUMNS": "200"}


def run(home: Path, word: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hack.demo", word]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment(home), capture_output=True, text=True, timeout=UP_SECONDS, check=False
    )


def processes(home: Path) -> list[int]:
    state = read_state(home / "bulkhead" / "demo")
    return [] if state is None else [state.pid, *descendants(state.pid)]


async def test_what_it_shows_holds_and_what_it_says_to_type_works(home: Path) -> None:
    first = run(home, "up")
    assert first.returncode == 0, first.stdout + first.stderr
    assert [text for text in SHOWN if text not in first.stdout] == []
    started = processes(home)
    assert started
    typed(home, first.stdout)
    assert run(home, "up").returncode == 0
    assert run(home, "down").returncode == 0
    assert await until(lambda: not [pid for pid in started if started_at(pid) is not None])


def typed(home: Path, shown: str) -> None:
    """Paste into a shell what is printed."""
    _, _, after = shown.partition("Go on")
    lines = [line.strip() for line in after.splitlines() if line.strip().startswith(TYPED)]
    assert len(lines) > len(TYPED)
    script = "\n".join(("set -e", *(line for line in lines if shutil.which("curl") or not line.startswith("curl"))))
    ran = subprocess.run(
        ["/bin/sh", "-c", script], cwd=home, capture_output=True, text=True, timeout=UP_SECONDS, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, ""), script
    assert '"remedy"' not in ran.stdout, "a problem document"


@contextmanager
def running(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "hack.demo", "up"]
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_interrupted_it_leaves_nothing_running(home: Path) -> None:
    with running(home) as process:
        assert await until(lambda: len(processes(home)) > 1, UP_SECONDS)
        below = processes(home)
        process.send_signal(signal.SIGINT)
        assert await has_ended(process, 60)
    assert process.returncode == 130
    assert await until(lambda: not [pid for pid in below if started_at(pid) is not None])
