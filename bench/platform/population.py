"""Clusters that have joined long ago, written into the database as joining leaves them."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg

from bulkhead.platform.keys import fast, scrypt
from bulkhead.platform.settings import Environment, Keys, Settings
from bulkhead.protocol import credentials
from bulkhead.protocol.credentials import Secret, ServiceKey
from bulkhead.protocol.documents import PROTOCOL, encode
from bulkhead.protocol.heartbeat import Counted, EngineReport, Heartbeat
from bulkhead.protocol.sync import EngineName, EngineState, Phase
from hack.plane.platform import Platform

START_SECONDS = 30.0
ORGANISATION = "bench"
EPOCH = 1
APPLIED = 1


@dataclass(frozen=True, slots=True)
class Cluster:
    """One that beats."""

    id: UUID
    key: ServiceKey


@dataclass(frozen=True, slots=True)
class Population:
    """warm: with a live fast value; cold: with the record of scrypt alone."""

    warm: tuple[Cluster, ...]
    cold: tuple[Cluster, ...]
    acknowledged: str
    """The signing key that all of them know."""


async def populate(platform: Platform, *, warm: int, cold: int) -> Population:
    """Write so many. The service has to have started once: it makes the signing key that they acknowledge."""
    async with await psycopg.AsyncConnection.connect(platform.database.superuser_dsn) as session:
        await session.execute("SET search_path = bulkhead, pg_temp")
        await session.commit()
        made = Population(_clusters(warm), _clusters(cold), await signing_key(session))
        organisation, plane = await _one_plane(session)
        every = (*made.warm, *made.cold)
        await _copy(session, _CLUSTERS, (_cluster(each, organisation, plane, made.acknowledged) for each in every))
        await _copy(session, _LIVENESS, (_alive(each, organisation) for each in every))
        await _copy(session, _KEYS, _key_rows(made, organisation, settings_of(platform).pepper))
    async with await psycopg.AsyncConnection.connect(platform.database.superuser_dsn, autocommit=True) as session:
        await session.execute("VACUUM ANALYZE")
    return made


def settings_of(platform: Platform) -> Settings:
    """What its replicas are told: with what fast values and sealed keys are made."""
    return Environment(platform.serving()).serve()


def beats(clusters: Sequence[Cluster], acknowledged: str, host: str) -> list[bytes]:
    """The heartbeat of each, as bytes of HTTP."""
    body = encode(
        Heartbeat(
            protocol=PROTOCOL,
            release="0.1.0",
            phase=Phase.ACTIVE,
            engines={engine: EngineReport(state=EngineState.READY, release="1.2.3") for engine in EngineName},
            applied_generation=APPLIED,
            acknowledged_key=acknowledged,
            counts={Counted.DATABASE_BYTES: 8_000_000, Counted.OBJECTS: 12, Counted.POINTS: 345, Counted.DOCUMENTS: 67},
        )
    )
    return [request("POST", f"/v1/clusters/{each.id}/heartbeat", host, each.key.reveal(), body) for each in clusters]


def request(method: str, path: str, host: str, bearer: str, body: bytes) -> bytes:
    """A request as bytes of HTTP."""
    head = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Accept: application/json"]
    if bearer:
        head.append(f"Authorization: Bearer {bearer}")
    if body:
        head += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join((*head, "", "")).encode() + body


def _clusters(count: int) -> tuple[Cluster, ...]:
    """All with one secret: to derive ten thousand records would take longer than the measurement, and no look-up and no
    comparison can tell."""
    secret = Secret.generate(os.urandom)
    return tuple(Cluster(uuid4(), ServiceKey(credentials.new_id(os.urandom), secret)) for _ in range(count))


_CLUSTERS = """
    COPY clusters (id, organisation_id, plane_id, uid, name, tenant, tenant_uid, public_key, epoch, applied_generation,
                   acknowledged_kid) FROM STDIN
"""
_LIVENESS = "COPY liveness (identity_id, kind, organisation_id, last_seen, online) FROM STDIN"
_KEYS = """
    COPY service_keys (id, kind, identity_id, organisation_id, scopes, scrypt_n, scrypt_r, scrypt_p, salt, hash,
                       fast_value, fast_pepper, fast_until, claims_digest, epoch, last_used_at) FROM STDIN
"""


async def signing_key(session: psycopg.AsyncConnection[Any]) -> str:
    """Of the platform. The service makes it a moment after it has begun to serve."""
    async with asyncio.timeout(START_SECONDS):
        while True:
            rows = await session.execute("SELECT kid FROM signing_keys WHERE purpose = 'assertion'")
            if row := await rows.fetchone():
                return str(row[0])
            await session.rollback()
            await asyncio.sleep(0.1)


async def _one_plane(session: psycopg.AsyncConnection[Any]) -> tuple[UUID, UUID]:
    organisation, plane = uuid4(), uuid4()
    await session.execute("INSERT INTO organisations (id, name) VALUES (%s, %s)", (organisation, ORGANISATION))
    await session.execute(
        """INSERT INTO planes (id, uid, name, public_key, confirmed_at, confirmed_by, confirmed_key, epoch)
           VALUES (%s, %s, 'bench', %s, now(), 'bench', %s, %s)""",
        (plane, uuid4(), bytes(32), bytes(32), EPOCH),
    )
    await session.execute(
        "INSERT INTO plane_grants (organisation_id, plane_id, granted_by) VALUES (%s, %s, 'bench')",
        (organisation, plane),
    )
    return organisation, plane


async def _copy(session: psycopg.AsyncConnection[Any], statement: Any, rows: Iterator[tuple[Any, ...]]) -> None:
    async with session.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            await copy.write_row(row)


def _cluster(each: Cluster, organisation: UUID, plane: UUID, acknowledged: str) -> tuple[Any, ...]:
    name = f"c-{each.id.hex[:12]}"
    uid = uuid4()
    return each.id, organisation, plane, uid, name, name, uid, bytes(32), EPOCH, APPLIED, acknowledged


def _alive(each: Cluster, organisation: UUID) -> tuple[Any, ...]:
    return each.id, "cluster", organisation, datetime.now(UTC), True


def _key_rows(made: Population, organisation: UUID, peppers: Keys) -> Iterator[tuple[Any, ...]]:
    """Fast values are spread over their lifetime, as they are in a service that has run for long."""
    now = datetime.now(UTC)
    for clusters, warm in ((made.warm, True), (made.cold, False)):
        if not clusters:
            continue
        resting = scrypt.hashed(clusters[0].key.digest, os.urandom(16))
        for each in clusters:
            value = fast.made(each.key.digest, peppers, now, random.random) if warm else None
            until = value and value.until - random.random() * (value.until - now) * 0.75  # noqa: S311 - not secret
            yield (
                *(each.key.id, "cluster", each.id, organisation, ["heartbeat", "sync", "keys", "delete"]),
                *(scrypt.CURRENT.n, scrypt.CURRENT.r, scrypt.CURRENT.p, resting.salt, resting.hash),
                *((value.value, value.pepper, until) if value else (None, None, None)),
                *(os.urandom(32), EPOCH, now),
            )
