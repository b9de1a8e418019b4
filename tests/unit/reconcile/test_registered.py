"""Registration in the flows: what is joined, said, kept and left alone."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
from aiohttp import web

from bulkhead.api.conditions import ConditionType, Phase, Reason, Status
from bulkhead.api.data_cluster import NOT_JOINED as CLUSTER_NOT_JOINED
from bulkhead.api.data_plane import NOT_JOINED, PlatformEndpoint
from bulkhead.api.meta import Condition, LocalRef
from bulkhead.api.record import EngineName, Record
from bulkhead.engines.contract import Access
from bulkhead.kube.resources import DATA_CLUSTERS, DATA_PLANES, SECRETS
from bulkhead.protocol.heartbeat import Desired
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.registration import plane_id
from bulkhead.reconcile import data_cluster, deletion, projections, registered, settled
from bulkhead.reconcile.context import access_wanted
from bulkhead.reconcile.deps import DONE, RETRY
from bulkhead.reconcile.key import Key
from bulkhead.reconcile.planes import OpenPlane
from bulkhead.reconcile.records import OpenRecord
from bulkhead.reconcile.report import Verdict, digest, waiting, with_platform
from bulkhead.registration import decide
from bulkhead.registration.beats import Contact
from bulkhead.registration.decide import Learnt
from hack.plane.certificates import Authority
from tests.scripted_platform import ScriptedPlatform, refused
from tests.unit.protocol.gen import OTHER_UID, PLATFORM, UID
from tests.unit.reconcile import gen
from tests.unit.reconcile.desk import Desk
from tests.unit.reconcile.memory_engine import Gated, MemoryEngine
from tests.unit.registration.gen import joined

TENANT_UID = "0f8fad5b-d9cb-469f-a165-70867728950e"
GONE = waiting(Reason.PLATFORM_UNAVAILABLE, "it does not answer")
LOST = {ConditionType.CONNECTED: GONE}
ME = Key("DataCluster", "acme")


class Office(Desk):
    """A plane with a platform, and one DataCluster that is in place."""

    platform: ScriptedPlatform

    def condition(self, kind: ConditionType) -> tuple[str, str, str]:
        found = self.kube.stored(DATA_CLUSTERS, "acme")
        assert found is not None
        each: dict[str, str] = next((c for c in found["status"]["conditions"] if c["type"] == kind), {})
        return each.get("status", ""), each.get("reason", ""), each.get("message", "")

    def record(self) -> Record:
        stored = self.kube.stored(SECRETS, f"record-{OTHER_UID}", gen.NAMESPACE)
        assert stored is not None
        value = base64.b64decode(stored["data"]["record"])
        return msgspec.json.decode(value, type=Record, dec_hook=lambda kind, text: kind(text))

    async def opened(self) -> OpenRecord[Record]:
        found = await self.deps.records.load(Record, OTHER_UID)
        assert found is not None
        return found

    async def look(self) -> Any:
        """One look at the DataCluster, as the API server shows it."""
        stored = self.kube.stored(DATA_CLUSTERS, "acme")
        if stored is not None:
            self.view.clusters.put(stored)
        return await data_cluster.reconcile("acme", self.deps)

    async def look_until_still(self) -> None:
        """Looks, until one asks for nothing more."""
        for _ in range(6):
            self.enqueued.clear()
            await self.look()
            if ME not in self.enqueued:
                return
        raise AssertionError("it never comes to rest")


def endpoint(url: str, ca: str = "") -> PlatformEndpoint:
    ca_ref = LocalRef(name=ca) if ca else None
    return PlatformEndpoint(
        url=url, registration_token_secret_ref=LocalRef(name="platform-token"), ca_secret_ref=ca_ref
    )


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedPlatform]:
    async with ScriptedPlatform.serving() as platform:
        yield platform


@pytest.fixture
async def gated() -> AsyncIterator[Gated]:
    async with Gated(MemoryEngine()) as gated:
        yield gated


@pytest.fixture
async def office(scripted: ScriptedPlatform, gated: Gated) -> AsyncIterator[Office]:
    """Its plane has joined; the DataCluster has not been looked at."""
    plane = gen.plane(metadata={"uid": UID}, platform=endpoint(scripted.url))
    objects = (gen.tenant(metadata={"uid": TENANT_UID}), gen.plan(), plane, gen.cluster(metadata={"uid": OTHER_UID}))
    office = Office.of(*objects)
    assert isinstance(office, Office)
    office.platform = scripted
    await office.deps.planes.publish("default", OpenPlane(UID, "v-1", {EngineName.POSTGRES: gated.opened}))
    token = {"platform-token": {"token": scripted.plane_token()}}
    record = office.deps.records.draft(gen.plane_record(uid=UID))
    opened = await registered.open_platform(plane, record.record, token, office.deps)
    office.enqueued.clear()
    standing = await registered.join_plane(plane, record, opened, token, office.deps)
    assert (standing.retry, standing.verdicts[ConditionType.REGISTERED].good) == (False, True)
    yield office
    await office.beats.close()


async def test_a_plane_that_has_joined_has_its_clusters_looked_at(office: Office) -> None:
    assert office.enqueued == [ME]


async def test_a_data_cluster_joins_once_it_is_in_place_and_its_data_api_is_told_whom_to_believe(
    office: Office,
) -> None:
    await office.look_until_still()
    assert office.condition(ConditionType.READY)[:2] == ("True", "Ready")
    assert office.condition(ConditionType.REGISTERED)[:2] == ("True", "Ready")
    secret = office.kube.stored(SECRETS, "data-api-secrets", "tenant-acme")
    assert secret is not None
    jwks = json.loads(base64.b64decode(secret["data"]["PLATFORM_JWKS"]))
    assert [each["kid"] for each in jwks["keys"]] == [office.platform.signing[0].public.kid]
    member = office.beats.member(OTHER_UID)
    assert member is not None
    assert member.acknowledged == office.platform.signing[0].public.kid


async def test_who_has_joined_and_is_in_place_is_written_to_no_more(office: Office) -> None:
    await office.look_until_still()
    writes, calls = len(office.kube.writes), len(office.platform.calls)
    await office.look()
    assert (office.kube.writes[writes:], office.platform.calls[calls:]) == ([], [])


async def test_a_platform_that_refuses_takes_no_readiness_away(office: Office) -> None:
    office.platform.confirmed = False
    outcome = await office.look()
    assert outcome == RETRY
    assert office.condition(ConditionType.READY)[0] == "True"
    status, reason, message = office.condition(ConditionType.REGISTERED)
    assert (status, reason) == ("False", "PlaneUnconfirmed")
    assert "fingerprint" in message
    assert office.condition(ConditionType.CONNECTED)[0] == "Unknown"


NONSENSE: dict[str, Callable[[], web.Response]] = {
    "an error": lambda: web.Response(status=500),
    "a page": lambda: web.Response(text="<html>Welcome</html>", content_type="text/html"),
    "garbage": lambda: web.Response(body=os.urandom(64), content_type="application/json"),
    "gone": lambda: web.Response(status=410),
    "our own 503": lambda: refused(Problem(Code.UNAVAILABLE)),
}


@pytest.mark.parametrize("answer", NONSENSE)
async def test_a_platform_that_answers_nonsense_takes_no_readiness_away_and_is_joined_once_it_is_well(
    office: Office, answer: str
) -> None:
    office.platform.instead = lambda *_: NONSENSE[answer]()
    assert await office.look() == RETRY
    assert office.condition(ConditionType.READY)[:2] == ("True", "Ready")
    assert office.condition(ConditionType.REGISTERED)[:2] == ("False", "PlatformUnavailable")
    assert [write for write in office.kube.writes if write[0] == "delete"] == []
    office.platform.instead = lambda *_: None
    await office.look_until_still()
    assert office.condition(ConditionType.REGISTERED)[:2] == ("True", "Ready")


async def test_a_platform_whose_clock_is_an_hour_off_is_joined(office: Office) -> None:
    office.platform.now = lambda: round(gen.NOW.timestamp()) - 3600
    await office.look_until_still()
    assert office.condition(ConditionType.READY)[:2] == ("True", "Ready")
    assert office.condition(ConditionType.REGISTERED)[:2] == ("True", "Ready")


async def test_a_platform_that_is_not_there_takes_no_readiness_away(office: Office) -> None:
    await office.platform.stop()
    await office.look()
    assert office.condition(ConditionType.READY)[0] == "True"
    assert office.condition(ConditionType.REGISTERED)[:2] == ("False", "PlatformUnavailable")


async def test_who_finds_the_platform_silent_waits_for_it_and_does_not_ask(office: Office) -> None:
    await office.platform.stop()
    for _ in range(6):
        await office.look()
    calls = len(office.platform.calls)
    await office.platform.start()
    assert await office.look() == DONE
    assert len(office.platform.calls) == calls
    office.now += 1000.0
    await office.look()
    assert (ME, 15.0) in office.looks


async def test_who_waits_for_a_silent_platform_is_looked_at_once_its_ca_is_another(office: Office) -> None:
    await office.platform.stop()
    for _ in range(6):
        await office.look()
    silent = office.beats.platform("default")
    assert silent is not None
    assert silent.silence.closed
    plane = gen.plane(metadata={"uid": UID}, platform=endpoint(office.platform.url, ca="platform-ca"))
    ca = {"platform-ca": {"ca.crt": Authority("platform", gen.NOW).certificate}}
    office.enqueued.clear()
    for _ in range(2):
        await registered.open_platform(plane, gen.plane_record(uid=UID), ca, office.deps)
    assert office.enqueued == [ME]


async def test_who_found_no_platform_is_looked_at_once_its_plane_has_one(office: Office) -> None:
    plane = gen.plane(metadata={"uid": UID}, platform=endpoint(office.platform.url))
    await office.beats.disconnect("default")
    await office.look()
    assert office.condition(ConditionType.REGISTERED)[:2] == ("False", "Registering")
    office.enqueued.clear()
    await registered.open_platform(plane, gen.plane_record(uid=UID), {}, office.deps)
    assert office.enqueued == [ME]


async def test_while_others_join_there_is_no_waiting_in_a_worker(office: Office) -> None:
    async with office.deps.joining:
        outcome = await office.look()
    assert outcome.at == gen.NOW.timestamp() + registered.BUSY_SECONDS
    assert office.platform.posted("/registration-tokens") == 0


async def learn(office: Office, **learnt: Any) -> None:
    """As if a heartbeat's answer had said so."""
    office.beats._pulses[OTHER_UID].learnt = Learnt(**learnt)


