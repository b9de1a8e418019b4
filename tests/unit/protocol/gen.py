"""Builders and strategies for the protocol's tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import msgspec
from hypothesis import strategies as st

from bulkhead.protocol import assertions, heartbeat, proofs, registration, sync
from bulkhead.protocol.assertions import Ability, Assertion, Jwk, Jwks, KeyUse, Method, Source, path_hash
from bulkhead.protocol.credentials import ApiToken, Credential, RegistrationToken, Secret, ServiceKey
from bulkhead.protocol.documents import PROTOCOL, Answer, Request, encode
from bulkhead.protocol.keys import SigningKey
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.proofs import (
    ChallengeClaims,
    IdentityKind,
    KeyRegistrationClaims,
    RegistrationClaims,
    RejoinClaims,
)
from bulkhead.protocol.scalars import MOST_INTEGER
from bulkhead.protocol.sync import (
    ClusterRow,
    DatasetRow,
    Delta,
    Distance,
    EngineName,
    EngineRow,
    EngineState,
    IndexRow,
    NamedDatasetRow,
    Phase,
    Row,
    RowKey,
    RowKind,
    Snapshot,
    Stream,
    SyncRequest,
    content_digest,
)

PLATFORM = "https://platform.example.com"
OTHER_PLATFORM = "https://platform.example.org"
UID = "8f14e45f-ceea-467f-9b6d-1f0c5a7c2d11"
OTHER_UID = "c9f0f895-fb98-4b91-b1c5-0a2d3e4f5a6b"
TARGET = b"/v1/datasets?limit=10"
NOW = 1_790_000_000


def seeded(word: str, size: int = 32) -> bytes:
    """That many bytes, always the same for `word`."""
    return hashlib.shake_256(word.encode()).digest(size)


KEY = SigningKey(seeded("bound"))
OTHER_KEY = SigningKey(seeded("other"))
SECRET = Secret(seeded("secret"))
TOKEN = RegistrationToken("0123456789abcdef" * 2, Secret(seeded("token")))

random = st.binary(min_size=64, max_size=64).map(lambda pool: lambda size: pool[:size])
signing_keys = st.binary(min_size=32, max_size=32).map(SigningKey)
credentials: st.SearchStrategy[Credential] = st.builds(
    lambda kind, id_, secret: kind(id_.hex(), Secret(secret)),
    st.sampled_from([RegistrationToken, ServiceKey, ApiToken]),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=32, max_size=32),
)


def registration_claims(key: SigningKey = KEY, platform: str = PLATFORM) -> RegistrationClaims:
    """What a cluster signs at its exchange."""
    return RegistrationClaims(
        purpose="registration",
        platform=platform,
        token=TOKEN.digest.hex(),
        public_key=key.public,
        kind=IdentityKind.CLUSTER,
        plane=registration.plane_id(UID),
        uid=OTHER_UID,
        name="acme",
        secret=SECRET.digest.hex(),
    )


def identity_claims(platform: str = PLATFORM) -> tuple[ChallengeClaims, RejoinClaims, KeyRegistrationClaims]:
    """What an identity signs later, one of each."""
    secret = SECRET.digest.hex()
    return (
        ChallengeClaims(purpose="challenge", platform=platform, identity=UID),
        RejoinClaims(purpose="rejoin", platform=platform, identity=UID, challenge=KEY.public.kid, secret=secret),
        KeyRegistrationClaims(
            purpose="key-registration", platform=platform, identity=UID, replaces=TOKEN.id, secret=secret
        ),
    )


def assertion(method: Method = Method.GET, exp: int = NOW + assertions.LIFETIME) -> Assertion:
    """What the platform says about one request."""
    return Assertion(
        purpose="assertion",
        iss=PLATFORM,
        aud=UID,
        sub="248289761001",
        organisation=OTHER_UID,
        abilities=(Ability.DATASET_READ,),
        source=Source.HUMAN,
        method=method,
        path=path_hash(TARGET),
        jti=OTHER_UID,
        exp=exp,
    )


def jwks(*keys: SigningKey) -> Jwks:
    """These keys as trusted, oldest first."""
    return Jwks(keys=tuple(Jwk.of(key.public) for key in keys))


def named(name: str) -> NamedDatasetRow:
    """The row of a dataset with this name."""
    return NamedDatasetRow(id=UID, name=name, version=1, entries=2, bytes=3, updated_at=NOW)


uuids = st.uuids(version=4).map(str)
counts = st.integers(min_value=0, max_value=MOST_INTEGER)
generations = st.integers(min_value=0, max_value=2**31 - 1)
moments = st.integers(min_value=0, max_value=NOW * 2)
streams = st.builds(Stream, epoch=generations, number=st.integers(min_value=1, max_value=sync.MOST_STREAM))
rows: st.SearchStrategy[Row] = st.one_of(
    st.builds(
        ClusterRow,
        id=uuids,
        phase=st.sampled_from(Phase),
        generation=generations,
        created_at=moments,
        dimensions=st.integers(min_value=1, max_value=65535),
        distance=st.sampled_from(Distance),
    ),
    st.builds(
        EngineRow,
        engine=st.sampled_from(EngineName),
        state=st.sampled_from(EngineState),
        release=st.sampled_from([None, "16.4", "1.15.0-rc.1", "RELEASE.2025-09-07T16-13-09Z"]),
        credential_generation=generations,
        credential_expires_at=st.none() | moments,
        items=st.none() | counts,
        bytes=st.none() | counts,
    ),
    st.builds(IndexRow, id=uuids, documents=st.none() | counts),
    st.builds(DatasetRow, id=uuids, version=counts, entries=counts, bytes=counts, updated_at=moments),
    st.builds(
        NamedDatasetRow,
        id=uuids,
        name=st.sampled_from(["Orders 2026", "Verträge", "注文", "a"]),
        version=counts,
        entries=counts,
        bytes=counts,
        updated_at=moments,
    ),
)
row_lists = st.lists(rows, max_size=8, unique_by=sync.key).map(tuple)
snapshots = st.builds(Snapshot, replaces=st.none() | streams, rows=row_lists)


@st.composite
def deltas(draw: st.DrawFn) -> Delta:
    """A delta of rows that are changed and others that are removed, at least one in all."""
    changed = draw(st.lists(rows, min_size=1, max_size=8, unique_by=sync.key))
    kept = draw(st.integers(min_value=0, max_value=len(changed)))
    return Delta(
        stream=draw(streams),
        sequence=draw(st.integers(min_value=1, max_value=sync.MOST_STREAM)),
        upserts=tuple(changed[:kept]),
        removed=tuple(sync.key(row) for row in changed[kept:]),
    )


changes: st.SearchStrategy[Snapshot | Delta] = snapshots | deltas()


def step(change: Snapshot | Delta) -> SyncRequest:
    """The request that carries `change`."""
    return SyncRequest(protocol=PROTOCOL, change=change, digest=content_digest(change))


def contents() -> tuple[Snapshot, Delta]:
    """What streams carry, with a row of every kind. Read by itself: in a request the digest alone refuses a change."""
    stream = Stream(epoch=0, number=1)
    every = (
        ClusterRow(id=UID, phase=Phase.ACTIVE, generation=1, created_at=NOW, dimensions=1536, distance=Distance.COSINE),
        EngineRow(
            engine=EngineName.SEARCH,
            state=EngineState.READY,
            release="1.15.0",
            credential_generation=1,
            credential_expires_at=NOW,
            items=1,
            bytes=1,
        ),
        IndexRow(id=UID, documents=3),
        DatasetRow(id=OTHER_UID, version=1, entries=2, bytes=3, updated_at=NOW),
        named("Orders"),
    )
    removed = (RowKey(kind=RowKind.ENGINE, id="vectors"), RowKey(kind=RowKind.INDEX, id=OTHER_UID))
    return Snapshot(replaces=stream, rows=every), Delta(stream=stream, sequence=1, upserts=every, removed=removed)


def requests() -> tuple[Request, ...]:
    """One of every request, with every field filled."""
    challenge, rejoin, key_registration = (proofs.prove(claims, KEY) for claims in identity_claims())
    return (
        registration.TokenRequest(
            protocol=PROTOCOL,
            kind=IdentityKind.CLUSTER,
            name="acme",
            seconds=900,
            plane=UID,
            uid=OTHER_UID,
            tenant=registration.TenantRef(name="acme", uid=UID),
            public_key=KEY.public,
        ),
        registration.ExchangeRequest(protocol=PROTOCOL, proof=proofs.prove(registration_claims(), KEY)),
        registration.ChallengeRequest(protocol=PROTOCOL, proof=challenge),
        registration.RejoinRequest(protocol=PROTOCOL, proof=rejoin),
        registration.KeyRegistrationRequest(protocol=PROTOCOL, proof=key_registration),
        heartbeat.Heartbeat(
            protocol=PROTOCOL,
            release="0.1.0",
            phase=Phase.ACTIVE,
            engines={EngineName.POSTGRES: heartbeat.EngineReport(state=EngineState.READY, release="16.4")},
            applied_generation=3,
            acknowledged_key=KEY.public.kid,
            counts={heartbeat.Counted.POINTS: 3},
        ),
        step(Snapshot(replaces=Stream(epoch=0, number=1), rows=(named("Orders"),))),
        step(
            Delta(
                stream=Stream(epoch=0, number=1),
                sequence=1,
                upserts=(IndexRow(id=UID, documents=3),),
                removed=(RowKey(kind=RowKind.ENGINE, id="vectors"),),
            )
        ),
    )


LINK = assertions.link(KEY, OTHER_KEY.public, platform=PLATFORM, use=KeyUse.ASSERTION)
DESIRED = heartbeat.Desired(generation=1, suspended=True)
ROTATION = heartbeat.KeyRotation(replaces=TOKEN.id, before=NOW)


def parts() -> tuple[Answer, ...]:
    """What is only ever a part of an answer."""
    snapshot = heartbeat.SnapshotWanted(replaces=Stream(epoch=0, number=1))
    return (Jwk.of(KEY.public), jwks(KEY), LINK, DESIRED, ROTATION, snapshot)


def answers() -> tuple[Answer, ...]:
    """One of every answer, with every field filled."""
    stream = Stream(epoch=0, number=1)
    return (
        registration.TokenIssued(token=TOKEN, expires_at=NOW, server_time=NOW),
        registration.Joined(identity=UID, key_id=TOKEN.id, signing_keys=jwks(KEY), server_time=NOW),
        registration.Challenge(challenge=KEY.public.kid, seconds=60, server_time=NOW),
        registration.KeyRegistered(key_id=TOKEN.id, server_time=NOW),
        registration.Deleted(identity=UID, server_time=NOW),
        heartbeat.HeartbeatAnswer(
            server_time=NOW,
            desired=DESIRED,
            succession=(LINK,),
            rotation=ROTATION,
            snapshot=heartbeat.SnapshotWanted(replaces=stream),
        ),
        sync.SyncAnswer(stream=stream, sequence=1, server_time=NOW),
        Problem(Code.SEQUENCE_GAP, "after 3", retry_after=1, server_time=NOW, stream=stream, sequence=3).document("t"),
    )


def kinds(base: type[msgspec.Struct]) -> tuple[type[msgspec.Struct], ...]:
    """Every type of the protocol below `base`, in one order; others' types below it are theirs to test."""
    below = {each for child in base.__subclasses__() for each in (child, *kinds(child))}
    ours = (each for each in below if each.__module__.startswith("bulkhead.protocol."))
    return tuple(sorted(ours, key=lambda each: (each.__module__, each.__qualname__)))


def objects(document: Any) -> Iterator[dict[str, Any]]:
    """Every object in decoded JSON, the outermost first."""
    if isinstance(document, dict):
        yield document
    for value in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        yield from objects(value)


def plain(document: msgspec.Struct) -> Any:
    """`document` as any reader of JSON sees it."""
    return json.loads(encode(document))
