"""People with API tokens, and their clusters behind one gateway, written into the database as administrators and
joining leave them. So many, because the quotas of a person and of an organisation hold here as everywhere.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg

from bench.platform.population import EPOCH, settings_of, signing_key
from bulkhead.platform.keys import fast, scrypt
from bulkhead.platform.proxy import target as targets
from bulkhead.platform.signing.sealing import Sealing
from bulkhead.protocol.assertions import Ability, Source
from bulkhead.protocol.credentials import ApiToken
from hack.plane.certificates import KeyPair
from hack.plane.platform import Platform

ABILITIES = [Ability.DATASET_READ.value, Ability.DATASET_WRITE.value]


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who may ask a cluster."""

    token: ApiToken
    cluster: UUID


@dataclass(frozen=True, slots=True)
class Reached:
    """How a plane's clusters are reached. address: HOST:PORT; ca: PEM; client: what the platform shows"""

    address: str
    ca: str
    client: KeyPair


async def write_callers(platform: Platform, clusters: list[UUID], reached: Reached, *, of_each: int) -> list[Caller]:
    """Make `clusters`, each of an organisation of its own with so many callers. The service has started before."""
    async with await psycopg.AsyncConnection.connect(platform.database.superuser_dsn) as session:
        await session.execute("SET search_path = bulkhead, pg_temp")
        await session.commit()
        kid = await signing_key(session)
        plane = await _plane(session, platform, reached)
        issuer = await _one(
            session, "INSERT INTO issuers (url, audiences, algorithms) VALUES ('urn:bench', '{bench}', '{EdDSA}')"
        )
        found = []
        for cluster in clusters:
            organisation = await _organisation(session, plane, issuer)
            await _cluster(session, cluster, organisation, plane, kid)
            found += [await _caller(session, platform, cluster, organisation, issuer) for _ in range(of_each)]
    return found


async def _one(session: psycopg.AsyncConnection[Any], statement: str, *values: object) -> UUID:
    """The id of the row that an INSERT makes."""
    row = await (await session.execute(f"{statement} RETURNING id".encode(), values)).fetchone()
    assert row
    return UUID(str(row[0]))


async def _plane(session: psycopg.AsyncConnection[Any], platform: Platform, reached: Reached) -> UUID:
    plane = await _one(
        session,
        """INSERT INTO planes (id, uid, name, public_key, confirmed_at, confirmed_by, confirmed_key, epoch)
           VALUES (gen_random_uuid(), gen_random_uuid(), 'bench', %s, now(), 'bench', %s, %s)""",
        *(bytes(32), bytes(32), EPOCH),
    )
    key = settings_of(platform).key_encryption.current
    sealed = Sealing({key.id: key.value}, random=os.urandom).seal(reached.client.key.encode(), targets.place(plane))
    await session.execute(
        """INSERT INTO plane_targets
               (plane_id, address, ca, client_certificate, sealed_client_key, sealed_under, set_by)
           VALUES (%s, %s, %s, %s, %s, %s, 'bench')""",
        (plane, reached.address, reached.ca, reached.client.certificate, sealed.text, sealed.under),
    )
    return plane


async def _organisation(session: psycopg.AsyncConnection[Any], plane: UUID, issuer: UUID) -> UUID:
    organisation = await _one(session, "INSERT INTO organisations (name) VALUES (%s)", f"bench {uuid4()}")
    await session.execute(
        "INSERT INTO plane_grants (organisation_id, plane_id, granted_by) VALUES (%s, %s, 'bench')",
        (organisation, plane),
    )
    await session.execute(
        "INSERT INTO issuer_organisations (issuer_id, organisation_id) VALUES (%s, %s)", (issuer, organisation)
    )
    return organisation


async def _cluster(
    session: psycopg.AsyncConnection[Any], cluster: UUID, organisation: UUID, plane: UUID, kid: str
) -> None:
    await session.execute(
        """INSERT INTO clusters (id, organisation_id, plane_id, uid, name, tenant, tenant_uid, public_key, epoch,
                                 acknowledged_kid)
           VALUES (%s, %s, %s, gen_random_uuid(), 'bench', %s, gen_random_uuid(), %s, %s, %s)""",
        (cluster, organisation, plane, f"t-{cluster}", os.urandom(32), EPOCH, kid),
    )
    # Nobody beats for it: it is taken to have been heard just before the end of the measurement.
    await session.execute(
        """INSERT INTO liveness (identity_id, kind, organisation_id, last_seen, online)
           VALUES (%s, 'cluster', %s, now() + interval '1 day', true)""",
        (cluster, organisation),
    )


async def _caller(
    session: psycopg.AsyncConnection[Any], platform: Platform, cluster: UUID, organisation: UUID, issuer: UUID
) -> Caller:
    token = ApiToken.generate(os.urandom)
    membership = await _one(
        session,
        """INSERT INTO memberships (organisation_id, issuer_id, subject, abilities, created_by)
           VALUES (%s, %s, %s, %s, 'bench')""",
        *(organisation, issuer, token.id, ABILITIES),
    )
    now = datetime.now(UTC)
    # The record of scrypt is never asked while the fast value lives: that it is nobody's can not be told.
    value = fast.made(token.digest, settings_of(platform).pepper, now, random.random)
    await session.execute(
        """INSERT INTO api_tokens (id, organisation_id, membership_id, name, abilities, source, scrypt_n, scrypt_r,
                                   scrypt_p, salt, hash, fast_value, fast_pepper, fast_until, value_used_at,
                                   last_used_at, epoch, expires_at)
           VALUES (%s, %s, %s, 'bench', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, now(), now(), %s, %s)""",
        (
            *(token.id, organisation, membership, ABILITIES, Source.WORKER.value),
            *(scrypt.CURRENT.n, scrypt.CURRENT.r, scrypt.CURRENT.p, os.urandom(16), os.urandom(32)),
            *(value.value, value.pepper, value.until, EPOCH, now + timedelta(days=1)),
        ),
    )
    return Caller(token, cluster)
