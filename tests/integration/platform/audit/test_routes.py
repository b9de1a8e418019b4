"""An organisation reads what was done in it, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from bulkhead.platform.audit.routes import routes
from tests.integration.platform.audit.gen import Platform
from tests.integration.platform.desk import Desk, serving, user
from tests.integration.platform.server import Database


@pytest.fixture(scope="module")
async def platform(database: Database, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platform]:
    directory: Path = tmp_path_factory.mktemp("export")
    async with Platform.of(database, directory) as mine, Platform.of(database, directory) as other:
        for _ in range(5):
            await mine.act()
            await other.act()
        await mine.sealer().seal()
        yield mine


@pytest.fixture(scope="module")
async def desk(platform: Platform) -> AsyncIterator[Desk]:
    people = {
        "auditor": user(platform.organisation, "AUDIT_READ"),
        "other": user(platform.organisation, "CLUSTER_WRITE"),
        "stranger": user(uuid4(), "AUDIT_READ"),
    }
    async with serving(routes(), api=platform.api, worker=platform.worker, people=people) as running:
        yield running


async def test_rows_are_paged_by_their_sequence_and_are_ones_own(desk: Desk) -> None:
    first = await desk.call("auditor", "GET", "/v1/audit?limit=3")
    second = await desk.call("auditor", "GET", f"/v1/audit?limit=3&after={first.body['next']}")
    assert [row["sequence"] for row in first.body["rows"] + second.body["rows"]] == [1, 3, 5, 7, 9]
    assert second.body["next"] is None
    assert first.body["rows"][0]["actor"] == {"kind": "user", "id": "ada", "issuer": "https://login.example.com"}
    assert first.body["rows"][0]["details"] == {"reason": "unpaid"}


async def test_rows_are_chosen_by_their_act(desk: Desk) -> None:
    assert len((await desk.call("auditor", "GET", "/v1/audit?action=cluster.suspended")).body["rows"]) == 5
    assert (await desk.call("auditor", "GET", "/v1/audit?action=cluster.resumed")).body == {"rows": [], "next": None}


async def test_who_may_not_read_the_audit_does_not(desk: Desk) -> None:
    assert (await desk.call("other", "GET", "/v1/audit")).body["code"] == "ability_missing"
    assert (await desk.call("stranger", "GET", "/v1/audit")).body["rows"] == []
    assert (await desk.call("nobody", "GET", "/v1/audit")).status == 401


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "after=-1", "after=x", "action=drop", "organisation=x"])
async def test_a_query_out_of_bounds_is_refused(desk: Desk, query: str) -> None:
    assert (await desk.call("auditor", "GET", f"/v1/audit?{query}")).status == 400
