"""Ways into a neighbour's search indexes."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from bulkhead.api.ownership import Stamp
from bulkhead.engines.meilisearch.keys import key_uid
from hack.isolation import postgres
from hack.isolation.attempt import Attempt, Refused, Tenant
from hack.isolation.web import Web

TASK_SECONDS = 10.0
REFUSAL = '"invalid_api_key"'
"""The code for what a key may not. It is that of an unknown key too, hence one's own doors."""
TOKEN_REFUSAL = "The API key used to generate this tenant token cannot"  # noqa: S105 - no token
"""Of a token that was read and verified: any other one is refused by the same code, whatever its key may do."""
GENERATION = 1
"""Of the keys that are tried: tenants of a demo and of tests are new."""
REGISTER = "bulkhead_register"
"""Where the operator keeps whose index is whose."""


def attempts(attacker: Tenant, victim: Tenant) -> Iterator[Attempt]:
    """Everything that a key may try on a neighbour, or on its own indexes where they are the same."""
    web = Web(attacker.search, {"Authorization": f"Bearer {attacker.search['api-key']}"}, REFUSAL)
    mine = attacker.search["indexes"].split(",")[0]
    index = victim.search["indexes"].split(",")[0]
    if attacker.slug == victim.slug:
        yield _own("write and find a document", _write_and_find(web, mine, attacker))
        yield _own("search by a token of my own key", _search_by_token(attacker, [mine], mine))
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
    yield _shut("search it by a token of my key", _search_by_token(attacker, [index], index))
    yield _shut("search it by a token for all indexes", _search_by_token(attacker, ["*"], index))
    yield _shut("read its documents", _call(web, "GET", f"/indexes/{index}/documents"))
    yield _shut("fetch its documents", _call(web, "POST", f"/indexes/{index}/documents/fetch", {}))
    yield _shut("add a document", _call(web, "POST", f"/indexes/{index}/documents", document))
    yield _shut("delete its documents", _call(web, "DELETE", f"/indexes/{index}/documents"))
    yield _shut("see its index", _call(web, "GET", f"/indexes/{index}"))
    yield _shut("see it among all indexes", _sees(web, mine, index))
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


def _search_by_token(tenant: Tenant, rules: list[str], index: str) -> Callable[[], Awaitable[None]]:
    """A tenant token of Meilisearch: who holds a key signs one for whatever indexes it likes. It takes the key's uid,
    which nobody is told; from the stamp that lies in its own database a tenant can work it out."""

    async def run() -> None:
        stamp = Stamp.parse(await postgres.stamp_of(tenant))
        if stamp is None:
            raise AssertionError("the database bears no stamp to work out the uid from")
        claims = {"searchRules": rules, "apiKeyUid": key_uid(stamp, GENERATION)}
        token = _token(tenant.search["api-key"], claims)
        web = Web(tenant.search, {"Authorization": f"Bearer {token}"}, TOKEN_REFUSAL)
        await web.call("POST", f"/indexes/{index}/search", {"q": ""})

    return run


def _token(key: str, claims: dict[str, Any]) -> str:
    """A JWT by HS256."""
    message = b".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return b".".join((message, _encoded(hmac.digest(key.encode(), message, "sha256")))).decode()


def _encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


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


def _sees(web: Web, mine: str, index: str) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        answer = await web.call("GET", "/indexes?limit=1000")
        seen = [each["uid"] for each in answer["results"]]
        if mine not in seen:
            raise AssertionError(f"sees not even its own index, only {seen}")
        if index not in seen:
            raise Refused(f"sees only {seen}")

    return run


def _sees_tasks(web: Web, index: str) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        answer = await web.call("GET", f"/tasks?limit=1000&indexUids={index}")
        if not [task for task in answer["results"] if task["indexUid"] == index]:
            raise Refused("sees none of its tasks")

    return run
