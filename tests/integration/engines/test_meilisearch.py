"""The Meilisearch engine against a server: from nothing to indexes, through drift, cuts and crashes, to nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest
import pytest_asyncio

from bulkhead.api.ownership import Stamp
from bulkhead.api.record import Holding
from bulkhead.engines.contract import Conflict, DataMissing, EngineChanged, ServerRequest
from bulkhead.engines.errors import Insecure, Refused, Unavailable
from bulkhead.engines.meilisearch.api import MeilisearchApi
from bulkhead.engines.meilisearch.decide import Owner
from bulkhead.engines.meilisearch.engine import MeilisearchEngine
from bulkhead.engines.meilisearch.keys import ACTIONS, key_uid
from bulkhead.engines.meilisearch.steps import ConfigureIndex, CreateIndex, StampIndexes
from hack.plane.certificates import Authority
from hack.plane.search import Meilisearch as Server
from tests.integration.engines.cost import Tally
from tests.integration.engines.journeys import EVERY_JOURNEY, Ground, Journey
from tests.integration.engines.meilisearch_server import Client, engine_of, inventory, restart, running_server, sweep
from tests.integration.engines.tenant import INSTALLATION, PLANE, Tenant, prepare

ENTRIES, DATASETS, NOTES = "acme_entries", "acme_datasets", "acme_notes"
REGISTER = "bulkhead_register"
REFUSED = 403


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> AsyncIterator[Server]:
    async with running_server() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def admin(server: Server) -> AsyncIterator[Client]:
    async with Client(server, server.master_key) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def engine(server: Server, admin: Client) -> AsyncIterator[MeilisearchEngine]:
    """On a server that holds nothing but the operator's own."""
    async with engine_of(server) as opened:
        await prepare(opened)
        yield opened
        await sweep(admin)


def key(tenant: Tenant) -> str:
    return tenant.binding["api-key"]


async def test_a_server_takes_the_proposed_identity_once(engine: MeilisearchEngine) -> None:
    assert await prepare(engine, proposal="another") == "the-identity"


async def test_the_leak_of_attributes_is_named_with_what_closes_it(engine: MeilisearchEngine) -> None:
    request = ServerRequest(stamp=PLANE, holding=Holding(), proposal="x")
    found = engine.server_of(await engine.observe_server(request))
    assert "facetsByIndex" in found.advisories[0]


@pytest.mark.parametrize(
    ("document", "owner"),
    [
        ({"id": "server", "stamp": "bulkhead:other:uid", "identity": "x"}, "installation other, UID uid"),
        ({"id": "something"}, "it bears no stamp"),
    ],
)
async def test_a_register_of_somebody_else_is_left_alone(
    server: Server, admin: Client, document: dict[str, str], owner: str
) -> None:
    await admin.done("POST", f"/indexes/{REGISTER}/documents?primaryKey=id", [document])
    before = await inventory(admin)
    async with engine_of(server) as engine:
        request = ServerRequest(stamp=PLANE, holding=Holding(), proposal="x")
        decision = engine.decide_server(request, await engine.observe_server(request))
    assert decision == Conflict("index", REGISTER, owner)
    assert await inventory(admin) == before
    await sweep(admin)


async def test_a_server_that_is_not_prepared_takes_no_tenant(server: Server) -> None:
    async with engine_of(server) as engine:
        with pytest.raises(Unavailable, match="not prepared"):
            await Tenant(engine, "acme").look()


async def test_a_server_with_foreign_keys_is_insecure_until_they_are_off(
    engine: MeilisearchEngine, admin: Client
) -> None:
    await admin.ask("PATCH", "/experimental-features", {"foreignKeys": True})
    with pytest.raises(Insecure, match="foreignKeys"):
        await prepare(engine)
    await admin.ask("PATCH", "/experimental-features", {"foreignKeys": False})
    await prepare(engine)


async def test_a_server_that_is_too_old_is_insecure() -> None:
    async with running_server() as old_server:
        if not old_server.emulated:
            pytest.skip("a real server tells its own version")
        await restart(old_server, "--report-version=1.48.2", master_key=old_server.master_key)
        async with engine_of(old_server) as engine:
            with pytest.raises(Insecure, match=r"1\.48\.3 or later"):
                await prepare(engine)


