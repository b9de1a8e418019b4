"""Every act that was committed comes into the chain once, whoever seals and whatever dies meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from bulkhead.platform.audit import heads, standing
from bulkhead.platform.audit.export import HeadLine, KeyLine, Unwritable, lines
from bulkhead.platform.audit.heads import Head
from bulkhead.platform.audit.look import look
from bulkhead.platform.audit.sealer import MOST_ROWS, Sealer
from bulkhead.platform.database.scope import Scope, Unavailable, transaction
from bulkhead.platform.signing.sealing import Unsealable
from tests.integration.platform.audit.gen import Platform, wrong
from tests.integration.platform.server import Client, Servers, one
from tests.world import eventually


@pytest.fixture
async def platform(servers: Servers, tmp_path: Path) -> AsyncIterator[Platform]:
    server = await servers.of("18")
    async with server.migrated_database() as database, Platform.of(database, tmp_path) as made:
        yield made


async def test_acts_come_into_the_chain_in_order_and_leave_the_intake(platform: Platform) -> None:
    await platform.act(3)
    assert await platform.sealer().seal() == 3
    assert await platform.sequences() == [1, 2, 3]
    assert await platform.sealer().seal() == 0
    assert (await platform.verify()).waiting == 0


async def test_an_act_that_commits_late_is_not_passed_over(platform: Platform) -> None:
    """Its place in the intake is before a row that was sealed long ago."""
    sealer = platform.sealer()
    async with transaction(platform.api, Scope(organisation=platform.organisation)) as late:
        await platform.act_in(late)
        await platform.act()
        assert await sealer.seal() == 1
        await sealer.sign()
    assert await sealer.seal() == 1
    await sealer.sign()
    outcome = await platform.verify()
    assert outcome.report.intact
    assert (outcome.report.rows, outcome.report.covered) == (2, 2)


async def test_two_sealers_make_one_chain(platform: Platform) -> None:
    await platform.act(40)
    first, second = platform.sealer(), platform.sealer()
    await asyncio.gather(*(each.seal() for each in (first, second) * 4), platform.act(20))
    await first.seal()
    assert await platform.sequences() == list(range(1, 61))
    assert (await platform.verify()).report.intact


async def test_two_signers_sign_a_row_once(platform: Platform) -> None:
    await platform.act(5)
    sealers = [platform.sealer() for _ in range(4)]
    await sealers[0].seal()
    signed = await asyncio.gather(*(sealer.sign() for sealer in sealers))
    assert len([head for head in signed if head]) == 1
    assert len([line for line in lines(platform.directory) if isinstance(line, HeadLine)]) == 1


async def test_more_than_one_batch_is_sealed_in_one_go(platform: Platform) -> None:
    async with platform.database.superuser() as session:
        await session.execute(
            "INSERT INTO audit_intake (organisation_id, action, entry)"
            " SELECT %s, 'a', '{}' FROM generate_series(1, %s)",
            (platform.organisation, MOST_ROWS * 2 + 1),
        )
    assert await platform.sealer().seal() == MOST_ROWS * 2 + 1


async def test_a_chain_without_a_new_row_is_not_signed_again(platform: Platform) -> None:
    sealer = await platform.sealed(2)
    assert await sealer.sign() is None
    assert await platform.sealer().sign() is None


async def test_an_empty_chain_is_not_signed(platform: Platform) -> None:
    assert await platform.sealer().sign() is None


async def test_the_first_head_is_exported_with_the_key_that_signs_it(platform: Platform) -> None:
    await platform.sealed(1)
    key, head = list(lines(platform.directory))
    assert isinstance(key, KeyLine)
    assert isinstance(head, HeadLine)
    assert heads.claimed(head.statement).sequence == 1


async def test_a_head_that_can_not_be_exported_is_not_signed_either(platform: Platform) -> None:
    await platform.act()
    export = platform.export()
    sealer = platform.sealer(export=export)
    await sealer.seal()
    platform.directory.rename(platform.directory.with_suffix(".away"))
    with pytest.raises(Unwritable):
        await sealer.sign()
    assert export.trouble
    async with platform.database.superuser() as session:
        assert await one(session, "SELECT count(*) FROM audit_heads") == 0
    platform.directory.with_suffix(".away").rename(platform.directory)
    assert await sealer.sign() is not None
    assert not export.trouble


async def test_a_death_between_export_and_commit_leaves_a_chain_that_verifies(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await platform.act(2)
    export = platform.export()
    dying = platform.sealer(export=export)
    await dying.seal()
    real = export.head

    async def die(statement: str) -> None:
        await real(statement)
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "head", die)
    with pytest.raises(KeyboardInterrupt):
        await dying.sign()
    successor = platform.sealer()
    assert await successor.sign() is not None
    await platform.act()
    await successor.seal()
    await successor.sign()
    assert wrong(await platform.verify()) == []


async def test_a_connection_that_is_lost_while_sealing_loses_and_doubles_nothing(platform: Platform) -> None:
    async def lose() -> None:
        async with transaction(platform.worker, Scope()) as tx:
            assert await one(tx, "SELECT bulkhead.seal(100)") == 3
            async with platform.database.superuser() as session:
                await session.execute("SELECT pg_terminate_backend(%s, 5000)", (tx.info.backend_pid,))

    await platform.act(3)
    with pytest.raises(Unavailable):
        await lose()
    assert await platform.sealer().seal() == 3
    assert await platform.sequences() == [1, 2, 3]


async def test_a_running_replica_finds_that_its_database_was_exchanged_for_an_older_one(platform: Platform) -> None:
    sealer = await platform.sealed(3)
    await cut(platform, 2)
    await sealer.look()
    assert "row 3" in sealer.shortfall
    await platform.act(4)
    await sealer.seal()
    await sealer.look()
    assert "not the one" in sealer.shortfall
    assert await sealer.sign() is None


async def test_a_replica_that_signed_nothing_itself_finds_it_too(platform: Platform) -> None:
    watching = platform.sealer()
    await platform.sealed(3)
    await watching.look()
    await cut(platform, 2)
    await watching.look()
    assert "row 3" in watching.shortfall


async def look_twice(sealer: Sealer, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], Awaitable[None]]) -> None:
    """Look twice at once: `meanwhile` happens between the two answers of the database, and the first is read late."""
    first = iter((True,))
    second: list[asyncio.Task[None]] = []

    async def answered_late(tx: Client, head: Head | None) -> standing.Database:
        answer = await look(tx, head)
        if next(first, False):
            await meanwhile()
            second.append(asyncio.create_task(sealer.look()))
            await asyncio.wait(second, timeout=0.5)
        return answer

    monkeypatch.setattr("bulkhead.platform.audit.sealer.look", answered_late)
    await sealer.look()
    await asyncio.gather(*second)


async def test_of_two_looks_at_once_neither_takes_what_the_other_saw_for_a_restore(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def go_on() -> None:
        await platform.act()
        await sealer.seal()

    sealer = await platform.sealed(1)
    await look_twice(sealer, monkeypatch, go_on)
    assert sealer.shortfall == ""
    await cut(platform, 1)
    await sealer.look()
    assert "row 2" in sealer.shortfall


async def test_of_two_looks_at_once_the_later_has_the_last_word(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealer = await platform.sealed(2)
    await look_twice(sealer, monkeypatch, partial(cut, platform, 1))
    assert "row 2" in sealer.shortfall


async def test_a_fence_is_taken_as_it_is(platform: Platform) -> None:
    sealer = await platform.sealed(3)
    await cut(platform, 2)
    async with platform.database.superuser() as session:
        await session.execute("UPDATE platform_state SET epoch = 2")
    await sealer.look()
    assert sealer.shortfall == ""


async def test_a_start_beside_an_export_that_knows_more_is_refused_by_its_standing(platform: Platform) -> None:
    await platform.sealed(3)
    await cut(platform, 2)
    restarted = platform.sealer()
    await restarted.look()
    assert "it was restored" in restarted.shortfall


async def test_what_was_recorded_until_the_end_is_sealed_and_signed_at_the_end(platform: Platform) -> None:
    await platform.act()
    running = asyncio.create_task(platform.sealer().run())
    await eventually(lambda: _has(platform, 1))
    await platform.act()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await platform.sequences() == [1, 2]
    assert (await platform.verify()).report.covered == 2


async def test_work_goes_on_after_the_database_was_away(platform: Platform) -> None:
    running = asyncio.create_task(platform.sealer().run())
    await platform.database.server.postgres.stop()
    await platform.database.server.postgres.start()
    await platform.act()
    await eventually(lambda: _has(platform, 1))
    running.cancel()


async def test_a_sealing_key_that_is_gone_stops_signing_and_not_sealing(platform: Platform) -> None:
    await platform.sealed(1)
    async with platform.database.superuser() as session:
        await session.execute("UPDATE signing_keys SET sealed_under = 'gone'")
    sealer = platform.sealer()
    await platform.act()
    assert await sealer.seal() == 1
    with pytest.raises(Unsealable):
        await sealer.sign()


async def cut(platform: Platform, after: int) -> None:
    """What a restore does, in so far as the chain shows it."""
    async with platform.database.superuser() as session:
        await session.execute("SET session_replication_role = replica")
        await session.execute("DELETE FROM audit_heads WHERE sequence > %s", (after,))
        await session.execute("DELETE FROM audit_chain WHERE sequence > %s", (after,))


async def _has(platform: Platform, number: int) -> bool:
    return len(await platform.sequences()) == number


async def test_what_the_export_holds_is_no_more_than_what_the_database_shows(platform: Platform) -> None:
    await platform.sealed(3)
    known = standing.read(platform.directory)
    assert known.head is not None
    assert (known.epoch, known.head.sequence) == (1, 3)
