"""How an engine is brought from what is seen to what is wanted, and what is said where it can not be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bulkhead.api.conditions import Reason, Status
from bulkhead.api.ownership import Stamp
from bulkhead.api.plan import PlanSpec
from bulkhead.api.record import EngineName, Holding
from bulkhead.engines.contract import (
    Access,
    ClaimFirst,
    Conflict,
    DataMissing,
    Decision,
    Do,
    EngineChanged,
    Invalid,
    Request,
    ServerRequest,
)
from bulkhead.engines.errors import EngineError, Insecure, Refused, Unavailable
from bulkhead.reconcile import converge, key
from bulkhead.reconcile.converge import Result, ServerSubject, TenantSubject
from bulkhead.reconcile.report import Verdict
from bulkhead.runtime.mutations import MayNotAct, Mutations
from tests.unit.reconcile import gen
from tests.unit.reconcile.memory_engine import Create, Database, Gated, MemoryEngine

ME = key.data_cluster("acme")
AT = "2026-11-22T12:00:00Z"
STAMP = Stamp(gen.INSTALLATION, "u-dc-acme")
OURS = Database(str(STAMP))
THEIRS = Database("bulkhead:here:u-dc-globex")
FREE = gen.holding(claimed_at="", provisioned=())
CLAIMED = gen.holding(provisioned=())
DOWN = Unavailable("connection refused")


def request(holding: Holding = FREE, access: Access = Access.OPEN) -> Request:
    return Request(
        stamp=STAMP, names=gen.names(), spec=gen.cluster().spec, plan=PlanSpec(), holding=holding, access=access
    )


def mutations(seen: list[tuple[str, str, bool]] | None = None) -> Mutations:
    told = seen if seen is not None else []
    return Mutations(lambda target, action, done: told.append((target, action, done)), lambda: True)


async def converged(engine: MemoryEngine, wanted: Request | None = None, **fields: Any) -> Result:
    """Look, claim, finish."""
    async with Gated(engine) as gated:
        return await converged_behind(gated, wanted or request(**fields))


async def converged_behind(gated: Gated, wanted: Request) -> Result:
    subjects = {EngineName.POSTGRES: TenantSubject(gated.opened, wanted)}
    findings = converge.claim(ME, await converge.look(ME, subjects), AT)
    return (await converge.finish(ME, findings, mutations()))[EngineName.POSTGRES]


async def erased(engine: MemoryEngine, holding: Holding = CLAIMED) -> Verdict:
    async with Gated(engine) as gated:
        return await converge.erase(ME, TenantSubject(gated.opened, request(holding, Access.CUT)), mutations())


async def test_a_free_name_is_claimed_before_anything_is_made() -> None:
    engine = MemoryEngine()
    async with Gated(engine) as gated:
        subjects = {EngineName.POSTGRES: TenantSubject(gated.opened, request())}
        findings = converge.claim(ME, await converge.look(ME, subjects), AT)
    assert (findings[EngineName.POSTGRES].subject.holding.claimed_at, engine.databases) == (AT, {})


async def test_a_claim_that_stands_keeps_its_time() -> None:
    found = await converged(MemoryEngine(), holding=CLAIMED)
    assert found.holding.claimed_at == CLAIMED.claimed_at


async def test_a_name_that_is_not_free_is_not_claimed() -> None:
    found = await converged(MemoryEngine(databases={"acme": THEIRS}))
    assert found.holding.claimed_at == ""


class Shelf(MemoryEngine):
    """Gives what the spec lists, each claimed by its name."""

    def decide(self, request: Request, seen: Any) -> Decision:  # noqa: ARG002 - contract
        listed = {f"index/{name}" for name in request.names.indexes}
        free = listed.difference(request.holding.claimed, request.holding.provisioned)
        return ClaimFirst(frozenset(free)) if free else Do((), frozenset({"index/acme_entries"}))


async def test_names_that_are_claimed_one_by_one_stay_claimed_until_what_bears_them_is_complete() -> None:
    holding = gen.holding(claimed=("index/acme_former",), provisioned=())
    found = await converged(Shelf(), holding=holding)
    assert (found.holding.claimed_at, found.holding.provisioned) == (AT, ("index/acme_entries",))
    assert found.holding.claimed == ("index/acme_datasets", "index/acme_former")


async def test_everything_is_made_and_read_back() -> None:
    engine = MemoryEngine()
    found = await converged(engine)
    assert (found.verdict.good, engine.databases, engine.log[-1]) == (True, {"acme": OURS}, "look")


async def test_what_is_complete_is_remembered_as_provisioned() -> None:
    assert (await converged(MemoryEngine())).holding.provisioned == ("database",)


async def test_what_was_provisioned_before_stays_so() -> None:
    holding = gen.holding(provisioned=("index/acme_entries",))
    found = await converged(MemoryEngine(), holding=holding)
    assert found.holding.provisioned == ("database", "index/acme_entries")


async def test_no_step_follows_once_we_may_not_act() -> None:
    engine, asked = MemoryEngine(), iter([True, False])
    seam = Mutations(lambda *_: None, lambda: next(asked))
    async with Gated(engine) as gated:
        subjects = {EngineName.POSTGRES: TenantSubject(gated.opened, request(CLAIMED))}
        findings = await converge.look(ME, subjects)
        with pytest.raises(MayNotAct, match="SetAccess"):
            await converge.finish(ME, findings, seam)
    assert engine.log == ["look", "Create"]


async def test_what_failed_halfway_is_not_provisioned() -> None:
    found = await converged(MemoryEngine(fails=Refused("no right"), fails_at="SetAccess"))
    assert (found.verdict.reason, found.holding.provisioned) == (Reason.ENGINE_REFUSED, ())


async def test_a_claim_outlasts_a_failure() -> None:
    found = await converged(MemoryEngine(fails=Refused("no right"), fails_at="Create"))
    assert found.holding.claimed_at == AT


async def test_where_everything_is_in_place_one_look_is_enough() -> None:
    engine = MemoryEngine(databases={"acme": OURS})
    await converged(engine, holding=CLAIMED)
    assert engine.log == ["look"]


async def test_what_is_suspended_is_cut_and_kept() -> None:
    engine = MemoryEngine(databases={"acme": OURS})
    await converged(engine, holding=CLAIMED, access=Access.CUT)
    assert engine.databases == {"acme": Database(str(STAMP), open=False)}


async def test_what_never_was_made_needs_no_claim_to_be_cut() -> None:
    found = await converged(MemoryEngine(), access=Access.CUT)
    assert (found.verdict.good, found.holding.claimed_at) == (True, "")


async def test_every_step_passes_the_seam() -> None:
    seen: list[tuple[str, str, bool]] = []
    async with Gated(MemoryEngine()) as gated:
        subjects = {EngineName.POSTGRES: TenantSubject(gated.opened, request(CLAIMED))}
        await converge.finish(ME, await converge.look(ME, subjects), mutations(seen))
    assert seen == [("postgres", "Create", True), ("postgres", "SetAccess", True)]


async def test_a_server_as_a_whole_is_prepared_the_same_way() -> None:
    engine = MemoryEngine()
    async with Gated(engine) as gated:
        wanted = ServerRequest(stamp=Stamp("here", "u-default"), holding=Holding(), proposal="p-1")
        subjects = {EngineName.POSTGRES: ServerSubject(gated.opened, wanted)}
        found = await converge.finish(ME, await converge.look(ME, subjects), mutations())
    assert found[EngineName.POSTGRES].verdict.good
    assert list(engine.databases) == ["marker of u-default"]


async def test_what_was_put_in_order_is_called_repaired() -> None:
    closed = MemoryEngine(databases={"acme": Database(str(STAMP), open=False)})
    assert (await converged(closed, holding=CLAIMED)).repaired


@pytest.mark.parametrize(
    "engine",
    [
        MemoryEngine(databases={"acme": OURS}),
        MemoryEngine(databases={"acme": THEIRS}),
        MemoryEngine(without_effect=True),
        MemoryEngine(fails=Refused("no right"), fails_at="SetAccess"),
    ],
    ids=["in place", "not ours", "without effect", "refused"],
)
async def test_what_needed_nothing_or_could_not_be_put_in_order_is_not_called_repaired(engine: MemoryEngine) -> None:
    assert not (await converged(engine, holding=CLAIMED)).repaired


class Shop(MemoryEngine):
    """What it keeps ready is taken as fast as it is made."""

    def decide_server(self, request: ServerRequest, seen: Any) -> Decision:  # noqa: ARG002 - contract
        return Do((Create(f"ready {len(self.databases)}", str(request.stamp)),))


async def test_a_server_is_not_blamed_for_what_tenants_take_while_it_is_made() -> None:
    async with Gated(Shop()) as gated:
        wanted = ServerRequest(stamp=Stamp("here", "u-default"), holding=Holding(), proposal="p-1")
        subjects = {EngineName.POSTGRES: ServerSubject(gated.opened, wanted)}
        found = await converge.finish(ME, await converge.look(ME, subjects), mutations())
    assert found[EngineName.POSTGRES].verdict.good


async def test_a_server_on_which_the_same_steps_have_no_effect_is_refused() -> None:
    async with Gated(MemoryEngine(without_effect=True)) as gated:
        wanted = ServerRequest(stamp=Stamp("here", "u-default"), holding=Holding(), proposal="p-1")
        subjects = {EngineName.POSTGRES: ServerSubject(gated.opened, wanted)}
        found = await converge.finish(ME, await converge.look(ME, subjects), mutations())
    assert found[EngineName.POSTGRES].verdict.reason is Reason.ENGINE_REFUSED


async def test_steps_that_keep_coming_back_are_refused_by_their_name() -> None:
    found = await converged(MemoryEngine(without_effect=True), holding=CLAIMED)
    assert found.verdict.reason is Reason.ENGINE_REFUSED
    assert "Create(name='acme'" in found.verdict.message


async def test_steps_that_keep_coming_back_are_not_tried_for_ever() -> None:
    engine = MemoryEngine(without_effect=True)
    await converged(engine, holding=CLAIMED)
    assert engine.log.count("Create") == converge.ROUNDS


async def test_steps_that_keep_coming_back_provision_nothing() -> None:
    found = await converged(MemoryEngine(without_effect=True), holding=CLAIMED)
    assert found.holding.provisioned == ()


@pytest.mark.parametrize("fails_at", ["look", "Create"])
async def test_an_engine_that_does_not_answer_leaves_it_unknown(fails_at: str) -> None:
    found = await converged(MemoryEngine(fails=DOWN, fails_at=fails_at))
    assert (found.verdict.status, found.verdict.reason) == (Status.UNKNOWN, Reason.ENGINE_UNAVAILABLE)


@pytest.mark.parametrize("fails_at", ["look", "Create"])
async def test_a_key_is_parked_with_an_engine_that_is_down(fails_at: str) -> None:
    async with Gated(MemoryEngine(fails=DOWN, fails_at=fails_at, for_good=True)) as gated:
        await converged_behind(gated, request())
        assert gated.gate.parked == 1


@pytest.mark.parametrize("fails_at", ["look", "Create"])
async def test_a_call_without_answer_parks_nobody_with_an_engine_that_answers_others(fails_at: str) -> None:
    async with Gated(MemoryEngine(fails=DOWN, fails_at=fails_at)) as gated:
        await converged_behind(gated, request())
        assert (gated.gate.parked, gated.recovered) == (0, [])


async def test_a_key_is_parked_without_a_call_while_the_engine_is_known_to_be_down() -> None:
    async with Gated(MemoryEngine(fails=DOWN)) as gated:
        await converged_behind(gated, request())
        calls = len(gated.engine.log)
        found = await converged_behind(gated, request())
        assert (found.verdict.reason, len(gated.engine.log)) == (Reason.ENGINE_UNAVAILABLE, calls)


async def test_a_parked_key_is_called_back_when_the_engine_answers() -> None:
    async with Gated(MemoryEngine(fails=DOWN)) as gated:
        await converged_behind(gated, request())
        gated.engine.fails = None
        gated.may_ping.set()
        async with asyncio.timeout(60):
            await gated.back.wait()
        assert gated.recovered == [ME]


async def test_an_engine_that_says_no_parks_nobody() -> None:
    async with Gated(MemoryEngine(fails=Refused("no right"))) as gated:
        await converged_behind(gated, request())
        assert (gated.gate.parked, gated.gate.is_open) == (0, False)


@pytest.mark.parametrize(
    "error", [DOWN, Refused("no right"), ValueError("a bug")], ids=["down", "refused", "unforeseen"]
)
async def test_one_engine_that_fails_does_not_stop_the_others(error: Exception) -> None:
    well = MemoryEngine()
    async with Gated(MemoryEngine(fails=error)) as failing, Gated(well) as working:
        subjects = {
            EngineName.POSTGRES: TenantSubject(failing.opened, request(CLAIMED)),
            EngineName.SEARCH: TenantSubject(working.opened, request(CLAIMED)),
        }
        found = await converge.finish(ME, await converge.look(ME, subjects), mutations())
    assert {name: result.verdict.good for name, result in found.items()} == {
        EngineName.POSTGRES: False,
        EngineName.SEARCH: True,
    }
    assert "acme" in well.databases


class Puzzled(MemoryEngine):
    """Has no answer to what it sees."""

    def decide(self, request: Request, seen: Any) -> Decision:  # noqa: ARG002 - contract
        raise KeyError(gen.PASSWORD)


UNFORESEEN: dict[str, tuple[type[MemoryEngine], str]] = {
    "looking": (MemoryEngine, "look"),
    "acting": (MemoryEngine, "Create"),
    "deciding": (Puzzled, "never"),
}


@pytest.mark.parametrize("case", UNFORESEEN)
async def test_what_nobody_foresaw_in_an_engine_is_its_verdict_and_no_health(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    kind, fails_at = UNFORESEEN[case]
    found = await converged(kind(fails=KeyError(gen.PASSWORD), fails_at=fails_at))
    assert (found.verdict.status, found.verdict.reason) == (Status.UNKNOWN, Reason.INTERNAL_ERROR)
    assert (found.repaired, found.holding.provisioned) == (False, ())
    shown = capsys.readouterr()
    assert "engine_broke" in shown.out
    assert "converge.py" in shown.out
    assert "KeyError" in found.verdict.message
    assert gen.PASSWORD not in shown.out + shown.err + found.verdict.message


async def test_what_nobody_foresaw_while_erasing_is_not_taken_for_erased() -> None:
    found = await erased(MemoryEngine(databases={"acme": OURS}, fails=KeyError("?"), fails_at="Drop"))
    assert (found.good, found.reason) == (False, Reason.INTERNAL_ERROR)


async def test_a_key_is_parked_where_what_nobody_foresaw_came_of_an_engine_that_went_down() -> None:
    async with Gated(Puzzled(fails=DOWN)) as gated:
        await converged_behind(gated, request())
        finding = converge.Finding(TenantSubject(gated.opened, request(CLAIMED)), Do(), None)
        again = converge.reconsidered(ME, finding, finding.subject)
        assert isinstance(again.outcome, Unavailable)
        assert gated.gate.parked == 1


@pytest.mark.parametrize("fails_at", ["look", "Create"])
async def test_who_is_cancelled_ends(fails_at: str) -> None:
    with pytest.raises(asyncio.CancelledError):
        await converged(MemoryEngine(fails=asyncio.CancelledError(), fails_at=fails_at), holding=CLAIMED)


async def test_what_belongs_to_another_is_never_touched() -> None:
    engine = MemoryEngine(databases={"acme": THEIRS})
    await converged(engine, holding=CLAIMED)
    assert (engine.databases, engine.log) == ({"acme": THEIRS}, ["look"])


async def test_what_was_lost_is_never_made_anew() -> None:
    engine = MemoryEngine()
    found = await converged(engine, holding=gen.holding())
    assert (found.verdict.reason, engine.databases) == (Reason.DATA_MISSING, {})


async def test_what_was_lost_stays_remembered() -> None:
    assert (await converged(MemoryEngine(), holding=gen.holding())).holding.provisioned == ("database",)


async def test_nothing_is_written_to_another_server() -> None:
    engine = MemoryEngine(identity="server-2")
    await converged(engine, holding=CLAIMED)
    assert engine.log == ["look"]


DECISIONS: dict[str, tuple[Decision, Reason, tuple[str, ...]]] = {
    "conflict": (
        Conflict("database", "acme", "u-other"),
        Reason.CONFLICT,
        ('database "acme"', "u-other", "left untouched", "rename or remove it"),
    ),
    "conflict with nobody known": (
        Conflict("bucket", "acme-data"),
        Reason.CONFLICT,
        ('bucket "acme-data"', "does not bear our stamp", "choose another name"),
    ),
    "data missing": (
        DataMissing("database", "acme"),
        Reason.DATA_MISSING,
        ('database "acme"', "restore it", "bulkhead.dev/recreate=postgres"),
    ),
    "engine changed": (
        EngineChanged("server-1", "server-2"),
        Reason.ENGINE_CHANGED,
        ('"server-1"', '"server-2"', "point the DataPlane back"),
    ),
    "invalid": (
        Invalid("spec.postgres.extensions", '"plv8" is not allowed: ask for another'),
        Reason.INVALID_SPEC,
        ("spec.postgres.extensions", "ask for another"),
    ),
    "claim first": (ClaimFirst(), Reason.PROVISIONING, ("claimed first",)),
}


@pytest.mark.parametrize("case", DECISIONS)
def test_what_can_not_go_on_names_what_is_in_the_way_and_the_way_out(case: str) -> None:
    decision, reason, parts = DECISIONS[case]
    found = converge.verdict(EngineName.POSTGRES, decision)
    assert (found.status, found.reason) == (Status.FALSE, reason)
    assert all(part in found.message for part in parts), found.message


def test_nothing_left_to_do_is_good() -> None:
    assert converge.verdict(EngineName.POSTGRES, Do()).good


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (Insecure("the master key is empty"), Status.FALSE, Reason.ENGINE_INSECURE),
        (Refused("no right"), Status.FALSE, Reason.ENGINE_REFUSED),
        (DOWN, Status.UNKNOWN, Reason.ENGINE_UNAVAILABLE),
        (EngineError("something else"), Status.UNKNOWN, Reason.ENGINE_UNAVAILABLE),
    ],
    ids=["insecure", "refused", "unavailable", "any other"],
)
def test_every_error_of_an_engine_has_its_reason(error: EngineError, status: Status, reason: Reason) -> None:
    assert converge.failure(error) == Verdict(status, reason, str(error))


async def test_what_is_ours_is_erased() -> None:
    engine = MemoryEngine(databases={"acme": OURS, "globex": THEIRS})
    assert (await erased(engine)).good
    assert engine.databases == {"globex": THEIRS}


async def test_erasing_goes_on_until_a_look_finds_nothing() -> None:
    engine = MemoryEngine(databases={"acme": Database(str(STAMP), files=1)})
    assert (await erased(engine)).good
    assert engine.log == ["look", "DropFile", "look", "Drop", "look"]


async def test_what_shows_part_by_part_is_erased_however_many_parts_there_are() -> None:
    engine = MemoryEngine(databases={"acme": Database(str(STAMP), files=10)})
    assert (await erased(engine)).good
    assert engine.databases == {}
    engine = MemoryEngine(databases={"acme": Database(str(STAMP), files=converge.ERASE_ROUNDS)})
    assert (await erased(engine)).reason is Reason.DELETING
    assert (await erased(engine)).good


async def test_erasing_what_is_gone_is_good() -> None:
    engine = MemoryEngine()
    assert (await erased(engine)).good
    assert engine.log == ["look"]


async def test_what_is_not_ours_is_not_erased() -> None:
    engine = MemoryEngine(databases={"acme": THEIRS})
    assert (await erased(engine)).good
    assert engine.databases == {"acme": THEIRS}


async def test_what_keeps_coming_back_is_not_said_to_be_erased() -> None:
    found = await erased(MemoryEngine(databases={"acme": OURS}, without_effect=True))
    assert (found.reason, "keeps coming back" in found.message) == (Reason.ENGINE_REFUSED, True)


async def test_nothing_is_erased_on_another_server() -> None:
    engine = MemoryEngine(identity="server-2", databases={"acme": OURS})
    assert (await erased(engine)).reason is Reason.ENGINE_CHANGED
    assert engine.databases == {"acme": OURS}


async def test_erasing_waits_for_an_engine_that_is_down() -> None:
    async with Gated(MemoryEngine(fails=DOWN)) as gated:
        found = await converge.erase(ME, TenantSubject(gated.opened, request(CLAIMED)), mutations())
        assert (found.reason, gated.gate.parked) == (Reason.ENGINE_UNAVAILABLE, 1)