async def test_a_server_without_a_master_key_is_insecure() -> None:
    async with running_server() as open_server:
        if not open_server.emulated:
            pytest.skip("a real server does not start like that in production")
        await restart(open_server, master_key="")
        async with engine_of(open_server) as engine:
            with pytest.raises(Insecure, match="master key"):
                await prepare(engine)


async def test_an_admin_key_in_place_of_the_master_key_is_refused(server: Server, admin: Client) -> None:
    listed = (await admin.ask("GET", "/keys?limit=1000")).body["results"]
    admin_key = next(each["key"] for each in listed if each["actions"] == ["*"])
    async with engine_of(server, master_key=admin_key) as engine:
        with pytest.raises(Refused, match="master-key"):
            await prepare(engine)


async def test_a_wrong_key_is_refused_with_the_way_out(server: Server) -> None:
    async with engine_of(server, master_key="w" * 40) as engine:
        for call in (prepare(engine), engine.ping()):
            with pytest.raises(Refused, match="adminSecretRef"):
                await call


async def test_a_certificate_of_another_ca_is_refused_with_the_way_out(server: Server) -> None:
    stranger = Authority("stranger", datetime.now(UTC)).certificate
    async with engine_of(server, ca_pem=stranger) as engine:
        with pytest.raises(Refused, match="caSecretRef"):
            await engine.ping()


async def test_a_tenant_is_complete_after_one_round_and_its_key_opens_its_indexes(
    server: Server, engine: MeilisearchEngine
) -> None:
    tenant = await Tenant.ready(engine)
    assert await tenant.steps() == ()
    async with Client(server, key(tenant)) as client:
        await client.add(ENTRIES, id="1", title="hello", dataset="d1")
        found = await client.search(ENTRIES, q="hello", filter='dataset = "d1"', sort=["created:asc"])
    assert [hit["id"] for hit in found.body["hits"]] == ["1"]


async def test_the_binding_is_complete_for_any_client(server: Server, engine: MeilisearchEngine) -> None:
    binding = (await Tenant.ready(engine)).binding
    assert len(binding.pop("api-key")) == 64
    assert binding == {
        "type": "meilisearch",
        "provider": "meilisearch",
        "uri": server.url,
        "host": "127.0.0.1",
        "port": server.url.rpartition(":")[2],
        "tls": "true",
        "indexes": f"{ENTRIES},{DATASETS}",
        "primary-key": "id",
        "ca.crt": server.ca_pem,
    }


async def test_the_key_lists_its_indexes_and_actions_and_bears_the_stamp(
    engine: MeilisearchEngine, admin: Client
) -> None:
    tenant = await Tenant.ready(engine)
    (made,) = await admin.keys()
    assert made["uid"] == key_uid(tenant.request.stamp, 1)
    assert made["key"] == key(tenant)
    assert made["name"] == f"bulkhead:{INSTALLATION}:uid-of-acme"
    assert (sorted(made["indexes"]), sorted(made["actions"])) == ([DATASETS, ENTRIES], sorted(ACTIONS))


async def test_no_step_and_no_log_line_shows_a_key(server: Server, engine: MeilisearchEngine) -> None:
    tenant = Tenant(engine, "acme")
    shown = " ".join(f"{step} {step!r}" for step in await tenant.steps())
    await tenant.settle()
    for text in (shown, server.log_file.read_text(), repr(tenant.request), repr(engine)):
        assert key(tenant) not in text
        assert server.master_key not in text


