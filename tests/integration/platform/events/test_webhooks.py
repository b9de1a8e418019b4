"""Events reach the webhooks that asked for them, signed, one at a time, and whatever a receiver does harms nobody."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any, LiteralString
from uuid import UUID, uuid4

import pytest

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, transaction
from bulkhead.platform.events.delivery import MOST_OF_ONE
from bulkhead.platform.events.emit import EventData, EventType, emit
from bulkhead.platform.events.routes import MOST_WEBHOOKS, routes
from tests.integration.platform.desk import Desk, serving, user
from tests.integration.platform.events.gen import Receiver, deliveries, outbound, receiving, sealing
from tests.integration.platform.server import Client, Database, one, rows
from tests.world import eventually

CLUSTER = str(uuid4())
FREE: LiteralString = "UPDATE webhooks SET free_at = now()"
DUE: LiteralString = "UPDATE deliveries SET next_attempt_at = now() WHERE state = 'pending'"


async def an_organisation(session: Client) -> UUID:
    name = str(uuid4())
    return UUID(str(await one(session, "INSERT INTO organisations (name) VALUES (%s) RETURNING id", (name,))))


@pytest.fixture
async def organisation(database: Database) -> UUID:
    """Of this test alone; what earlier ones left is delivered nowhere any more."""
    async with database.superuser() as session:
        await session.execute("DELETE FROM webhooks")
        await session.execute("DELETE FROM events")
        return await an_organisation(session)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


@pytest.fixture
async def desk(organisation: UUID, api: Pool, worker: Pool) -> AsyncIterator[Desk]:
    people = {
        "writer": user(organisation, "CLUSTER_WRITE", "CLUSTER_READ"),
        "reader": user(organisation, "CLUSTER_READ"),
        "stranger": user(uuid4(), "CLUSTER_WRITE", "CLUSTER_READ"),
    }
    table = routes(sealing=sealing(), outbound=outbound(), random=os.urandom, new_id=uuid4)
    async with serving(table, api=api, worker=worker, people=people) as running:
        yield running


async def hook(desk: Desk, receiver: Receiver, *types: str) -> dict[str, Any]:
    body = {"url": receiver.url, "types": types or ["cluster.online", "cluster.offline"]}
    reply = await desk.call("writer", "POST", "/v1/webhooks", body)
    assert reply.status == 201, reply
    found: dict[str, Any] = reply.body
    return found


async def happen(api: Pool, organisation: UUID, type_: EventType = EventType.CLUSTER_ONLINE, number: int = 1) -> None:
    for _ in range(number):
        async with transaction(api, Scope(organisation=organisation)) as tx:
            await emit(tx, organisation, type_, EventData(cluster=CLUSTER, name="acme"))


async def change(database: Database, *statements: LiteralString) -> None:
    async with database.superuser() as session:
        for statement in statements:
            await session.execute(statement)


async def states(database: Database) -> list[tuple[Any, ...]]:
    async with database.superuser() as session:
        return await rows(
            session, "SELECT state, attempts, last_status, last_error FROM deliveries ORDER BY created_at, id"
        )


async def begun(receiver: Receiver) -> None:
    """Until something has come in, which is not answered yet."""

    async def come() -> bool:
        return bool(receiver.received)

    await eventually(come)


async def test_an_event_reaches_the_webhook_that_asked_for_it_signed(
    desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool
) -> None:
    made = await hook(desk, receiver)
    await happen(api, organisation)
    await happen(api, organisation, EventType.CLUSTER_DELETED)
    replica = deliveries(worker)
    assert await replica.dispatch() == 2
    assert (await replica.deliver(), await replica.deliver()) == (1, 0)
    (received,) = receiver.received
    assert received.signed_by(made["secret"])
    assert received.json["type"] == "cluster.online"
    assert received.json["organisation"] == str(organisation)
    assert received.json["data"] == {"cluster": CLUSTER, "name": "acme"}
    assert received.json["id"] == received.headers["webhook-id"]
    listed = await desk.call("reader", "GET", f"/v1/webhooks/{made['id']}/deliveries")
    (delivery,) = listed.body["deliveries"]
    assert (delivery["state"], delivery["lastStatus"], delivery["attempts"]) == ("delivered", 204, 1)
    assert delivery["event"] == received.json["id"]


async def test_an_event_that_is_rolled_back_is_not_told(
    desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool
) -> None:
    async def fail() -> None:
        async with transaction(api, Scope(organisation=organisation)) as tx:
            await emit(tx, organisation, EventType.CLUSTER_ONLINE)
            raise ZeroDivisionError

    await hook(desk, receiver)
    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await deliveries(worker).dispatch() == 0


async def test_an_event_that_commits_late_is_not_passed_over(
    desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool
) -> None:
    await hook(desk, receiver)
    replica = deliveries(worker)
    async with transaction(api, Scope(organisation=organisation)) as late:
        await emit(late, organisation, EventType.CLUSTER_ONLINE)
        await happen(api, organisation)
        assert await replica.dispatch() == 1
    assert await replica.dispatch() == 1


async def test_a_webhook_is_told_nothing_of_another_organisation(
    desk: Desk, receiver: Receiver, database: Database, worker: Pool
) -> None:
    await hook(desk, receiver)
    async with database.superuser() as session:
        await emit(session, await an_organisation(session), EventType.CLUSTER_ONLINE)
    replica = deliveries(worker)
    assert await replica.dispatch() == 1
    assert await replica.deliver() == 0


async def test_replicas_send_each_event_once_and_one_at_a_time_to_a_webhook(
    desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool, database: Database
) -> None:
    await hook(desk, receiver)
    await happen(api, organisation, number=6)
    replicas = [deliveries(worker) for _ in range(3)]
    await asyncio.gather(*(each.dispatch() for each in replicas))
    while any(await asyncio.gather(*(each.deliver() for each in replicas))):
        pass
    assert len({received.headers["webhook-id"] for received in receiver.received}) == len(receiver.received) == 6
    assert receiver.most_at_once == 1
    assert {state for state, *_ in await states(database)} == {"delivered"}


async def test_no_transaction_is_open_while_a_receiver_takes_its_time(
    desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool, database: Database
) -> None:
    await hook(desk, receiver)
    await happen(api, organisation)
    replica = deliveries(worker)
    await replica.dispatch()
    receiver.answering.clear()
    sending = asyncio.create_task(replica.deliver())
    await begun(receiver)
    async with database.superuser() as session:
        open_ones = await one(
            session,
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'",
        )
    receiver.answering.set()
    assert await sending == 1
    assert open_ones == 0


async def test_what_a_dead_replica_was_sending_is_sent_again_once_its_lease_is_over(
    desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool, database: Database
) -> None:
    await hook(desk, receiver)
    await happen(api, organisation)
    dying, other = deliveries(worker), deliveries(worker)
    await dying.dispatch()
    receiver.answering.clear()
    sending = asyncio.create_task(dying.deliver())
    await begun(receiver)
    sending.cancel()
    receiver.answering.set()
    assert await other.deliver() == 0
    await change(database, FREE)
    assert await other.deliver() == 1
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert (await states(database))[0][:2] == ("delivered", 1)


async def test_the_word_of_who_took_longer_than_its_lease_is_not_taken(
    desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool, database: Database
) -> None:
    await hook(desk, receiver)
    await happen(api, organisation)
    late, other = deliveries(worker), deliveries(worker)
    await late.dispatch()
    receiver.answering.clear()
    receiver.status = 500
    sending = asyncio.create_task(late.deliver())
    await begun(receiver)
    await change(database, "UPDATE webhooks SET free_at = now(), lease = gen_random_uuid()")
    receiver.answering.set()
    await sending
    assert await states(database) == [("pending", 0, None, None)]
    receiver.status = 204
    await other.deliver()
    assert (await states(database))[0][:2] == ("delivered", 1)


@pytest.mark.parametrize(
    "answered", [(500, "refused by the receiver"), (410, "refused by the receiver"), (302, "redirected")]
)
async def test_a_failure_lets_the_webhook_rest_and_is_tried_again(
    desk: Desk,
    receiver: Receiver,
    organisation: UUID,
    api: Pool,
    worker: Pool,
    database: Database,
    answered: tuple[int, str],
) -> None:
    status, error = answered
    made = await hook(desk, receiver)
    await happen(api, organisation, number=2)
    replica = deliveries(worker)
    await replica.dispatch()
    receiver.status = status
    assert await replica.deliver() == 1
    assert await replica.deliver() == 0
    assert ("pending", 1, status, error) in await states(database)
    assert (await desk.call("reader", "GET", f"/v1/webhooks/{made['id']}")).body["failingSince"]
    receiver.status = 200
    await change(database, FREE, DUE)
    assert (await replica.deliver(), await replica.deliver()) == (1, 1)
    assert {state for state, *_ in await states(database)} == {"delivered"}
    assert (await desk.call("reader", "GET", f"/v1/webhooks/{made['id']}")).body["failingSince"] is None


async def test_an_event_that_a_receiver_chokes_on_does_not_hold_up_the_next(
    desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool, database: Database
) -> None:
    await hook(desk, receiver)
    await happen(api, organisation)
    replica = deliveries(worker)
    await replica.dispatch()
    receiver.status = 400
    await replica.deliver()
    await happen(api, organisation)
    await replica.dispatch()
    receiver.status = 200
    await change(database, FREE)
    await replica.deliver()
    assert [state for state, *_ in await states(database)] == ["pending", "delivered"]


async def test_a_webhook_that_fails_for_days_is_disabled_with_an_event_and_an_audit_row(
    desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool, database: Database
) -> None:
    failing = await hook(desk, receiver)
    replica = deliveries(worker)
    async with receiving() as watching:
        await hook(desk, watching, "webhook.disabled")
        await happen(api, organisation)
        await replica.dispatch()
        receiver.status = 503
        await replica.deliver()
        await change(
            database,
            FREE,
            DUE,
            "UPDATE webhooks SET failing_since = now() - interval '4 days' WHERE failures > 0",
        )
        await replica.deliver()
        assert (await desk.call("reader", "GET", f"/v1/webhooks/{failing['id']}")).body["disabledAt"]
        await replica.dispatch()
        assert await replica.deliver() == 1
        assert watching.received[0].json["data"]["webhook"] == failing["id"]
    async with database.superuser() as session:
        found = await rows(session, "SELECT action FROM audit_intake WHERE organisation_id = %s", (organisation,))
    assert ("webhook.disabled",) in found


async def test_a_webhook_that_is_enabled_while_its_last_try_fails_stays_enabled(
    desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool, database: Database
) -> None:
    made = await hook(desk, receiver)
    path = f"/v1/webhooks/{made['id']}"
    await change(database, "UPDATE webhooks SET failures = 9, failing_since = now() - interval '4 days'")
    await happen(api, organisation)
    replica = deliveries(worker)
    await replica.dispatch()
    receiver.answering.clear()
    receiver.status = 503
    sending = asyncio.create_task(replica.deliver())
    await begun(receiver)
    await desk.call("writer", "PATCH", path, {"enabled": True})
    receiver.answering.set()
    await sending
    assert (await desk.call("reader", "GET", path)).body["disabledAt"] is None
    receiver.status = 204
    await change(database, FREE)
    assert await replica.deliver() == 1
    assert (await states(database))[0][:2] == ("delivered", 1)


async def test_a_disabled_webhook_is_sent_nothing_and_what_waits_for_it_ends(
    desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool, database: Database
) -> None:
    made = await hook(desk, receiver)
    path = f"/v1/webhooks/{made['id']}"
    await happen(api, organisation)
    replica = deliveries(worker)
    await replica.dispatch()
    assert (await desk.call("writer", "PATCH", path, {"enabled": False})).body["disabledAt"]
    assert await replica.deliver() == 0
    await replica.tidy()
    assert await states(database) == [("failed", 0, None, "webhook disabled")]
    assert (await desk.call("writer", "POST", f"{path}/ping")).status == 409
    assert (await desk.call("writer", "PATCH", path, {"enabled": True})).body["disabledAt"] is None
    await happen(api, organisation)
    await replica.dispatch()
    assert await replica.deliver() == 1


async def test_a_rotated_secret_signs_beside_the_former_one_until_its_time_is_over(
    desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool, database: Database
) -> None:
    made = await hook(desk, receiver)
    rotated = (await desk.call("writer", "POST", f"/v1/webhooks/{made['id']}/secret")).body
    assert rotated["secret"] != made["secret"]
    replica = deliveries(worker)
    await happen(api, organisation)
    await replica.dispatch()
    await replica.deliver()
    assert receiver.received[0].signed_by(made["secret"])
    assert receiver.received[0].signed_by(rotated["secret"])
    await change(database, "UPDATE webhooks SET previous_until = now()")
    await happen(api, organisation)
    await replica.dispatch()
    await replica.deliver()
    assert not receiver.received[1].signed_by(made["secret"])
    assert receiver.received[1].signed_by(rotated["secret"])


async def test_secrets_are_sealed_anew_once_the_sealing_key_has_changed(
    desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool
) -> None:
    made = await hook(desk, receiver)
    await desk.call("writer", "POST", f"/v1/webhooks/{made['id']}/secret")
    assert await deliveries(worker, new=b"n" * 32, kek=b"k" * 32).tidy() == 1
    await happen(api, organisation)
    later = deliveries(worker, new=b"n" * 32)
    await later.dispatch()
    await later.deliver()
    assert receiver.received[0].signed_by(made["secret"])


async def test_a_secret_is_shown_once_and_rests_sealed(desk: Desk, receiver: Receiver, database: Database) -> None:
    made = await hook(desk, receiver)
    assert made["secret"].startswith("whsec_")
    assert "secret" not in (await desk.call("reader", "GET", f"/v1/webhooks/{made['id']}")).body
    async with database.superuser() as session:
        held = await rows(session, "SELECT w::text FROM webhooks w")
        audited = await rows(session, "SELECT convert_from(entry, 'UTF8') FROM audit_intake")
    assert made["secret"] not in str(held)
    assert "receivers-own" not in str(audited)


async def test_a_ping_goes_to_its_webhook_alone_whatever_it_asked_for(
    desk: Desk, receiver: Receiver, worker: Pool
) -> None:
    made = await hook(desk, receiver)
    async with receiving() as other:
        await hook(desk, other)
        assert (await desk.call("writer", "POST", f"/v1/webhooks/{made['id']}/ping")).status == 202
        replica = deliveries(worker)
        await replica.dispatch()
        while await replica.deliver():
            pass
        assert other.received == []
    assert [received.json["type"] for received in receiver.received] == ["webhook.ping"]


async def test_a_deleted_webhook_is_gone_with_what_waits(
    desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool, database: Database
) -> None:
    made = await hook(desk, receiver)
    await happen(api, organisation)
    replica = deliveries(worker)
    await replica.dispatch()
    assert (await desk.call("writer", "DELETE", f"/v1/webhooks/{made['id']}")).status == 204
    assert (await desk.call("writer", "DELETE", f"/v1/webhooks/{made['id']}")).status == 404
    assert await replica.deliver() == 0
    assert await states(database) == []


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://10.0.0.1/",
        "https://u:p@hooks.example.com/",
        "ftp://hooks.example.com/",
    ],
)
async def test_an_address_that_leads_inside_is_refused_when_it_is_named(desk: Desk, url: str) -> None:
    reply = await desk.call("writer", "POST", "/v1/webhooks", {"url": url, "types": ["cluster.online"]})
    assert (reply.status, reply.body["code"]) == (422, "address_refused")


async def test_an_address_that_leads_inside_since_it_was_named_is_not_sent_to(
    desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool, database: Database
) -> None:
    await hook(desk, receiver)
    await change(database, "UPDATE webhooks SET url = 'https://169.254.169.254/latest/'")
    await happen(api, organisation)
    replica = deliveries(worker)
    await replica.dispatch()
    await replica.deliver()
    assert await states(database) == [("pending", 1, None, "address not permitted")]


async def test_only_so_many_webhooks_even_when_they_are_made_at_once(desk: Desk, receiver: Receiver) -> None:
    body = {"url": receiver.url, "types": ["cluster.online"]}
    replies = await asyncio.gather(
        *(desk.call("writer", "POST", "/v1/webhooks", body) for _ in range(MOST_WEBHOOKS + 3))
    )
    assert sorted(reply.status for reply in replies) == [201] * MOST_WEBHOOKS + [409] * 3
    listed = await desk.call("reader", "GET", "/v1/webhooks?limit=15")
    rest = await desk.call("reader", "GET", f"/v1/webhooks?after={listed.body['next']}")
    ids = [each["id"] for each in listed.body["webhooks"] + rest.body["webhooks"]]
    assert len(set(ids)) == MOST_WEBHOOKS
    assert rest.body["next"] is None


async def test_strangers_and_readers_change_nothing(desk: Desk, receiver: Receiver) -> None:
    made = await hook(desk, receiver)
    path = f"/v1/webhooks/{made['id']}"
    for method, under, body in (("PATCH", "", {"enabled": False}), ("DELETE", "", None), ("POST", "/secret", None)):
        assert (await desk.call("stranger", method, path + under, body)).status == 404
        assert (await desk.call("reader", method, path + under, body)).status == 403
    assert (await desk.call("stranger", "GET", f"{path}/deliveries")).status == 404
    assert (await desk.call("stranger", "GET", "/v1/webhooks")).body["webhooks"] == []
    assert (await desk.call("reader", "GET", path)).body["disabledAt"] is None


async def test_events_are_kept_for_thirty_days(
    desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool, database: Database
) -> None:
    await hook(desk, receiver)
    await happen(api, organisation, number=2)
    replica = deliveries(worker)
    await replica.dispatch()
    await change(
        database,
        "UPDATE events SET created_at = now() - interval '31 days' WHERE id = (SELECT min(id::text)::uuid FROM events)",
    )
    await replica.tidy()
    assert len(await states(database)) == 1


async def test_the_worker_sends_to_many_webhooks_at_once_and_goes_on_after_the_database_was_away(
    desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool, database: Database
) -> None:
    async def received(number: int) -> bool:
        return len(receiver.received) >= number

    for _ in range(4):
        await hook(desk, receiver)
    receiver.answering.clear()
    running = asyncio.create_task(deliveries(worker).run())
    await happen(api, organisation)
    await eventually(lambda: received(4))
    receiver.answering.set()
    await database.server.postgres.stop()
    await database.server.postgres.start()
    await happen(api, organisation)
    await change(database, FREE)
    await eventually(lambda: received(8))
    assert receiver.most_at_once == 4
    running.cancel()


async def test_a_host_that_is_longer_than_any_name_or_none_is_refused_and_no_fault(desk: Desk) -> None:
    for address in (f"https://{'a' * 600}.example.com/", "https://hook.example\\@127.0.0.1/"):
        reply = await desk.call("writer", "POST", "/v1/webhooks", {"url": address, "types": ["cluster.online"]})
        assert (reply.status, reply.body["code"]) == (422, "address_refused")


async def test_whatever_one_delivery_meets_the_others_go_on(
    database: Database, desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool
) -> None:
    broken, good = await hook(desk, receiver, "cluster.online"), await hook(desk, receiver, "cluster.online")
    async with database.superuser() as session:
        await session.execute("UPDATE webhooks SET url = %s WHERE id = %s", ("https://a\\b/", broken["id"]))
    await happen(api, organisation)
    running = asyncio.create_task(deliveries(worker).run())
    try:
        await begun(receiver)
        assert receiver.received[0].signed_by(good["secret"])
        await happen(api, organisation)

        async def again() -> bool:
            return len(receiver.received) > 1

        await eventually(again)
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_receivers_of_one_organisation_that_do_not_answer_keep_nobody_elses_waiting(
    database: Database, desk: Desk, receiver: Receiver, organisation: UUID, api: Pool, worker: Pool
) -> None:
    async def all_wait() -> bool:
        return receiver.most_at_once >= MOST_OF_ONE

    async with database.superuser() as session, receiving() as other:
        desk.people["neighbour"] = user(neighbour := await an_organisation(session), "CLUSTER_WRITE")
        receiver.answering.clear()
        for _ in range(10):
            await hook(desk, receiver, "cluster.online")
        await happen(api, organisation)
        body = {"url": other.url, "types": ["cluster.online"]}
        assert (await desk.call("neighbour", "POST", "/v1/webhooks", body)).status == 201
        running = asyncio.create_task(deliveries(worker).run())
        try:
            await eventually(all_wait)
            await happen(api, neighbour)
            await begun(other)
            assert receiver.most_at_once == MOST_OF_ONE
        finally:
            running.cancel()
            await asyncio.wait([running])