async def test_what_the_platform_wants_is_recorded_before_it_is_acted_upon(office: Office, gated: Gated) -> None:
    await office.look_until_still()
    await learn(office, desired=Desired(generation=1, suspended=True))
    writes = len(office.kube.writes)
    await office.look()
    assert office.kube.writes[writes] == ("update", "secrets", f"record-{OTHER_UID}")
    assert not gated.engine.databases["acme"].open
    assert office.condition(ConditionType.SUSPENDED)[0] == "True"
    assert "by the platform" in office.condition(ConditionType.READY)[2]
    held = office.record().registration
    assert held is not None
    assert (held.applied_generation, held.suspended) == (1, True)

    await learn(office, desired=Desired(generation=2, suspended=False))
    await office.look()
    assert gated.engine.databases["acme"].open


async def test_later_signing_keys_reach_the_data_api_before_they_are_acknowledged(office: Office) -> None:
    await office.look_until_still()
    first = office.platform.signing[0].public.kid
    office.platform.succeed()
    await learn(office, links=office.platform._links(first))
    await registered.absorb(gen.cluster(metadata={"uid": OTHER_UID}), office.deps)
    member = office.beats.member(OTHER_UID)
    assert member is not None
    assert member.acknowledged == first
    await office.look_until_still()
    member = office.beats.member(OTHER_UID)
    assert member is not None
    assert member.acknowledged == office.platform.signing[1].public.kid


