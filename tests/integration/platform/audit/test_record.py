"""An act and its row are written together, by whoever may speak for its organisation."""

from __future__ import annotations

from uuid import UUID, uuid4

import psycopg
import pytest

from bulkhead.platform.audit.entry import Action, Actor, ActorKind, Details, Entry, Target, TargetKind, read
from bulkhead.platform.audit.record import Refusals, record
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, transaction
from bulkhead.protocol.errors import Malformed
from tests.integration.platform.server import VERSIONS, Database, one, rows

pytestmark = pytest.mark.parametrize("database", VERSIONS, indirect=True, scope="module")

ADA = Actor(kind=ActorKind.USER, id="ada", issuer="https://login.example.com")


async def organisation(database: Database) -> UUID:
    async with database.superuser() as session:
        return UUID(
            str(await one(session, "INSERT INTO organisations (name) VALUES (%s) RETURNING id", (str(uuid4()),)))
        )


async def recorded(database: Database, organisation_id: UUID | None) -> list[tuple[str, bytes]]:
    async with database.superuser() as session:
        found = await rows(
            session,
            "SELECT action, entry FROM audit_intake WHERE organisation_id IS NOT DISTINCT FROM %s ORDER BY id",
            (organisation_id,),
        )
        return [(action, bytes(entry)) for action, entry in found]


async def test_a_row_holds_the_act_and_the_time_of_its_transaction(database: Database, api: Pool) -> None:
    whose = await organisation(database)
    target = Target(kind=TargetKind.CLUSTER, id=str(uuid4()), name='"}\n\u0000\U0001f6a2')
    async with transaction(api, Scope(organisation=whose)) as tx:
        await record(tx, whose, ADA, Action.CLUSTER_SUSPENDED, target, Details(reason="unpaid", generation=4))
        now = await one(tx, "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
    ((action, text),) = await recorded(database, whose)
    entry = read(text)
    assert action == entry.action == Action.CLUSTER_SUSPENDED
    assert (entry.at, entry.organisation, entry.actor, entry.target) == (now, str(whose), ADA, target)
    assert entry.details == Details(reason="unpaid", generation=4)


async def test_what_is_rolled_back_was_never_recorded(database: Database, api: Pool) -> None:
    whose = await organisation(database)

    async def fail() -> None:
        async with transaction(api, Scope(organisation=whose)) as tx:
            await record(tx, whose, ADA, Action.MEMBER_ADDED, Target(kind=TargetKind.MEMBER))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await recorded(database, whose) == []


async def test_what_can_not_be_recorded_is_not_done(database: Database, api: Pool) -> None:
    whose = await organisation(database)
    with pytest.raises(Malformed):
        async with transaction(api, Scope(organisation=whose)) as tx:
            await record(tx, whose, ADA, Action.MEMBER_ADDED, Target(kind=TargetKind.MEMBER, id="x" * 513))


async def test_nobody_records_in_the_name_of_another_organisation(database: Database, api: Pool) -> None:
    whose, other = await organisation(database), await organisation(database)
    for organisation_id in (other, None):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with transaction(api, Scope(organisation=whose)) as tx:
                await record(tx, organisation_id, ADA, Action.MEMBER_ADDED, Target(kind=TargetKind.MEMBER))


async def test_requests_write_the_audit_and_do_not_read_what_waits_there(database: Database, api: Pool) -> None:
    whose = await organisation(database)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with transaction(api, Scope(organisation=whose)) as tx:
            await tx.execute("SELECT entry FROM audit_intake")


async def test_a_refusal_is_recorded_with_the_address_that_it_came_from(database: Database, worker: Pool) -> None:
    whose = await organisation(database)
    refused = Entry(
        action=Action.REGISTRATION_REFUSED,
        organisation=str(whose),
        actor=Actor(kind=ActorKind.REGISTRATION_TOKEN, id="0f3c"),
        target=Target(kind=TargetKind.REGISTRATION_TOKEN, id="0f3c"),
        details=Details(code="token_used"),
    )
    await Refusals(worker)(refused, "203.0.113.7")
    ((_, text),) = await recorded(database, whose)
    assert read(text).actor.address == "203.0.113.7"
    assert read(text).details.code == "token_used"


async def test_a_problem_that_carries_no_entry_is_a_fault_of_ours(worker: Pool) -> None:
    with pytest.raises(TypeError, match="str"):
        await Refusals(worker)("token_used", "203.0.113.7")