OF_AN_INDEX: dict[str, tuple[str, str, object]] = {
    "info": ("GET", "/indexes/{}", None),
    "search": ("POST", "/indexes/{}/search", {"q": ""}),
    "search by query": ("GET", "/indexes/{}/search?q=", None),
    "facet search": ("POST", "/indexes/{}/facet-search", {"facetName": "dataset"}),
    "multi-search": ("POST", "/multi-search", {"queries": [{"indexUid": "{}", "q": ""}]}),
    "federated search": ("POST", "/multi-search", {"federation": {}, "queries": [{"indexUid": "{}", "q": ""}]}),
    "list documents": ("GET", "/indexes/{}/documents", None),
    "fetch documents": ("POST", "/indexes/{}/documents/fetch", {}),
    "read a document": ("GET", "/indexes/{}/documents/1", None),
    "add documents": ("POST", "/indexes/{}/documents", [{"id": "1"}]),
    "update documents": ("PUT", "/indexes/{}/documents", [{"id": "1"}]),
    "delete a document": ("DELETE", "/indexes/{}/documents/2", None),
    "delete documents": ("DELETE", "/indexes/{}/documents", None),
    "rename": ("PATCH", "/indexes/{}", {"uid": "nobodys_index"}),
    "create": ("POST", "/indexes", {"uid": "{}"}),
    "delete": ("DELETE", "/indexes/{}", None),
    "swap": ("POST", "/swap-indexes", [{"indexes": ["{}", "{}"]}]),
    "stats": ("GET", "/indexes/{}/stats", None),
    "settings": ("GET", "/indexes/{}/settings", None),
    "change settings": ("PATCH", "/indexes/{}/settings", {"stopWords": ["the"]}),
    "embedders": ("PATCH", "/indexes/{}/settings/embedders", {}),
    "tasks": ("GET", "/tasks?indexUids={}", None),
}
OWN_REFUSED = {
    "rename", "create", "delete", "swap", "stats", "settings", "change settings", "embedders", "tasks",
}  # fmt: skip
"""What not even the own index allows: it would take a name, stall the queue of all, or count others' tasks."""
OF_THE_SERVER = {
    "tasks": ("GET", "/tasks"),
    "batches": ("GET", "/batches"),
    "stats": ("GET", "/stats"),
    "version": ("GET", "/version"),
    "keys": ("GET", "/keys"),
    "features": ("GET", "/experimental-features"),
    "metrics": ("GET", "/metrics"),
    "dump": ("POST", "/dumps"),
    "snapshot": ("POST", "/snapshots"),
    "network": ("GET", "/network"),
    "cancel": ("POST", "/tasks/cancel?uids=*"),
    "forget": ("DELETE", "/tasks?uids=*"),
}


def named(template: object, index: str) -> object:
    """`template` with the index in every place that is meant for it."""
    match template:
        case str():
            return template.replace("{}", index)
        case list():
            return [named(each, index) for each in template]
        case dict():
            return {field: named(value, index) for field, value in template.items()}
        case _:
            return template


async def statuses(client: Client, index: str) -> dict[str, int]:
    """What the server answers to each attempt on an index."""
    answers = {}
    for attempt, (method, path, body) in OF_AN_INDEX.items():
        answers[attempt] = (await client.ask(method, path.replace("{}", index), named(body, index))).status
    return answers


@pytest.mark.parametrize(("slug", "other"), [("a", "ab"), ("ab", "a")])
async def test_no_tenant_reaches_a_neighbour_or_the_register_even_where_names_share_a_prefix(
    server: Server, engine: MeilisearchEngine, slug: str, other: str
) -> None:
    tenant = await Tenant.ready(engine, slug)
    await Tenant.ready(engine, other)
    async with Client(server, key(tenant)) as client:
        for foreign in (f"{other}_entries", f"{slug}_others", REGISTER):
            assert await statuses(client, foreign) == dict.fromkeys(OF_AN_INDEX, REFUSED)


async def test_a_tenant_reads_writes_and_searches_its_own_and_no_more(
    server: Server, engine: MeilisearchEngine
) -> None:
    tenant = await Tenant.ready(engine)
    async with Client(server, key(tenant)) as client:
        await client.add(ENTRIES, id="1")
        answers = await statuses(client, ENTRIES)
    assert {attempt for attempt, status in answers.items() if status == REFUSED} == OWN_REFUSED
    assert {status for attempt, status in answers.items() if attempt not in OWN_REFUSED} == {200, 202}


