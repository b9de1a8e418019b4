"""The Qdrant engine against a server: from nothing to a collection, through drift, cuts and crashes, to nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
import pytest_asyncio

from bulkhead.api.ownership import Stamp
from bulkhead.api.record import Holding
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.contract import Conflict, DataMissing, EngineChanged, Invalid, ServerRequest
from bulkhead.engines.errors import Insecure, Refused, Unavailable
from bulkhead.engines.qdrant import tokens
from bulkhead.engines.qdrant.engine import QdrantEngine
from bulkhead.engines.qdrant.steps import CreateCollection, DeleteSnapshot, Entry, Register
from hack.plane.certificates import Authority
from hack.plane.vectors import Qdrant as Server
from tests.integration.engines.cost import Tally
from tests.integration.engines.journeys import EVERY_JOURNEY, Ground, Journey
from tests.integration.engines.qdrant_server import (
    Client,
    engine_of,
    inventory,
    restart,
    running_server,
    sweep,
)
from tests.integration.engines.tenant import INSTALLATION, PLANE, Tenant, prepare

FOUR = {"vectors": {"size": 4, "distance": "Cosine"}}
REFUSED = {401, 403}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> AsyncIterator[Server]:
    async with running_server() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def admin(server: Server) -> AsyncIterator[Client]:
    async with Client(server, server.api_key) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="session")
async def engine(server: Server, admin: Client) -> AsyncIterator[QdrantEngine]:
    """On a server that holds nothing but the operator's own."""
    async with engine_of(server) as opened:
        await prepare(opened)
        yield opened
        await sweep(admin)


def token(tenant: Tenant) -> str:
    return tenant.binding["api-key"]


async def test_a_server_takes_the_proposed_identity_once(engine: QdrantEngine) -> None:
    assert await prepare(engine, proposal="another") == "the-identity"


async def test_the_leak_of_names_is_named_with_what_closes_it(engine: QdrantEngine) -> None:
    request = ServerRequest(stamp=PLANE, holding=Holding(), proposal="x")
    found = engine.server_of(await engine.observe_server(request))
    assert "telemetry" in found.advisories[0]


async def test_a_register_of_another_installation_is_left_alone(server: Server, admin: Client) -> None:
    await admin.ask("PUT", "/collections/bulkhead_tokens", {**FOUR, "metadata": {"bulkhead": "bulkhead:other:uid"}})
    before = await inventory(admin)
    async with engine_of(server) as engine:
        request = ServerRequest(stamp=PLANE, holding=Holding(), proposal="x")
        decision = engine.decide_server(request, await engine.observe_server(request))
    assert decision == Conflict("collection", "bulkhead_tokens", "installation other, UID uid")
    assert await inventory(admin) == before
    await sweep(admin)


async def test_a_server_that_is_not_prepared_takes_no_tenant(server: Server) -> None:
    async with engine_of(server) as engine:
        with pytest.raises(Unavailable, match="not prepared"):
            await Tenant(engine, "acme").look()


@pytest.mark.parametrize("variable", ["QDRANT__SERVICE__API_KEY", "QDRANT__SERVICE__ALT_API_KEY"])
async def test_a_server_with_an_empty_key_is_insecure(variable: str) -> None:
    async with running_server() as open_server:
        await restart(open_server, **{variable: ""})
        async with engine_of(open_server) as engine:
            with pytest.raises(Insecure, match="empty"):
                await prepare(engine)


async def test_a_server_without_jwt_is_refused_with_the_setting() -> None:
    async with running_server() as plain_server:
        await restart(plain_server, QDRANT__SERVICE__JWT_RBAC="false")
        async with engine_of(plain_server) as engine:
            with pytest.raises(Refused, match="jwt_rbac"):
                await prepare(engine)


async def test_a_weak_key_is_insecure_before_anything_is_signed(server: Server) -> None:
    async with engine_of(server, api_key="short") as engine:
        with pytest.raises(Insecure, match="32 bytes"):
            Tenant(engine, "acme").issue()


