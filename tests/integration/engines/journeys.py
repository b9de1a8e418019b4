"""Ways of one tenant through an engine that a crash, or a second try, may interrupt at any step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from bulkhead.engines.contract import Engine
from tests.integration.engines.tenant import Tenant, prepare

Journey = Callable[[Tenant, int | None, int], Awaitable[int]]
"""Takes a tenant, after how many steps its way is broken off, and how often each step is done; gives their number."""


async def created(tenant: Tenant, crash_after: int | None, times: int) -> int:
    return await tenant.settle(crash_after=crash_after, times=times)


async def rotated(tenant: Tenant, crash_after: int | None, times: int) -> int:
    await tenant.settle()
    tenant.rotate()
    tenant.retire()
    return await tenant.settle(crash_after=crash_after, times=times)


async def erased(tenant: Tenant, crash_after: int | None, times: int) -> int:
    await tenant.settle()
    return await tenant.erase(crash_after=crash_after, times=times)


EVERY_JOURNEY = pytest.mark.parametrize("journey", [created, rotated, erased])


@dataclass(frozen=True)
class Ground:
    """An engine whose server can be emptied, and shows all that it holds."""

    engine: Engine[Any, Any]
    sweep: Callable[[], Awaitable[None]]
    inventory: Callable[[], Awaitable[Mapping[str, object]]]

    async def after(
        self, journey: Journey, *, crash_after: int | None = None, times: int = 1
    ) -> tuple[int, Mapping[str, object]]:
        """How many steps the way of a new tenant takes, alone on an empty server, and what the server holds then."""
        await self.sweep()
        await prepare(self.engine)
        length = await journey(Tenant(self.engine, "acme"), crash_after, times)
        return length, await self.inventory()

    async def ends_alike_whatever_step_a_crash_follows(self, journey: Journey) -> None:
        length, end = await self.after(journey)
        for crash_after in range(length):
            assert (await self.after(journey, crash_after=crash_after))[1] == end

    async def ends_alike_with_every_step_done_twice(self, journey: Journey) -> None:
        _, end = await self.after(journey)
        assert (await self.after(journey, times=2))[1] == end
