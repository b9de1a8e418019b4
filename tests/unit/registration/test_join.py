"""Joining, against a platform that proves every proof, with a crash at each moment."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import pytest
from aiohttp import web

from bulkhead.api.record import Registration
from bulkhead.api.sensitive import Sensitive
from bulkhead.protocol.problems import Code, Problem
from bulkhead.registration.client import Platform
from bulkhead.registration.decide import NOTHING, Aim, Learnt, jwks, service_key
from bulkhead.registration.errors import Refused, TokenMissing, Unintelligible, Unusable
from bulkhead.registration.join import Tools, join, leave
from tests.scripted_platform import ScriptedPlatform, refused
from tests.unit.protocol.gen import plain
from tests.unit.registration import gen
from tests.unit.registration.gen import Crash, Notes

T = TypeVar("T")
STEPS = ["AskToken", "Exchange"]


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedPlatform]:
    async with ScriptedPlatform.serving() as platform:
        yield platform


@pytest.fixture
async def client(scripted: ScriptedPlatform) -> AsyncIterator[Platform]:
    client = gen.client(scripted.url)
    yield client
    await client.close()


async def joined_plane(scripted: ScriptedPlatform, client: Platform) -> Registration:
    aim = gen.plane_aim(platform=scripted.url, token=Sensitive(scripted.plane_token()))
    return await join(None, aim, NOTHING, gen.tools(client, Notes()))


def cluster_aim(scripted: ScriptedPlatform) -> Aim:
    return gen.cluster_aim(platform=scripted.url)


async def test_a_plane_joins_with_its_secrets_token(scripted: ScriptedPlatform, client: Platform) -> None:
    held = await joined_plane(scripted, client)
    assert scripted.named("default").keys == {held.key_id: service_key(held).digest.hex()}
    assert held.token == Sensitive("")
    assert jwks(held).newest.x == scripted.signing[-1].public


async def test_a_cluster_joins_by_a_token_that_its_plane_asks_for(scripted: ScriptedPlatform, client: Platform) -> None:
    plane, notes = await joined_plane(scripted, client), Notes()
    held = await join(None, cluster_aim(scripted), NOTHING, gen.tools(client, notes, plane=plane))
    assert notes.performed == STEPS
    assert scripted.named("acme").keys == {held.key_id: service_key(held).digest.hex()}


async def test_what_a_step_needs_rests_before_it_is_taken(scripted: ScriptedPlatform, client: Platform) -> None:
    plane, notes = await joined_plane(scripted, client), Notes()
    await join(None, cluster_aim(scripted), NOTHING, gen.tools(client, notes, plane=plane))
    keys, token, through = notes.saved
    assert (bool(keys.token), bool(token.token), through.identity) == (False, True, cluster_aim(scripted).identity)
    assert keys.secret == token.secret == through.secret


@pytest.mark.parametrize("moment", range(1, 12))
async def test_a_crash_at_any_moment_ends_with_one_identity_and_its_one_key(
    scripted: ScriptedPlatform, client: Platform, moment: int
) -> None:
    plane, notes = await joined_plane(scripted, client), Notes(crash_at=moment)
    random = gen.bytes_in_order()
    aim = cluster_aim(scripted)
    with contextlib.suppress(Crash):
        await join(None, aim, NOTHING, gen.tools(client, notes, plane=plane, random=random))
    rested = notes.saved[-1] if notes.saved else None
    held = await join(rested, aim, NOTHING, gen.tools(client, Notes(), plane=plane, random=random))
    assert scripted.named("acme").keys == {held.key_id: service_key(held).digest.hex()}
    assert len(scripted.identities) == 2


@pytest.mark.parametrize("moment", range(1, 10))
async def test_a_crash_at_any_moment_of_a_rejoin_ends_with_a_key_that_is_good(
    scripted: ScriptedPlatform, client: Platform, moment: int
) -> None:
    plane = await joined_plane(scripted, client)
    random = gen.bytes_in_order()
    aim = cluster_aim(scripted)
    held = await join(None, aim, NOTHING, gen.tools(client, Notes(), plane=plane, random=random))
    scripted.fence()
    notes, learnt = Notes(crash_at=moment), Learnt(refused=Code.KEY_FENCED, key_id=held.key_id)
    with contextlib.suppress(Crash):
        await join(held, aim, learnt, gen.tools(client, notes, plane=plane, random=random))
    rested = notes.saved[-1] if notes.saved else held
    after = await join(rested, aim, learnt, gen.tools(client, Notes(), plane=plane, random=random))
    assert scripted.named("acme").keys == {after.key_id: service_key(after).digest.hex()}
    assert (after.identity, after.private_key) == (held.identity, held.private_key)
    assert after.secret != held.secret


@pytest.mark.parametrize("moment", range(1, 8))
async def test_a_crash_at_any_moment_of_a_rotation_ends_with_the_new_key(
    scripted: ScriptedPlatform, client: Platform, moment: int
) -> None:
    plane = await joined_plane(scripted, client)
    random = gen.bytes_in_order()
    aim = cluster_aim(scripted)
    held = await join(None, aim, NOTHING, gen.tools(client, Notes(), plane=plane, random=random))
    notes, learnt = Notes(crash_at=moment), Learnt(rotation=held.key_id)
    with contextlib.suppress(Crash):
        await join(held, aim, learnt, gen.tools(client, notes, plane=plane, random=random))
    rested = notes.saved[-1] if notes.saved else held
    after = await join(rested, aim, learnt, gen.tools(client, Notes(), plane=plane, random=random))
    assert scripted.named("acme").keys[after.key_id] == service_key(after).digest.hex()
    assert len(scripted.named("acme").keys) == 2
    assert after.next_secret == Sensitive("")


@pytest.mark.parametrize("moment", range(1, 12))
async def test_who_leaves_after_a_crash_at_any_moment_of_joining_leaves_no_key(
    scripted: ScriptedPlatform, client: Platform, moment: int
) -> None:
    plane, notes, aim = await joined_plane(scripted, client), Notes(crash_at=moment), cluster_aim(scripted)
    with contextlib.suppress(Crash):
        await join(None, aim, NOTHING, gen.tools(client, notes, plane=plane))
    if notes.saved:
        await leave(notes.saved[-1], aim, gen.tools(client, Notes()))
    assert [each for each in scripted.identities.values() if each.claims.name == "acme" and not each.deleted] == []


@pytest.mark.parametrize("moment", range(1, 10))
async def test_who_leaves_after_a_crash_at_any_moment_of_a_rejoin_leaves_no_key(
    scripted: ScriptedPlatform, client: Platform, moment: int
) -> None:
    plane, aim, random = await joined_plane(scripted, client), cluster_aim(scripted), gen.bytes_in_order()
    held = await join(None, aim, NOTHING, gen.tools(client, Notes(), plane=plane, random=random))
    notes, learnt = Notes(crash_at=moment), Learnt(refused=Code.KEY_REVOKED, key_id=held.key_id)
    with contextlib.suppress(Crash):
        await join(held, aim, learnt, gen.tools(client, notes, plane=plane, random=random))
    await leave(notes.saved[-1] if notes.saved else held, aim, gen.tools(client, Notes()))
    assert scripted.named("acme").deleted


async def test_who_leaves_with_a_token_that_is_worth_nothing_joins_nothing_to_do_so(
    scripted: ScriptedPlatform, client: Platform
) -> None:
    plane, notes, aim = await joined_plane(scripted, client), Notes(crash_at=6), cluster_aim(scripted)
    with contextlib.suppress(Crash):
        await join(None, aim, NOTHING, gen.tools(client, notes, plane=plane))
    scripted.tokens.clear()
    await leave(notes.saved[-1], aim, gen.tools(client, Notes()))
    assert len(scripted.identities) == 1


@pytest.mark.parametrize("moment", range(1, 11))
async def test_two_operators_that_join_one_cluster_at_once_end_in_one_identity_and_its_one_key(
    scripted: ScriptedPlatform, client: Platform, moment: int
) -> None:
    plane, aim, shared = await joined_plane(scripted, client), cluster_aim(scripted), Shared()
    await overtaken(shared, moment, lambda rival: join(shared.held, aim, NOTHING, rival.tools(client, plane)))
    assert shared.held is not None
    assert scripted.named("acme").keys == {shared.held.key_id: service_key(shared.held).digest.hex()}
    assert len(scripted.identities) == 2


@pytest.mark.parametrize("moment", range(1, 9))
async def test_two_operators_that_rejoin_one_cluster_at_once_end_with_one_key_that_is_good(
    scripted: ScriptedPlatform, client: Platform, moment: int
) -> None:
    plane, aim = await joined_plane(scripted, client), cluster_aim(scripted)
    shared = Shared(await join(None, aim, NOTHING, gen.tools(client, Notes(), plane=plane)))
    assert shared.held is not None
    learnt = Learnt(refused=Code.KEY_FENCED, key_id=shared.held.key_id)
    scripted.fence()
    await overtaken(shared, moment, lambda rival: join(shared.held, aim, learnt, rival.tools(client, plane)))
    assert scripted.named("acme").keys == {shared.held.key_id: service_key(shared.held).digest.hex()}


async def overtaken(shared: Shared, moment: int, work: Callable[[Rival], Awaitable[Registration]]) -> None:
    """One operator stands still at that moment of its work, another does all of it, and then the first goes on: whose
    Lease has run out may have a call on its way."""
    old = Rival(shared, stops_at=moment)
    doing = asyncio.ensure_future(work(old))
    await old.stopped.wait()
    await work(Rival(shared))
    old.goes_on.set()
    with contextlib.suppress(Overtaken):
        await doing


class Overtaken(Exception):
    """Somebody else wrote the record since it was read: the API server refuses."""


@dataclass
class Shared:
    """A record that whoever read its newest version may write."""

    held: Registration | None = None
    version: int = 0


class Rival:
    """An operator beside another one."""

    def __init__(self, shared: Shared, *, stops_at: int = 0) -> None:
        self._shared = shared
        self._version = shared.version
        self._stops_at = stops_at
        self._moments = itertools.count(1)
        self.stopped = asyncio.Event()
        self.goes_on = asyncio.Event()

    def tools(self, client: Platform, plane: Registration) -> Tools:
        return Tools(
            platform=client, perform=self.perform, save=self.save, random=os.urandom, plane_key=service_key(plane)
        )

    async def save(self, registration: Registration) -> None:
        await self._moment()
        if self._version != self._shared.version:
            raise Overtaken
        self._shared.held, self._shared.version = registration, self._version + 1
        self._version = self._shared.version
        await self._moment()

    async def perform(self, target: str, action: str, call: Callable[[], Awaitable[T]]) -> T:  # noqa: ARG002 - the seam
        await self._moment()
        result = await call()
        await self._moment()
        return result

    async def _moment(self) -> None:
        if next(self._moments) == self._stops_at:
            self.stopped.set()
            await self.goes_on.wait()


async def test_an_identity_that_a_restored_platform_forgot_joins_again_under_the_same_id(
    scripted: ScriptedPlatform, client: Platform
) -> None:
    plane = await joined_plane(scripted, client)
    aim = cluster_aim(scripted)
    held = await join(None, aim, NOTHING, gen.tools(client, Notes(), plane=plane))
    del scripted.identities[held.identity]
    learnt = Learnt(refused=Code.KEY_UNKNOWN, key_id=held.key_id)
    after = await join(held, aim, learnt, gen.tools(client, Notes(), plane=plane))
    assert (after.identity, after.private_key) == (held.identity, held.private_key)
    assert scripted.named("acme").keys == {after.key_id: service_key(after).digest.hex()}


async def test_another_platform_is_joined_with_the_same_key_pair_and_nothing_else_of_before(
    scripted: ScriptedPlatform, client: Platform
) -> None:
    before = gen.joined(gen.plane_aim(), applied_generation=7, suspended=True)
    aim = gen.plane_aim(platform=scripted.url, token=Sensitive(scripted.plane_token()))
    after = await join(before, aim, NOTHING, gen.tools(client, Notes()))
    assert after.private_key == before.private_key
    assert (after.secret != before.secret, after.applied_generation, after.suspended) == (True, 0, False)


async def test_an_answer_for_another_identity_changes_nothing(scripted: ScriptedPlatform, client: Platform) -> None:
    plane = await joined_plane(scripted, client)
    answer = next(iter(scripted.used.values()))[1]
    scripted.used.clear()
    scripted.instead = lambda _, path: web.json_response(plain(answer)) if path.endswith("/registrations") else None
    notes = Notes()
    with pytest.raises(Unintelligible, match="another identity"):
        await join(None, cluster_aim(scripted), NOTHING, gen.tools(client, notes, plane=plane))
    assert not notes.saved[-1].identity
    assert notes.saved[-1].token


async def test_a_plane_that_is_not_confirmed_gets_no_token_for_its_clusters(
    scripted: ScriptedPlatform, client: Platform
) -> None:
    plane = await joined_plane(scripted, client)
    scripted.confirmed = False
    with pytest.raises(Refused) as error:
        await join(None, cluster_aim(scripted), NOTHING, gen.tools(client, Notes(), plane=plane))
    assert error.value.code is Code.PLANE_UNCONFIRMED


async def test_a_plane_without_a_token_says_so(scripted: ScriptedPlatform, client: Platform) -> None:
    with pytest.raises(TokenMissing):
        await join(None, gen.plane_aim(platform=scripted.url), NOTHING, gen.tools(client, Notes()))
    assert scripted.calls == []


async def test_a_mistyped_token_is_not_sent_and_the_right_one_is_taken_afterwards(
    scripted: ScriptedPlatform, client: Platform
) -> None:
    good, notes = scripted.plane_token(), Notes()
    mistyped = gen.plane_aim(platform=scripted.url, token=Sensitive(good[:-1] + ("0" if good[-1] != "0" else "1")))
    with pytest.raises(Unusable) as error:
        await join(None, mistyped, NOTHING, gen.tools(client, notes))
    assert (scripted.calls, good[:-1] in str(error.value)) == ([], False)
    right = gen.plane_aim(platform=scripted.url, token=Sensitive(good))
    assert (await join(notes.saved[-1], right, NOTHING, gen.tools(client, notes))).identity


async def test_a_platform_that_refuses_every_token_ends_a_try(scripted: ScriptedPlatform, client: Platform) -> None:
    plane = await joined_plane(scripted, client)
    scripted.instead = lambda _, path: refused(Problem(Code.TOKEN_EXPIRED)) if path.endswith("/registrations") else None
    with pytest.raises(Unintelligible, match="circle"):
        await join(None, cluster_aim(scripted), NOTHING, gen.tools(client, Notes(), plane=plane))
    assert scripted.posted("/registrations") < 10