async def test_a_wrong_key_is_refused_with_the_way_out(server: Server) -> None:
    async with engine_of(server, api_key="w" * 40) as engine:
        with pytest.raises(Refused, match="adminSecretRef"):
            await prepare(engine)
        with pytest.raises(Refused, match="adminSecretRef"):
            await engine.ping()


async def test_a_certificate_of_another_ca_is_refused_with_the_way_out(server: Server) -> None:
    stranger = Authority("stranger", datetime.now(UTC)).certificate
    async with engine_of(server, ca_pem=stranger) as engine:
        with pytest.raises(Refused, match="caSecretRef"):
            await engine.ping()


async def test_a_tenant_is_complete_after_one_round_and_its_token_opens_its_collection(
    server: Server, engine: QdrantEngine
) -> None:
    tenant = await Tenant.ready(engine)
    assert await tenant.steps() == ()
    async with Client(server, token(tenant)) as client:
        assert (await client.put_point("acme_entries", dataset="d1")).status == 200
        filtered = {"filter": {"must": [{"key": "dataset", "match": {"value": "d1"}}]}}
        found = await client.search("acme_entries", **filtered)
    assert [point["payload"] for point in found.result["points"]] == [{"dataset": "d1"}]


async def test_the_binding_is_complete_for_any_client(server: Server, engine: QdrantEngine) -> None:
    binding = (await Tenant.ready(engine)).binding
    assert binding.pop("api-key").count(".") == 2
    assert datetime.fromisoformat(binding.pop("expires-at")) > datetime.now(UTC)
    assert binding == {
        "type": "qdrant",
        "provider": "qdrant",
        "uri": server.url,
        "host": "127.0.0.1",
        "port": server.url.rpartition(":")[2],
        "tls": "true",
        "collection": "acme_entries",
        "dimensions": "4",
        "distance": "Cosine",
        "ca.crt": server.ca_pem,
    }


async def test_the_collection_is_lean_indexed_limited_and_stamped(engine: QdrantEngine, admin: Client) -> None:
    await Tenant.ready(engine)
    info = (await admin.ask("GET", "/collections/acme_entries")).result
    config = info["config"]
    assert config["optimizer_config"]["default_segment_number"] == 1
    assert config["wal_config"]["wal_capacity_mb"] == 1
    assert config["params"]["shard_number"] == 1
    assert config["metadata"] == {"bulkhead": f"bulkhead:{INSTALLATION}:uid-of-acme"}
    assert config["strict_mode_config"]["max_points_count"] == 1_000_000
    assert {field: schema["data_type"] for field, schema in info["payload_schema"].items()} == {
        "dataset": "keyword",
        "document": "keyword",
    }


async def test_a_batch_over_the_limit_is_refused_by_the_server(server: Server, engine: QdrantEngine) -> None:
    tenant = await Tenant.ready(engine)
    points = [{"id": number, "vector": [1.0, 0.0, 0.0, 0.0]} for number in range(1001)]
    async with Client(server, token(tenant)) as client:
        answer = await client.ask("PUT", "/collections/acme_entries/points?wait=true", {"points": points})
    assert answer.status == 400


async def test_no_step_and_no_log_line_shows_a_token_or_the_key(server: Server, engine: QdrantEngine) -> None:
    tenant = Tenant(engine, "acme")
    shown = " ".join(f"{step} {step!r}" for step in await tenant.steps())
    await tenant.settle()
    for text in (shown, server.log_file.read_text(), repr(tenant.request), repr(engine)):
        assert token(tenant) not in text
        assert server.api_key not in text


