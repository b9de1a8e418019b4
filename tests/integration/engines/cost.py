"""What a survey costs: how often it calls through the one seam by which an engine reaches its server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bulkhead.engines.contract import Engine

FEW, MORE = 2, 6
"""Tenants: one call for each shows as a difference. Pages hold hundreds, so both fit into one."""


class Tally:
    """Counts the calls of `owner.name`, which go on as before."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
        self._calls = 0
        original = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self._calls += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    async def does_not_grow_with_tenants(
        self, engine: Engine[Any, Any], admit: Callable[[str], Awaitable[str]]
    ) -> None:
        """Survey a few tenants, then more of them. `admit`: makes the one with that slug and gives its UID."""
        uids = {await admit(f"counted-{number}") for number in range(FEW)}
        few = await self._of_a_survey(engine, uids)
        uids |= {await admit(f"counted-{number}") for number in range(FEW, MORE)}
        more = await self._of_a_survey(engine, uids)
        assert more == few, f"{few} calls for {FEW} tenants, {more} for {MORE}"

    async def _of_a_survey(self, engine: Engine[Any, Any], uids: set[str]) -> int:
        before = self._calls
        surveyed = await engine.survey()
        assert uids <= surveyed.keys(), f"not shown: {uids - surveyed.keys()}"
        assert self._calls > before, "a survey does not call through this seam"
        return self._calls - before
