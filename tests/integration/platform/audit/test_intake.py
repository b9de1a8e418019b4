"""Acts that are recorded together: each for itself, all on disk before anybody is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import psycopg
import pytest

from bulkhead.platform.audit.entry import Action, Details, Entry, Target, TargetKind, read
from bulkhead.platform.audit.intake import Intake
from bulkhead.platform.database.pools import Bounds, Pool, pool
from bulkhead.platform.database.scope import Unavailable
from bulkhead.protocol.errors import Malformed
from tests.integration.platform.audit.gen import ADA
from tests.integration.platform.rows import Rows
from tests.integration.platform.server import VERSIONS, Client, Database, rows

pytestmark = pytest.mark.parametrize("database", VERSIONS, indirect=True, scope="module")

SECONDS = 20.0
WAITERS = "SELECT FROM pg_locks WHERE relation = 'audit_intake'::regclass AND NOT granted"


def act(whose: UUID, number: int = 0, *, name: str = "") -> Entry:
    target = Target(kind=TargetKind.CLUSTER, id=str(whose), name=name)
    return Entry(
        action=Action.PROXY_REQUESTED,
        organisation=str(whose),
        actor=ADA,
        target=target,
        details=Details(count=number),
    )


async def organisation(database: Database) -> UUID:
    async with database.superuser() as session:
        return await Rows(session).organisation()


async def counts(session: Client, whose: UUID) -> list[int | None]:
    """Of the acts of an organisation that wait to be sealed, in their order."""
    found = await rows(session, "SELECT entry FROM audit_intake WHERE organisation_id = %s ORDER BY id", (whose,))
    return [read(bytes(entry)).details.count for (entry,) in found]


@asynccontextmanager
async def nothing_is_written(database: Database) -> AsyncIterator[Client]:
    """Until the block ends whoever writes into the intake waits."""
    async with database.superuser() as session, session.transaction():
        await session.execute("LOCK TABLE audit_intake IN SHARE MODE")
        yield session


async def until_somebody_waits(session: Client) -> None:
    async with asyncio.timeout(SECONDS):
        while not await rows(session, WAITERS):  # noqa: ASYNC110 - a lock tells nobody who waits for it
            await asyncio.sleep(0.01)


async def test_what_comes_while_one_transaction_is_on_its_way_is_one_more(database: Database, worker: Pool) -> None:
    whose, intake = await organisation(database), Intake(worker)
    async with nothing_is_written(database) as session:
        first = asyncio.create_task(intake.write(act(whose, 1)))
        await until_somebody_waits(session)
        others = [asyncio.create_task(intake.write(act(whose, number))) for number in range(2, 41)]
        await asyncio.sleep(0)
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(first, *others)
    async with database.superuser() as session:
        assert await counts(session, whose) == list(range(1, 41))
        transactions = await rows(
            session,
            "SELECT count(DISTINCT xmin::text) FROM audit_intake WHERE organisation_id = %s",
            (whose,),
        )
    assert transactions == [(2,)]


async def test_nobody_is_told_before_the_commit(database: Database, worker: Pool) -> None:
    whose, intake = await organisation(database), Intake(worker)
    async with nothing_is_written(database) as session:
        writing = asyncio.create_task(intake.write(act(whose)))
        await until_somebody_waits(session)
        assert not writing.done()
    async with asyncio.timeout(SECONDS):
        await writing
    async with database.superuser() as session:
        assert await counts(session, whose) == [0]


async def test_what_is_wrong_with_one_act_is_nothing_to_the_others(database: Database, worker: Pool) -> None:
    whose, nobody, intake = await organisation(database), uuid4(), Intake(worker)
    async with asyncio.timeout(SECONDS):
        found = await asyncio.gather(
            *(intake.write(act(nobody if number == 2 else whose, number)) for number in range(5)),
            return_exceptions=True,
        )
    assert [type(each) for each in found if each] == [psycopg.errors.ForeignKeyViolation]
    async with database.superuser() as session:
        assert await counts(session, whose) == [0, 1, 3, 4]


async def test_a_text_that_is_too_long_is_refused_to_its_writer_alone(database: Database, worker: Pool) -> None:
    whose, intake = await organisation(database), Intake(worker)
    with pytest.raises(Malformed):
        await intake.write(act(whose, name="x" * 513))
    await intake.write(act(whose, 1))
    async with database.superuser() as session:
        assert await counts(session, whose) == [1]


async def test_who_leaves_before_its_turn_is_not_recorded(database: Database, worker: Pool) -> None:
    whose, intake = await organisation(database), Intake(worker)
    async with nothing_is_written(database) as session:
        first = asyncio.create_task(intake.write(act(whose, 1)))
        await until_somebody_waits(session)
        leaving, staying = (asyncio.create_task(intake.write(act(whose, number))) for number in (2, 3))
        await asyncio.sleep(0)
        leaving.cancel()
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(first, staying)
    async with database.superuser() as session:
        assert await counts(session, whose) == [1, 3]


async def test_a_database_that_does_not_answer_is_told_to_all_and_forgotten_by_the_next(database: Database) -> None:
    whose = await organisation(database)
    # Only the lock is short: the connection is opened first, which takes its time on a slow machine.
    bounds = Bounds(fewest=0, most=2, wait_seconds=10.0, lock_seconds=0.2)
    async with pool(database.dsn("worker"), "worker", bounds) as impatient:
        intake = Intake(impatient)
        async with nothing_is_written(database):
            found = await asyncio.gather(
                *(intake.write(act(whose, number)) for number in range(3)), return_exceptions=True
            )
            assert [type(each) for each in found] == [Unavailable] * 3
        await intake.write(act(whose, 3))
    async with database.superuser() as session:
        assert await counts(session, whose) == [3]
