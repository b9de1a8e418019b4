"""Joining, step by step, until there is nothing left to do: what a step needs is saved before it is taken.

So a crash between any two steps, or an answer that is lost, leads to an exact repeat, and never to a second identity.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

from bulkhead.api.record import Registration
from bulkhead.api.sensitive import Sensitive
from bulkhead.protocol import proofs
from bulkhead.protocol.credentials import Random, Secret, ServiceKey
from bulkhead.protocol.documents import PROTOCOL
from bulkhead.protocol.keys import SigningKey
from bulkhead.protocol.problems import Code
from bulkhead.protocol.proofs import ChallengeClaims, KeyRegistrationClaims, RegistrationClaims, RejoinClaims
from bulkhead.protocol.registration import PLANE_TOKEN_SECONDS, Joined, TokenRequest
from bulkhead.registration.client import Platform, parsed_token
from bulkhead.registration.decide import (
    NOTHING,
    TOKEN_SPENT,
    Aim,
    Learnt,
    Step,
    after_refusal,
    next_step,
    service_key,
    signing_key,
    texts,
)
from bulkhead.registration.errors import Refused, TokenMissing, Unintelligible

MOST_STEPS = 12
"""More than any way from nothing to joined has; what goes in a circle comes again later."""

OPENING = frozenset({Step.EXCHANGE, Step.REJOIN})
"""Steps that are answered with a new service key."""
OPENED_NOTHING = TOKEN_SPENT | {Code.CHALLENGE_INVALID}
"""How such a step is refused that was not taken before: an exact repeat is answered for ever."""

TARGET = "platform"
"""What the seam of all changes calls it."""

T = TypeVar("T")


class Perform(Protocol):
    """The seam that every change passes."""

    async def __call__(self, target: str, action: str, call: Callable[[], Awaitable[T]]) -> T: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What joining acts with.

    save: writes a registration into the record; what it raises ends the joining
    plane_key: the service key of the plane, which asks for its clusters' tokens; None: it is a plane that joins
    """

    platform: Platform
    perform: Perform
    save: Callable[[Registration], Awaitable[None]]
    random: Random
    plane_key: ServiceKey | None = None


async def join(held: Registration | None, aim: Aim, learnt: Learnt, tools: Tools) -> Registration:
    """Go as far as the platform lets us. Raises PlatformError where it does not; what was reached is saved."""
    for _ in range(MOST_STEPS):
        step = next_step(held, aim, learnt)
        if step is None and held is not None:
            return held
        if step is None or step is Step.BEGIN or held is None:
            held = _begun(held, aim, tools)
        else:
            held = await _taken(step, held, aim, tools)
        await tools.save(held)
    raise Unintelligible("the platform's answers lead nowhere: joining goes in a circle, and is tried again later")


async def leave(held: Registration, aim: Aim, tools: Tools) -> None:
    """Give notice that a cluster is being deleted. Raises PlatformError where that is not taken."""
    held = await _with_its_key(held, aim, tools)
    if held.key_id:
        key = service_key(held)
        await tools.perform(TARGET, "Delete", lambda: tools.platform.delete(held.identity, key))


async def _with_its_key(held: Registration, aim: Aim, tools: Tools) -> Registration:
    """A call whose answer a crash has lost is repeated: nothing else names the key that it opened, which would live on
    without anybody who could end it."""
    step = next_step(held, aim, NOTHING)
    if step not in OPENING:
        return held
    try:
        held = await _take(step, held, aim, tools)
    except Refused as error:
        if error.code in OPENED_NOTHING:
            return held
        raise
    await tools.save(held)
    return held


async def _taken(step: Step, held: Registration, aim: Aim, tools: Tools) -> Registration:
    try:
        return await _take(step, held, aim, tools)
    except Refused as error:
        after = after_refusal(held, step, error.code, aim)
        if after is None:
            raise
        return after


async def _take(step: Step, held: Registration, aim: Aim, tools: Tools) -> Registration:
    match step:
        case Step.ASK_TOKEN:
            return msgspec.structs.replace(held, token=await _token(held, aim, tools))
        case Step.EXCHANGE:
            return _joined(held, aim, await _exchange(held, aim, tools), held.secret)
        case Step.ASK_CHALLENGE:
            return await _challenged(held, aim, tools)
        case Step.REJOIN:
            return _joined(held, aim, await _rejoin(held, tools), held.next_secret)
        case Step.PREPARE_KEY:
            return msgspec.structs.replace(held, next_secret=_secret(tools))
        case _:
            return await _registered_key(held, aim, tools)


