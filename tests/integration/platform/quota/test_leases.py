"""Blocks of requests that replicas lease from one database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, transaction
from bulkhead.platform.http.route import Joined, User
from bulkhead.platform.quota import limits, sql
from bulkhead.platform.quota.buckets import Buckets
from bulkhead.platform.quota.callers import Callers
from bulkhead.platform.quota.leases import Leases
from bulkhead.platform.quota.limits import Limit
from tests.integration.platform.rows import Rows
from tests.integration.platform.server import Client, Database, one

HOUR = 1_000_000_000
"""A window that does not end while a test runs."""
LIMIT = Limit(name="test", quota=100, seconds=HOUR, block=10)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def session(database: Database) -> AsyncIterator[Client]:
    async with database.superuser() as opened:
        yield opened


@pytest.fixture
async def organisation(session: Client) -> UUID:
    return await Rows(session).organisation()


async def passed(leases: Leases, organisation: UUID, count: int, limit: Limit = LIMIT) -> int:
    answers = await asyncio.gather(*(leases.take(organisation, "ada", limit) for _ in range(count)))
    return sum(each.remaining >= 0 for each in answers)


async def test_one_replica_lets_the_whole_quota_pass_and_not_one_more(api: Pool, organisation: UUID) -> None:
    assert await passed(Leases(api, clock=Clock()), organisation, 130) == LIMIT.quota


async def test_replicas_together_overshoot_by_no_more_than_their_blocks(
    api: Pool, organisation: UUID, session: Client
) -> None:
    replicas = [Leases(api, clock=Clock()) for _ in range(3)]
    together = await asyncio.gather(*(passed(each, organisation, 90) for each in replicas))
    assert LIMIT.quota - 3 * LIMIT.block <= sum(together) <= LIMIT.quota + 3 * LIMIT.block
    granted = await one(session, "SELECT granted FROM quota_blocks WHERE organisation_id = %s", (organisation,))
    assert granted <= LIMIT.quota + LIMIT.block


async def test_what_another_replica_has_used_up_is_used_up_here(api: Pool, organisation: UUID) -> None:
    await passed(Leases(api, clock=Clock()), organisation, LIMIT.quota)
    refused = await Leases(api, clock=Clock()).take(organisation, "ada", LIMIT)
    assert refused.remaining < 0
    assert refused.reset >= 1


async def test_a_block_costs_one_statement_and_a_refusal_none(api: Pool, organisation: UUID, session: Client) -> None:
    leases = Leases(api, clock=Clock())
    await passed(leases, organisation, LIMIT.block)
    granted = "SELECT granted FROM quota_blocks WHERE organisation_id = %s"
    assert await one(session, granted, (organisation,)) == LIMIT.block
    await passed(leases, organisation, 1)
    assert await one(session, granted, (organisation,)) == 2 * LIMIT.block


async def test_what_is_left_is_told_and_never_grows_within_a_window(api: Pool, organisation: UUID) -> None:
    leases = Leases(api, clock=Clock())
    left = [(await leases.take(organisation, "ada", LIMIT)).remaining for _ in range(LIMIT.quota)]
    assert left == list(range(LIMIT.quota - 1, -1, -1))


async def test_in_the_next_window_the_quota_is_whole_again(api: Pool, organisation: UUID, session: Client) -> None:
    clock = Clock()
    leases = Leases(api, clock=clock)
    assert await passed(leases, organisation, LIMIT.quota + 1) == LIMIT.quota
    clock.now += HOUR
    await session.execute("DELETE FROM quota_blocks WHERE organisation_id = %s", (organisation,))
    assert await passed(leases, organisation, 1) == 1


async def test_another_organisations_subject_of_the_same_name_is_another(
    api: Pool, organisation: UUID, session: Client
) -> None:
    leases = Leases(api, clock=Clock())
    await passed(leases, organisation, LIMIT.quota)
    assert await passed(leases, await Rows(session).organisation(), 1) == 1


async def test_windows_that_are_over_are_swept_and_others_are_not(
    worker: Pool, organisation: UUID, session: Client
) -> None:
    rows, now = Rows(session), datetime.now(UTC)
    for subject, age in (("old", 10), ("late", 1), ("now", 0)):
        start = now - timedelta(minutes=age, seconds=30)
        await rows.quota(organisation, subject=subject, window_start=start, window_end=start + timedelta(minutes=1))
    async with transaction(worker, Scope()) as tx:
        await tx.execute(sql.SWEEP)
    left = "SELECT array_agg(subject ORDER BY subject) FROM quota_blocks WHERE organisation_id = %s"
    assert await one(session, left, (organisation,)) == ["late", "now"]


def user(organisation: UUID, subject: str) -> User:
    return User(organisation_id=organisation, subject=subject, issuer="i", abilities=frozenset(), source="human")


async def test_who_asks_too_much_takes_nothing_from_the_others_of_the_organisation(
    api: Pool, organisation: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USER", "ORGANISATION"):
        monkeypatch.setattr(limits, name, replace(getattr(limits, name), seconds=HOUR))
    callers = Callers(Leases(api, clock=Clock()), Buckets(clock=Clock()))
    answers = [await callers(user(organisation, "flood")) for _ in range(limits.USER.quota + limits.USER.block)]
    assert [each.name for each in answers[-1]] == ["user"]
    assert answers[-1][0].remaining < 0
    others = await callers(user(organisation, "ada"))
    assert [each.name for each in others] == ["user", "organisation"]
    assert others[1].remaining == limits.ORGANISATION.quota - limits.USER.quota - 1


async def test_what_has_joined_asks_no_database(api: Pool, organisation: UUID, session: Client) -> None:
    callers = Callers(Leases(api, clock=Clock()), Buckets(clock=Clock()))
    cluster = Joined(
        identity_id=UUID(int=7),
        kind="cluster",
        organisation_id=organisation,
        plane_id=UUID(int=8),
        key_id="k",
        scopes=frozenset(),
    )
    answers = [await callers(cluster) for _ in range(limits.CLUSTER.quota + 1)]
    assert answers[0][0].remaining == limits.CLUSTER.quota - 1
    assert answers[-1][0].remaining < 0
    found = await one(session, "SELECT count(*) FROM quota_blocks WHERE organisation_id = %s", (organisation,))
    assert found == 0
