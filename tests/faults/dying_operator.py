"""The operator, ended by SIGKILL before or after one of the changes that it makes, or stopped by SIGSTOP after it.

    python -m tests.faults.dying_operator FILE operator …

It is the real program; only the seam that counts changes is replaced, through the place that the composition root has
for it. FILE says at which change it dies (`before:7`, `after:7`) or is stopped (`stop:7`), counted from the moment at
which that is written there. What it changes after it was stopped it says.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bulkhead import app
from bulkhead.cli.main import main
from bulkhead.runtime.mutations import Mutations

UNCOUNTED = "dataplanes/status"
"""It follows bursts of tenants with a delay, so it may fall on any of them."""


class DyingMutations(Mutations):
    """Ends or stops the process at one change: when it is about to be made, or was made and nobody knows yet."""

    def __init__(self, file: Path, observe: Callable[[str, str, bool], None], may_act: Callable[[], bool]) -> None:
        super().__init__(observe, may_act)
        self._file = file
        self._order = ""
        self._numbers: dict[int, int] = {}
        self._stopped = False

    def before(self, number: int, target: str, action: str) -> None:
        if self._stopped:
            print(f"changing after the stop: {target}: {action}", flush=True)  # noqa: T201 - for the test
        self._read_order()
        if UNCOUNTED not in action:
            self._numbers[number] = len(self._numbers) + 1
        self._die("before", number, target, action)

    def after(self, number: int, target: str, action: str) -> None:
        self._die("after", number, target, action)
        if self._is_ordered("stop", number, action):
            self._stopped = True
            os.kill(os.getpid(), signal.SIGSTOP)

    def _read_order(self) -> None:
        order = self._file.read_text()
        if order != self._order:
            self._order = order
            self._numbers = {}

    def _die(self, when: str, number: int, target: str, action: str) -> None:
        if self._is_ordered(when, number, action):
            print(f"dying {self._order}: {target}: {action}", flush=True)  # noqa: T201 - for the report
            os.kill(os.getpid(), signal.SIGKILL)

    def _is_ordered(self, when: str, number: int, action: str) -> bool:
        return self._order in (f"{when}:{self._numbers.get(number)}", f"{when}:{action}")


if __name__ == "__main__":
    orders = Path(sys.argv[1])
    sys.exit(main(sys.argv[2:], app.Seams(mutations=partial(DyingMutations, orders))))
