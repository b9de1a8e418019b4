"""Heartbeats as the operator sends them, and what became of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from bulkhead.protocol.documents import PROTOCOL
from bulkhead.protocol.heartbeat import Heartbeat
from bulkhead.protocol.proofs import IdentityKind
from bulkhead.protocol.sync import Phase
from tests.integration.platform.joining.platform import Answered, Joiner, Replica, World, ask
from tests.integration.platform.server import one, rows

UNKNOWN_KEY = "A" * 43


def heartbeat(**others: Any) -> Heartbeat:
    """Of somebody who is well; `others` replace fields."""
    told: dict[str, Any] = {
        "protocol": PROTOCOL,
        "release": "0.1.0",
        "phase": Phase.ACTIVE,
        "engines": {},
        "applied_generation": 1,
        "acknowledged_key": UNKNOWN_KEY,
        **others,
    }
    return Heartbeat(**told)


async def beat(service: Replica, joiner: Joiner, **others: Any) -> Answered:
    """One heartbeat, and its answer."""
    of = "clusters" if joiner.kind is IdentityKind.CLUSTER else "data-planes"
    path = f"/v1/{of}/{joiner.identity}/heartbeat"
    return await ask(service, "POST", path, bearer=joiner.service_key, body=heartbeat(**others))


async def beats(service: Replica, joiner: Joiner, **others: Any) -> dict[str, Any]:
    """The answer to a heartbeat that is taken."""
    answered = await beat(service, joiner, **others)
    assert answered.status == 200, answered
    return answered.body


async def events(world: World, joiner: Joiner, *types: str) -> list[str]:
    """What webhooks were told of it, oldest first."""
    found = await rows(
        world.session,
        """SELECT type FROM events WHERE coalesce(data->>'cluster', data->>'plane') = %s AND type = ANY (%s)
           ORDER BY created_at""",
        (joiner.identity, list(types) or [f"{joiner.kind}.online", f"{joiner.kind}.offline"]),
    )
    return [type_ for (type_,) in found]


async def online(world: World, joiner: Joiner) -> bool:
    return bool(await one(world.session, "SELECT online FROM liveness WHERE identity_id = %s", (joiner.identity,)))


async def last_seen(world: World, joiner: Joiner) -> Any:
    return await one(world.session, "SELECT last_seen FROM liveness WHERE identity_id = %s", (joiner.identity,))


async def pass_silence(world: World, joiner: Joiner, seconds: int) -> None:
    """As if it had been heard so many seconds earlier than it was."""
    await world.session.execute(
        "UPDATE liveness SET last_seen = last_seen - %s WHERE identity_id = %s",
        (timedelta(seconds=seconds), joiner.identity),
    )


async def listened_for(world: World, seconds: int) -> None:
    """As if all leases had begun so many seconds earlier than they did."""
    await world.session.execute("UPDATE replicas SET started_at = started_at - %s", (timedelta(seconds=seconds),))
