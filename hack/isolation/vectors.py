"""Ways into a neighbour's vector collection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from hack.isolation.attempt import Attempt, Refused, Tenant
from hack.isolation.web import Web

POINT = 1
REFUSAL = "Forbidden: "
"""How the server begins to say what a token may not."""


def attempts(attacker: Tenant, victim: Tenant) -> Iterator[Attempt]:
    """Everything that a token may try on a neighbour, or on its own collection where they are the same."""
    web = Web(attacker.vectors, {"api-key": attacker.vectors["api-key"]}, REFUSAL)
    mine, collection = attacker.vectors["collection"], victim.vectors["collection"]
    vector = [0.5] * int(attacker.vectors["dimensions"])
    search = {"query": vector, "limit": 1}
    if attacker.slug == victim.slug:
        yield _own("write and read a point", _write_and_read(web, mine, vector, attacker.slug))
        yield _own("search my collection", _call(web, "POST", f"/collections/{mine}/points/query", search))
        yield _shut("take a snapshot of it", _call(web, "POST", f"/collections/{mine}/snapshots"))
        yield _shut(
            "change my collection", _call(web, "PATCH", f"/collections/{mine}", {"metadata": {"bulkhead": "x"}})
        )
        yield _shut("drop my collection", _call(web, "DELETE", f"/collections/{mine}"))
        yield _shut(
            "make an index on it",
            _call(web, "PUT", f"/collections/{mine}/index", {"field_name": "f", "field_schema": "keyword"}),
        )
        return
    points = f"/collections/{collection}/points"
    elsewhere = {**search, "query": POINT, "lookup_from": {"collection": collection}}
    prefetch = {"query": {"fusion": "rrf"}, "prefetch": [{"query": POINT, "lookup_from": {"collection": collection}}]}
    yield _shut("see its collection", _call(web, "GET", f"/collections/{collection}"))
    yield _shut("search it", _call(web, "POST", f"{points}/query", search))
    yield _shut("scroll through it", _call(web, "POST", f"{points}/scroll", {"limit": 1}))
    yield _shut("count its points", _call(web, "POST", f"{points}/count", {}))
    yield _shut("read one point", _call(web, "GET", f"{points}/{POINT}"))
    yield _shut("write a point", _call(web, "PUT", f"{points}?wait=true", {"points": [{"id": 9, "vector": vector}]}))
    yield _shut("delete a point", _call(web, "POST", f"{points}/delete?wait=true", {"points": [POINT]}))
    yield _shut(
        "set its payload", _call(web, "POST", f"{points}/payload?wait=true", {"payload": {"x": 1}, "points": [POINT]})
    )
    yield _shut("search mine by its vectors", _call(web, "POST", f"/collections/{mine}/points/query", elsewhere))
    yield _shut("prefetch by its vectors", _call(web, "POST", f"/collections/{mine}/points/query", prefetch))
    yield _shut("list its snapshots", _call(web, "GET", f"/collections/{collection}/snapshots"))
    yield _shut("take a snapshot of it", _call(web, "POST", f"/collections/{collection}/snapshots"))
    yield _shut("drop it", _call(web, "DELETE", f"/collections/{collection}"))
    yield _shut(
        "make a collection", _call(web, "PUT", "/collections/stolen", {"vectors": {"size": 4, "distance": "Cosine"}})
    )
    yield _shut("see it among all collections", _sees(web, mine, collection))
    yield _shut("give it another name", _call(web, "POST", "/collections/aliases", _alias(collection)))
    yield _shut(
        "read the operator's tokens", _call(web, "POST", "/collections/bulkhead_tokens/points/scroll", {"limit": 9})
    )
    yield _shut("take a snapshot of everything", _call(web, "POST", "/snapshots"))
    yield _shut("read the metrics", _call(web, "GET", "/metrics"))


def _own(kind: str, run: Callable[[], Awaitable[None]]) -> Attempt:
    return Attempt("vectors", kind, allowed=True, run=run)


def _shut(kind: str, run: Callable[[], Awaitable[None]]) -> Attempt:
    return Attempt("vectors", kind, allowed=False, run=run)


def _call(web: Web, method: str, path: str, body: Any = None) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        await web.call(method, path, body)

    return run


def _write_and_read(web: Web, collection: str, vector: list[float], slug: str) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        point = {"id": POINT, "vector": vector, "payload": {"owner": slug}}
        await web.call("PUT", f"/collections/{collection}/points?wait=true", {"points": [point]})
        found = await web.call("GET", f"/collections/{collection}/points/{POINT}")
        if found["result"]["payload"] != {"owner": slug}:
            raise Refused("read something else than what was written")

    return run


def _sees(web: Web, mine: str, collection: str) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        answer = await web.call("GET", "/collections")
        seen = [each["name"] for each in answer["result"]["collections"]]
        if mine not in seen:
            raise AssertionError(f"sees not even its own collection, only {seen}")
        if collection not in seen:
            raise Refused(f"sees only {seen}")

    return run


def _alias(collection: str) -> dict[str, Any]:
    return {"actions": [{"create_alias": {"collection_name": collection, "alias_name": "stolen"}}]}