async def test_a_lost_key_is_replaced_without_touching_the_tenant(office: Office) -> None:
    await office.look_until_still()
    before = office.record()
    assert before.registration is not None
    office.platform.fence()
    office.platform.named("default").refusal = None
    await learn(office, refused=Code.KEY_FENCED, key_id=before.registration.key_id)
    writes = len(office.kube.writes)
    await office.look()
    after = office.record()
    assert after.registration is not None
    assert after.registration.key_id != before.registration.key_id
    assert (after.holdings, after.registration.identity) == (before.holdings, before.registration.identity)
    assert {name for _, _, name in office.kube.writes[writes:]} == {f"record-{OTHER_UID}"}


async def test_a_lost_connection_costs_one_patch_of_a_status(office: Office) -> None:
    await office.look_until_still()
    office.beats._pulses[OTHER_UID].accepted = 0.0
    writes = len(office.kube.writes)
    await office.look()
    await office.look()
    assert office.kube.writes[writes:] == [("patch", "dataclusters", "acme/status")]
    assert office.condition(ConditionType.CONNECTED)[:2] == ("False", "PlatformUnavailable")
    found = office.kube.stored(DATA_CLUSTERS, "acme")
    assert found is not None
    assert found["status"]["phase"] == "Offline"


async def test_a_plane_that_leaves_its_platform_leaves_no_trace_of_it_in_the_status(office: Office) -> None:
    await office.look_until_still()
    plane = gen.plane(metadata={"uid": UID, "generation": 2, "resource_version": "20"})
    gen.show(office.view, plane)
    await registered.open_platform(plane, gen.plane_record(uid=UID), {}, office.deps)
    await office.look()
    found = office.kube.stored(DATA_CLUSTERS, "acme")
    assert found is not None
    assert not {"Registered", "Connected"} & {each["type"] for each in found["status"]["conditions"]}
    assert "platform" not in found["status"]
    assert office.beats.member(OTHER_UID) is None


