"""Who shows nothing in a header and proves who it is in the body has a quota like everybody."""

from __future__ import annotations

import os
import time

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

        quota, per_second = limits.CLUSTER.quota, limits.CLUSTER.quota / limits.CLUSTER.seconds
        answers: list[str] = []
        began = time.monotonic()
        while len(answers) < 10 * quota and "rate_limited" not in answers[-1:]:
            answers.append(await asked(flood, key))
        # The bucket fills while it is emptied, by the clock of this machine.
        most = quota + per_second * (time.monotonic() - began) + 1
        assert answers[-1] == "rate_limited"
        assert quota <= answers.count("200") <= most
        assert len(answers) == answers.count("200") + 1
        assert await asked(neighbour, other) == "200"
