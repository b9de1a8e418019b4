"""What the isolation matrix takes for a refusal: the engine's own no, and nothing else that an engine may answer."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from functools import partial
from types import ModuleType

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from hack.isolation import object_store, postgres, search, vectors
from hack.isolation.attempt import Attempt, Refused, Tenant
from hack.plane.certificates import Authority
from hack.plane.plane import now
from hack.plane.ports import LOOPBACK

REFUSALS = {
    "Postgres: another's database": (postgres, "42501", 'permission denied for database "globex"'),
    "Postgres: another's login": (postgres, "28P01", 'password authentication failed for user "globex_1"'),
    "Postgres: a group": (postgres, "28000", 'role "globex" is not permitted to log in'),
    "Postgres: no rule": (postgres, "28000", 'no pg_hba.conf entry for host "127.0.0.1", user "acme_1"'),
    "Postgres: a rule": (postgres, "28000", 'pg_hba.conf rejects connection for host "127.0.0.1", user "acme_1"'),
    "S3": (object_store, "403", "AccessDenied"),
    "Qdrant": (vectors, "403", "Forbidden: Global access is required"),
    "Meilisearch": (search, "403", "invalid_api_key"),
}
NONE = {
    "Postgres: no such database": (postgres, "3D000", 'database "globex" does not exist'),
    "Postgres: full": (postgres, "53300", "sorry, too many clients already"),
    "Postgres: full but for superusers": (postgres, "53300", "remaining connection slots are reserved"),
    "Postgres: the tenant's share is used up": (postgres, "53300", 'too many connections for role "acme_1"'),
    "Postgres: starting": (postgres, "57P03", "the database system is starting up"),
    "Postgres: stopping": (postgres, "57P01", "terminating connection due to administrator command"),
    "S3: no such key": (object_store, "403", "InvalidAccessKeyId"),
    "S3: another signature": (object_store, "403", "SignatureDoesNotMatch"),
    "S3: another time": (object_store, "403", "RequestTimeTooSkewed"),
    "S3: no such bucket": (object_store, "404", "NoSuchBucket"),
    "S3: busy": (object_store, "503", "SlowDown"),
    "Qdrant: no such key": (vectors, "401", "Invalid API key or JWT"),
    "Qdrant: no such collection": (vectors, "404", "Not found: Collection `globex_entries` doesn't exist!"),
    "Qdrant: busy": (vectors, "429", "Rate limiting exceeded: Read rate limit exceeded, retry later"),
    "Qdrant: who is before it": (vectors, "403", "403 Forbidden"),
    "Meilisearch: no key": (search, "401", "missing_authorization_header"),
    "Meilisearch: no such index": (search, "404", "index_not_found"),
    "Meilisearch: who is before it": (search, "403", "forbidden"),
}
CA = {"ca.crt": Authority("test", now()).certificate}
"""Asked of nobody; without one each of hundreds of clients would read all those of this machine."""
Case = tuple[ModuleType, str, str]


@pytest.mark.parametrize("case", REFUSALS.values(), ids=REFUSALS)
async def test_the_no_of_an_engine_is_a_refusal(case: Case) -> None:
    assert await counted(case)


@pytest.mark.parametrize("case", NONE.values(), ids=NONE)
async def test_whatever_else_it_answers_is_none(case: Case) -> None:
    assert await counted(case) == []


async def counted(case: Case) -> list[str]:
    """The ways in that count as shut where every one is answered like this."""
    engine, code, words = case
    async with always(engine, code, words) as port:
        acme, globex = tenant("acme", port), tenant("globex", port)
        pairs = ((acme, acme), (acme, globex))
        ways = itertools.chain.from_iterable(engine.attempts(*pair) for pair in pairs)
        return [way.kind for way in ways if not way.allowed and await refused(way)]


async def refused(way: Attempt) -> bool:
    try:
        await way.run()
    except Refused:
        return True
    except Exception:  # noqa: BLE001 - whatever the client makes of such an answer
        return False
    raise AssertionError("let in")


def tenant(slug: str, port: int) -> Tenant:
    url = f"http://{LOOPBACK}:{port}"
    return Tenant(
        slug,
        postgres={
            "uri": f"postgresql://{slug}_1:x@{LOOPBACK}:{port}/{slug}?sslmode=disable",
            "database": slug,
            "username": f"{slug}_1",
        },
        object_store={
            "endpoint": url,
            "bucket": f"{slug}-data",
            "access-key": f"{slug}-key",
            "secret-key": "secret-key",
            "region": "us-east-1",
            **CA,
        },
        vectors={"uri": url, "api-key": "x", "collection": f"{slug}_entries", "dimensions": "4", **CA},
        search={"uri": url, "api-key": "x", "indexes": f"{slug}_entries", "primary-key": "id", **CA},
    )


@contextlib.asynccontextmanager
async def always(engine: ModuleType, code: str, words: str) -> AsyncIterator[int]:
    """The port of an engine that answers everything in one way."""
    if engine is postgres:
        async with await asyncio.start_server(partial(fatal, code, words), LOOPBACK, 0) as server:
            yield server.sockets[0].getsockname()[1]
        return
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", partial(answer, engine, int(code), words))
    async with TestServer(application, host=LOOPBACK) as server:
        assert server.port is not None
        yield server.port


async def fatal(code: str, words: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What Postgres sends to whom it does not let in."""
    length = int.from_bytes(await reader.readexactly(4))
    await reader.readexactly(length - 4)
    fields = "".join(f"{field}\0" for field in ("SFATAL", "VFATAL", f"C{code}", f"M{words}")).encode() + b"\0"
    writer.write(b"E" + (len(fields) + 4).to_bytes(4) + fields)
    writer.close()
    await writer.wait_closed()


async def answer(engine: ModuleType, status: int, words: str, request: web.Request) -> web.Response:
    await request.read()
    if engine is object_store:
        return s3_answer(status, words, request)
    error = {"status": {"error": words}} if engine is vectors else {"message": "", "code": words}
    return web.Response(status=status, text=json.dumps(error, separators=(",", ":")))


def s3_answer(status: int, code: str, request: web.Request) -> web.Response:
    """As MinIO writes it: XML to S3, JSON to its admin API, a header to HEAD."""
    headers = {"x-minio-error-code": code}
    if request.path.startswith("/minio/admin"):
        return web.Response(status=status, headers=headers, text=json.dumps({"Code": code}, separators=(",", ":")))
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
    return web.Response(status=status, headers=headers, content_type="application/xml", text=body)