ATTEMPTS: dict[str, tuple[str, str, object]] = {
    "info": ("GET", "/collections/{}", None),
    "exists": ("GET", "/collections/{}/exists", None),
    "create": ("PUT", "/collections/{}", FOUR),
    "update": ("PATCH", "/collections/{}", {"metadata": {"bulkhead": "mine"}}),
    "delete": ("DELETE", "/collections/{}", None),
    "upsert": ("PUT", "/collections/{}/points?wait=true", {"points": [{"id": 1, "vector": [1.0, 0.0, 0.0, 0.0]}]}),
    "read a point": ("GET", "/collections/{}/points/1", None),
    "retrieve": ("POST", "/collections/{}/points", {"ids": [1]}),
    "scroll": ("POST", "/collections/{}/points/scroll", {"limit": 1}),
    "count": ("POST", "/collections/{}/points/count", {"exact": True}),
    "query": ("POST", "/collections/{}/points/query", {"query": [1.0, 0.0, 0.0, 0.0]}),
    "search": ("POST", "/collections/{}/points/search", {"vector": [1.0, 0.0, 0.0, 0.0], "limit": 1}),
    "facet": ("POST", "/collections/{}/facet", {"key": "dataset"}),
    "set payload": ("POST", "/collections/{}/points/payload?wait=true", {"payload": {"x": 1}, "points": [1]}),
    "index": ("PUT", "/collections/{}/index?wait=true", {"field_name": "x", "field_schema": "keyword"}),
    "drop index": ("DELETE", "/collections/{}/index/dataset?wait=true", None),
    "list snapshots": ("GET", "/collections/{}/snapshots", None),
    "take snapshot": ("POST", "/collections/{}/snapshots", None),
    "list shard snapshots": ("GET", "/collections/{}/shards/0/snapshots", None),
    "recover": ("PUT", "/collections/{}/snapshots/recover", {"location": "file:///x.snapshot"}),
    "cluster info": ("GET", "/collections/{}/cluster", None),
    "delete points": ("POST", "/collections/{}/points/delete?wait=true", {"filter": {}}),
}
OWN_REFUSED = {
    "create", "update", "delete", "index", "drop index", "list snapshots", "take snapshot", "list shard snapshots",
    "recover", "cluster info",
}  # fmt: skip
"""What not even the own collection allows: it would lift limits, fill the disk or take the stamp off."""


async def statuses(client: Client, collection: str) -> dict[str, int]:
    """What the server answers to each attempt on a collection."""
    asked = {
        name: await client.ask(method, path.format(collection), body) for name, (method, path, body) in ATTEMPTS.items()
    }
    return {name: answer.status for name, answer in asked.items()}


@pytest.mark.parametrize(("slug", "other"), [("a", "ab"), ("ab", "a")])
async def test_no_tenant_reaches_a_neighbour_or_the_register_even_where_names_share_a_prefix(
    server: Server, engine: QdrantEngine, slug: str, other: str
) -> None:
    tenant = await Tenant.ready(engine, slug)
    await Tenant.ready(engine, other)
    async with Client(server, token(tenant)) as client:
        for foreign in (f"{other}_entries", "bulkhead_tokens", "nobodys_entries"):
            assert await statuses(client, foreign) == dict.fromkeys(ATTEMPTS, 403)


async def test_a_tenant_reads_and_writes_points_of_its_own_and_no_more(server: Server, engine: QdrantEngine) -> None:
    tenant = await Tenant.ready(engine)
    async with Client(server, token(tenant)) as client:
        await client.put_point("acme_entries")
        answers = await statuses(client, "acme_entries")
    assert {attempt for attempt, status in answers.items() if status == 403} == OWN_REFUSED
    assert {status for attempt, status in answers.items() if attempt not in OWN_REFUSED} == {200}


@pytest.mark.parametrize(
    "more",
    [
        {"query": 1, "lookup_from": {"collection": "ab_entries"}},
        {"prefetch": [{"query": 1, "lookup_from": {"collection": "ab_entries"}}], "query": {"fusion": "rrf"}},
    ],
)
async def test_no_query_borrows_vectors_of_a_neighbour(
    server: Server, engine: QdrantEngine, admin: Client, more: dict[str, object]
) -> None:
    tenant = await Tenant.ready(engine, "a")
    await Tenant.ready(engine, "ab")
    await admin.put_point("ab_entries")
    async with Client(server, token(tenant)) as client:
        await client.put_point("a_entries")
        assert (await client.search("a_entries", **more)).status == 403


