"""The operator, ended by SIGKILL before or after one of the changes that it makes.

    python -m tests.faults.dying_operator --die=before:7 operator …

It is the real program; only the seam that counts changes is replaced, through the place that the composition root has
for it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from bulkhead import app
from bulkhead.cli.main import main
from bulkhead.runtime.mutations import Mutations

UNCOUNTED = "dataplanes/status"


class DyingMutations(Mutations):
    """Ends the process at one change: `when` it is about to be made, or was made and nobody knows yet.

    The status of the plane is not counted: it follows bursts of tenants with a delay, so it may fall on any of them.
    """

    def __init__(self, observe: Callable[[str, str, bool], None], when: str, number: int) -> None:
        super().__init__(observe)
        self._when = when
        self._number = number
        self._numbers: dict[int, int] = {}

    def before(self, number: int, target: str, action: str) -> None:
        if UNCOUNTED not in action:
            self._numbers[number] = len(self._numbers) + 1
        self._die("before", number, target, action)

    def after(self, number: int, target: str, action: str) -> None:
        self._die("after", number, target, action)

    def _die(self, when: str, number: int, target: str, action: str) -> None:
        if (when, self._numbers.get(number)) == (self._when, self._number):
            print(f"dying {when} change {self._number}: {target}: {action}", flush=True)  # noqa: T201 - for the report
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    moment, _, place = sys.argv[1].removeprefix("--die=").partition(":")
    seams = app.Seams(mutations=lambda observe: DyingMutations(observe, moment, int(place)))
    sys.exit(main(sys.argv[2:], seams))
