"""What comes next of a registration, and what becomes of it by an answer: pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import msgspec

from bulkhead.api.record import Registration
from bulkhead.api.sensitive import Sensitive
from bulkhead.protocol.assertions import Jwk, Jwks, KeyUse, Link, follow
from bulkhead.protocol.credentials import Secret, ServiceKey
from bulkhead.protocol.errors import Untrusted
from bulkhead.protocol.heartbeat import Desired
from bulkhead.protocol.keys import PublicKey, SigningKey
from bulkhead.protocol.problems import Code
from bulkhead.protocol.proofs import IdentityKind
from bulkhead.protocol.registration import TenantRef, cluster_id, plane_id

REJOIN = frozenset({Code.KEY_UNKNOWN, Code.KEY_REVOKED, Code.KEY_EXPIRED, Code.KEY_FENCED})
"""The service key is worth nothing any more; the key pair is."""
TOKEN_SPENT = frozenset({
    Code.TOKEN_UNKNOWN, Code.TOKEN_EXPIRED, Code.TOKEN_REVOKED, Code.TOKEN_USED, Code.TOKEN_WRONG_CLUSTER,
    Code.CREDENTIAL_MALFORMED,
})  # fmt: skip
"""Another registration token may do what this one does not."""
ENDED = frozenset({Code.IDENTITY_REVOKED, Code.CLUSTER_DELETED})
"""The platform has ended the identity: a person must answer, and nothing here is deleted for it."""

NO_TOKEN = Sensitive("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """Who wants to join what."""

    platform: str
    """The platform's URL in its canonical form."""
    kind: IdentityKind
    uid: str
    """UID in Kubernetes."""
    name: str
    plane: str | None = None
    """The platform's id of the plane that a cluster lies on; None: a plane itself."""
    tenant: TenantRef | None = None
    token: Sensitive = NO_TOKEN
    """What a plane's Secret holds; a cluster's tokens are asked for."""

    @property
    def identity(self) -> str:
        """The id that the platform will give: it follows from the UIDs, so another one is not for us."""
        return plane_id(self.uid) if self.plane is None else cluster_id(self.plane, self.uid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What answers to heartbeats said that is not taken over yet."""

    refused: Code | None = None
    """Why the platform did not take the last heartbeat; None: it did, or did not decide."""
    key_id: str = ""
    """The service key that was refused."""
    desired: Desired | None = None
    links: tuple[Link, ...] = ()
    rotation: str = ""
    """The service key that wants a successor."""


NOTHING = Learnt()


class Step(Enum):
    """One call to the platform, or what must rest before it."""

    BEGIN = auto()
    """Make a key pair and the secret of a service key."""
    ASK_TOKEN = auto()
    EXCHANGE = auto()
    ASK_CHALLENGE = auto()
    REJOIN = auto()
    PREPARE_KEY = auto()
    """Make the secret of the next service key."""
    REGISTER_KEY = auto()


def next_step(held: Registration | None, aim: Aim, learnt: Learnt) -> Step | None:
    """What to do next; None: it has joined, and nothing is asked of it."""
    if held is None or held.platform != aim.platform or held.identity not in ("", aim.identity):
        return Step.BEGIN
    if not held.identity:
        return Step.EXCHANGE if held.token else Step.ASK_TOKEN
    if held.challenge:
        return Step.REJOIN
    if not held.key_id or _lost(held, learnt):
        return Step.ASK_CHALLENGE
    if held.next_secret:
        return Step.REGISTER_KEY
    return Step.PREPARE_KEY if learnt.rotation == held.key_id else None


def absorb(held: Registration, learnt: Learnt) -> Registration:
    """`held` with what was learnt: a newer desired state, later signing keys. The same where there is no news."""
    desired = learnt.desired
    if desired is not None and desired.generation > held.applied_generation:
        held = msgspec.structs.replace(held, applied_generation=desired.generation, suspended=desired.suspended)
    return msgspec.structs.replace(held, trusted=texts(followed(held, learnt)))


def wants(held: Registration, learnt: Learnt) -> bool:
    """Whether what was learnt changes the registration, or asks for a step."""
    lost = _lost(held, learnt)
    return lost or learnt.rotation == held.key_id or absorb(held, learnt) != held


def followed(held: Registration, learnt: Learnt) -> Jwks:
    """The signing keys after the links that came; those of now where a link does not hold."""
    trusted = jwks(held)
    try:
        return follow(trusted, learnt.links, platform=held.platform, use=KeyUse.ASSERTION)
    except Untrusted:
        return trusted


def after_refusal(held: Registration, step: Step, code: Code, aim: Aim) -> Registration | None:
    """What a refusal makes of a registration, for another step to be tried; None: it stays, and this is the end."""
    if code is Code.IDENTITY_UNKNOWN and held.identity:
        return _anew(held)
    if step is Step.EXCHANGE and code in TOKEN_SPENT:
        # A cluster asks for another one; a plane has the one in its Secret, which somebody may have put anew.
        return None if aim.token == held.token else msgspec.structs.replace(held, token=Sensitive(""))
    if step is Step.EXCHANGE and code in REJOIN:
        # Answered long ago, and what it gave is void since: the identity is there, bound to our key.
        return msgspec.structs.replace(held, token=Sensitive(""), identity=aim.identity, key_id="")
    if step is Step.REJOIN and code is Code.CHALLENGE_INVALID:
        return msgspec.structs.replace(held, challenge="", next_secret=Sensitive(""))
    if step is Step.REGISTER_KEY and code in REJOIN:
        return msgspec.structs.replace(held, key_id="", next_secret=Sensitive(""))
    return None


def _anew(held: Registration) -> Registration:
    """Joined no more. The key pair stays, and what was applied: a lower generation is still an older one."""
    empty = Sensitive("")
    return msgspec.structs.replace(held, token=empty, identity="", key_id="", next_secret=empty, challenge="")


def _lost(held: Registration, learnt: Learnt) -> bool:
    return learnt.refused in REJOIN and learnt.key_id == held.key_id


def signing_key(held: Registration) -> SigningKey:
    """The key pair."""
    return SigningKey.parse(held.private_key.reveal())


def service_key(held: Registration) -> ServiceKey:
    """What calls are made with."""
    return ServiceKey(held.key_id, Secret.parse(held.secret.reveal()))


def jwks(held: Registration) -> Jwks:
    """The signing keys that are trusted. There are some as soon as there is an identity."""
    return Jwks(keys=tuple(Jwk.of(PublicKey.parse(each)) for each in held.trusted))


def texts(keys: Jwks) -> tuple[str, ...]:
    """Those keys as they rest."""
    return tuple(key.x.text for key in keys.keys)
