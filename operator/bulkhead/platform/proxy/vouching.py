"""What the platform says of a request to the cluster that it goes to."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from uuid import UUID

from bulkhead.platform.http.route import Tx, User
from bulkhead.platform.signing.keys import SigningKeys
from bulkhead.platform.signing.ring import Ring
from bulkhead.protocol import assertions
from bulkhead.protocol.assertions import LIFETIME, Ability, Assertion, Method, Source

RING_SECONDS = 60.0
"""How long the keys are remembered. A cluster trusts the key before the newest too, so nothing depends on it."""


class Vouching:
    """Signs assertions with the newest key that their cluster has acknowledged.

    platform: the URL whose word they are
    clock: seconds of a clock that never goes back
    """

    def __init__(
        self, keys: SigningKeys, *, platform: str, new_id: Callable[[], UUID], clock: Callable[[], float]
    ) -> None:
        self._keys = keys
        self._platform = platform
        self._new_id = new_id
        self._clock = clock
        self._ring: Ring | None = None
        self._read_at = 0.0

    async def ring(self, transaction: Callable[[], AbstractAsyncContextManager[Tx]], acknowledged: str | None) -> Ring:
        """The keys, read anew where they are old or do not hold `acknowledged`. Raises LookupError, Broken."""
        known = self._ring
        fresh = self._clock() - self._read_at < RING_SECONDS
        if known is None or not fresh or (acknowledged is not None and acknowledged not in known.kids):
            async with transaction() as tx:
                self._ring = known = await self._keys.ring(tx)
            self._read_at = self._clock()
        return known

    def assertion(
        self, ring: Ring, acknowledged: str | None, user: User, cluster: UUID, method: str, target: bytes, now: int
    ) -> str:
        """For one request of `user`. now: Unix seconds. Raises Unsealable."""
        claims = Assertion(
            purpose="assertion",
            iss=self._platform,
            aud=str(cluster),
            sub=user.subject,
            organisation=str(user.organisation_id),
            abilities=tuple(ability for ability in Ability if ability in user.abilities),
            source=Source(user.source),
            method=Method(method),
            path=assertions.path_hash(target),
            jti=str(self._new_id()),
            exp=now + LIFETIME,
        )
        return assertions.sign(claims, self._keys.opened(ring.acknowledged(acknowledged)))