async def test_a_plane_that_has_not_joined_another_platform_yet_shows_it_no_key_of_the_old_one(office: Office) -> None:
    await office.look_until_still()
    async with ScriptedPlatform.serving() as other:
        plane = gen.plane(
            metadata={"uid": UID, "generation": 2, "resource_version": "20"}, platform=endpoint(other.url)
        )
        gen.show(office.view, plane)
        await registered.open_platform(plane, gen.plane_record(uid=UID), {}, office.deps)
        await office.look()
        assert other.calls == []
        assert office.condition(ConditionType.REGISTERED)[:2] == ("False", "Registering")
        assert office.condition(ConditionType.READY)[0] == "True"


async def test_who_has_no_way_to_its_platform_any_more_is_told_to_be_lost(office: Office) -> None:
    await office.look_until_still()
    await office.beats.disconnect("default")
    await office.look()
    assert office.condition(ConditionType.CONNECTED)[0] == ""
    office.now += 1000.0
    await office.look()
    assert office.condition(ConditionType.CONNECTED)[:2] == ("False", "PlatformUnavailable")
    assert office.condition(ConditionType.REGISTERED)[0] == "True"


async def test_the_notice_of_a_deletion_is_given_once(office: Office) -> None:
    await office.look_until_still()
    cluster = gen.cluster(metadata={"uid": OTHER_UID})
    assert (await registered.give_notice(cluster, await office.opened(), office.deps)).good
    assert office.platform.named("acme").deleted


@pytest.mark.parametrize("code", [Code.CLUSTER_DELETED, Code.IDENTITY_UNKNOWN, Code.KEY_UNKNOWN])
async def test_who_is_not_known_any_more_needs_no_notice(office: Office, code: Code) -> None:
    await office.look_until_still()
    office.platform.named("acme").refusal = code
    cluster = gen.cluster(metadata={"uid": OTHER_UID})
    assert (await registered.give_notice(cluster, await office.opened(), office.deps)).good


