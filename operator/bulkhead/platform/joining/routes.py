"""The rows of joining in the table of routes."""

from __future__ import annotations

from dataclasses import dataclass

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.http.limits import Failures
from bulkhead.platform.http.route import (
    BoundKey,
    Handler,
    PlatformAdmin,
    RegistrationToken,
    Route,
    ServiceKey,
    UserOrPlane,
    UserWith,
)
from bulkhead.platform.joining.exchange import Exchange
from bulkhead.platform.joining.managing import Confirmation, Keep, Managing, PlanePage
from bulkhead.platform.joining.minting import Minting, Page, Tokens
from bulkhead.platform.joining.rejoin import Rejoining
from bulkhead.platform.joining.rotation import Rotation
from bulkhead.platform.keys.verify import Verifier
from bulkhead.platform.signing.keys import SigningKeys
from bulkhead.protocol.credentials import Random
from bulkhead.protocol.problems import Code
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
)

MOST_PROOF = 8192
"""Bytes of a body that is read of anybody."""

_ENDED = (Code.IDENTITY_REVOKED, Code.PLANE_REVOKED, Code.GRANT_WITHDRAWN, Code.CLUSTER_DELETED)
_EXCHANGE = (
    Code.TOKEN_EXPIRED,
    Code.TOKEN_REVOKED,
    Code.TOKEN_USED,
    Code.TOKEN_WRONG_CLUSTER,
    Code.PROOF_INVALID,
    Code.IDENTITY_BOUND,
    Code.CLUSTER_ELSEWHERE,
    Code.GRANT_MISSING,
    Code.TENANT_CHANGED,
    Code.ORGANISATION_AMBIGUOUS,
    Code.KEY_REVOKED,
    Code.KEY_EXPIRED,
    Code.KEY_FENCED,
    Code.CONFLICT,
    Code.BUSY,
    *_ENDED,
)
_REJOIN = (
    Code.PROOF_INVALID,
    Code.IDENTITY_UNKNOWN,
    Code.CHALLENGE_INVALID,
    Code.REJOIN_EXHAUSTED,
    Code.KEY_REVOKED,
    Code.KEY_EXPIRED,
    Code.KEY_FENCED,
    Code.BUSY,
    *_ENDED,
)
_KEYS = (Code.PROOF_INVALID, Code.KEY_REPLACED, Code.KEY_LIMIT, Code.BUSY, *_ENDED)
_MINT = (
    Code.TOKEN_WRONG_CLUSTER,
    Code.PLANE_UNCONFIRMED,
    Code.GRANT_MISSING,
    Code.TENANT_CHANGED,
    Code.ORGANISATION_AMBIGUOUS,
    Code.LIMIT_REACHED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """What joining stands on."""

    url: str
    pool: Pool
    verifier: Verifier
    signing: SigningKeys
    random: Random
    keep: Keep
    failures: Failures


def routes(deps: Deps) -> tuple[Route, ...]:
    """All of them."""
    return (*joiners(deps), *people(deps))


def joiners(deps: Deps) -> tuple[Route, ...]:
    """What planes and clusters call."""
    return (*_joining(deps), *_keys(deps), *_tokens(deps), _deletion(deps))


def people(deps: Deps) -> tuple[Route, ...]:
    """What users and platform admins call."""
    return (*_plane_tokens(deps), *_managing(deps))


def _joining(deps: Deps) -> tuple[Route, ...]:
    exchange = Exchange(
        url=deps.url, verifier=deps.verifier, signing=deps.signing, random=deps.random, failures=deps.failures
    )
    rejoining = Rejoining(
        url=deps.url,
        pool=deps.pool,
        verifier=deps.verifier,
        signing=deps.signing,
        random=deps.random,
        failures=deps.failures,
    )
    return (
        Route(
            "POST",
            "/v1/registrations",
            "Exchange a registration token for an identity and a service key",
            RegistrationToken(),
            exchange,
            body=ExchangeRequest,
            answer=Joined,
            status=201,
            codes=_EXCHANGE,
            most_body=MOST_PROOF,
        ),
        Route(
            "POST",
            "/v1/registrations/challenge",
            "Ask for a challenge to re-join",
            BoundKey(),
            rejoining.challenge,
            body=ChallengeRequest,
            answer=Challenge,
            codes=_REJOIN,
            most_body=MOST_PROOF,
        ),
        Route(
            "POST",
            "/v1/registrations/rejoin",
            "Answer a challenge with a new service key",
            BoundKey(),
            rejoining.rejoin,
            body=RejoinRequest,
            answer=Joined,
            codes=_REJOIN,
            most_body=MOST_PROOF,
        ),
    )


def _keys(deps: Deps) -> tuple[Route, ...]:
    rotation = Rotation(url=deps.url, pool=deps.pool, verifier=deps.verifier, random=deps.random)

    def row(path: str, kind: str) -> Route:
        return Route(
            "POST",
            path,
            f"Register a new service key of a {kind}",
            ServiceKey((kind,), "keys"),
            rotation,
            body=KeyRegistrationRequest,
            answer=KeyRegistered,
            status=201,
            codes=_KEYS,
        )

    return row("/v1/clusters/{id:uuid}/keys", "cluster"), row("/v1/data-planes/{id:uuid}/keys", "plane")


def _tokens(deps: Deps) -> tuple[Route, ...]:
    minting = Minting(random=deps.random)
    reads, writes = UserOrPlane("CLUSTER_READ", "tokens"), UserOrPlane("CLUSTER_WRITE", "tokens")
    return (
        Route(
            "POST",
            "/v1/registration-tokens",
            "Mint a registration token for a cluster",
            writes,
            minting.mint,
            body=TokenRequest,
            answer=TokenIssued,
            status=201,
            codes=_MINT,
        ),
        Route(
            "GET",
            "/v1/registration-tokens",
            "List registration tokens, without their values",
            reads,
            minting.list,
            query=Page,
            answer=Tokens,
        ),
        Route(
            "DELETE",
            "/v1/registration-tokens/{id:uuid}",
            "Revoke a registration token",
            writes,
            minting.revoke,
            status=204,
            codes=(Code.NOT_FOUND,),
        ),
    )


def _plane_tokens(deps: Deps) -> tuple[Route, ...]:
    minting = Minting(random=deps.random)
    return (
        Route(
            "POST",
            "/v1/data-planes/tokens",
            "Mint a registration token for a plane",
            PlatformAdmin(),
            minting.mint_for_plane,
            body=TokenRequest,
            answer=TokenIssued,
            status=201,
        ),
        Route(
            "GET",
            "/v1/data-planes/tokens",
            "List registration tokens of planes, without their values",
            PlatformAdmin(),
            minting.list,
            query=Page,
            answer=Tokens,
        ),
        Route(
            "DELETE",
            "/v1/data-planes/tokens/{id:uuid}",
            "Revoke a registration token of a plane",
            PlatformAdmin(),
            minting.revoke,
            status=204,
            codes=(Code.NOT_FOUND,),
        ),
    )


def _managing(deps: Deps) -> tuple[Route, ...]:
    managing = Managing(pool=deps.pool, keep=deps.keep)
    admin, user, missing = PlatformAdmin(), UserWith("CLUSTER_WRITE"), (Code.NOT_FOUND,)
    of_plane, of_cluster = "/v1/data-planes/{id:uuid}", "/v1/clusters/{id:uuid}"
    return (
        Route("GET", "/v1/data-planes", "List planes", admin, managing.planes, query=Page, answer=PlanePage),
        Route(
            "POST",
            f"{of_plane}/confirmation",
            "Confirm a plane's key by its fingerprint",
            admin,
            managing.confirm,
            body=Confirmation,
            status=204,
            codes=(*missing, Code.CONFLICT),
        ),
        _ending(f"{of_plane}/identity", "End a plane's identity for good", admin, managing.revoke_plane),
        _ending(f"{of_plane}/keys", "End all service keys of a plane", admin, managing.revoke_plane_keys),
        _ending(f"{of_cluster}/identity", "End a cluster's identity for good", user, managing.revoke_cluster),
        _ending(f"{of_cluster}/keys", "End all service keys of a cluster", user, managing.revoke_cluster_keys),
    )


def _deletion(deps: Deps) -> Route:
    return Route(
        "DELETE",
        "/v1/clusters/{id:uuid}",
        "A cluster's notice that it is deleted",
        ServiceKey(("cluster",), "delete", accepts=("deleted", "fenced")),
        Managing(pool=deps.pool, keep=deps.keep).delete,
        answer=Deleted,
    )


def _ending(path: str, summary: str, caller: PlatformAdmin | UserWith, handler: Handler) -> Route:
    return Route("DELETE", path, summary, caller, handler, status=204, codes=(Code.NOT_FOUND,))