async def test_no_tenant_reaches_what_belongs_to_the_server(server: Server, engine: MeilisearchEngine) -> None:
    tenant = await Tenant.ready(engine)
    async with Client(server, key(tenant)) as client:
        answers = {what: (await client.ask(*request)).status for what, request in OF_THE_SERVER.items()}
    assert answers == dict.fromkeys(OF_THE_SERVER, REFUSED)


async def test_a_tenant_sees_only_its_own_indexes_listed(server: Server, engine: MeilisearchEngine) -> None:
    tenant = await Tenant.ready(engine, "a")
    await Tenant.ready(engine, "ab")
    async with Client(server, key(tenant)) as client:
        assert await client.indexes() == {"a_entries", "a_datasets"}


async def test_a_cut_ends_the_key_at_once_and_resuming_is_the_reverse(
    server: Server, engine: MeilisearchEngine
) -> None:
    tenant = await Tenant.ready(engine)
    async with Client(server, key(tenant)) as client:
        await client.add(ENTRIES, id="1", title="hello")
        await tenant.cut()
        assert (await client.search(ENTRIES, q="hello")).status == REFUSED
        await tenant.open()
        assert len((await client.search(ENTRIES, q="hello")).body["hits"]) == 1


async def test_an_index_that_lost_its_stamp_is_erased_once_it_has_it_back(
    engine: MeilisearchEngine, admin: Client
) -> None:
    tenant = await Tenant.ready(engine)
    document = (await admin.ask("GET", f"/indexes/{REGISTER}/documents/{ENTRIES}")).body
    await admin.done("POST", f"/indexes/{REGISTER}/documents/delete-batch", [ENTRIES])
    with pytest.raises(AssertionError, match="Conflict"):
        await tenant.erase()
    assert await admin.indexes() == {REGISTER, ENTRIES}
    await admin.done("POST", f"/indexes/{REGISTER}/documents", [document])
    await tenant.erase()
    assert await admin.indexes() == {REGISTER}


async def test_a_cut_of_one_leaves_the_other_alone(server: Server, engine: MeilisearchEngine) -> None:
    one, other = await Tenant.ready(engine, "a"), await Tenant.ready(engine, "ab")
    await one.cut()
    async with Client(server, key(other)) as client:
        assert (await client.search("ab_entries", q="")).status == 200


async def test_two_generations_work_side_by_side_and_the_retired_one_ends(
    server: Server, engine: MeilisearchEngine
) -> None:
    tenant = await Tenant.ready(engine)
    first = key(tenant)
    tenant.rotate()
    await tenant.settle()
    async with Client(server, first) as old, Client(server, key(tenant)) as new:
        assert (await old.search(ENTRIES, q="")).status == 200
        assert (await new.search(ENTRIES, q="")).status == 200
        tenant.retire()
        await tenant.settle()
        assert (await old.search(ENTRIES, q="")).status == REFUSED
        assert (await new.search(ENTRIES, q="")).status == 200


async def with_an_older_copy_of_the_record(engine: MeilisearchEngine) -> tuple[Tenant, str]:
    """A tenant whose record was put back to before its key was rotated, and the key that it does not know."""
    tenant = await Tenant.ready(engine)
    older = tenant.request
    tenant.rotate()
    await tenant.settle()
    unknown, tenant.request = key(tenant), older
    return tenant, unknown


async def test_a_cut_finds_a_key_that_an_older_copy_of_the_record_does_not_know(
    server: Server, engine: MeilisearchEngine
) -> None:
    tenant, unknown = await with_an_older_copy_of_the_record(engine)
    await tenant.cut()
    async with Client(server, unknown) as client:
        assert (await client.search(ENTRIES, q="")).status == REFUSED


async def test_another_master_key_gives_new_values_to_the_same_keys() -> None:
    async with running_server() as other_server:
        async with engine_of(other_server) as engine:
            await prepare(engine)
            tenant = await Tenant.ready(engine)
        former = tenant.request.holding.credentials[0]
        other_server.master_key = "another-master-key-0123456789"
        await restart(other_server, master_key=other_server.master_key)
        async with engine_of(other_server) as engine:
            tenant.engine = engine
            assert await tenant.settle() == 0
            issued = tenant.request.holding.credentials[0]
            assert (issued.identity, issued.generation) == (former.identity, former.generation)
            async with Client(other_server, former.value.reveal()) as old:
                assert (await old.search(ENTRIES, q="")).status == REFUSED
            async with Client(other_server, issued.value.reveal()) as new:
                assert (await new.search(ENTRIES, q="")).status == 200


