"""Where records rest, and what may be known of them without reading a secret."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from bulkhead.api import labels
from bulkhead.api.record import EngineName, PlaneRecord, Record
from bulkhead.kube.errors import AlreadyExists, Conflict
from bulkhead.kube.resources import SECRETS, Resource
from bulkhead.reconcile.records import OpenRecord, Records, outline_in
from tests.unit.reconcile import gen
from tests.unit.reconcile.memory_kube import MemoryKube

NAME = "record-u-dc-acme"


class CountingKube(MemoryKube):
    """Counts single reads."""

    reads = 0

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> dict[str, Any]:
        self.reads += 1
        return await super().get(resource, name, namespace)


class Shelf:
    """Records over an API server in memory."""

    def __init__(self) -> None:
        self.kube = CountingKube()
        self.told: list[str] = []
        self.removed: list[str] = []
        self.records = Records(
            self.kube,
            gen.NAMESPACE,
            on_write=lambda secret: self.told.append(_name(secret)),
            on_remove=self.removed.append,
            newest=self.version,
        )

    def secret(self, name: str = NAME) -> Any:
        return self.kube.stored(SECRETS, name, gen.NAMESPACE)

    def version(self, name: str) -> str:
        secret = self.secret(name)
        return secret["metadata"]["resourceVersion"] if secret else ""

    async def saved(self, record: Record | None = None, *, settled: str = "") -> OpenRecord[Record]:
        opened = self.records.draft(record or gen.record())
        opened.outline = opened.record.outline(settled=settled, children="", status="")
        await opened.save()
        return opened

    async def loaded(self) -> OpenRecord[Record]:
        found = await self.records.load(Record, "u-dc-acme")
        assert found is not None
        return found


def _name(secret: dict[str, Any]) -> str:
    return str(secret["metadata"]["name"])


async def test_what_was_never_written_is_none() -> None:
    assert await Shelf().records.load(Record, "u-dc-acme") is None


async def test_a_draft_rests_nowhere() -> None:
    shelf = Shelf()
    shelf.records.draft(gen.record())
    assert shelf.kube.writes == []


async def test_a_record_is_read_as_it_was_written() -> None:
    shelf = Shelf()
    await shelf.saved()
    assert (await shelf.loaded()).record == gen.record()


async def test_a_secret_survives_the_way_there_and_back() -> None:
    shelf = Shelf()
    await shelf.saved()
    credential = (await shelf.loaded()).record.holding(EngineName.POSTGRES).published
    assert credential is not None
    assert credential.value.reveal() == gen.PASSWORD


async def test_an_outline_is_read_as_it_was_written() -> None:
    shelf = Shelf()
    written = await shelf.saved(settled="d-1")
    assert (await shelf.loaded()).outline == written.outline


async def test_no_secret_stands_outside_data() -> None:
    shelf = Shelf()
    await shelf.saved()
    secret = dict(shelf.secret())
    del secret["data"]
    shown = msgspec.json.encode(secret)
    assert gen.PASSWORD.encode() not in shown
    assert base64.b64encode(gen.PASSWORD.encode()) not in shown


async def test_a_record_is_labelled_for_the_watch_of_metadata() -> None:
    shelf = Shelf()
    await shelf.saved()
    assert shelf.secret()["metadata"]["labels"] == {
        labels.RECORD: labels.RECORD_DATA_CLUSTER,
        labels.INSTALLATION: gen.INSTALLATION,
        labels.DATA_CLUSTER: "acme",
        labels.DATA_CLUSTER_UID: "u-dc-acme",
    }


async def test_what_did_not_change_is_not_written() -> None:
    shelf = Shelf()
    await shelf.saved()
    await (await shelf.loaded()).save()
    assert len(shelf.kube.writes) == 1


async def test_saving_twice_writes_once() -> None:
    shelf = Shelf()
    await (await shelf.saved()).save()
    assert len(shelf.kube.writes) == 1


async def test_a_new_outline_alone_is_written() -> None:
    shelf = Shelf()
    opened = await shelf.saved()
    opened.outline = opened.record.outline(settled="d-2", children="", status="")
    await opened.save()
    found = (await shelf.loaded()).outline
    assert found is not None
    assert found.settled == "d-2"


async def test_every_write_is_told_ahead_of_the_watch() -> None:
    shelf = Shelf()
    opened = await shelf.saved()
    opened.record = gen.record(retained_at="2026-01-01T00:00:00Z")
    await opened.save()
    assert shelf.told == [NAME, NAME]


async def test_of_two_that_write_first_the_second_loses() -> None:
    shelf = Shelf()
    await shelf.saved()
    with pytest.raises(AlreadyExists):
        await shelf.saved(gen.record(tenant="globex"))


async def test_who_loses_knows_of_the_record_before_the_watch_shows_it() -> None:
    shelf = Shelf()
    await shelf.saved()
    with pytest.raises(AlreadyExists):
        await shelf.saved(gen.record(tenant="globex"))
    assert shelf.told == [NAME, NAME]


async def test_of_two_that_change_it_the_second_loses() -> None:
    shelf = Shelf()
    await shelf.saved()
    first, second = await shelf.loaded(), await shelf.loaded()
    first.record = gen.record(retained_at="2026-01-01T00:00:00Z")
    await first.save()
    second.record = gen.record(retained_at="2026-02-02T00:00:00Z")
    with pytest.raises(Conflict):
        await second.save()


async def test_a_record_is_forgotten_when_it_is_removed() -> None:
    shelf = Shelf()
    await (await shelf.saved()).remove()
    assert (shelf.secret(), shelf.removed) == (None, [NAME])


async def test_a_record_that_somebody_changed_is_not_removed() -> None:
    shelf = Shelf()
    await shelf.saved()
    first, second = await shelf.loaded(), await shelf.loaded()
    first.record = gen.record(retained_at="2026-01-01T00:00:00Z")
    await first.save()
    with pytest.raises(Conflict):
        await second.remove()
    assert shelf.removed == []


async def test_a_planes_record_rests_beside_the_others() -> None:
    shelf = Shelf()
    await shelf.records.draft(gen.plane_record()).save()
    found = await shelf.records.load(PlaneRecord, gen.uid_of("default"))
    assert found is not None
    assert found.record == gen.plane_record()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"uid": 1}', "null", '{"uid": "u"}'])
def test_an_outline_that_can_not_be_read_is_none(text: str) -> None:
    assert outline_in({labels.OUTLINE: text}) is None


def test_a_missing_outline_is_none() -> None:
    assert outline_in({}) is None


async def test_what_of_a_record_can_not_be_outlined_is_written_anew() -> None:
    shelf = Shelf()
    await shelf.saved()
    del shelf.secret()["metadata"]["annotations"]
    opened = await shelf.loaded()
    opened.outline = opened.record.outline(settled="", children="", status="")
    await opened.save()
    assert labels.OUTLINE in shelf.secret()["metadata"]["annotations"]


def test_an_outline_tells_what_surveys_should_show() -> None:
    assert gen.outline().fingerprints == {EngineName.POSTGRES: "print-1"}


def test_an_engine_that_was_never_complete_should_show_nothing() -> None:
    record = gen.record(holdings={EngineName.POSTGRES: gen.holding(fingerprint="")})
    assert record.outline(settled="", children="", status="").fingerprints == {}


def test_an_outline_tells_the_first_renewal() -> None:
    def renewed(at: int) -> Any:
        return gen.holding(credentials=(gen.credential(renew_at=at),))

    record = gen.record(
        holdings={EngineName.POSTGRES: renewed(0), EngineName.VECTORS: renewed(300), EngineName.SEARCH: renewed(200)}
    )
    assert record.outline(settled="", children="", status="").renew_at == 200


def test_no_secret_stands_in_an_outline() -> None:
    assert gen.PASSWORD.encode() not in msgspec.json.encode(gen.outline())


async def test_a_record_that_was_read_ahead_is_loaded_without_asking_once() -> None:
    shelf = Shelf()
    await shelf.saved()
    await shelf.records.read_ahead(["u-dc-acme", "u-dc-globex"])
    assert ((await shelf.loaded()).record, shelf.kube.reads) == (gen.record(), 0)
    assert ((await shelf.loaded()).record, shelf.kube.reads) == (gen.record(), 1)


async def test_a_record_that_was_read_ahead_can_be_changed() -> None:
    shelf = Shelf()
    await shelf.saved()
    await shelf.records.read_ahead(["u-dc-acme"])
    opened = await shelf.loaded()
    opened.record = gen.record(retained_at="2026-01-01T00:00:00Z")
    await opened.save()
    assert (await shelf.loaded()).record.retained_at == "2026-01-01T00:00:00Z"


async def test_a_record_that_was_written_since_it_was_read_ahead_is_read_again() -> None:
    shelf = Shelf()
    opened = await shelf.saved()
    await shelf.records.read_ahead(["u-dc-acme"])
    opened.record = gen.record(retained_at="2026-01-01T00:00:00Z")
    await opened.save()
    assert (await shelf.loaded()).record.retained_at == "2026-01-01T00:00:00Z"


async def test_a_record_that_went_since_it_was_read_ahead_is_none() -> None:
    shelf = Shelf()
    opened = await shelf.saved()
    await shelf.records.read_ahead(["u-dc-acme"])
    await opened.remove()
    assert await shelf.records.load(Record, "u-dc-acme") is None


async def test_what_was_read_ahead_is_forgotten_at_the_next_time() -> None:
    shelf = Shelf()
    await shelf.saved()
    await shelf.records.read_ahead(["u-dc-acme"])
    await shelf.records.read_ahead([])
    await shelf.loaded()
    assert shelf.kube.reads == 1


async def test_as_many_records_as_there_are_can_be_read_ahead() -> None:
    shelf = Shelf()
    slugs = [f"t{number}" for number in range(250)]
    for slug in slugs:
        await shelf.saved(gen.record(slug))
    await shelf.records.read_ahead([f"u-dc-{slug}" for slug in slugs])
    for slug in slugs:
        assert await shelf.records.load(Record, f"u-dc-{slug}") is not None
    assert shelf.kube.reads == 0