@pytest.mark.parametrize("path", ["/metrics", "/cluster", "/snapshots"])
async def test_no_tenant_reaches_what_belongs_to_the_server(server: Server, engine: QdrantEngine, path: str) -> None:
    tenant = await Tenant.ready(engine)
    async with Client(server, token(tenant)) as client:
        assert (await client.ask("GET", path)).status == 403


async def test_a_tenant_sees_only_its_own_collection_listed(server: Server, engine: QdrantEngine) -> None:
    tenant = await Tenant.ready(engine, "a")
    await Tenant.ready(engine, "ab")
    async with Client(server, token(tenant)) as client:
        assert await client.names() == {"a_entries"}


async def test_a_cut_ends_every_token_at_once_and_resuming_is_the_reverse(server: Server, engine: QdrantEngine) -> None:
    tenant = await Tenant.ready(engine)
    async with Client(server, token(tenant)) as client:
        await client.put_point("acme_entries")
        await tenant.cut()
        assert (await client.search("acme_entries")).status in REFUSED
        await tenant.open()
        assert len((await client.search("acme_entries")).result["points"]) == 1


@pytest.mark.parametrize("payload", [{"tokens": ["uid-of-acme/1"]}, {"stamp": "x", "tokens": "uid-of-acme/1"}])
async def test_a_cut_ends_tokens_whose_entry_lost_its_stamp(
    server: Server, engine: QdrantEngine, admin: Client, payload: dict[str, object]
) -> None:
    tenant = await Tenant.ready(engine)
    body = {"payload": payload, "points": [tokens.point_id(tenant.request.stamp)]}
    assert (await admin.ask("PUT", "/collections/bulkhead_tokens/points/payload?wait=true", body)).status == 200
    async with Client(server, token(tenant)) as client:
        assert (await client.search("acme_entries")).status == 200
        await tenant.cut()
        assert (await client.search("acme_entries")).status in REFUSED


async def test_a_collection_that_lost_its_stamp_is_erased_once_it_has_it_back(
    engine: QdrantEngine, admin: Client
) -> None:
    tenant = await Tenant.ready(engine)
    await admin.ask("PATCH", "/collections/acme_entries", {"metadata": {"bulkhead": None}})
    with pytest.raises(AssertionError, match="Conflict"):
        await tenant.erase()
    assert "acme_entries" in await admin.names()
    given_back = {"metadata": {"bulkhead": str(tenant.request.stamp)}}
    await admin.ask("PATCH", "/collections/acme_entries", given_back)
    await tenant.erase()
    assert "acme_entries" not in await admin.names()


async def test_a_cut_of_one_leaves_the_other_alone(server: Server, engine: QdrantEngine) -> None:
    one, other = await Tenant.ready(engine, "a"), await Tenant.ready(engine, "ab")
    await one.cut()
    async with Client(server, token(other)) as client:
        assert (await client.search("ab_entries")).status == 200


async def test_two_generations_work_side_by_side_and_the_retired_one_ends(server: Server, engine: QdrantEngine) -> None:
    tenant = await Tenant.ready(engine)
    first = token(tenant)
    tenant.rotate()
    await tenant.settle()
    async with Client(server, first) as old, Client(server, token(tenant)) as new:
        assert (await old.search("acme_entries")).status == 200
        assert (await new.search("acme_entries")).status == 200
        tenant.retire()
        await tenant.settle()
        assert (await old.search("acme_entries")).status in REFUSED
        assert (await new.search("acme_entries")).status == 200


async def test_a_token_that_is_due_is_renewed_and_the_former_one_still_works(
    server: Server, engine: QdrantEngine
) -> None:
    tenant = await Tenant.ready(engine)
    first = token(tenant)
    tenant.issue(datetime.now(UTC) + timedelta(hours=17))
    assert token(tenant) != first
    assert await tenant.steps() == ()
    for each in (first, token(tenant)):
        async with Client(server, each) as client:
            assert (await client.search("acme_entries")).status == 200