async def test_an_index_of_somebody_else_is_never_touched(engine: MeilisearchEngine, admin: Client) -> None:
    await admin.done("POST", f"/indexes/{ENTRIES}/documents?primaryKey=id", [{"id": "1"}])
    before, tasks = await inventory(admin), await admin.count_tasks(ENTRIES)
    tenant = Tenant(engine, "acme", indexes=("entries",))
    tenant.hold(claimed=(f"index/{ENTRIES}",))
    assert await tenant.look() == Conflict("index", ENTRIES, "it bears no stamp")
    assert await tenant.removal() == ()
    assert (await inventory(admin), await admin.count_tasks(ENTRIES)) == (before, tasks)


async def test_an_index_that_is_stamped_for_another_data_cluster_is_a_conflict(engine: MeilisearchEngine) -> None:
    await Tenant.ready(engine, uid="one")
    assert await Tenant(engine, "acme", uid="two").look() == Conflict(
        "index", DATASETS, f"installation {INSTALLATION}, UID one"
    )


async def test_an_index_made_and_filled_by_another_in_the_same_moment_does_not_become_ours(
    engine: MeilisearchEngine, admin: Client
) -> None:
    tenant = Tenant(engine, "acme", indexes=("entries",))
    create = (await tenant.steps())[0]
    assert isinstance(create, CreateIndex)
    await admin.done("POST", f"/indexes/{ENTRIES}/documents?primaryKey=id", [{"id": "1"}])
    with pytest.raises(Refused, match="same moment"):
        await engine.act(create)


async def test_an_empty_unstamped_index_made_after_the_claim_heals(engine: MeilisearchEngine, admin: Client) -> None:
    tenant = Tenant(engine, "acme")
    await tenant.look()
    await admin.done("POST", "/indexes", {"uid": ENTRIES, "primaryKey": "id"})
    await tenant.settle()
    document = (await admin.ask("GET", f"/indexes/{REGISTER}/documents/{ENTRIES}")).body
    assert document["stamp"] == str(tenant.request.stamp)


async def test_an_index_that_was_provisioned_and_is_gone_is_missing(engine: MeilisearchEngine, admin: Client) -> None:
    tenant = await Tenant.ready(engine)
    await admin.done("DELETE", f"/indexes/{ENTRIES}")
    assert await tenant.look() == DataMissing("index", ENTRIES)


async def test_an_index_made_anew_under_the_name_of_a_lost_one_does_not_hide_the_loss(
    engine: MeilisearchEngine, admin: Client
) -> None:
    tenant = await Tenant.ready(engine)
    await admin.done("DELETE", f"/indexes/{ENTRIES}")
    await admin.done("POST", "/indexes", {"uid": ENTRIES, "primaryKey": "id"})
    assert await tenant.look() == DataMissing("index", ENTRIES)


async def test_settings_put_on_an_index_that_went_in_the_same_moment_do_not_hide_the_loss(
    engine: MeilisearchEngine, admin: Client
) -> None:
    """The server makes it, empty."""
    tenant = await Tenant.ready(engine)
    await admin.done("PATCH", f"/indexes/{ENTRIES}/settings", {"filterableAttributes": []})
    (configure,) = await tenant.steps()
    assert isinstance(configure, ConfigureIndex)
    await admin.done("DELETE", f"/indexes/{ENTRIES}")
    await engine.act(configure)
    assert await tenant.look() == DataMissing("index", ENTRIES)


async def test_an_index_that_went_before_it_was_stamped_is_unavailable(
    engine: MeilisearchEngine, admin: Client
) -> None:
    tenant = Tenant(engine, "acme", indexes=("entries",))
    stamp = (await tenant.steps())[1]
    assert isinstance(stamp, StampIndexes)
    with pytest.raises(Unavailable, match="gone"):
        await engine.act(stamp)
    assert await admin.indexes() == {REGISTER}


