"""What somebody writes to the objects in a tenant's namespace: put back at once, by one write, and only once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from bulkhead.api import labels
from bulkhead.kube.resources import LIMIT_RANGES, NETWORK_POLICIES, RESOURCE_QUOTAS, ROLE_BINDINGS, SECRETS, Resource
from hack.plane.installation import NAMESPACE
from tests.integration.operator.audit import Call, calls
from tests.world import Json, World, eventually

SLUG = "drifting"
HOME = f"tenant-{SLUG}"
MEMBERS = [{"kind": "User", "name": name, "role": "Owner"} for name in ("ann", "bob")]
BACK_SECONDS = 2.0
RESTART_SECONDS = 30.0
"""For an operator that has to look at its engines first, whose answers take as long as the machine is busy."""


@pytest.fixture(scope="module")
async def drifting(world: World) -> AsyncIterator[World]:
    """A world with the tenant that everything here is done to."""
    await world.apply("Plan", SLUG, {"compute": {"quota": {"pods": "20", "secrets": "100"}}})
    await world.ready_tenants(SLUG, members=MEMBERS, planRef={"name": SLUG})
    await full_reconcile(world)
    yield world
    await world.remove_tenants(SLUG)
    await world.plane.kubectl("delete", "plan", SLUG)


@dataclass(frozen=True, slots=True)
class Place:
    """One object of the namespace."""

    resource: Resource
    name: str

    async def whole(self, world: World) -> Json:
        """All of it that is ours to say."""
        found = await world.kube.get(self.resource, self.name, HOME)
        metadata = {key: found["metadata"].get(key) for key in ("labels", "annotations")}
        return {**{key: value for key, value in found.items() if key not in ("metadata", "status")}, **metadata}

    async def kubectl(self, world: World, verb: str, *arguments: str, text: str = "") -> None:
        await world.plane.kubectl(verb, self.resource.plural, self.name, f"--namespace={HOME}", *arguments, text=text)


SECRET = Place(SECRETS, "postgres-binding")
POLICY = Place(NETWORK_POLICIES, "allow-dns")
BINDING = Place(ROLE_BINDINGS, "bulkhead-owner")
QUOTA = Place(RESOURCE_QUOTAS, "bulkhead")
LIMITS = Place(LIMIT_RANGES, "bulkhead")
EACH = (SECRET, POLICY, BINDING, QUOTA, LIMITS)


def now(world: World) -> int:
    """This moment, in the audit log."""
    return world.plane.audit_log.stat().st_size


def written(world: World, since: int) -> list[Call]:
    """What the operator changed in the namespace, refused attempts left out."""
    return [call for call in calls(world.plane.audit_log, since=since) if changed_home(call)]


def changed_home(call: Call) -> bool:
    return call.mutating and call.namespace == HOME and call.code < 400


async def full_reconcile(world: World) -> None:
    """Have everything looked at once more, and wait for the end of that: the record remembers it."""
    since = now(world)
    record = f"record-{(await world.data_cluster(SLUG))['metadata']['uid']}"
    wish = f"{labels.RECONCILE}={time.monotonic_ns()}"
    await world.plane.kubectl("annotate", "--overwrite", "datacluster", SLUG, wish)

    async def remembered() -> bool:
        asked = calls(world.plane.audit_log, since=since)
        return any((call.verb, call.name, call.namespace) == ("update", record, NAMESPACE) for call in asked)

    await eventually(remembered)
    await world.ready(SLUG)


async def back(world: World, place: Place, wanted: Json, *, seconds: float = BACK_SECONDS) -> None:
    async def as_wanted() -> bool:
        found = await place.whole(world)
        assert found == wanted, found
        return True

    await eventually(as_wanted, seconds=seconds)


Doing = Callable[[World], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Removal:
    """Something that somebody takes away from an object."""

    what: str
    place: Place
    do: Doing


def patched(what: str, place: Place, patch: Any, *arguments: str, kind: str = "merge") -> Removal:
    async def do(world: World) -> None:
        await place.kubectl(world, "patch", f"--type={kind}", "--patch", json.dumps(patch), *arguments)

    return Removal(what, place, do)


def replaced(what: str, place: Place, remove: Callable[[Any], object], *arguments: str) -> Removal:
    """By a PUT of the whole object, as `kubectl edit` makes it where a patch does not do."""

    async def do(world: World) -> None:
        found = await world.kube.get(place.resource, place.name, HOME)
        remove(found)
        await world.plane.kubectl("replace", "-f", "-", *arguments, text=json.dumps(found))

    return Removal(what, place, do)


def unlabelled(place: Place, *keys: str) -> Removal:
    async def do(world: World) -> None:
        await place.kubectl(world, "label", *(f"{key}-" for key in keys))

    return Removal(f"label {' and '.join(keys)}", place, do)


async def untrack(world: World) -> None:
    """Once nobody tracks its fields, no later write shows in them."""
    await SECRET.kubectl(world, "patch", "--type=merge", "--patch", json.dumps({"metadata": {"managedFields": [{}]}}))


async def remove_from_untracked(world: World) -> None:
    since = now(world)
    await untrack(world)

    async def claimed() -> bool:
        return bool(written(world, since))

    await eventually(claimed)
    await SECRET.kubectl(world, "patch", "--type=merge", "--patch", json.dumps(WITHOUT_URI))


WHOSE = (labels.DATA_CLUSTER, labels.DATA_CLUSTER_UID)
WITHOUT_URI = {"data": {"uri": None}}
REMOVALS = (
    patched("a key of a Secret", SECRET, WITHOUT_URI),
    patched("all keys of a Secret", SECRET, {"data": None}),
    patched("a key of a Secret, under our own name", SECRET, WITHOUT_URI, "--field-manager=bulkhead"),
    replaced("a key of a Secret, by a replacement", SECRET, lambda found: found["data"].pop("uri")),
    patched("a subject of a binding", BINDING, {"subjects": MEMBERS[:1]}),
    patched("all subjects of a binding", BINDING, {"subjects": None}),
    replaced("all subjects, under our name", BINDING, lambda found: found.pop("subjects"), "--field-manager=bulkhead"),
    patched("a limit of a quota", QUOTA, {"spec": {"hard": {"pods": None}}}),
    patched("all limits of a quota", QUOTA, {"spec": {"hard": None}}),
    patched("the limits of a range", LIMITS, {"spec": {"limits": []}}),
    patched("a rule's ports", POLICY, [{"op": "remove", "path": "/spec/egress/0/ports"}], kind="json"),
    patched("all rules of a policy", POLICY, {"spec": {"egress": None}}),
    *(unlabelled(SECRET, key) for key in (*WHOSE, labels.MANAGED_BY, labels.TENANT)),
    unlabelled(POLICY, *WHOSE),
    patched("our note of the content", SECRET, {"metadata": {"annotations": None}}),
    Removal("what tracks the fields, and then a key", SECRET, remove_from_untracked),
)  # fmt: skip


@pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.what)
async def test_what_is_removed_is_back_within_two_seconds_and_nothing_else_is_touched(
    drifting: World, removal: Removal
) -> None:
    before, since = await removal.place.whole(drifting), now(drifting)
    await removal.do(drifting)
    await back(drifting, removal.place, before)
    await full_reconcile(drifting)
    touched = {(call.verb, call.resource, call.name) for call in written(drifting, since)}
    assert touched == {("update", removal.place.resource.plural, removal.place.name)}


async def test_what_is_removed_is_put_back_by_one_write(drifting: World) -> None:
    before, since = await SECRET.whole(drifting), now(drifting)
    await patched("", SECRET, WITHOUT_URI).do(drifting)
    await back(drifting, SECRET, before)
    await full_reconcile(drifting)
    assert len(written(drifting, since)) == 1


async def test_what_is_removed_while_the_operator_is_away_is_back_once_it_is_there(drifting: World) -> None:
    before = await SECRET.whole(drifting), await POLICY.whole(drifting)
    await drifting.operator.stop()
    await patched("", SECRET, WITHOUT_URI).do(drifting)
    await unlabelled(POLICY, *WHOSE).do(drifting)
    await drifting.operator.start()
    await back(drifting, SECRET, before[0], seconds=RESTART_SECONDS)
    await back(drifting, POLICY, before[1], seconds=RESTART_SECONDS)
    await full_reconcile(drifting)


@dataclass(frozen=True, slots=True)
class Touch:
    """Something that somebody does to an object and that leaves its content as we want it.

    writes: how many of ours each object costs
    """

    what: str
    do: Callable[[World, Place], Awaitable[None]]
    writes: int = 1


async def apply_the_same(world: World, place: Place) -> None:
    await world.plane.kubectl(
        "apply", "--server-side", "--force-conflicts", "--field-manager=argocd", "-f", "-",
        text=json.dumps(await manifest(world, place)),
    )  # fmt: skip


async def apply_the_same_from_the_client(world: World, place: Place) -> None:
    await world.plane.kubectl("apply", "-f", "-", text=json.dumps(await manifest(world, place)))


async def manifest(world: World, place: Place) -> Json:
    """The object as it lies in somebody's Git."""
    found = await world.kube.get(place.resource, place.name, HOME)
    metadata = {key: found["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
    return {**{key: value for key, value in found.items() if key != "status"}, "metadata": metadata}


async def make_it_anew(world: World, place: Place) -> None:
    """As a restore of a backup does."""
    same = await manifest(world, place)
    await world.operator.pause()
    await place.kubectl(world, "delete")
    await world.plane.kubectl("create", "--field-manager=velero-server", "-f", "-", text=json.dumps(same))
    await world.operator.resume()


async def change_it_and_change_it_back(world: World, place: Place) -> None:
    await world.operator.pause()
    for value in ("somebody", SLUG):
        await place.kubectl(world, "label", "--overwrite", f"{labels.TENANT}={value}")
    await world.operator.resume()


async def replace_by_the_same(world: World, place: Place) -> None:
    await world.plane.kubectl("replace", "-f", "-", text=json.dumps(await manifest(world, place)))


TOUCHES = (
    Touch("server-side apply", apply_the_same),
    Touch("client-side apply", apply_the_same_from_the_client),
    Touch("made anew by another", make_it_anew),
    Touch("changed and changed back", change_it_and_change_it_back),
    Touch("replaced by the same", replace_by_the_same, writes=0),
)


@pytest.mark.parametrize("touch", TOUCHES, ids=lambda touch: touch.what)
async def test_what_others_own_too_is_quiet_after_one_write(drifting: World, touch: Touch) -> None:
    before, since = [await place.whole(drifting) for place in EACH], now(drifting)
    await touch_each(drifting, touch)
    await full_reconcile(drifting)
    assert tally(drifting, since) == expected(touch)
    assert [await place.whole(drifting) for place in EACH] == before


async def touch_each(world: World, touch: Touch) -> None:
    """Do it to one object of each kind, and wait for what that costs."""
    since = now(world)
    for place in EACH:
        await touch.do(world, place)

    async def written_once() -> bool:
        assert tally(world, since) == expected(touch)
        return True

    await eventually(written_once)


def tally(world: World, since: int) -> Counter[tuple[str, str]]:
    return Counter((call.resource, call.name) for call in written(world, since))


def expected(touch: Touch) -> Counter[tuple[str, str]]:
    return Counter(dict.fromkeys(((place.resource.plural, place.name) for place in EACH), touch.writes)) + Counter()


async def test_after_a_restart_nothing_is_written_whoever_owns_what_and_one_removal_is_one_write(
    drifting: World,
) -> None:
    await touch_each(drifting, Touch("", apply_the_same))
    await full_reconcile(drifting)
    since = now(drifting)
    await drifting.operator.stop()
    await drifting.operator.start()
    await full_reconcile(drifting)
    assert written(drifting, since) == []
    before = await SECRET.whole(drifting)
    await patched("", SECRET, WITHOUT_URI).do(drifting)
    await back(drifting, SECRET, before)
    await full_reconcile(drifting)
    assert tally(drifting, since) == {("secrets", SECRET.name): 1}


async def test_a_controller_that_writes_a_status_has_nothing_written(drifting: World) -> None:
    since = now(drifting)
    status = json.dumps({"status": {"used": {"pods": "7"}}})
    await QUOTA.kubectl(drifting, "patch", "--subresource=status", "--type=merge", "--patch", status)
    await full_reconcile(drifting)
    assert written(drifting, since) == []
