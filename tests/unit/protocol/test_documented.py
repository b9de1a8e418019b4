"""docs/protocol.md is enough: whoever has read nothing else computes what it shows, and our own readers take that.

What recomputes the examples here is written from the document's words, with standard primitives alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bulkhead.protocol import assertions, credentials, documents, heartbeat, proofs, registration, sync
from bulkhead.protocol.assertions import Jwk, Jwks, KeyUse, Succession
from bulkhead.protocol.documents import Answer, Closed
from bulkhead.protocol.jws import Typ
from bulkhead.protocol.keys import PublicKey
from bulkhead.protocol.proofs import ChallengeClaims, KeyRegistrationClaims, RejoinClaims
from hack.generate.protocol import WHOLE
from tests.unit.protocol import gen

TEXT = (Path(__file__).parents[3] / "docs/protocol.md").read_text()
SHOWN: dict[str, str] = {
    found[1]: found[2]
    for block in re.findall(r"^```text\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    for found in re.finditer(r"^([a-z ]+?) {2,}(\S.*)$", block, re.MULTILINE)
}
MESSAGES: list[tuple[str, str]] = re.findall(r"^```json (\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
KINDS: dict[str, type[msgspec.Struct]] = {
    kind.__name__: kind
    for kind in (
        registration.ExchangeRequest,
        registration.Joined,
        heartbeat.Heartbeat,
        heartbeat.HeartbeatAnswer,
        sync.SyncRequest,
    )
}
PLATFORM = "https://platform.example.com"
PLANES = uuid.UUID("5b0a86e4-9c1c-5d0b-8d6c-3f0d4c0a7a52")


def base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def from_base64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def base62(number: int, width: int) -> str:
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    return "".join(digits[number // 62**place % 62] for place in reversed(range(width)))


def credential(prefix: str, id_: str, secret: bytes) -> str:
    body = f"{prefix}_{id_}_{base62(int.from_bytes(secret, 'big'), 43)}"
    return f"{body}_{base62(zlib.crc32(body.encode()), 6)}"


def sha256(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def private(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(from_base64url(SHOWN[name]))


def public(key: Ed25519PrivateKey) -> str:
    return base64url(key.public_key().public_bytes_raw())


def kid(text: str) -> str:
    return base64url(hashlib.sha256(f'{{"crv":"Ed25519","kty":"OKP","x":"{text}"}}'.encode()).digest())


def jws(header: str, claims: str, key: Ed25519PrivateKey) -> str:
    covered = f"{base64url(header.encode())}.{base64url(claims.encode())}"
    return f"{covered}.{base64url(key.sign(covered.encode()))}"


def proof(typ: str, claims: dict[str, Any]) -> str:
    return jws(f'{{"alg":"EdDSA","typ":"bulkhead-{typ}+jwt"}}', canonical(claims), private("private key"))


@pytest.mark.parametrize(
    ("name", "prefix", "called"), [("token", "bht", "registration token"), ("key", "bhk", "service key")]
)
def test_the_credentials_are_those_of_their_ids_and_bytes(name: str, prefix: str, called: str) -> None:
    secret = bytes.fromhex(SHOWN[f"{name} bytes"])
    assert SHOWN[f"{name} secret"] == base62(int.from_bytes(secret, "big"), 43)
    assert SHOWN[called] == credential(prefix, SHOWN[f"{name} id"], secret)
    assert SHOWN[f"{name} digest"] == sha256(secret)
    parsed = credentials.parse(SHOWN[called])
    assert (parsed.id, parsed.digest.hex()) == (SHOWN[f"{name} id"], SHOWN[f"{name} digest"])


def test_the_key_pair_has_this_kid_and_this_fingerprint() -> None:
    key = public(private("private key"))
    groups = re.findall("....", base64.b32encode(hashlib.sha256(from_base64url(key)).digest()[:20]).decode())
    assert (SHOWN["public key"], SHOWN["kid"], SHOWN["fingerprint"]) == (key, kid(key), "-".join(groups))
    ours = PublicKey.parse(key)
    assert (ours.kid, ours.fingerprint) == (SHOWN["kid"], SHOWN["fingerprint"])


def test_the_ids_follow_from_the_uids() -> None:
    plane = uuid.uuid5(PLANES, SHOWN["plane uid"])
    cluster = uuid.uuid5(plane, SHOWN["cluster uid"])
    index = uuid.uuid5(uuid.UUID(SHOWN["cluster uid"]), SHOWN["index name"])
    assert (SHOWN["plane id"], SHOWN["cluster id"], SHOWN["index id"]) == (str(plane), str(cluster), str(index))
    assert SHOWN["plane id"] == registration.plane_id(SHOWN["plane uid"])
    assert SHOWN["cluster id"] == registration.cluster_id(SHOWN["plane id"], SHOWN["cluster uid"])
    assert SHOWN["index id"] == sync.opaque_id(SHOWN["cluster uid"], SHOWN["index name"])


def test_the_exchange_is_signed_over_these_claims() -> None:
    claims = {
        "purpose": "registration",
        "platform": PLATFORM,
        "token": SHOWN["token digest"],
        "publicKey": SHOWN["public key"],
        "kind": "cluster",
        "plane": SHOWN["plane id"],
        "uid": SHOWN["cluster uid"],
        "name": "acme",
        "secret": SHOWN["key digest"],
    }
    assert SHOWN["registration claims"] == canonical(claims)
    assert SHOWN["registration proof"] == proof("registration", claims)
    assert SHOWN["registration proof"] == jws(
        SHOWN["registration header"], SHOWN["registration claims"], private("private key")
    )
    read = proofs.registration(SHOWN["registration proof"], platform=PLATFORM)
    assert documents.canonical(read).decode() == SHOWN["registration claims"]


def test_who_joins_again_signs_these_claims() -> None:
    identity = {"platform": PLATFORM, "identity": SHOWN["cluster id"]}
    challenge = {**identity, "purpose": "challenge"}
    rejoin = {**identity, "purpose": "rejoin", "challenge": SHOWN["challenge"], "secret": SHOWN["key digest"]}
    assert SHOWN["challenge claims"] == canonical(challenge)
    assert SHOWN["challenge proof"] == proof("challenge", challenge)
    assert SHOWN["rejoin claims"] == canonical(rejoin)
    assert SHOWN["rejoin proof"] == proof("rejoin", rejoin)
    bound = PublicKey.parse(SHOWN["public key"])
    proofs.presented(ChallengeClaims, SHOWN["challenge proof"]).proven(bound=bound, platform=PLATFORM)
    proofs.presented(RejoinClaims, SHOWN["rejoin proof"]).proven(bound=bound, platform=PLATFORM)


def test_who_registers_another_key_signs_these_claims() -> None:
    claims = {
        "purpose": "key-registration",
        "platform": PLATFORM,
        "identity": SHOWN["cluster id"],
        "replaces": SHOWN["key id"],
        "secret": SHOWN["new key digest"],
    }
    assert SHOWN["registration of key"] == canonical(claims)
    assert SHOWN["its proof"] == proof("key-registration", claims)
    presented = proofs.presented(KeyRegistrationClaims, SHOWN["its proof"])
    presented.proven(bound=PublicKey.parse(SHOWN["public key"]), platform=PLATFORM)


def test_a_change_is_digested_in_the_order_of_its_keys() -> None:
    change = json.loads(message("SyncRequest"))["change"]
    ordered = sorted(change["upserts"], key=lambda row: (row["kind"], row.get("id") or row["engine"]))
    assert ordered != change["upserts"], "the example shows that the order of the message does not matter"
    assert SHOWN["canonical change"] == canonical({**change, "upserts": ordered})
    assert SHOWN["change digest"] == sha256(SHOWN["canonical change"].encode())
    assert json.loads(message("SyncRequest"))["digest"] == SHOWN["change digest"]


def test_the_assertion_is_verified_as_the_document_says() -> None:
    key, target = private("signing key"), SHOWN["target"].encode()
    assert SHOWN["path"] == sha256(target)
    assert SHOWN["assertion header"] == f'{{"alg":"EdDSA","typ":"{Typ.ASSERTION}","kid":"{kid(public(key))}"}}'
    claims = json.loads(SHOWN["assertion claims"])
    assert SHOWN["assertion claims"] == canonical(claims)
    assert (claims["path"], claims["aud"], claims["iss"]) == (SHOWN["path"], SHOWN["cluster id"], PLATFORM)
    assert SHOWN["assertion"] == jws(SHOWN["assertion header"], SHOWN["assertion claims"], key)
    assertions.verify(
        SHOWN["assertion"],
        trusted(public(key)),
        platform=PLATFORM,
        cluster=SHOWN["cluster id"],
        method="GET",
        target=target,
        now=claims["exp"] - 60,
    )


def test_the_times_of_an_assertion_are_those_of_our_reader() -> None:
    assert f"now - {assertions.LEEWAY} < exp <= now + {assertions.LIFETIME + assertions.LEEWAY}" in TEXT
    assert TEXT.count(f"`{assertions.HEADER}`") == 2


def test_each_signing_key_is_vouched_for_by_the_one_before() -> None:
    claims = {
        "purpose": "succession",
        "platform": PLATFORM,
        "use": "assertion",
        "predecessor": kid(SHOWN["predecessor"]),
        "successor": SHOWN["successor"],
    }
    assert SHOWN["succession claims"] == canonical(claims)
    assert SHOWN["predecessor"] == public(private("signing key"))
    assert SHOWN["succession"] == jws(
        f'{{"alg":"EdDSA","typ":"{Typ.SUCCESSION}"}}', SHOWN["succession claims"], private("signing key")
    )
    answer = documents.decode(heartbeat.HeartbeatAnswer, message("HeartbeatAnswer").encode())
    assert [link.signature for link in answer.succession] == [SHOWN["succession"]]
    after = assertions.follow(trusted(SHOWN["predecessor"]), answer.succession, platform=PLATFORM, use=KeyUse.ASSERTION)
    assert after.newest.x.text == SHOWN["successor"]


@pytest.mark.parametrize(("name", "text"), MESSAGES, ids=[name for name, _ in MESSAGES])
def test_a_message_that_is_shown_has_every_field_and_no_other(name: str, text: str) -> None:
    read = documents.decode(KINDS[name], text.encode())
    assert gen.plain(read) == json.loads(text)


def test_the_exchange_that_is_shown_carries_the_proof_that_is_shown() -> None:
    assert json.loads(message("ExchangeRequest"))["proof"] == SHOWN["registration proof"]
    joined = json.loads(message("Joined"))
    assert (joined["identity"], joined["keyId"]) == (SHOWN["cluster id"], SHOWN["key id"])


def test_every_purpose_of_a_signature_is_listed() -> None:
    assert set(re.findall(r"^\| `(bulkhead-[a-z-]+\+jwt)` \|", TEXT, re.MULTILINE)) == {str(typ) for typ in Typ}


def test_every_message_has_its_section() -> None:
    sections = re.findall(r"^#### (\w+)$", TEXT, re.MULTILINE)
    private_to_jws = {"_Header", "_NamingHeader"}
    kinds = {kind.__name__ for kind in (*gen.kinds(Closed), *gen.kinds(Answer))} - {"Request"} - private_to_jws
    assert sorted(sections) == sorted(kinds)
    assert Succession in WHOLE


def test_every_link_within_the_document_leads_to_a_heading() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", found.lower()).replace(" ", "-")
        for found in re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= headings


def trusted(key: str) -> Jwks:
    return Jwks(keys=(Jwk.of(PublicKey.parse(key)),))


def message(name: str) -> str:
    (text,) = (text for called, text in MESSAGES if called == name)
    return text