async def test_an_expired_token_opens_nothing(server: Server, engine: QdrantEngine) -> None:
    tenant = await Tenant.ready(engine)
    expired = tokens.mint(
        Sensitive(server.api_key),
        collection="acme_entries",
        subject="uid-of-acme/1",
        expires_at=int(datetime.now(UTC).timestamp()) - 60,
    )
    async with Client(server, expired.reveal()) as client:
        assert (await client.search("acme_entries")).status == 403
    assert tenant.request.holding.published


async def test_another_api_key_reissues_tokens_under_their_identity() -> None:
    async with running_server() as other_server:
        async with engine_of(other_server) as engine:
            await prepare(engine)
            tenant = await Tenant.ready(engine)
        former = tenant.request.holding.credentials[0]
        other_server.api_key = "another-" * 5
        await restart(other_server, QDRANT__SERVICE__API_KEY=other_server.api_key)
        async with engine_of(other_server) as engine:
            tenant.engine = engine
            await tenant.settle()
            issued = tenant.request.holding.credentials[0]
            assert (issued.identity, issued.generation) == (former.identity, former.generation)
            async with Client(other_server, former.value.reveal()) as old:
                assert (await old.search("acme_entries")).status in REFUSED
            async with Client(other_server, issued.value.reveal()) as new:
                assert (await new.search("acme_entries")).status == 200


async def test_a_collection_of_somebody_else_is_never_touched(engine: QdrantEngine, admin: Client) -> None:
    await admin.ask("PUT", "/collections/acme_entries", FOUR)
    await admin.put_point("acme_entries")
    await admin.ask("POST", "/collections/acme_entries/snapshots")
    before = await inventory(admin)
    tenant = Tenant(engine, "acme")
    tenant.hold(claimed_at="2026-11-22T12:00:00Z")
    assert await tenant.look() == Conflict("collection", "acme_entries", "it bears no stamp")
    assert await tenant.removal() == ()
    assert await inventory(admin) == before


async def test_an_alias_under_our_name_is_a_conflict(engine: QdrantEngine, admin: Client) -> None:
    await admin.ask("PUT", "/collections/foreign", {**FOUR, "metadata": {"bulkhead": "bulkhead:other:uid"}})
    alias = {"actions": [{"create_alias": {"collection_name": "foreign", "alias_name": "acme_entries"}}]}
    assert (await admin.ask("POST", "/collections/aliases", alias)).status == 200
    assert isinstance(await Tenant(engine, "acme").look(), Conflict)


async def test_a_collection_made_by_another_in_the_same_moment_does_not_become_ours(
    engine: QdrantEngine, admin: Client
) -> None:
    tenant = Tenant(engine, "acme")
    create = (await tenant.steps())[0]
    assert isinstance(create, CreateCollection)
    await admin.ask("PUT", "/collections/acme_entries", FOUR)
    with pytest.raises(Refused, match="same moment"):
        await engine.act(create)


async def test_an_empty_unstamped_collection_made_after_the_claim_heals(engine: QdrantEngine, admin: Client) -> None:
    tenant = Tenant(engine, "acme")
    await tenant.look()
    await admin.ask("PUT", "/collections/acme_entries", FOUR)
    await tenant.settle()
    info = (await admin.ask("GET", "/collections/acme_entries")).result
    assert info["config"]["metadata"] == {"bulkhead": str(tenant.request.stamp)}


async def test_a_collection_that_was_provisioned_and_is_gone_is_missing(engine: QdrantEngine, admin: Client) -> None:
    tenant = await Tenant.ready(engine)
    await admin.ask("DELETE", "/collections/acme_entries")
    assert await tenant.look() == DataMissing("collection", "acme_entries")


async def test_other_dimensions_are_invalid(engine: QdrantEngine) -> None:
    tenant = await Tenant.ready(engine)
    other = Tenant(engine, "acme", dimensions=8)
    other.hold(**{field: getattr(tenant.request.holding, field) for field in Holding.__struct_fields__})
    assert isinstance(await other.look(), Invalid)


