"""Who shows nothing in a header and proves who it is in the body has a quota like everybody."""

from __future__ import annotations

import os

from bulkhead.platform.quota import limits
from bulkhead.protocol import proofs
from bulkhead.protocol.keys import SigningKey
from tests.integration.platform.server import Database
from tests.integration.platform.users.people import world as made

URL = "https://platform.example.com"


async def test_whoever_holds_a_bound_key_does_not_ask_for_challenges_without_end(database: Database) -> None:
    key, other = SigningKey.generate(os.urandom), SigningKey.generate(os.urandom)
    async with made(database) as world:
        organisation, plane = await world.rows.organisation(), await world.rows.plane()
        await world.rows.grant(organisation, plane)
        flood = await world.rows.cluster(organisation, plane, public_key=key.public.raw)
        neighbour = await world.rows.cluster(organisation, plane, public_key=other.public.raw)

        async def asked(identity: object, by: SigningKey) -> str:
            claims = proofs.ChallengeClaims(purpose="challenge", platform=URL, identity=str(identity))
            body = {"proof": proofs.prove(claims, by)}
            answered = await world.ask("", "/v1/registrations/challenge", "POST", body)
            return answered.code or str(answered.status)

        answers = [await asked(flood, key) for _ in range(limits.CLUSTER.quota + 10)]
        assert answers[0] == "200"
        assert answers[-1] == "rate_limited"
        assert await asked(neighbour, other) == "200"