async def test_a_server_that_lost_its_register_gets_no_writes(engine: MeilisearchEngine, admin: Client) -> None:
    tenant = await Tenant.ready(engine)
    await admin.done("DELETE", f"/indexes/{REGISTER}")
    assert await tenant.look() == EngineChanged("the-identity", "")


@pytest.mark.parametrize("name", [None, "mine", "bulkhead:another-installation:uid"])
async def test_drift_of_settings_and_keys_is_repaired_whatever_the_key_calls_itself(
    server: Server, engine: MeilisearchEngine, admin: Client, name: str | None
) -> None:
    tenant = await Tenant.ready(engine)
    before, value = await inventory(admin), key(tenant)
    uid = key_uid(tenant.request.stamp, 1)
    await admin.done("PATCH", f"/indexes/{ENTRIES}/settings", {"filterableAttributes": ["*"], "sortableAttributes": []})
    await admin.ask("DELETE", f"/keys/{uid}")
    everything = {"uid": uid, "name": name, "actions": ["*"], "indexes": ["*"], "expiresAt": None}
    assert (await admin.ask("POST", "/keys", everything)).status == 201
    assert await tenant.settle() == 3
    assert await inventory(admin) == before
    async with Client(server, value) as client:
        assert (await client.search(ENTRIES, q="")).status == 200
        assert (await client.search(REGISTER, q="")).status == REFUSED


async def test_a_creation_that_waits_behind_another_task_does_not_come_back_after_the_erasure() -> None:
    async with running_server() as slow_server, Client(slow_server, slow_server.master_key) as admin:
        await restart(slow_server, "--unreachable-host-seconds=8", master_key=slow_server.master_key)
        async with engine_of(slow_server) as engine:
            await prepare(engine)
            await admin.done("POST", "/indexes/blocker/documents?primaryKey=id", [{"id": "1", "text": "x"}])
            await hold_the_queue(admin)
            engine._api = MeilisearchApi(engine._client, patience=0.2)
            tenant = Tenant(engine, "acme")
            with pytest.raises(Unavailable, match="still waits"):
                await tenant.settle()
            await tenant.erase()
            await admin.done("POST", "/indexes", {"uid": "last", "primaryKey": "id"})
            assert await admin.indexes() == {REGISTER, "blocker", "last"}
            assert await admin.count_tasks(ENTRIES, DATASETS) == 0


async def hold_the_queue(admin: Client) -> None:
    """Give the server an embedder that does not answer: it tries for a while, and does nothing else."""
    embedder = {
        "source": "rest",
        "url": "http://127.0.0.1:1/",
        "dimensions": 2,
        "request": {"in": "{{text}}"},
        "response": {"out": "{{embedding}}"},
        "documentTemplate": "{{doc.text}}",
    }
    answer = await admin.ask("PATCH", "/indexes/blocker/settings/embedders", {"default": embedder})
    assert answer.status == 202


async def test_erasing_leaves_nothing_of_ours_and_all_of_the_neighbours(
    server: Server, engine: MeilisearchEngine, admin: Client
) -> None:
    await Tenant.ready(engine, "ab")
    before, tasks = await inventory(admin), await admin.count_tasks("ab_entries", "ab_datasets")
    tenant = await Tenant.ready(engine, "a")
    async with Client(server, key(tenant)) as client:
        await client.add("a_entries", id="1")
    await tenant.erase()
    assert await inventory(admin) == before
    assert await admin.count_tasks("a_entries", "a_datasets") == 0
    assert await admin.count_tasks("ab_entries", "ab_datasets") == tasks


async def test_a_key_of_the_former_owner_does_not_open_what_its_successor_gets_under_the_name(
    server: Server, engine: MeilisearchEngine
) -> None:
    former = await Tenant.ready(engine, uid="former")
    kept = key(former)
    await former.erase()
    successor = await Tenant.ready(engine, uid="successor")
    async with Client(server, kept) as old, Client(server, key(successor)) as new:
        await new.add(ENTRIES, id="1")
        assert (await old.search(ENTRIES, q="")).status == REFUSED


