"""What is left in a real database by a call that ends well, that is refused, that breaks, and that is cut off."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
import pytest

from bulkhead.platform import app
from bulkhead.platform.audit.entry import Action, Actor, ActorKind, Entry, Target, TargetKind, read
from bulkhead.platform.audit.record import record
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.http.incoming import Incoming
from bulkhead.platform.http.route import Call, Principal, Route, User, UserWith
from bulkhead.platform.http.server import Bounds
from bulkhead.platform.settings import Environment
from bulkhead.protocol.problems import Code, Problem
from tests.integration.platform.http.served import Served, bearer, eventually, post, serving
from tests.integration.platform.rows import Rows
from tests.integration.platform.server import Database, rows
from tests.integration.platform.service import settings

ADA = Actor(kind=ActorKind.USER, id="ada")
TARGET = Target(kind=TargetKind.WEBHOOK, id="hook")


class Nothing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Desk:
    """Routes that write one row into the audit of a caller's organisation, and then end in different ways."""

    def __init__(self, organisation: UUID) -> None:
        self.organisation = organisation
        self.forever = asyncio.Event()
        self.proceed = asyncio.Event()
        self.steps: list[str] = []

    def routes(self) -> tuple[Route, ...]:
        caller = UserWith("AUDIT_READ")
        return (
            Route("POST", "/done", "ends well", caller, self.done, body=Nothing, status=204),
            Route("POST", "/refused", "is refused", caller, self.refused, body=Nothing),
            Route("POST", "/broken", "breaks", caller, self.broken, body=Nothing),
            Route("POST", "/late", "takes too long", caller, self.late, body=Nothing, seconds=0.5),
            Route("POST", "/patient", "waits", caller, self.patient, body=Nothing),
            Route("POST", "/other", "writes for others", caller, self.other, body=Nothing),
        )

    async def done(self, call: Call[User, Nothing]) -> None:
        await record(await call.tx(), call.caller.organisation_id, ADA, Action.WEBHOOK_CREATED, TARGET)

    async def refused(self, call: Call[User, Nothing]) -> None:
        await self.done(call)
        entry = Entry(action=Action.PROXY_REFUSED, organisation=str(self.organisation), actor=ADA, target=TARGET)
        raise Problem(Code.CONFLICT, audit=entry)

    async def broken(self, call: Call[User, Nothing]) -> None:
        await self.done(call)
        raise ZeroDivisionError

    async def late(self, call: Call[User, Nothing]) -> None:
        await self.done(call)
        await self.forever.wait()

    async def patient(self, call: Call[User, Nothing]) -> None:
        self.steps.append("begun")
        await self.proceed.wait()
        await self.done(call)
        call.after_commit(lambda: self.steps.append("committed"))

    async def other(self, call: Call[User, Nothing]) -> None:
        await record(await call.tx(), UUID(int=1), ADA, Action.WEBHOOK_CREATED, TARGET)

    async def authenticate(self, _: UserWith, request: Incoming) -> Principal:
        assert request.bearer
        return User(
            organisation_id=self.organisation,
            subject="ada",
            issuer="https://login.example.com",
            abilities=frozenset({"AUDIT_READ"}),
            source="human",
        )


@pytest.fixture
async def desk(database: Database) -> Desk:
    """Of an organisation of its own."""
    async with database.superuser() as session:
        return Desk(await Rows(session).organisation())


@pytest.fixture
async def served(desk: Desk, database: Database, api: Pool, worker: Pool) -> AsyncIterator[Served]:
    base = app.base_of(Environment(settings(database)).serve(), api, worker)
    parts = app.Parts(rows=desk.routes(), authenticators={UserWith: desk.authenticate}, quota=None, workers=())
    async with serving(app.front_of(base, parts), Bounds()) as running:
        yield running


async def acts(database: Database, desk: Desk) -> list[Any]:
    """What the audit of its organisation holds."""
    async with database.superuser() as session:
        found = await rows(
            session, "SELECT entry FROM audit_intake WHERE organisation_id = %s ORDER BY id", (desk.organisation,)
        )
        return [read(bytes(entry)) for (entry,) in found]


async def call(served: Served, path: str) -> int:
    return (await served.say(post(path, b"{}", bearer()))).status


async def test_what_ends_well_is_there_once_it_is_answered(served: Served, desk: Desk, database: Database) -> None:
    assert await call(served, "/done") == 204
    assert [act.action for act in await acts(database, desk)] == [Action.WEBHOOK_CREATED]


async def test_of_what_is_refused_its_refusal_alone_is_there_with_the_address_it_came_from(
    served: Served, desk: Desk, database: Database
) -> None:
    assert await call(served, "/refused") == 409
    assert [(act.action, act.actor.address) for act in await acts(database, desk)] == [
        (Action.PROXY_REFUSED, "127.0.0.1")
    ]


@pytest.mark.parametrize(("path", "status"), [("/broken", 500), ("/late", 503)])
async def test_of_what_breaks_nothing_is_there(
    served: Served, desk: Desk, database: Database, path: str, status: int
) -> None:
    assert await call(served, path) == status
    assert await acts(database, desk) == []


async def test_a_row_of_another_organisation_can_not_be_written(served: Served, desk: Desk, database: Database) -> None:
    assert await call(served, "/other") == 500
    assert await acts(database, desk) == []


async def test_what_was_begun_is_done_even_if_its_caller_leaves(served: Served, desk: Desk, database: Database) -> None:
    async with contextlib.aclosing(await served.connect()) as wire:
        wire.say(post("/patient", b"{}", bearer()))
        await eventually(lambda: desk.steps == ["begun"])
    await eventually(lambda: served.server.connections == 0)
    desk.proceed.set()
    await eventually(lambda: desk.steps == ["begun", "committed"])
    assert len(await acts(database, desk)) == 1


async def test_connections_are_given_back_whatever_happens(served: Served, api: Pool) -> None:
    for path in ("/done", "/refused", "/broken", "/late", "/other"):
        await call(served, path)
    await eventually(lambda: api.get_stats()["pool_available"] == api.get_stats()["pool_size"])
