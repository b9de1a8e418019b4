"""The one seam that everything passes which changes something outside: Kubernetes writes and steps of engines.

It asks before each whether this process may still act, and counts them. A subclass that overrides `before` and `after`
can end the process at the n-th change, or right after it was made: that is how the tests place a crash between any two.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class MayNotAct(Exception):
    """Another process may act by now: the change was not begun."""


class Mutations:
    """Performs changes, one call each.

    observe: told target, action and whether it succeeded, after each
    may_act: asked right before each; must not block
    """

    def __init__(self, observe: Callable[[str, str, bool], None], may_act: Callable[[], bool]) -> None:
        self._observe = observe
        self._may_act = may_act
        self.begun = 0
        """Number of changes begun so far."""

    async def perform(self, target: str, action: str, call: Callable[[], Awaitable[T]]) -> T:
        """Run `call` once and give back what it gives. Raises MayNotAct, and does not run it, where we may not act.

        target: `kubernetes` or the engine; action: the verb and kind, or the step's type. Neither holds a name of an
        object, as both are labels of a metric.
        """
        if not self._may_act():
            raise MayNotAct(f"{target}: {action}")
        self.begun += 1
        number = self.begun
        self.before(number, target, action)
        succeeded = False
        try:
            result = await call()
            succeeded = True
        finally:
            self._observe(target, action, succeeded)
        self.after(number, target, action)
        return result

    def before(self, number: int, target: str, action: str) -> None:
        """Called when change `number` is about to be made."""

    def after(self, number: int, target: str, action: str) -> None:
        """Called when change `number` was made and nobody knows of it yet."""
