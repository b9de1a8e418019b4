"""Ways into a neighbour's search indexes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from hack.isolation.attempt import Attempt, Refused, Tenant
from hack.isolation.web import Web

TASK_SECONDS = 10.0
REGISTER = "bulkhead_register"
"""Where the operator keeps whose index is whose."""


def attempts(attacker: Tenant, victim: Tenant) -> Iterator[Attempt]:
    """Everything that a key may try on a neighbour, or on its own indexes where they are the same."""
    web = Web(attacker.search, {"Authorization": f"Bearer {attacker.search['api-key']}"})
    mine = attacker.search["indexes"].split(",")[0]
    index = victim.search["indexes"].split(",")[0]
    if attacker.slug == victim.slug:
        yield _own("write and find a document", _write_and_find(web, mine, attacker))
        yield _shut(
            "change my settings", _call(web, "PATCH", f"/indexes/{mine}/settings", {"filterableAttributes": ["x"]})
        )
        yield _shut("rename my index", _call(web, "PATCH", f"/indexes/{mine}", {"uid": "stolen"}))
        yield _shut("drop my index", _call(web, "DELETE", f"/indexes/{mine}"))
        return
    document = [{attacker.search["primary-key"]: "planted"}]
    several = {"queries": [{"indexUid": mine, "q": ""}, {"indexUid": index, "q": ""}]}
    yield _shut("search its index", _call(web, "POST", f"/indexes/{index}/search", {"q": ""}))
    yield _shut("search several, its index among them", _call(web, "POST", "/multi-search", several))
    yield _shut("search several as one", _call(web, "POST", "/multi-search", {**several, "federation": {}}))
    yield _shut("read its documents", _call(web, "GET", f"/indexes/{index}/documents"))
    yield _shut("fetch its documents", _call(web, "POST", f"/indexes/{index}/documents/fetch", {}))
    yield _shut("add a document", _call(web, "POST", f"/indexes/{index}/documents", document))
    yield _shut("delete its documents", _call(web, "DELETE", f"/indexes/{index}/documents"))
    yield _shut("see its index", _call(web, "GET", f"/indexes/{index}"))
    yield _shut("see it among all indexes", _sees(web, index))
    yield _shut("read its settings", _call(web, "GET", f"/indexes/{index}/settings"))
    yield _shut("read its statistics", _call(web, "GET", f"/indexes/{index}/stats"))
    yield _shut("make an index", _call(web, "POST", "/indexes", {"uid": "stolen"}))
    yield _shut("swap indexes", _call(web, "POST", "/swap-indexes", [{"indexes": [mine, index]}]))
    yield _shut("list all keys", _call(web, "GET", "/keys"))
    yield _shut("make a key", _call(web, "POST", "/keys", {"actions": ["*"], "indexes": ["*"], "expiresAt": None}))
    yield _shut("see its tasks", _sees_tasks(web, index))
    yield _shut("dump everything", _call(web, "POST", "/dumps"))
    yield _shut("take a snapshot of everything", _call(web, "POST", "/snapshots"))
    yield _shut("read the experimental features", _call(web, "GET", "/experimental-features"))
    yield _shut("read the owners that the operator keeps", _call(web, "GET", f"/indexes/{REGISTER}/documents"))


def _own(kind: str, run: Callable[[], Awaitable[None]]) -> Attempt:
    return Attempt("search", kind, allowed=True, run=run)


def _shut(kind: str, run: Callable[[], Awaitable[None]]) -> Attempt:
    return Attempt("search", kind, allowed=False, run=run)


def _call(web: Web, method: str, path: str, body: Any = None) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        await web.call(method, path, body)

    return run


def _write_and_find(web: Web, index: str, tenant: Tenant) -> Callable[[], Awaitable[None]]:
    """Written documents are found once their task is done: asked for, until then."""

    async def run() -> None:
        document = {tenant.search["primary-key"]: "probe", "owner": tenant.slug}
        await web.call("POST", f"/indexes/{index}/documents", [document])
        async with asyncio.timeout(TASK_SECONDS):
            while True:
                found = await web.call("POST", f"/indexes/{index}/search", {"q": tenant.slug})
                if found["hits"]:
                    break
                await asyncio.sleep(0.05)
        if found["hits"][0]["owner"] != tenant.slug:
            raise Refused("found something else than what was written")

    return run


def _sees(web: Web, index: str) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        answer = await web.call("GET", "/indexes?limit=1000")
        seen = [each["uid"] for each in answer["results"]]
        if index not in seen:
            raise Refused(f"sees only {seen}")

    return run


def _sees_tasks(web: Web, index: str) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        answer = await web.call("GET", f"/tasks?limit=1000&indexUids={index}")
        if not [task for task in answer["results"] if task["indexUid"] == index]:
            raise Refused("sees none of its tasks")

    return run
