"""Requests that fit the document of the API, and such as just do not, made up by a machine: nothing is ever a fault."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from bulkhead.platform import app, health
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.http import openapi
from bulkhead.platform.http.codes import of_row
from bulkhead.platform.http.route import Caller, PlatformAdmin, Route, ServiceKey, UserOrPlane, UserWith
from bulkhead.platform.keys import scrypt
from bulkhead.platform.settings import Environment
from bulkhead.protocol import credentials
from bulkhead.protocol.assertions import Ability
from bulkhead.protocol.keys import SigningKey
from bulkhead.protocol.problems import Code
from tests.integration.platform.server import Database
from tests.integration.platform.service import settings as environment
from tests.integration.platform.users.people import World
from tests.integration.platform.users.people import world as made

if TYPE_CHECKING:
    from schemathesis import GenerationMode

EXAMPLES = 4
"""Of each operation and each way of making them up."""

MODES = {"fit": "positive", "do not fit": "negative"}


@dataclass(frozen=True)
class Callers:
    """What each kind of caller shows, and ids that there are, by how the path begins."""

    shown: Mapping[str, str]
    known: Mapping[str, str]

    def of(self, caller: Caller) -> str:
        match caller:
            case PlatformAdmin():
                return self.shown["admin"]
            case UserWith() | UserOrPlane():
                return self.shown["user"]
            case ServiceKey(kinds=(kind, *_)):
                return self.shown[kind]
            case _:
                return ""


@pytest.fixture(scope="module")
async def world(database: Database) -> AsyncIterator[World]:
    async with made(database) as one:
        yield one


@pytest.fixture(scope="module")
async def callers(world: World) -> Callers:
    who, where = await world.member(*(ability.value for ability in Ability))
    user = (await world.granted("token", who, "--name", "laptop")).token
    organisation = UUID(str(await world.value("SELECT id FROM organisations WHERE name = %s", where)))
    plane = await world.rows.plane(public_key=SigningKey.generate(os.urandom).public.raw)
    await world.rows.grant(organisation, plane)
    cluster = await world.rows.cluster(organisation, plane)
    webhook = await world.rows.webhook(organisation)
    return Callers(
        {
            "admin": await world.admin_token(),
            "user": user,
            "plane": await service_key(world, plane, None),
            "cluster": await service_key(world, cluster, organisation),
        },
        {
            "/v1/clusters/{id}": str(cluster),
            "/v1/data-planes/{id}": str(plane),
            "/v1/webhooks/{id}": str(webhook),
            "/v1/organisations/{organisation}": str(organisation),
            "/v1/grants/{plane}": str(plane),
        },
    )


async def service_key(world: World, identity: UUID, organisation: UUID | None) -> str:
    key = credentials.ServiceKey.generate(os.urandom)
    rests = scrypt.hashed(key.digest, os.urandom(scrypt.SALT_BYTES))
    scopes = ["heartbeat", "sync", "keys", "tokens"]
    await world.rows.liveness(identity, organisation)
    await world.rows.service_key(identity, organisation, id=key.id, salt=rests.salt, hash=rests.hash, scopes=scopes)
    return key.reveal()


@pytest.fixture(scope="module")
def rows(database: Database, api: Pool, worker: Pool) -> tuple[Route, ...]:
    base = app.base_of(Environment(environment(database)).serve(), api, worker)
    return health.with_document(app.parts_of(base).rows)


# The service runs in this process: what its pools draw for their jitter looks as if a strategy had drawn it.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
async def test_whatever_is_sent_is_done_or_refused_and_never_a_fault(
    world: World, callers: Callers, rows: tuple[Route, ...], mode: str
) -> None:
    # Imported here and not above: it takes a second, which every worker of the suite would spend.
    import schemathesis  # noqa: PLC0415
    from schemathesis.core.result import Ok  # noqa: PLC0415

    document = msgspec.json.decode(openapi.text(rows, version="1"))
    by_operation = {(re.sub(r":[a-z]+}", "}", row.path), method): row for row in rows for method in row.methods}
    faults: list[str] = []
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        row = by_operation[operation.path, operation.method.upper()]
        url = f"http://127.0.0.1:{world.port}"
        faults += await asyncio.to_thread(attack, operation, row, callers, url, schemathesis.GenerationMode(mode))
    assert not faults, "\n".join(faults)


def attack(operation: Any, row: Route, callers: Callers, url: str, mode: GenerationMode) -> list[str]:
    """What of many requests was answered as nothing should be."""
    faults = []
    bearer = callers.of(row.caller)
    place = next((begin for begin in callers.known if operation.path.startswith(begin)), "")

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def each(case: Any) -> None:
        if place and row.method != "DELETE":
            case.path_parameters[place.partition("{")[2].rstrip("}")] = callers.known[place]
        response = case.call(base_url=url, headers={"Authorization": f"Bearer {bearer}"} if bearer else {})
        if fault := wrong(row, response.status_code, response.content):
            faults.append(f"{row.method} {row.path}: {fault}; sent {case.query!r} {case.body!r}")

    with contextlib.suppress(Unsatisfiable):  # there is nothing that would not fit
        each()
    return faults[:1]


def wrong(row: Route, status: int, content: bytes) -> str:
    """What is wrong with an answer; empty: nothing."""
    if status < 400:
        return ""
    code = msgspec.json.decode(content).get("code") if content else None
    if code == Code.INTERNAL or code not in {each.value for each in of_row(row)}:
        return f"it answered {status} {code}"
    return ""