async def test_a_notice_that_is_not_taken_is_given_up_after_ten_minutes(office: Office) -> None:
    await office.look_until_still()
    office.platform.instead = lambda *_: refused(Problem(Code.UNAVAILABLE))
    cluster = gen.cluster(metadata={"uid": OTHER_UID})
    first = await registered.give_notice(cluster, await office.opened(), office.deps)
    office.now += registered.NOTICE_SECONDS - 1
    second = await registered.give_notice(cluster, await office.opened(), office.deps)
    office.now += 1
    third = await registered.give_notice(cluster, await office.opened(), office.deps)
    assert [each.good for each in (first, second, third)] == [False, False, True]
    assert "not told yet" in first.message


async def test_a_notice_waits_for_a_plane_that_does_not_reach_its_platform_and_not_for_one_that_left_it(
    office: Office,
) -> None:
    await office.look_until_still()
    await office.beats.disconnect("default")
    cluster = gen.cluster(metadata={"uid": OTHER_UID})
    waits = await registered.give_notice(cluster, await office.opened(), office.deps)
    assert not waits.good
    assert "does not reach it" in waits.message
    gen.show(office.view, gen.plane(metadata={"uid": UID}), version="999")
    assert (await registered.give_notice(cluster, await office.opened(), office.deps)).good


async def test_a_deletion_where_no_platform_was_ever_joined_says_nothing_of_one() -> None:
    desk = Desk.of(gen.cluster())
    assert await deletion._give_notice(gen.cluster(), desk.deps.records.draft(gen.record()), desk.deps) == {}


def test_what_is_retained_of_a_deleted_data_cluster_holds_no_key() -> None:
    assert deletion._without_secrets(gen.holding()).credentials[0].value.reveal() == ""


async def test_a_restart_beats_with_what_the_records_hold_and_says_nothing_before_it_knows(office: Office) -> None:
    await office.look_until_still()
    later = Office(gen.view(), office.kube)
    members = [member async for member in registered.roll(office.deps)]
    assert [(member.subject, member.uid) for member in members] == [(ME, OTHER_UID)]
    assert members[0].registration == office.record().registration
    assert later.beats.contact(OTHER_UID) is None


async def test_after_a_restart_nothing_is_written_or_asked_before_the_roll_was_called(office: Office) -> None:
    await office.look_until_still()
    office.beats.withdraw(OTHER_UID)
    writes, calls = len(office.kube.writes), len(office.platform.calls)
    assert await office.look() == DONE
    assert office.beats.member(OTHER_UID) is None, "it is read with all others"
    office.beats.complete = True
    await office.look()
    assert office.beats.member(OTHER_UID) is not None
    assert (office.kube.writes[writes:], office.platform.calls[calls:]) == ([], [])


@pytest.mark.parametrize("interrupted", [True, False], ids=["interrupted", "joined"])
async def test_after_the_roll_only_who_was_interrupted_while_it_re_joined_is_looked_at_and_goes_on(
    office: Office, *, interrupted: bool
) -> None:
    await office.look_until_still()
    before = office.record().registration
    assert before is not None
    if interrupted:
        record = await office.opened()
        await registered._save(msgspec.structs.replace(before, key_id=""), record)
    office.beats.withdraw(OTHER_UID)
    assert await office.look() == DONE
    office.enqueued.clear()
    await office.beats._call(lambda: registered.roll(office.deps))
    assert office.enqueued == ([ME] if interrupted else [])
    if interrupted:
        await office.look()
    member = office.beats.member(OTHER_UID)
    assert member is not None
    assert (member.registration.key_id != before.key_id) is interrupted


@pytest.mark.parametrize(("minutes", "said"), [(-60, "60 min behind"), (7, "7 min ahead of"), (0, "")])
async def test_a_clock_that_is_off_is_said_and_the_status_remembers_it_over_a_restart(
    office: Office, monkeypatch: pytest.MonkeyPatch, minutes: int, said: str
) -> None:
    await office.look_until_still()
    monkeypatch.setattr(office.beats, "contact", lambda _: Contact(connected=True, skew=minutes))
    await office.look()
    assert said in office.condition(ConditionType.CONNECTED)[2]
    await office.look()
    member = office.beats.member(OTHER_UID)
    assert member is not None
    told = registered.describe(member, office.view, "0.1.0")
    assert told is not None
    assert told.skew == minutes
    monkeypatch.setattr(office.beats, "contact", lambda _: None)
    writes = len(office.kube.writes)
    await office.look()
    assert office.kube.writes[writes:] == []