def _begun(held: Registration | None, aim: Aim, tools: Tools) -> Registration:
    """The key pair outlives a change of platform: every proof names the platform that it is for."""
    pair = held.private_key if held is not None else Sensitive(SigningKey.generate(tools.random).reveal())
    return Registration(platform=aim.platform, private_key=pair, secret=_secret(tools))


async def _token(held: Registration, aim: Aim, tools: Tools) -> Sensitive:
    if tools.plane_key is None:
        if not aim.token:
            raise TokenMissing("there is no registration token to join with")
        parsed_token(aim.token.reveal())
        return aim.token
    key, request = tools.plane_key, _token_request(held, aim)
    issued = await tools.perform(TARGET, "AskToken", lambda: tools.platform.token(key, request))
    return Sensitive(issued.token.reveal())


def _token_request(held: Registration, aim: Aim) -> TokenRequest:
    return TokenRequest(
        protocol=PROTOCOL,
        kind=aim.kind,
        name=aim.name,
        seconds=PLANE_TOKEN_SECONDS,
        plane=aim.plane,
        uid=aim.uid,
        tenant=aim.tenant,
        public_key=signing_key(held).public,
    )


async def _exchange(held: Registration, aim: Aim, tools: Tools) -> Joined:
    token, key = parsed_token(held.token.reveal()), signing_key(held)
    claims = RegistrationClaims(
        purpose="registration",
        platform=aim.platform,
        token=token.digest.hex(),
        public_key=key.public,
        kind=aim.kind,
        plane=aim.plane,
        uid=aim.uid,
        name=aim.name,
        secret=_digest(held.secret),
    )
    proof = proofs.prove(claims, key)
    return await tools.perform(TARGET, "Exchange", lambda: tools.platform.exchange(token, proof))


async def _challenged(held: Registration, aim: Aim, tools: Tools) -> Registration:
    """The secret is made anew with each challenge, so that no two service keys ever have the same."""
    claims = ChallengeClaims(purpose="challenge", platform=aim.platform, identity=aim.identity)
    proof = proofs.prove(claims, signing_key(held))
    answer = await tools.perform(TARGET, "AskChallenge", lambda: tools.platform.challenge(proof))
    return msgspec.structs.replace(held, challenge=answer.challenge, next_secret=_secret(tools))


async def _rejoin(held: Registration, tools: Tools) -> Joined:
    claims = RejoinClaims(
        purpose="rejoin",
        platform=held.platform,
        identity=held.identity,
        challenge=held.challenge,
        secret=_digest(held.next_secret),
    )
    proof = proofs.prove(claims, signing_key(held))
    return await tools.perform(TARGET, "Rejoin", lambda: tools.platform.rejoin(proof))


async def _registered_key(held: Registration, aim: Aim, tools: Tools) -> Registration:
    claims = KeyRegistrationClaims(
        purpose="key-registration",
        platform=held.platform,
        identity=held.identity,
        replaces=held.key_id,
        secret=_digest(held.next_secret),
    )
    key, proof = service_key(held), proofs.prove(claims, signing_key(held))
    answer = await tools.perform(
        TARGET, "RegisterKey", lambda: tools.platform.register_key(aim.kind, held.identity, key, proof)
    )
    return msgspec.structs.replace(held, secret=held.next_secret, key_id=answer.key_id, next_secret=Sensitive(""))


def _joined(held: Registration, aim: Aim, answer: Joined, secret: Sensitive) -> Registration:
    """TLS vouches for the signing keys of this answer; from now on each vouches for the next."""
    if answer.identity != aim.identity:
        raise Unintelligible(f"{aim.platform} answers for another identity than ours: nothing is taken from that")
    return msgspec.structs.replace(
        held,
        secret=secret,
        token=Sensitive(""),
        identity=answer.identity,
        key_id=answer.key_id,
        next_secret=Sensitive(""),
        challenge="",
        trusted=texts(answer.signing_keys),
    )


def _secret(tools: Tools) -> Sensitive:
    return Sensitive(Secret.generate(tools.random).reveal())


def _digest(secret: Sensitive) -> str:
    return Secret.parse(secret.reveal()).digest.hex()
