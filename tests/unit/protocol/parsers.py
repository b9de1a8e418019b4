"""One function per public parser, for hypothesis and fuzzers: bytes in, nothing out, or an error of the protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from bulkhead.protocol import address, assertions, credentials, documents, encoding, jws, keys, problems, proofs
from bulkhead.protocol.assertions import KeyUse, Link
from bulkhead.protocol.credentials import ApiToken, RegistrationToken, Secret, ServiceKey
from bulkhead.protocol.documents import Answer, Request
from bulkhead.protocol.jws import Typ
from bulkhead.protocol.proofs import ChallengeClaims, KeyRegistrationClaims, RejoinClaims
from bulkhead.protocol.sync import MOST_BYTES
from tests.unit.protocol import gen

Parser = Callable[[bytes], None]


def text(parse: Callable[[str], object]) -> Parser:
    """A parser of text, given what a header holds (Latin-1) and what a careless decoder would make of it."""

    def parser(body: bytes) -> None:
        careless = body.decode("utf-8", "surrogateescape")
        for written in {body.decode("latin-1"), careless}:
            parse(written)

    return parser


def document(kind: type[msgspec.Struct]) -> Parser:
    """The parser of a body."""

    def parser(body: bytes) -> None:
        documents.decode(kind, body, most=MOST_BYTES)

    return parser


def identity_proof(kind: type[ChallengeClaims] | type[RejoinClaims] | type[KeyRegistrationClaims]) -> Parser:
    """The parser of a proof by a bound key."""
    return text(lambda proof: proofs.presented(kind, proof).proven(bound=gen.KEY.public, platform=gen.PLATFORM))


def raw_public_key(body: bytes) -> None:
    """The parser of a key's 32 bytes."""
    keys.PublicKey(body)


def jws_of(typ: Typ) -> Parser:
    """The parser of a JWS of that purpose."""
    return text(lambda written: jws.read(written, typ))


def assertion(written: str) -> None:
    """The parser of a request's assertion."""
    assertions.verify(
        written,
        gen.jwks(gen.KEY),
        platform=gen.PLATFORM,
        cluster=gen.UID,
        method="GET",
        target=gen.TARGET,
        now=gen.NOW,
    )


def succession(written: str) -> None:
    """The parser of a link from one signing key to the next."""
    link = Link(key=assertions.Jwk.of(gen.OTHER_KEY.public), signature=written)
    assertions.follow(gen.jwks(gen.KEY), (link,), platform=gen.PLATFORM, use=KeyUse.ASSERTION)


def problem(body: bytes) -> None:
    """The parser of an answer that is an error."""
    problems.read(409, problems.CONTENT_TYPE, body)


PARSERS: Mapping[str, Parser] = MappingProxyType({
    "credential": text(credentials.parse),
    "registration token": text(RegistrationToken.parse),
    "service key": text(ServiceKey.parse),
    "API token": text(ApiToken.parse),
    "secret": text(Secret.parse),
    "masked": text(credentials.masked),
    "base64url": text(encoding.from_base64url),
    "base62": text(lambda written: encoding.from_base62(written, 32)),
    "public key": text(keys.PublicKey.parse),
    "raw public key": raw_public_key,
    "private key": text(keys.SigningKey.parse),
    "platform URL": text(address.platform_url),
    **{f"JWS {typ}": jws_of(typ) for typ in Typ},
    "registration proof": text(lambda proof: proofs.registration(proof, platform=gen.PLATFORM)),
    "challenge proof": identity_proof(ChallengeClaims),
    "rejoin proof": identity_proof(RejoinClaims),
    "key registration proof": identity_proof(KeyRegistrationClaims),
    "assertion": text(assertion),
    "succession": text(succession),
    "problem": problem,
    **{kind.__name__: document(kind) for base in (Request, Answer) for kind in gen.kinds(base)},
})  # fmt: skip
"""Every parser by its name."""

SAMPLES: tuple[bytes, ...] = (
    gen.TOKEN.reveal().encode(),
    gen.SECRET.reveal().encode(),
    gen.KEY.public.text.encode(),
    gen.KEY.public.raw,
    gen.PLATFORM.encode(),
    proofs.prove(gen.registration_claims(), gen.KEY).encode(),
    *(proofs.prove(claims, gen.KEY).encode() for claims in gen.identity_claims()),
    assertions.sign(gen.assertion(), gen.KEY).encode(),
    *(kind(gen.TOKEN.id, gen.SECRET).reveal().encode() for kind in (ServiceKey, ApiToken)),
    *(jws.sign(b"{}", typ, gen.KEY).encode() for typ in Typ),
    gen.LINK.signature.encode(),
    *(documents.encode(each) for each in (*gen.requests(), *gen.answers(), *gen.parts())),
)
"""What each is fed from: valid inputs, to be damaged."""