def in_place() -> Any:
    ready = [Condition(type=kind, status="True", reason="Ready") for kind in ("Ready", "Connected", "Registered")]
    return gen.cluster(status=msgspec.structs.replace(gen.cluster().status, phase="Active", conditions=tuple(ready)))


def test_losing_the_platform_unsettles_nothing() -> None:
    before = in_place()
    after = with_platform(before, LOST, CLUSTER_NOT_JOINED, gen.NOW)
    assert after.phase == Phase.OFFLINE
    assert digest(after) == digest(before.status)


def test_what_is_not_known_anew_stays_as_it_was() -> None:
    before = in_place()
    registered_ = {ConditionType.REGISTERED: Verdict(Status.TRUE, Reason.READY)}
    after = with_platform(before, registered_, CLUSTER_NOT_JOINED, gen.NOW)
    assert [c for c in after.conditions if c.type == "Connected"] == [before.status.conditions[1]]


def outlined(**fields: Any) -> Any:
    return gen.outline(suspended=True, platform=PLATFORM, identity=plane_id(UID), **fields)


@pytest.mark.parametrize(
    ("url", "access"),
    [
        (PLATFORM, Access.CUT),
        (PLATFORM + "/", Access.CUT),
        ("https://other.example.com", Access.OPEN),
        ("", Access.OPEN),
    ],
)
def test_a_suspension_is_that_of_the_platform_in_the_spec(url: str, access: Access) -> None:
    plane = gen.plane(platform=endpoint(url) if url else None)
    view = gen.view(gen.tenant(), plane, outlined())
    assert access_wanted(gen.cluster(), view) is access


def test_a_suspension_holds_while_the_plane_can_not_be_read() -> None:
    assert access_wanted(gen.cluster(), gen.view(gen.tenant(), outlined())) is Access.CUT


def test_without_a_platform_the_data_apis_secret_is_as_ever() -> None:
    bindings = {EngineName.POSTGRES: {"type": "postgresql"}}
    plain = list(projections.secrets(gen.owner(), bindings, complete=True))
    told = list(projections.secrets(gen.owner(), bindings, joined(), complete=True))
    assert set(plain[-1].body["data"]) == {"POSTGRES_TYPE"}
    assert set(told[-1].body["data"]) - {"POSTGRES_TYPE"} == {
        "PLATFORM_URL",
        "PLATFORM_CLUSTER_ID",
        "PLATFORM_JWKS",
    }


def test_a_settled_digest_knows_nothing_of_a_connection() -> None:
    context = gen.context()
    assert settled.digest(in_place(), context, "c") == settled.digest(gen.cluster(), context, "c")


def test_a_service_key_is_never_shown_by_what_holds_it() -> None:
    held = joined()
    record = gen.record(registration=held)
    assert held.secret.reveal() not in repr(record)
    assert decide.service_key(held).reveal() not in repr(decide.service_key(held))


async def test_a_plane_without_a_platform_calls_and_says_nothing() -> None:
    office = Desk.of(gen.plane(metadata={"uid": UID}))
    record = office.deps.records.draft(gen.plane_record(uid=UID))
    plane = gen.plane(metadata={"uid": UID})
    opened = await registered.open_platform(plane, record.record, {}, office.deps)
    standing = await registered.join_plane(plane, record, opened, {}, office.deps)
    assert (opened, standing) == (None, registered.NO_PLATFORM)
    assert registered.conditions(plane, standing) == []
    assert registered.plane_status(record.record, plane, office.deps) is NOT_JOINED
    assert office.kube.stored(DATA_PLANES, "default") is not None