async def test_a_server_that_lost_its_register_gets_no_writes(engine: QdrantEngine, admin: Client) -> None:
    tenant = await Tenant.ready(engine)
    await admin.ask("DELETE", "/collections/bulkhead_tokens")
    assert await tenant.look() == EngineChanged("the-identity", "")


async def test_drift_of_limits_indexes_and_tokens_is_repaired(engine: QdrantEngine, admin: Client) -> None:
    tenant = await Tenant.ready(engine)
    before = await inventory(admin)
    off = {"enabled": False, "max_points_count": 5}
    await admin.ask("PATCH", "/collections/acme_entries", {"strict_mode_config": off})
    await admin.ask("DELETE", "/collections/acme_entries/index/document?wait=true")
    await admin.ask("POST", "/collections/bulkhead_tokens/points/delete?wait=true", {"filter": {}})
    assert await tenant.settle() == 3
    await prepare(engine)
    assert await inventory(admin) == before


async def test_another_plan_changes_the_limit(engine: QdrantEngine, admin: Client) -> None:
    tenant = await Tenant.ready(engine)
    other = Tenant(engine, "acme", points=5)
    other.hold(**{field: getattr(tenant.request.holding, field) for field in Holding.__struct_fields__})
    await other.settle()
    config = (await admin.ask("GET", "/collections/acme_entries")).result["config"]
    assert config["strict_mode_config"]["max_points_count"] == 5


async def test_a_bound_that_somebody_put_beside_ours_stays(engine: QdrantEngine, admin: Client) -> None:
    tenant = await Tenant.ready(engine)
    by_hand = {"enabled": False, "max_query_limit": 100}
    await admin.ask("PATCH", "/collections/acme_entries", {"strict_mode_config": by_hand})
    await tenant.settle()
    strict = (await admin.ask("GET", "/collections/acme_entries")).result["config"]["strict_mode_config"]
    assert (strict["enabled"], strict["max_query_limit"]) == (True, 100)


async def test_erasing_leaves_nothing_of_ours_and_all_of_the_neighbours(engine: QdrantEngine, admin: Client) -> None:
    await Tenant.ready(engine, "ab")
    before = await inventory(admin)
    tenant = await Tenant.ready(engine, "a")
    await admin.ask("POST", "/collections/a_entries/snapshots")
    await tenant.erase()
    assert await inventory(admin) == before


async def test_snapshots_go_before_their_collection_and_no_successor_lists_them(
    engine: QdrantEngine, admin: Client
) -> None:
    tenant = await Tenant.ready(engine)
    for path in ("snapshots", "shards/0/snapshots"):
        assert (await admin.ask("POST", f"/collections/acme_entries/{path}")).status == 200
    assert len([step for step in await tenant.removal() if isinstance(step, DeleteSnapshot)]) == 2
    await tenant.erase()
    await Tenant.ready(engine, uid="the-next")
    for path in ("snapshots", "shards/0/snapshots"):
        assert (await admin.ask("GET", f"/collections/acme_entries/{path}")).result == []


async def test_a_token_of_the_former_owner_does_not_open_what_its_successor_gets_under_the_name(
    server: Server, engine: QdrantEngine
) -> None:
    former = await Tenant.ready(engine, uid="former")
    kept = token(former)
    await former.erase()
    successor = await Tenant.ready(engine, uid="successor")
    async with Client(server, kept) as old, Client(server, token(successor)) as new:
        assert (await new.put_point("acme_entries")).status == 200
        assert (await old.search("acme_entries")).status in REFUSED


async def test_a_token_of_a_former_owner_that_was_never_cut_keeps_its_successor_from_being_made(
    server: Server, engine: QdrantEngine, admin: Client
) -> None:
    former = await Tenant.ready(engine, uid="former")
    kept = token(former)
    await admin.ask("DELETE", "/collections/acme_entries")  # as a Conflict says, by hand
    point = tokens.point_id(former.request.stamp)
    taken = Conflict('point of "bulkhead_tokens"', point, f"installation {INSTALLATION}, UID former")
    successor = Tenant(engine, "acme", uid="successor")
    assert await successor.look() == taken
    assert "acme_entries" not in await admin.names()

    await admin.ask("POST", "/collections/bulkhead_tokens/points/delete?wait=true", {"points": [point]})
    await successor.settle()
    async with Client(server, kept) as old, Client(server, token(successor)) as new:
        assert (await new.put_point("acme_entries")).status == 200
        assert (await old.search("acme_entries")).status in REFUSED


