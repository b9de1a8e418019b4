"""Proofs of possession: nothing but the exact claims, of the exact purpose, signed with the right key, passes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jwt
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.protocol import documents, jws, proofs
from bulkhead.protocol.encoding import base64url
from bulkhead.protocol.errors import Malformed, ProofInvalid
from bulkhead.protocol.jws import Typ
from bulkhead.protocol.keys import SigningKey
from bulkhead.protocol.proofs import (
    ChallengeClaims,
    IdentityClaims,
    IdentityKind,
    KeyRegistrationClaims,
    RegistrationClaims,
    RejoinClaims,
)
from tests.unit.protocol import gen

CLAIMS = gen.registration_claims()
PROOF = proofs.prove(CLAIMS, gen.KEY)
HEADER = {"alg": "EdDSA", "typ": str(Typ.REGISTRATION)}


def signed(header: object, claims: object, key: SigningKey = gen.KEY) -> str:
    """A JWS with any header and payload, its signature true."""
    covered = ".".join(
        base64url(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (header, claims)
    )
    return f"{covered}.{base64url(key.sign(covered.encode()))}"


def refuse(proof: str) -> None:
    with pytest.raises(ProofInvalid):
        proofs.registration(proof, platform=gen.PLATFORM)


@given(gen.signing_keys, st.sampled_from(IdentityKind))
def test_what_was_proven_is_what_was_claimed(key: SigningKey, kind: IdentityKind) -> None:
    plane = gen.UID if kind is IdentityKind.CLUSTER else None
    claims = msgspec.structs.replace(CLAIMS, kind=kind, plane=plane, public_key=key.public)
    assert proofs.registration(proofs.prove(claims, key), platform=gen.PLATFORM) == claims


@pytest.mark.parametrize("claims", gen.identity_claims())
def test_an_identity_is_named_before_and_believed_after_its_key_is_known(claims: IdentityClaims) -> None:
    presented = proofs.presented(type(claims), proofs.prove(claims, gen.KEY))
    assert presented.identity == gen.UID
    assert presented.proven(bound=gen.KEY.public, platform=gen.PLATFORM) == claims
    with pytest.raises(ProofInvalid, match="private key"):
        presented.proven(bound=gen.OTHER_KEY.public, platform=gen.PLATFORM)
    with pytest.raises(ProofInvalid, match="another platform"):
        presented.proven(bound=gen.KEY.public, platform=gen.OTHER_PLATFORM)


def test_no_changed_character_passes() -> None:
    for at, was in enumerate(PROOF):
        for character in "A_.=z".replace(was, ""):
            refuse(PROOF[:at] + character + PROOF[at + 1 :])


def test_nothing_cut_off_or_added_passes() -> None:
    for at in range(0, len(PROOF), 7):
        refuse(PROOF[:at])
        refuse(PROOF[at + 1 :])
    for around in (f"{PROOF}=", f"{PROOF}\n", f" {PROOF}", f"{PROOF}.", f"{PROOF}.{PROOF}", PROOF * 10):
        refuse(around)


def test_a_proof_for_another_platform_is_refused() -> None:
    refuse(proofs.prove(gen.registration_claims(platform=gen.OTHER_PLATFORM), gen.KEY))


def test_a_registration_signed_with_another_key_than_it_carries_is_refused() -> None:
    with pytest.raises(ValueError, match="the key that it carries"):
        proofs.prove(CLAIMS, gen.OTHER_KEY)
    refuse(signed(HEADER, gen.plain(CLAIMS), gen.OTHER_KEY))


@pytest.mark.parametrize("made_for", list(Typ))
@pytest.mark.parametrize("claims", [CLAIMS, *gen.identity_claims(), gen.assertion()])
def test_no_signature_of_one_purpose_passes_for_another(made_for: Typ, claims: msgspec.Struct) -> None:
    proof = jws.sign(documents.canonical(claims), made_for, gen.KEY)
    readers: dict[type[msgspec.Struct], Callable[[], object]] = {
        RegistrationClaims: lambda: proofs.registration(proof, platform=gen.PLATFORM),
        ChallengeClaims: lambda: proofs.presented(ChallengeClaims, proof),
        RejoinClaims: lambda: proofs.presented(RejoinClaims, proof),
        KeyRegistrationClaims: lambda: proofs.presented(KeyRegistrationClaims, proof),
    }
    for kind, read in readers.items():
        if not isinstance(claims, kind) or made_for is not proofs._TYPES[kind]:
            with pytest.raises(ProofInvalid):
                read()


def test_every_purpose_has_a_type_of_its_own() -> None:
    assert len(set(proofs._TYPES.values())) == len(proofs._TYPES)
    assert len(set(Typ)) == len(Typ.__members__)


@pytest.mark.parametrize(
    "header",
    [
        {**HEADER, "alg": "none"},
        {**HEADER, "alg": "Ed25519"},
        {**HEADER, "alg": "eddsa"},
        {**HEADER, "alg": "HS256"},
        {**HEADER, "alg": ["EdDSA"]},
        {**HEADER, "typ": "JWT"},
        {**HEADER, "typ": str(Typ.REGISTRATION).upper()},
        {**HEADER, "typ": f"application/{Typ.REGISTRATION}"},
        {"alg": "EdDSA"},
        {"typ": str(Typ.REGISTRATION)},
        {**HEADER, "kid": gen.KEY.public.kid},
        {**HEADER, "jwk": {"kty": "OKP", "crv": "Ed25519", "x": gen.KEY.public.text}},
        {**HEADER, "jku": "https://example.com/keys"},
        {**HEADER, "x5u": "https://example.com/chain"},
        {**HEADER, "crit": []},
        {**HEADER, "crit": ["b64"], "b64": False},
        {**HEADER, "b64": True},
        {**HEADER, "cty": "JWT"},
        {**HEADER, "zip": "DEF"},
        [HEADER],
        "EdDSA",
        None,
    ],
)  # fmt: skip
def test_no_other_header_passes_however_well_signed(header: object) -> None:
    refuse(signed(header, gen.plain(CLAIMS)))


@pytest.mark.parametrize("header", [b"", b"\xff", b"{", b"[" * 900, json.dumps(HEADER).encode("utf-16")])
def test_a_header_that_is_not_json_is_refused(header: bytes) -> None:
    refuse(signed(header, gen.plain(CLAIMS)))


@pytest.mark.parametrize("field", sorted(gen.plain(CLAIMS)))
def test_no_claim_may_be_left_out(field: str) -> None:
    claims = gen.plain(CLAIMS)
    del claims[field]
    refuse(signed(HEADER, claims))


def test_no_claim_may_be_added() -> None:
    refuse(signed(HEADER, {**gen.plain(CLAIMS), "exp": gen.NOW}))


@pytest.mark.parametrize("field", sorted(gen.plain(CLAIMS)))
@pytest.mark.parametrize("value", ["", "x\n", "\x00", "A" * 3000, 1, True, [], {}, "https://platform.example.com/"])
def test_no_claim_may_have_another_form(field: str, value: Any) -> None:
    refuse(signed(HEADER, {**gen.plain(CLAIMS), field: value}))


def test_a_plane_names_no_plane_and_a_cluster_one() -> None:
    refuse(signed(HEADER, {**gen.plain(CLAIMS), "kind": "plane"}))
    refuse(signed(HEADER, {**gen.plain(CLAIMS), "plane": None}))


def test_the_same_claims_are_a_repeat_however_they_were_written() -> None:
    claims = gen.plain(CLAIMS)
    spaced = signed(
        json.dumps(HEADER, indent=1).encode(), json.dumps(dict(reversed(claims.items())), indent=1).encode()
    )
    again = proofs.registration(spaced, platform=gen.PLATFORM)
    assert documents.digest(again) == documents.digest(CLAIMS)
    other = msgspec.structs.replace(CLAIMS, name="other")
    assert documents.digest(other) != documents.digest(CLAIMS)


def test_another_implementation_reads_ours_and_we_read_its() -> None:
    public = jwt.PyJWK({"kty": "OKP", "crv": "Ed25519", "x": gen.KEY.public.text}, algorithm="EdDSA")
    private = jwt.PyJWK(
        {"kty": "OKP", "crv": "Ed25519", "x": gen.KEY.public.text, "d": gen.KEY.reveal()}, algorithm="EdDSA"
    )
    assert jwt.PyJWS().decode(PROOF, public, algorithms=["EdDSA"]) == documents.canonical(CLAIMS)
    theirs = jwt.PyJWS().encode(
        json.dumps(gen.plain(CLAIMS)).encode(), private, "EdDSA", headers={"typ": str(Typ.REGISTRATION)}
    )
    assert proofs.registration(theirs, platform=gen.PLATFORM) == CLAIMS


def test_an_error_holds_no_value_of_the_proof() -> None:
    secret = gen.SECRET.reveal()
    with pytest.raises(ProofInvalid) as caught:
        proofs.registration(signed(HEADER, {**gen.plain(CLAIMS), "kind": secret, secret: 1}), platform=gen.PLATFORM)
    assert secret not in str(caught.value)


@given(st.text(alphabet=st.characters(min_codepoint=0, max_codepoint=0x10FFFF), max_size=200))
def test_a_jws_is_read_or_refused(text: str) -> None:
    with pytest.raises(Malformed):
        jws.read(text, Typ.REGISTRATION)