async def test_a_key_of_a_former_owner_that_was_never_cut_keeps_its_successor_from_being_made(
    server: Server, engine: MeilisearchEngine, admin: Client
) -> None:
    former = await Tenant.ready(engine, uid="former")
    kept, uid = key(former), key_uid(former.request.stamp, 1)
    for index in (ENTRIES, DATASETS):  # as Conflicts say, by hand
        await admin.done("DELETE", f"/indexes/{index}")
    await admin.done("POST", f"/indexes/{REGISTER}/documents/delete-batch", [ENTRIES, DATASETS])
    successor = Tenant(engine, "acme", uid="successor")
    assert await successor.look() == Conflict("key", uid, f"installation {INSTALLATION}, UID former")
    assert await admin.indexes() == {REGISTER}

    await admin.ask("DELETE", f"/keys/{uid}")
    await successor.settle()
    async with Client(server, kept) as old, Client(server, key(successor)) as new:
        await new.add(ENTRIES, id="1")
        assert (await old.search(ENTRIES, q="")).status == REFUSED


async def test_a_key_of_another_that_appears_later_is_shown_by_the_survey_and_found_at_a_close_look(
    engine: MeilisearchEngine, admin: Client
) -> None:
    tenant = await Tenant.ready(engine)
    shared = {"name": "a dashboard", "actions": ["search"], "indexes": ["acme_*"], "expiresAt": None}
    await admin.ask("POST", "/keys", shared)
    assert (await engine.survey())[tenant.request.stamp.uid] == engine.fingerprint(tenant.request)
    tenant.request = replace(tenant.request, closely=True)
    assert await tenant.settle() == 0, "a dashboard's is an administrator's"

    restored = {**shared, "name": f"bulkhead:{INSTALLATION}:former"}
    uid = (await admin.ask("POST", "/keys", restored)).body["uid"]
    assert (await engine.survey())[tenant.request.stamp.uid] != engine.fingerprint(tenant.request)
    assert await tenant.look() == Conflict("key", uid, f"installation {INSTALLATION}, UID former")


async def test_a_close_look_deletes_a_key_that_an_older_copy_of_the_record_does_not_know(
    server: Server, engine: MeilisearchEngine
) -> None:
    tenant, unknown = await with_an_older_copy_of_the_record(engine)
    tenant.request = replace(tenant.request, closely=True)
    assert await tenant.settle() == 1
    assert (await engine.survey())[tenant.request.stamp.uid] == engine.fingerprint(tenant.request)
    async with Client(server, unknown) as client:
        assert (await client.search(ENTRIES, q="")).status == REFUSED