async def test_tokens_of_another_that_appear_later_are_a_conflict_and_shown_by_the_survey(
    engine: QdrantEngine,
) -> None:
    tenant = await Tenant.ready(engine)
    await engine.act(Register(Entry(Stamp(INSTALLATION, "former"), "acme_entries", ("former/1",))))
    assert isinstance(await tenant.look(), Conflict)
    assert (await engine.survey())[tenant.request.stamp.uid] != engine.fingerprint(tenant.request)


async def test_an_entry_of_another_without_tokens_opens_nothing_and_is_in_nobodys_way(engine: QdrantEngine) -> None:
    await engine.act(Register(Entry(Stamp(INSTALLATION, "former"), "acme_entries", ())))
    await Tenant.ready(engine)


async def test_a_server_that_was_prepared_by_an_earlier_release_gets_the_index_that_we_look_by(
    engine: QdrantEngine, admin: Client
) -> None:
    before = await inventory(admin)
    await admin.ask("DELETE", "/collections/bulkhead_tokens/index/collection?wait=true")
    await prepare(engine)
    assert await inventory(admin) == before


@pytest.fixture
def ground(engine: QdrantEngine, admin: Client) -> Ground:
    return Ground(engine, partial(sweep, admin), partial(inventory, admin))


@EVERY_JOURNEY
async def test_a_crash_after_any_step_leads_to_the_same_end(ground: Ground, journey: Journey) -> None:
    await ground.ends_alike_whatever_step_a_crash_follows(journey)


@EVERY_JOURNEY
async def test_every_step_can_be_done_twice(ground: Ground, journey: Journey) -> None:
    await ground.ends_alike_with_every_step_done_twice(journey)


async def test_a_server_that_is_killed_is_unavailable_and_found_again_with_all_it_held(
    server: Server, engine: QdrantEngine
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


async def test_a_survey_shows_of_each_tenant_what_its_fingerprint_says(engine: QdrantEngine, admin: Client) -> None:
    tenants = [await Tenant.ready(engine, slug) for slug in ("a", "ab", "b")]
    await tenants[2].cut()
    await admin.ask("PUT", "/collections/foreign", FOUR)
    assert await engine.survey() == {tenant.request.stamp.uid: engine.fingerprint(tenant.request) for tenant in tenants}


async def test_a_survey_shows_what_is_lost_and_what_is_revoked(engine: QdrantEngine, admin: Client) -> None:
    tenants = [await Tenant.ready(engine, slug) for slug in ("a", "ab", "b")]
    await admin.ask("DELETE", "/collections/a_entries")
    await engine.act(Register(Entry(tenants[1].request.stamp, "ab_entries", ())))
    survey = await engine.survey()
    suspect = [
        t.request.names.database for t in tenants if survey[t.request.stamp.uid] != engine.fingerprint(t.request)
    ]
    assert suspect == ["a", "ab"]


async def test_a_survey_asks_as_often_for_six_tenants_as_for_two(
    engine: QdrantEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def admit(slug: str) -> str:
        return (await Tenant.ready(engine, slug)).request.stamp.uid

    await Tally(monkeypatch, engine._client, "call").does_not_grow_with_tenants(engine, admit)


async def test_a_survey_of_many_tenants_turns_the_page(engine: QdrantEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bulkhead.engines.qdrant.api.PAGE", 2)
    tenants = [await Tenant.ready(engine, slug) for slug in ("a", "b", "c", "d", "e")]
    assert (await engine.survey()).keys() == {tenant.request.stamp.uid for tenant in tenants}
