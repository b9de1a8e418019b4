"""The proxy's rows of the table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bulkhead.platform.http.route import Call, PlatformAdmin, Response, Route, UserWith
from bulkhead.platform.proxy.forwarding import Limits
from bulkhead.platform.proxy.requests import Requests
from bulkhead.platform.proxy.setting import MOST_BODY, NewTarget, PlaneTarget, Setting
from bulkhead.protocol.assertions import Ability
from bulkhead.protocol.problems import Code

SECONDS = 3600.0
"""Until the head of the answer, and so for a body on its way up; what does not move ends long before."""

_ABILITIES = {
    "GET": Ability.DATASET_READ,
    "OPTIONS": Ability.DATASET_READ,
    "POST": Ability.DATASET_WRITE,
    "PUT": Ability.DATASET_WRITE,
    "PATCH": Ability.DATASET_WRITE,
    "DELETE": Ability.DATASET_WRITE,
}
_CODES = (
    Code.PATH_REFUSED,
    Code.CLUSTER_OFFLINE,
    Code.CLUSTER_SUSPENDED,
    Code.GRANT_WITHDRAWN,
    Code.PLANE_REVOKED,
    Code.IDENTITY_REVOKED,
    Code.TARGET_UNSET,
    Code.TARGET_UNREACHABLE,
    Code.TARGET_UNTRUSTED,
    Code.TARGET_TIMEOUT,
    Code.TARGET_ANSWER_REFUSED,
    Code.CLOCK_SKEW,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """What the rows stand on."""

    requests: Requests
    setting: Setting
    limits: Limits


def routes(deps: Deps) -> tuple[Route, ...]:
    """Requests to clusters, a row for each method because their abilities differ, and the targets of planes."""
    return (*(_passing(deps, method, UserWith(ability)) for method, ability in _ABILITIES.items()), *_targets(deps))


def _passing(deps: Deps, method: str, caller: UserWith) -> Route:
    return Route(
        method,
        "/v1/clusters/{id:uuid}/proxy/{path:path}",
        "Send a request to a data cluster",
        caller,
        _for(deps.requests, caller),
        codes=_CODES,
        most_body=deps.limits.most_body,
        seconds=SECONDS,
        raw=True,
    )


def _for(requests: Requests, caller: UserWith) -> Callable[[Call[Any, Any]], Awaitable[Response]]:
    async def handle(call: Call[Any, Any]) -> Response:
        return await requests(caller, call)

    return handle


def _targets(deps: Deps) -> tuple[Route, ...]:
    path, admin = "/v1/data-planes/{id:uuid}/target", PlatformAdmin()
    return (
        Route("GET", path, "Where a plane's clusters are reached", admin, deps.setting.get, answer=PlaneTarget),
        Route(
            "PUT",
            path,
            "Set where a plane's clusters are reached",
            admin,
            deps.setting.put,
            body=NewTarget,
            answer=PlaneTarget,
            codes=(Code.ADDRESS_REFUSED,),
            most_body=MOST_BODY,
        ),
    )
