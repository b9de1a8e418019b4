"""The collector of garbage stops the service rarely: all requests wait while it looks."""

from __future__ import annotations

import subprocess
import sys

MAKING = """
import gc
from bulkhead.platform import app

app._leave_to_the_collector_what_is_made_from_now_on()
looked = []
gc.callbacks.append(lambda phase, info: looked.append(info["generation"]))
many = [[] for _ in range(300_000)]
print(*sorted(set(looked)))
"""


def test_it_looks_through_what_is_new_and_not_through_everything() -> None:
    ran = subprocess.run([sys.executable, "-c", MAKING], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["0", "1"]
