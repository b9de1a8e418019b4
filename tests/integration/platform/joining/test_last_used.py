"""When a key was used last is written a part of the keys after the other, and nothing of it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest

from bulkhead.platform.database.pools import Bounds
from bulkhead.platform.keys.last_used import LastUsed
from tests.background import running
from tests.integration.platform.joining.platform import World
from tests.integration.platform.server import Database, one
from tests.world import eventually

LOCK_SECONDS = 0.2
NEVER = 86_400.0


@pytest.fixture
async def keys(world: World) -> list[str]:
    """Ids of keys of which nobody knows a use."""
    joined = [(await world.joined_plane()).key_id for _ in range(5)]
    await world.session.execute("UPDATE service_keys SET last_used_at = NULL WHERE id = ANY(%s)", (joined,))
    return joined


async def written(world: World, keys: Sequence[str]) -> int:
    asked = "SELECT count(last_used_at) FROM service_keys WHERE id = ANY(%s)"
    return int(await one(world.session, asked, (list(keys),)))


async def all_written(world: World, keys: Sequence[str]) -> bool:
    return await written(world, keys) == len(keys)


async def test_all_keys_that_were_used_are_written_within_the_period_and_no_other(
    world: World, database: Database, keys: list[str]
) -> None:
    async with database.pool("worker") as worker:
        last_used = LastUsed(worker, seconds=0.1)
        async with running(last_used.run()):
            for key in keys[1:]:
                last_used.at(key)
            await eventually(partial(all_written, world, keys[1:]))
    assert await written(world, keys[:1]) == 0


async def test_what_was_not_written_yet_is_written_at_the_end(
    world: World, database: Database, keys: list[str]
) -> None:
    async with database.pool("worker") as worker:
        last_used = LastUsed(worker, seconds=NEVER)
        async with running(last_used.run()):
            for key in keys:
                last_used.at(key)
            assert await written(world, keys) == 0
    assert await all_written(world, keys)


async def test_what_can_not_be_written_now_is_written_later(world: World, database: Database, keys: list[str]) -> None:
    async with database.pool("worker", Bounds(fewest=1, most=1, lock_seconds=LOCK_SECONDS)) as worker:
        last_used = LastUsed(worker, seconds=NEVER)
        for key in keys:
            last_used.at(key)
        async with database.superuser() as session, session.transaction():
            await session.execute("SELECT FROM service_keys WHERE id = %s FOR UPDATE", (keys[0],))
            await last_used.flush()
        assert await written(world, keys) == 0
        await last_used.flush()
    assert await all_written(world, keys)


async def test_what_is_being_written_when_the_end_comes_is_written_at_the_end(
    world: World, database: Database, keys: list[str]
) -> None:
    async def waits() -> bool:
        locked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return bool(await one(world.session, locked))

    async with database.pool("worker") as worker, database.superuser() as session:
        last_used = LastUsed(worker, seconds=0.1)
        for key in keys:
            last_used.at(key)
        writing = asyncio.create_task(last_used.run())
        async with session.transaction():
            await session.execute("SELECT FROM service_keys WHERE id = ANY(%s) FOR UPDATE", (keys,))
            await eventually(waits)
            writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    assert await all_written(world, keys)
