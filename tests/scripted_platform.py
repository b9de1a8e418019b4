"""A platform over HTTP on loopback, in memory: what the protocol says, and whatever a test has it say instead.

It takes nothing that the protocol's types do not take, and it proves every proof, so that an operator that joins here
spoke the protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from aiohttp import web

from bulkhead.protocol import documents, proofs
from bulkhead.protocol.assertions import Jwk, Jwks, KeyUse, Link, link
from bulkhead.protocol.credentials import RegistrationToken, ServiceKey, new_id
from bulkhead.protocol.documents import Answer
from bulkhead.protocol.errors import ProtocolError
from bulkhead.protocol.heartbeat import Desired, Heartbeat, HeartbeatAnswer, KeyRotation
from bulkhead.protocol.keys import PublicKey, SigningKey
from bulkhead.protocol.problems import CONTENT_TYPE, Code, Extension, Problem
from bulkhead.protocol.proofs import (
    ChallengeClaims,
    IdentityKind,
    KeyRegistrationClaims,
    RegistrationClaims,
    RejoinClaims,
)
from bulkhead.protocol.registration import (
    Challenge,
    ChallengeRequest,
    Deleted,
    ExchangeRequest,
    Joined,
    KeyRegistered,
    KeyRegistrationRequest,
    RejoinRequest,
    TokenIssued,
    TokenRequest,
    cluster_id,
    plane_id,
)
from bulkhead.protocol.sync import Delta, Row, RowKey, Stream, SyncAnswer, SyncRequest, key

NOW = 1_790_000_000


@dataclass
class Identity:
    """A plane or cluster that has joined."""

    claims: RegistrationClaims
    keys: dict[str, str]
    """Digest of the secret by key id."""
    heartbeats: list[Heartbeat] = field(default_factory=list)
    rows: dict[RowKey, Row] = field(default_factory=dict)
    stream: Stream | None = None
    sequence: int = 0
    syncs: list[SyncRequest] = field(default_factory=list)
    challenge: str = ""
    desired: Desired | None = None
    refusal: Code | None = None
    """What every call of it is answered with."""
    rotate: bool = False
    deleted: bool = False


@dataclass
class ScriptedPlatform:
    """What it holds, and how it answers.

    instead: asked first, with method and path; what it gives is the answer
    holds: asked with method and path; whether that is answered only once it is `released`
    calls: method and path of every request, in order
    """

    url: str = ""
    port: int = 0
    now: Callable[[], int] = lambda: NOW
    tokens: dict[str, TokenRequest | None] = field(default_factory=dict)
    used: dict[str, tuple[str, Joined]] = field(default_factory=dict)
    identities: dict[str, Identity] = field(default_factory=dict)
    signing: list[SigningKey] = field(default_factory=lambda: [SigningKey.generate(os.urandom)])
    instead: Callable[[str, str], web.Response | None] = lambda _method, _path: None
    holds: Callable[[str, str], bool] = lambda _method, _path: False
    released: asyncio.Event = field(default_factory=asyncio.Event)
    confirmed: bool = True
    calls: list[tuple[str, str]] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    """Every credential that was ever shown to it or given out."""
    _runner: web.AppRunner | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def serving(cls) -> AsyncIterator[ScriptedPlatform]:
        """One that answers for the time of the block."""
        platform = cls()
        await platform.start()
        try:
            yield platform
        finally:
            await platform.stop()

    async def start(self) -> None:
        """Answer, at the same address as before."""
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        """Answer no more: connections are refused."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def plane_token(self) -> str:
        """A registration token for any plane."""
        token = RegistrationToken.generate(os.urandom)
        self.tokens[token.digest.hex()] = None
        self.secrets.append(token.reveal())
        return token.reveal()

    def named(self, name: str) -> Identity:
        """The identity of that name."""
        return next(each for each in self.identities.values() if each.claims.name == name)

    def fence(self) -> None:
        """As after a restore from a backup: no service key is good any more."""
        for identity in self.identities.values():
            identity.refusal = Code.KEY_FENCED

    def succeed(self) -> None:
        """Sign with another key from now on."""
        self.signing.append(SigningKey.generate(os.urandom))

    def posted(self, end: str) -> int:
        """How many calls had a path that ends so."""
        return sum(path.endswith(end) for _, path in self.calls)

    async def _handle(self, request: web.Request) -> web.Response:
        self.calls.append((request.method, request.path))
        if self.holds(request.method, request.path):
            await self.released.wait()
        if (other := self.instead(request.method, request.path)) is not None:
            return other
        try:
            answer = await self._answer(request)
        except Problem as problem:
            return refused(problem)
        except ProtocolError as error:
            return refused(Problem(Code.BODY_INVALID, str(error)))
        return web.Response(body=documents.encode(answer), content_type="application/json")

    async def _answer(self, request: web.Request) -> Answer:
        body = await request.read()
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        match request.method, request.path.strip("/").split("/")[1:]:
            case "POST", ["registrations"]:
                return self._exchange(RegistrationToken.parse(bearer), documents.decode(ExchangeRequest, body))
            case "POST", ["registrations", "challenge"]:
                return self._challenge(documents.decode(ChallengeRequest, body))
            case "POST", ["registrations", "rejoin"]:
                return self._rejoin(documents.decode(RejoinRequest, body))
            case "POST", ["registration-tokens"]:
                return self._token(self._caller(bearer)[0], documents.decode(TokenRequest, body))
            case "POST", ["clusters" | "data-planes" as kind, id_, "heartbeat"]:
                caller = self._caller(bearer, kind, id_)[0]
                return self._heartbeat(caller, bearer, documents.decode(Heartbeat, body))
            case "POST", ["clusters" | "data-planes" as kind, id_, "keys"]:
                caller, used = self._caller(bearer, kind, id_)
                return self._key(caller, used, documents.decode(KeyRegistrationRequest, body))
            case "POST", ["clusters", id_, "sync"]:
                most = 4 * 1024 * 1024
                return self._sync(
                    self._caller(bearer, "clusters", id_)[0], documents.decode(SyncRequest, body, most=most)
                )
            case "DELETE", ["clusters", id_]:
                self._caller(bearer, "clusters", id_)[0].deleted = True
                return Deleted(identity=id_, server_time=self.now())
        raise Problem(Code.NOT_FOUND)

    def _caller(self, bearer: str, kind: str = "", id_: str = "") -> tuple[Identity, str]:
        self.secrets.append(bearer)
        shown = ServiceKey.parse(bearer)
        for identity, found in self.identities.items():
            if found.keys.get(shown.id) == shown.digest.hex():
                if found.refusal is not None:
                    raise Problem(found.refusal)
                if kind and (id_ != identity or (kind == "clusters") != (found.claims.kind is IdentityKind.CLUSTER)):
                    raise Problem(Code.NOT_FOUND)
                return found, shown.id
        raise Problem(Code.KEY_UNKNOWN)

    def _token(self, plane: Identity, request: TokenRequest) -> TokenIssued:
        if not self.confirmed:
            raise Problem(Code.PLANE_UNCONFIRMED)
        if request.plane != plane_id(plane.claims.uid) or request.public_key is None:
            raise Problem(Code.GRANT_MISSING)
        token = RegistrationToken.generate(os.urandom)
        self.tokens[token.digest.hex()] = request
        self.secrets.append(token.reveal())
        return TokenIssued(token=token, expires_at=self.now() + request.seconds, server_time=self.now())

    def _exchange(self, token: RegistrationToken, request: ExchangeRequest) -> Joined:
        self.secrets.append(token.reveal())
        claims = proofs.registration(request.proof, platform=self.url)
        digest, at = documents.digest(claims), token.digest.hex()
        if at in self.used:
            then, answer = self.used[at]
            if then != digest:
                raise Problem(Code.TOKEN_USED)
            return answer
        if at not in self.tokens or claims.token != at:
            raise Problem(Code.TOKEN_UNKNOWN)
        self._require_fit(self.tokens[at], claims)
        identity = plane_id(claims.uid) if claims.plane is None else cluster_id(claims.plane, claims.uid)
        known = self.identities.get(identity)
        if known is not None and known.claims.public_key != claims.public_key:
            raise Problem(Code.IDENTITY_BOUND)
        key_id = new_id(os.urandom)
        if known is None:
            self.identities[identity] = Identity(claims, {key_id: claims.secret})
        else:
            known.keys = {key_id: claims.secret}
        answer = Joined(identity=identity, key_id=key_id, signing_keys=self._jwks(), server_time=self.now())
        self.used[at] = (digest, answer)
        return answer

    def _require_fit(self, asked: TokenRequest | None, claims: RegistrationClaims) -> None:
        if asked is None:
            fits = claims.kind is IdentityKind.PLANE
        else:
            bound = (asked.kind, asked.plane, asked.uid, asked.name, asked.public_key)
            fits = bound == (claims.kind, claims.plane, claims.uid, claims.name, claims.public_key)
        if not fits:
            raise Problem(Code.TOKEN_WRONG_CLUSTER)

    def _challenge(self, request: ChallengeRequest) -> Challenge:
        presented = proofs.presented(ChallengeClaims, request.proof)
        found = self._known(presented.identity)
        presented.proven(bound=found.claims.public_key, platform=self.url)
        found.challenge = found.challenge or hashlib.sha256(os.urandom(8)).hexdigest()[:42] + "A"
        return Challenge(challenge=found.challenge, seconds=60, server_time=self.now())

    def _rejoin(self, request: RejoinRequest) -> Joined:
        presented = proofs.presented(RejoinClaims, request.proof)
        found = self._known(presented.identity)
        claims = presented.proven(bound=found.claims.public_key, platform=self.url)
        for key_id, secret in found.keys.items():
            if secret == claims.secret:
                return self._rejoined(claims.identity, key_id)
        if claims.challenge != found.challenge:
            raise Problem(Code.CHALLENGE_INVALID)
        key_id = new_id(os.urandom)
        found.challenge, found.refusal, found.keys = "", None, {key_id: claims.secret}
        return self._rejoined(claims.identity, key_id)

    def _rejoined(self, identity: str, key_id: str) -> Joined:
        return Joined(identity=identity, key_id=key_id, signing_keys=self._jwks(), server_time=self.now())

    def _known(self, identity: str) -> Identity:
        found = self.identities.get(identity)
        if found is None:
            raise Problem(Code.IDENTITY_UNKNOWN)
        if found.refusal is Code.IDENTITY_REVOKED:
            raise Problem(found.refusal)
        return found

    def _key(self, caller: Identity, used: str, request: KeyRegistrationRequest) -> KeyRegistered:
        presented = proofs.presented(KeyRegistrationClaims, request.proof)
        claims = presented.proven(bound=caller.claims.public_key, platform=self.url)
        if claims.replaces != used:
            raise Problem(Code.KEY_REPLACED)
        same = (key_id for key_id, secret in caller.keys.items() if secret == claims.secret)
        key_id = next(same, new_id(os.urandom))
        caller.keys[key_id] = claims.secret
        caller.rotate = False
        return KeyRegistered(key_id=key_id, server_time=self.now())

    def _heartbeat(self, caller: Identity, bearer: str, beat: Heartbeat) -> HeartbeatAnswer:
        caller.heartbeats.append(beat)
        used = ServiceKey.parse(bearer).id
        if used == tuple(caller.keys)[-1]:
            caller.keys = {used: caller.keys[used]}
        rotation = KeyRotation(replaces=used, before=self.now() + 3600) if caller.rotate else None
        return HeartbeatAnswer(
            server_time=self.now(),
            desired=caller.desired,
            succession=self._links(beat.acknowledged_key),
            rotation=rotation,
        )

    def _sync(self, caller: Identity, request: SyncRequest) -> SyncAnswer:
        caller.syncs.append(request)
        change = request.change
        if isinstance(change, Delta):
            if change.stream != caller.stream:
                raise Problem(Code.STREAM_SUPERSEDED, **self._stream(caller))
            if change.sequence != caller.sequence + 1:
                raise Problem(Code.SEQUENCE_GAP, **self._stream(caller))
            caller.sequence = change.sequence
            caller.rows |= {key(row): row for row in change.upserts}
            for at in change.removed:
                del caller.rows[at]
        else:
            if change.replaces != caller.stream:
                raise Problem(Code.STREAM_SUPERSEDED, **self._stream(caller))
            number = caller.stream.number + 1 if caller.stream else 1
            caller.stream, caller.sequence = Stream(epoch=0, number=number), 0
            caller.rows = {key(row): row for row in change.rows}
        assert caller.stream is not None
        return SyncAnswer(stream=caller.stream, sequence=caller.sequence, server_time=self.now())

    def _stream(self, caller: Identity) -> Extension:
        return Extension(stream=caller.stream, sequence=caller.sequence) if caller.stream is not None else Extension()

    def _jwks(self) -> Jwks:
        return Jwks(keys=tuple(Jwk.of(each.public) for each in self.signing[-2:]))

    def _links(self, acknowledged: str) -> tuple[Link, ...]:
        kids = [each.public.kid for each in self.signing]
        at = kids.index(acknowledged) if acknowledged in kids else len(kids) - 1
        pairs = zip(self.signing[at:], self.signing[at + 1 :], strict=False)
        return tuple(link(one, other.public, platform=self.url, use=KeyUse.ASSERTION) for one, other in pairs)


def refused(problem: Problem) -> web.Response:
    """A problem as the platform tells it."""
    document = problem.document("0" * 32)
    return web.Response(status=document.status, body=documents.encode(document), content_type=CONTENT_TYPE)


def fingerprint(identity: Identity) -> str:
    """What a person compares."""
    bound: PublicKey = identity.claims.public_key
    return bound.fingerprint
