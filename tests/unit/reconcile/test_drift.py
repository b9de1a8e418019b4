"""Differences inside engines, found by surveys and by looking at a few in depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from bulkhead.api.conditions import Reason
from bulkhead.api.data_cluster import DataCluster
from bulkhead.api.record import EngineName, Outline, Record
from bulkhead.engines.errors import EngineError, Refused, Unavailable
from bulkhead.kube.errors import Forbidden
from bulkhead.reconcile import key
from bulkhead.reconcile.drift import DriftScan, differing
from bulkhead.reconcile.key import Key
from bulkhead.reconcile.planes import OpenEngine, OpenPlane, Planes
from bulkhead.reconcile.report import Verdict, waiting
from bulkhead.reconcile.view import View
from tests.unit.reconcile import gen
from tests.unit.reconcile.desk import no_engine
from tests.unit.reconcile.memory_engine import Database, Gated, MemoryEngine

RETAINED = "2026-01-01T00:00:00Z"
OURS = Database("bulkhead:here:u-dc-acme")
AS_LEFT = gen.outline(fingerprints={EngineName.POSTGRES: "acme open"})


def slugs(surveyed: dict[str, str], *outlines: Outline, engine: EngineName = EngineName.POSTGRES) -> list[str]:
    return [each.slug for each in differing(outlines, engine, surveyed)]


def test_what_is_as_it_was_left_does_not_differ() -> None:
    assert slugs({"u-dc-acme": "print-1"}, gen.outline()) == []


@pytest.mark.parametrize("surveyed", [{}, {"u-dc-acme": "print-2"}], ids=["gone", "changed"])
def test_what_is_gone_or_changed_differs(surveyed: dict[str, str]) -> None:
    assert slugs(surveyed, gen.outline()) == ["acme"]


def test_what_was_never_complete_is_not_compared() -> None:
    assert slugs({}, gen.outline(fingerprints={})) == []


def test_each_engine_is_compared_with_its_own_fingerprint() -> None:
    assert slugs({}, gen.outline(), engine=EngineName.SEARCH) == []


@pytest.mark.parametrize(("shown", "differs"), [("print-1", []), ("print-2", ["acme"])], ids=["shut", "open"])
def test_retained_data_is_compared_with_how_it_was_left_shut(shown: str, differs: list[str]) -> None:
    assert slugs({"u-dc-acme": shown}, gen.outline(retained_at=RETAINED)) == differs


def test_what_nobody_remembers_is_nobodys_difference() -> None:
    assert slugs({"u-stranger": "x", "u-dc-acme": "print-1"}, gen.outline()) == []


async def nothing_read_ahead(_: Sequence[str]) -> None:
    """Every look reads its own record."""


class Scan:
    """A scan of the plane `default` with one engine."""

    def __init__(self, view: View, gated: Gated, *, cycles_per_sweep: int = 1000) -> None:
        self.suspects: list[Key] = []
        self.gated = gated
        self.planes = Planes(no_engine)
        self.scan = DriftScan(
            view, self.planes, self.suspects.append, nothing_read_ahead, cycles_per_sweep=cycles_per_sweep
        )

    async def cycle(self, engine: OpenEngine | Verdict | None = None) -> list[Key]:
        """Suspects of one more cycle, those of the sweep left out."""
        engines = {EngineName.POSTGRES: engine or self.gated.opened}
        await self.planes.publish("default", OpenPlane(gen.uid_of("default"), "v-1", engines))
        self.scan._deep = iter([key.tenant("of the sweep")])
        before = len(self.suspects)
        await self.scan.cycle()
        return [each for each in self.suspects[before:] if each.kind != "Tenant"]


def living(*more: Any, cluster: DataCluster | None = None) -> View:
    return gen.world(cluster or gen.cluster(), AS_LEFT, *more)


async def test_a_difference_makes_suspect() -> None:
    async with Gated(MemoryEngine()) as gated:
        assert await Scan(living(), gated).cycle() == [key.data_cluster("acme")]


async def test_no_difference_makes_nobody_suspect() -> None:
    async with Gated(MemoryEngine(databases={"acme": OURS})) as gated:
        assert await Scan(living(), gated).cycle() == []


async def test_a_difference_is_told_once() -> None:
    async with Gated(MemoryEngine()) as gated:
        scan = Scan(living(), gated)
        await scan.cycle()
        assert await scan.cycle() == []


async def test_another_difference_is_told_again() -> None:
    async with Gated(MemoryEngine()) as gated:
        scan = Scan(living(), gated)
        await scan.cycle()
        gated.engine.databases["acme"] = Database(OURS.stamp, open=False)
        assert await scan.cycle() == [key.data_cluster("acme")]


async def test_a_difference_that_comes_back_is_told_again() -> None:
    async with Gated(MemoryEngine()) as gated:
        scan = Scan(living(), gated)
        await scan.cycle()
        gated.engine.databases["acme"] = OURS
        await scan.cycle()
        del gated.engine.databases["acme"]
        assert await scan.cycle() == [key.data_cluster("acme")]


async def test_a_difference_that_comes_back_after_its_repair_is_told_by_the_next_survey() -> None:
    async with Gated(MemoryEngine()) as gated:
        scan = Scan(living(), gated)
        await scan.cycle()
        scan.scan.repaired(gen.record(), EngineName.POSTGRES)
        assert await scan.cycle() == [key.data_cluster("acme")]
        assert await scan.cycle() == []


@pytest.mark.parametrize(
    ("record", "engine"),
    [
        (gen.record(uid="u-dc-globex"), EngineName.POSTGRES),
        (gen.record(plane="west"), EngineName.POSTGRES),
        (gen.record(), EngineName.SEARCH),
    ],
    ids=["another data cluster", "another plane", "another engine"],
)
async def test_a_repair_elsewhere_is_no_reason_to_tell_again(record: Record, engine: EngineName) -> None:
    async with Gated(MemoryEngine()) as gated:
        scan = Scan(living(), gated)
        await scan.cycle()
        scan.scan.repaired(record, engine)
        assert await scan.cycle() == []


async def test_what_a_survey_read_before_a_repair_is_not_told_and_does_not_hide_what_comes_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Gated(MemoryEngine()) as gated:
        scan = Scan(living(), gated)

        async def overtaken() -> Mapping[str, str]:
            found = await MemoryEngine.survey(gated.engine)
            scan.scan.repaired(gen.record(), EngineName.POSTGRES)
            return found

        await scan.cycle()
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(gated.engine, "survey", overtaken)
            assert await scan.cycle() == []
        assert await scan.cycle() == [key.data_cluster("acme")]


async def test_what_was_changed_before_a_survey_and_written_down_during_it_is_no_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    suspended = Database(OURS.stamp, open=False)
    async with Gated(MemoryEngine(databases={"acme": suspended})) as gated:
        view = living()
        scan = Scan(view, gated)
        scan.scan.repaired(gen.record(), EngineName.POSTGRES)

        async def written_meanwhile() -> Mapping[str, str]:
            found = await MemoryEngine.survey(gated.engine)
            cut = gen.outline(fingerprints={EngineName.POSTGRES: "acme cut"})
            view.apply_child("MODIFIED", gen.record_child(cut, version="11"))
            return found

        monkeypatch.setattr(gated.engine, "survey", written_meanwhile)
        assert await scan.cycle() == []
        gated.engine.databases["acme"] = OURS
        assert await scan.cycle() == [key.data_cluster("acme")]


KEPT = gen.outline(retained_at=RETAINED, fingerprints={EngineName.POSTGRES: "acme cut"})


async def test_retained_data_that_came_open_is_told_by_its_uid_and_once() -> None:
    async with Gated(MemoryEngine(databases={"acme": OURS})) as gated:
        scan = Scan(gen.world(KEPT), gated)
        assert await scan.cycle() == [key.retained_data("u-dc-acme")]
        assert await scan.cycle() == []


async def test_of_retained_data_that_is_shut_nothing_is_told() -> None:
    async with Gated(MemoryEngine(databases={"acme": Database(OURS.stamp, open=False)})) as gated:
        assert await Scan(gen.world(KEPT), gated).cycle() == []


async def test_retained_data_is_told_beside_a_namesake_on_another_plane() -> None:
    view = gen.world(KEPT, gen.cluster(plane="west", metadata={"uid": "u-later"}))
    async with Gated(MemoryEngine(databases={"acme": OURS})) as gated:
        assert await Scan(view, gated).cycle() == [key.retained_data("u-dc-acme")]


async def test_what_lies_on_another_plane_is_not_missed_here() -> None:
    view = gen.world(gen.cluster(plane="west"), gen.outline(plane="west"))
    async with Gated(MemoryEngine()) as gated:
        assert await Scan(view, gated).cycle() == []


async def test_of_one_that_is_being_deleted_nothing_is_told() -> None:
    going = gen.cluster(metadata={"deletion_timestamp": "2026-11-22T12:00:00Z"})
    async with Gated(MemoryEngine()) as gated:
        assert await Scan(living(cluster=going), gated).cycle() == []


async def test_a_namesake_is_not_suspected_for_a_former_one() -> None:
    async with Gated(MemoryEngine()) as gated:
        assert await Scan(living(cluster=gen.cluster(metadata={"uid": "u-later"})), gated).cycle() == []


@pytest.mark.parametrize(
    "error", [Unavailable("down"), Refused("no right"), EngineError("?")], ids=["down", "refused", "other"]
)
async def test_a_survey_that_fails_makes_nobody_suspect(error: EngineError) -> None:
    async with Gated(MemoryEngine(fails=error)) as gated:
        assert await Scan(living(), gated).cycle() == []


async def test_an_engine_that_is_down_is_not_surveyed() -> None:
    async with Gated(MemoryEngine(fails=Unavailable("down"))) as gated:
        scan = Scan(living(), gated)
        await scan.cycle()
        calls = len(gated.engine.log)
        await scan.cycle()
        assert (gated.gate.is_open, len(gated.engine.log)) == (True, calls)


async def test_an_engine_that_is_not_in_use_is_not_surveyed() -> None:
    async with Gated(MemoryEngine()) as gated:
        await Scan(living(), gated).cycle(waiting(Reason.SECRET_MISSING, ""))
        assert gated.engine.log == []


def sweeping(view: View, cycles: int) -> tuple[DriftScan, list[Key]]:
    suspects: list[Key] = []
    scan = DriftScan(view, Planes(no_engine), suspects.append, nothing_read_ahead, cycles_per_sweep=cycles)
    return scan, suspects


def everybody(view: View) -> set[Key]:
    return {key.data_plane("default"), *(key.data_cluster(each.metadata.name) for each in view.clusters)}


@pytest.mark.parametrize(("clusters", "cycles"), [(1, 1), (1, 10), (7, 3), (10, 10), (25, 4), (3, 60)])
async def test_a_sweep_looks_at_everybody_in_its_cycles(clusters: int, cycles: int) -> None:
    view = gen.world(*(gen.cluster(f"c{n}") for n in range(clusters)))
    scan, suspects = sweeping(view, cycles)
    for _ in range(cycles):
        await scan.cycle()
    assert set(suspects) == everybody(view)


async def test_a_sweep_looks_at_retained_data_too_and_its_record_is_read_ahead() -> None:
    ahead: list[str] = []

    async def read(uids: Sequence[str]) -> None:
        ahead.extend(uids)

    suspects: list[Key] = []
    scan = DriftScan(gen.world(KEPT), Planes(no_engine), suspects.append, read, cycles_per_sweep=1)
    await scan.cycle()
    assert (suspects, ahead) == ([key.data_plane("default"), key.retained_data("u-dc-acme")], ["u-dc-acme"])


async def test_a_cycle_looks_at_its_share_alone() -> None:
    scan, suspects = sweeping(gen.world(*(gen.cluster(f"c{n}") for n in range(99))), 10)
    await scan.cycle()
    assert len(suspects) == 10


async def test_records_of_a_cycle_are_read_ahead_together_before_anybody_is_looked_at() -> None:
    events: list[object] = []

    async def read(uids: Sequence[str]) -> None:
        events.append(sorted(uids))

    view = gen.world(gen.cluster("a"), gen.cluster("b"))
    await DriftScan(view, Planes(no_engine), events.append, read, cycles_per_sweep=1).cycle()
    assert events[0] == ["u-dc-a", "u-dc-b"]
    assert {str(each) for each in events[1:]} == {
        str(each) for each in (key.data_plane("default"), key.data_cluster("a"), key.data_cluster("b"))
    }


async def test_a_sweep_goes_on_where_records_can_not_be_read_ahead() -> None:
    async def refuse(_: Sequence[str]) -> None:
        raise Forbidden("not by this role")

    suspects: list[Key] = []
    scan = DriftScan(gen.world(gen.cluster()), Planes(no_engine), suspects.append, refuse, cycles_per_sweep=1)
    await scan.cycle()
    assert key.data_cluster("acme") in suspects


async def test_a_sweep_begins_again() -> None:
    scan, suspects = sweeping(gen.world(gen.cluster()), 1)
    await scan.cycle()
    await scan.cycle()
    assert suspects.count(key.data_cluster("acme")) == 2


async def test_what_came_later_is_looked_at_in_the_next_sweep() -> None:
    view = gen.world(gen.cluster())
    scan, suspects = sweeping(view, 2)
    await scan.cycle()
    gen.show(view, gen.cluster("later"))
    for _ in range(4):
        await scan.cycle()
    assert key.data_cluster("later") in suspects


async def test_with_nothing_to_look_at_a_cycle_does_nothing() -> None:
    scan, suspects = sweeping(gen.view(), 10)
    await scan.cycle()
    assert suspects == []
