"""What is kept of a DataCluster that is gone: it stays shut."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from bulkhead.api.record import EngineName, Record
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.errors import Refused, Unavailable
from bulkhead.kube.resources import SECRETS
from bulkhead.reconcile import key
from bulkhead.reconcile.deps import DONE, RETRY, Outcome
from bulkhead.reconcile.dispatch import Reconciler
from bulkhead.reconcile.planes import OpenPlane
from bulkhead.reconcile.retained import NOT_CUT
from tests.unit.reconcile import gen
from tests.unit.reconcile.desk import Desk
from tests.unit.reconcile.memory_engine import Database, Gated, MemoryEngine

UID = "u-dc-acme"
OURS = Database("bulkhead:here:u-dc-acme")
SHUT = Database(OURS.stamp, open=False)
RETAINED = "2026-01-01T00:00:00Z"


@pytest.fixture
async def gated() -> AsyncIterator[Gated]:
    """A server that was restored to the days before the deletion."""
    async with Gated(MemoryEngine(databases={"acme": OURS})) as gated:
        yield gated


async def kept(gated: Gated, *, fingerprint: str = "acme cut", **fields: Any) -> Desk:
    """Retained data on the server, and nothing else of its DataCluster."""
    desk = Desk.of(gen.plan(), gen.plane())
    blank = gen.credential(value=Sensitive(""))
    held = gen.holding(fingerprint=fingerprint, credentials=(blank,))
    record = gen.record(**{"holdings": {EngineName.POSTGRES: held}, "retained_at": RETAINED, **fields})
    draft = desk.deps.records.draft(record)
    draft.outline = record.outline(settled="", children="", status="")
    await draft.save()
    desk.kube.writes.clear()
    engines = {EngineName.POSTGRES: gated.opened}
    await desk.deps.planes.publish("default", OpenPlane(gen.uid_of("default"), "v-1", engines, engines))
    return desk


async def look(desk: Desk) -> Outcome:
    return await Reconciler(desk.deps)(key.retained_data(UID))


async def fingerprint(desk: Desk) -> str:
    record = await desk.deps.records.load(Record, UID)
    assert record is not None
    return record.record.holding(EngineName.POSTGRES).fingerprint


async def test_what_came_open_is_cut_again_and_told(gated: Gated, capsys: pytest.CaptureFixture[str]) -> None:
    desk = await kept(gated)
    assert await look(desk) == DONE
    assert gated.engine.databases == {"acme": SHUT}
    assert desk.repairs == [(UID, EngineName.POSTGRES)]
    assert "retained_access_cut_again" in capsys.readouterr().out


async def test_what_is_shut_is_looked_at_and_left_alone(gated: Gated, capsys: pytest.CaptureFixture[str]) -> None:
    gated.engine.databases["acme"] = SHUT
    desk = await kept(gated)
    assert await look(desk) == DONE
    assert (gated.engine.log, desk.kube.writes, desk.repairs, capsys.readouterr().out) == (["look"], [], [], "")


@pytest.mark.parametrize("known", ["acme open", NOT_CUT], ids=["of an earlier release", "given up"])
async def test_what_surveys_should_show_is_written_down_where_it_was_not(gated: Gated, known: str) -> None:
    desk = await kept(gated, fingerprint=known)
    await look(desk)
    assert await fingerprint(desk) == "acme cut"
    outline = desk.view.outline(UID)
    assert outline is not None
    assert (outline.fingerprints, outline.retained_at) == ({EngineName.POSTGRES: "acme cut"}, RETAINED)


async def test_what_can_not_be_shut_is_told_and_tried_again(gated: Gated, capsys: pytest.CaptureFixture[str]) -> None:
    gated.engine.fails, gated.engine.fails_at = Refused("no right"), "SetAccess"
    desk = await kept(gated)
    assert await look(desk) == RETRY
    shown = capsys.readouterr().out
    assert ("retained_access_not_cut" in shown, "no right" in shown, desk.repairs) == (True, True, [])


async def test_it_waits_for_an_engine_that_is_down_without_asking_again(gated: Gated) -> None:
    gated.engine.fails = Unavailable("down")
    desk = await kept(gated)
    assert (await look(desk), gated.gate.parked) == (DONE, 1)


async def test_on_another_server_nothing_is_written_and_nothing_waited_for(gated: Gated) -> None:
    gated.engine.identity = "server-2"
    desk = await kept(gated)
    assert await look(desk) == DONE
    assert gated.engine.databases == {"acme": OURS}


async def test_who_lives_is_no_retained_data(gated: Gated) -> None:
    assert await look(await kept(gated, retained_at="")) == DONE
    assert gated.engine.databases == {"acme": OURS}


async def test_of_what_was_cleared_up_nothing_is_wanted(gated: Gated) -> None:
    desk = await kept(gated)
    await desk.kube.delete(SECRETS, f"record-{UID}", gen.NAMESPACE)
    assert await look(desk) == DONE
    assert gated.engine.log == []


async def test_a_record_that_can_not_be_read_is_tried_again(gated: Gated) -> None:
    desk = await kept(gated)
    await desk.kube.merge_patch(SECRETS, f"record-{UID}", {"data": {"record": "bm8gcmVjb3Jk"}}, gen.NAMESPACE)
    assert await look(desk) == RETRY