async def test_all_keys_of_the_server_are_gone_through_page_by_page(
    engine: MeilisearchEngine, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bulkhead.engines.meilisearch.api.PAGE", 2)
    shared = {"name": "a dashboard", "actions": ["search"], "indexes": [ENTRIES], "expiresAt": None}
    await admin.ask("POST", "/keys", shared)
    for slug in ("a", "b", "c"):
        await Tenant.ready(engine, slug)
    assert isinstance(await Tenant(engine, "acme").look(), Conflict)


@pytest.fixture
def ground(engine: MeilisearchEngine, admin: Client) -> Ground:
    return Ground(engine, partial(sweep, admin), partial(inventory, admin))


@EVERY_JOURNEY
async def test_a_crash_after_any_step_leads_to_the_same_end(ground: Ground, journey: Journey) -> None:
    await ground.ends_alike_whatever_step_a_crash_follows(journey)


@EVERY_JOURNEY
async def test_every_step_can_be_done_twice(ground: Ground, journey: Journey) -> None:
    await ground.ends_alike_with_every_step_done_twice(journey)


STEPS_OF_ONE_MORE = 5
"""Create, stamp, configure; then the key is made anew with a wider scope."""


@pytest.mark.parametrize("done", range(STEPS_OF_ONE_MORE + 1))
async def test_an_index_that_leaves_the_spec_while_it_is_made_is_neither_made_nor_lost_nor_left_behind(
    server: Server, engine: MeilisearchEngine, admin: Client, done: int
) -> None:
    before = await inventory(admin)
    tenant = await Tenant.ready(engine)
    tenant.ask_for("entries", "datasets", "notes")
    assert len(await tenant.steps()) == STEPS_OF_ONE_MORE
    await tenant.begin(done)
    if done == STEPS_OF_ONE_MORE:
        async with Client(server, key(tenant)) as client:
            await client.add(NOTES, id="wanted")

    tenant.ask_for("entries", "datasets")
    await tenant.settle()
    assert (NOTES in await admin.indexes()) is (done > 0)
    assert (f"index/{NOTES}" in tenant.request.holding.provisioned) is (done > 0)
    assert (await engine.survey())[tenant.request.stamp.uid] == engine.fingerprint(tenant.request)
    if done == STEPS_OF_ONE_MORE:
        assert (await admin.ask("GET", f"/indexes/{NOTES}/documents/wanted")).status == 200
    await tenant.erase()
    assert await inventory(admin) == before


async def test_an_index_that_comes_late_out_of_the_queue_is_found_after_it_left_the_spec(
    engine: MeilisearchEngine, admin: Client
) -> None:
    before = await inventory(admin)
    tenant = await Tenant.ready(engine)
    tenant.ask_for("entries", "datasets", "notes")
    create = (await tenant.steps())[0]
    assert isinstance(create, CreateIndex)
    tenant.ask_for("entries", "datasets")
    assert await tenant.steps() == ()
    await engine.act(create)
    await tenant.settle()
    assert f"index/{NOTES}" in tenant.request.holding.provisioned
    await tenant.erase()
    assert await inventory(admin) == before


async def test_a_server_that_is_killed_is_unavailable_and_found_again_with_all_it_held(
    server: Server, engine: MeilisearchEngine
) -> None:
    tenant = await Tenant.ready(engine)
    await server.kill()
    try:
        with pytest.raises(Unavailable):
            await engine.ping()
        with pytest.raises(Unavailable):
            await tenant.look()
    finally:
        await server.start()
    assert await tenant.steps() == ()


async def test_a_survey_shows_of_each_tenant_what_its_fingerprint_says(
    engine: MeilisearchEngine, admin: Client
) -> None:
    tenants = [await Tenant.ready(engine, slug) for slug in ("a", "ab", "b")]
    await tenants[2].cut()
    await admin.done("POST", "/indexes", {"uid": "foreign"})
    assert await engine.survey() == {tenant.request.stamp.uid: engine.fingerprint(tenant.request) for tenant in tenants}


async def test_a_survey_shows_what_is_lost_made_anew_or_revoked(engine: MeilisearchEngine, admin: Client) -> None:
    tenants = [await Tenant.ready(engine, slug) for slug in ("a", "ab", "b", "c")]
    await admin.done("DELETE", "/indexes/a_entries")
    await admin.done("DELETE", "/indexes/ab_entries")
    await admin.done("POST", "/indexes", {"uid": "ab_entries", "primaryKey": "id"})
    await admin.ask("DELETE", f"/keys/{key_uid(tenants[2].request.stamp, 1)}")
    survey = await engine.survey()
    expected = {tenant.request.stamp.uid: engine.fingerprint(tenant.request) for tenant in tenants}
    assert {uid for uid in expected if survey[uid] != expected[uid]} == {"uid-of-a", "uid-of-ab", "uid-of-b"}


async def test_a_survey_asks_as_often_for_six_tenants_as_for_two(
    engine: MeilisearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def admit(slug: str) -> str:
        return (await Tenant.ready(engine, slug)).request.stamp.uid

    await Tally(monkeypatch, engine._client, "call").does_not_grow_with_tenants(engine, admit)


async def test_a_survey_of_many_tenants_turns_the_page_and_shows_no_other_installation(
    engine: MeilisearchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bulkhead.engines.meilisearch.api.PAGE", 2)
    tenants = [await Tenant.ready(engine, slug) for slug in ("a", "b", "c")]
    await engine._api.write_owners({"x_entries": Owner(str(Stamp("elsewhere", "x")), "")})
    assert (await engine.survey()).keys() == {tenant.request.stamp.uid for tenant in tenants}
