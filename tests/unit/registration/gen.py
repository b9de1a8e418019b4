"""Builders for joining: who joins, with what, and the record of it."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from bulkhead.api.record import Registration
from bulkhead.api.sensitive import Sensitive
from bulkhead.protocol.keys import SigningKey
from bulkhead.protocol.proofs import IdentityKind
from bulkhead.protocol.registration import TenantRef, plane_id
from bulkhead.registration.client import Platform
from bulkhead.registration.decide import Aim, service_key
from bulkhead.registration.join import Tools
from bulkhead.registration.silence import Silence
from tests.unit.protocol.gen import KEY, OTHER_UID, PLATFORM, SECRET, TOKEN, UID, seeded

T = TypeVar("T")
OTHER_SECRET = Sensitive("1" * 43)


def plane_aim(**fields: Any) -> Aim:
    """The DataPlane `default`."""
    defaults = {"platform": PLATFORM, "kind": IdentityKind.PLANE, "uid": UID, "name": "default"}
    return Aim(**{**defaults, **fields})


def cluster_aim(**fields: Any) -> Aim:
    """The DataCluster `acme` on it."""
    defaults = {
        "platform": PLATFORM,
        "kind": IdentityKind.CLUSTER,
        "uid": OTHER_UID,
        "name": "acme",
        "plane": plane_id(UID),
        "tenant": TenantRef(name="acme", uid=UID),
    }
    return Aim(**{**defaults, **fields})


def begun(**fields: Any) -> Registration:
    """A registration that has its keys and nothing else."""
    defaults = {
        "platform": PLATFORM,
        "private_key": Sensitive(KEY.reveal()),
        "secret": Sensitive(SECRET.reveal()),
    }
    return Registration(**{**defaults, **fields})


def joined(aim: Aim | None = None, **fields: Any) -> Registration:
    """One that is through."""
    identity = (aim or cluster_aim()).identity
    return begun(**{"identity": identity, "key_id": TOKEN.id, "trusted": (KEY.public.text,), **fields})


def bytes_in_order() -> Callable[[int], bytes]:
    """Randomness that is the same in each run, and never the same twice."""
    numbers = itertools.count()
    return lambda size: seeded(f"random {next(numbers)}", size)


class Notes:
    """What joining saved, and which changes passed the seam; the n-th of both can be a crash."""

    def __init__(self, *, crash_at: int = 0) -> None:
        self.saved: list[Registration] = []
        self.performed: list[str] = []
        self._crash_at = crash_at
        self._moments = itertools.count(1)

    async def save(self, registration: Registration) -> None:
        self._moment()
        self.saved.append(registration)
        self._moment()

    async def perform(self, target: str, action: str, call: Callable[[], Awaitable[T]]) -> T:
        assert target == "platform"
        self._moment()
        result = await call()
        self.performed.append(action)
        self._moment()
        return result

    def _moment(self) -> None:
        if next(self._moments) == self._crash_at:
            raise Crash


class Crash(Exception):
    """The process ends here."""


def tools(
    platform: Platform, notes: Notes, *, plane: Registration | None = None, random: Callable[[int], bytes] | None = None
) -> Tools:
    """What joining acts with; `plane`: whose key asks for tokens."""
    return Tools(
        platform=platform,
        perform=notes.perform,
        save=notes.save,
        random=random or bytes_in_order(),
        plane_key=service_key(plane) if plane is not None else None,
    )


def client(url: str, **options: Any) -> Platform:
    """A client whose platform is never taken for silent."""
    return Platform(url, None, Silence(lambda: 1e9, lambda _: None), **options)


OTHER = SigningKey(seeded("another"))
