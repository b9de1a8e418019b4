"""What somebody does in an engine behind the operator's back: repaired where that is safe, told where data is lost."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bulkhead.engines.qdrant.tokens import REGISTER, REGISTER_FIELD
from bulkhead.kube.resources import DATA_CLUSTERS, DATA_PLANES
from hack.plane.postgres import Postgres
from hack.plane.process import Server
from tests.integration.operator.engines import ALL, Admins, opened
from tests.world import World, eventually

LOSER = "bereft"
SLUG = "guarded"
Doing = Callable[[Admins], Awaitable[object]]


@pytest.fixture
async def bereft(world: World) -> AsyncIterator[None]:
    """A DataCluster that loses data: nobody else's afterwards."""
    await world.ready_tenants(LOSER)
    yield
    await world.remove_tenants(LOSER)


@pytest.fixture(scope="module")
async def bindings(world: World) -> AsyncIterator[dict[str, dict[str, str]]]:
    """Of the DataCluster that is as before after all else that is done here."""
    await world.ready_tenants(SLUG)
    yield await world.bindings(SLUG)
    await world.remove_tenants(SLUG)


async def annotate(world: World, wish: str) -> None:
    await world.plane.kubectl("annotate", "--overwrite", "datacluster", LOSER, f"bulkhead.dev/{wish}")


@dataclass(frozen=True, slots=True)
class Loss:
    """A way to lose data, and how it shows."""

    engine: str
    condition: str
    kind: str
    name: str
    drop: Doing
    there: Callable[[Admins], Awaitable[bool]]


async def there_is_database(admins: Admins) -> bool:
    return LOSER in await admins.databases()


async def there_is_bucket(admins: Admins) -> bool:
    return f"{LOSER}-data" in await admins.buckets()


async def there_is_collection(admins: Admins) -> bool:
    return f"{LOSER}_entries" in await admins.vectors.names()


async def there_is_index(admins: Admins) -> bool:
    return f"{LOSER}_datasets" in await admins.search.indexes()


LOSSES = (
    Loss("postgres", "PostgresReady", "database", LOSER, lambda a: a.drop_database(LOSER), there_is_database),
    Loss(
        "objectStore", "ObjectStoreReady", "bucket", f"{LOSER}-data", lambda a: a.drop_bucket(f"{LOSER}-data"),
        there_is_bucket,
    ),
    Loss(
        "vectors", "VectorsReady", "collection", f"{LOSER}_entries", lambda a: a.drop_collection(f"{LOSER}_entries"),
        there_is_collection,
    ),
    Loss(
        "search", "SearchReady", "index", f"{LOSER}_datasets", lambda a: a.drop_index(f"{LOSER}_datasets"),
        there_is_index,
    ),
)  # fmt: skip


@pytest.mark.usefixtures("bereft")
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.kind)
async def test_lost_data_is_told_and_made_anew_only_on_request_and_only_once(
    world: World, admins: Admins, loss: Loss
) -> None:
    await loss.drop(admins)
    told = await world.reason(DATA_CLUSTERS, LOSER, loss.condition, "DataMissing")
    assert f'the {loss.kind} "{loss.name}" was provisioned and is gone' in told["message"]
    assert not await loss.there(admins), "an empty one hides the loss"
    await annotate(world, f"recreate={loss.engine}")
    await world.ready(LOSER)
    assert await loss.there(admins)
    assert await opened(world.plane, await world.bindings(LOSER)) == ALL
    await loss.drop(admins)
    await world.reason(DATA_CLUSTERS, LOSER, loss.condition, "DataMissing")
    assert not await loss.there(admins), "one request was obeyed twice"


@pytest.mark.usefixtures("bereft")
async def test_a_request_made_while_nothing_is_lost_does_not_lie_in_wait_for_a_loss(
    world: World, admins: Admins
) -> None:
    await annotate(world, "recreate=vectors")
    await world.ready(LOSER)

    async def obeyed() -> bool:
        return '"recreated":"vectors"' in await record_of(world)

    await eventually(obeyed)
    await admins.drop_collection(f"{LOSER}_entries")
    await world.reason(DATA_CLUSTERS, LOSER, "VectorsReady", "DataMissing")


async def record_of(world: World) -> str:
    uid = (await world.data_cluster(LOSER))["metadata"]["uid"]
    return (await world.secret(f"record-{uid}", "bulkhead-system"))["record"]


@dataclass(frozen=True, slots=True)
class Tampering:
    """Something that an administrator changes, and a look at it."""

    what: str
    tamper: Doing
    look: Callable[[Admins], Awaitable[Any]]


def statement(what: str, tamper: str, look: str, database: str = "postgres") -> Tampering:
    return Tampering(what, lambda admins: admins.sql(tamper, database), lambda admins: admins.sql(look, database))


DATABASE = "SELECT datconnlimit, datacl::text FROM pg_database WHERE datname = 'guarded'"
LOGIN = "SELECT rolcanlogin, rolconnlimit, rolcreatedb FROM pg_roles WHERE rolname = 'guarded_1'"


async def user_of(admins: Admins) -> str:
    users = json.loads(await admins.users())
    return next(str(name) for name in users if name.startswith(f"{SLUG}-"))


async def look_at_user(admins: Admins) -> Any:
    user = json.loads(await admins.users())[await user_of(admins)]
    return user.get("status"), user.get("policyName")


async def disable_user(admins: Admins) -> None:
    await asyncio.to_thread(admins.store_admin.user_disable, await user_of(admins))


async def detach_policy(admins: Admins) -> None:
    await asyncio.to_thread(admins.store_admin.detach_policy, [SLUG], user=await user_of(admins))


async def look_at_policy(admins: Admins) -> Any:
    return json.loads(await asyncio.to_thread(admins.store_admin.policy_info, SLUG))


async def widen_policy(admins: Admins) -> None:
    all_of_it = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
    document = {"Version": "2012-10-17", "Statement": [all_of_it]}
    await asyncio.to_thread(admins.store_admin.policy_add, SLUG, policy=document)


async def look_at_quota(admins: Admins) -> Any:
    return await asyncio.to_thread(admins.store_admin.bucket_quota_get, f"{SLUG}-data")


async def lift_quota(admins: Admins) -> None:
    await asyncio.to_thread(admins.store_admin.bucket_quota_clear, f"{SLUG}-data")


async def look_at_collection(admins: Admins) -> Any:
    config = (await admins.vectors.ask("GET", f"/collections/{SLUG}_entries")).result["config"]
    return config["strict_mode_config"]


async def lift_strict_mode(admins: Admins) -> None:
    lifted = {"strict_mode_config": {"enabled": False}}
    assert (await admins.vectors.ask("PATCH", f"/collections/{SLUG}_entries", lifted)).status == 200


async def look_at_tokens(admins: Admins) -> Any:
    points = {"limit": 1000, "with_payload": True}
    answer = await admins.vectors.ask("POST", f"/collections/{REGISTER}/points/scroll", points)
    texts = (str(point["payload"]) for point in answer.result["points"])
    return sorted(text for text in texts if f"{SLUG}_entries" in text)


async def forget_tokens(admins: Admins) -> None:
    """All of them, the operator's own too: whoever can do this can do it by accident."""
    everything = {"filter": {"must_not": [{"is_empty": {"key": REGISTER_FIELD}}]}}
    answer = await admins.vectors.ask("POST", f"/collections/{REGISTER}/points/delete?wait=true", everything)
    assert answer.status == 200, answer


async def look_at_keys(admins: Admins) -> Any:
    keys = await admins.search.keys()
    return [(key["uid"], key["actions"], key["indexes"]) for key in keys if f"{SLUG}_entries" in key["indexes"]]


async def delete_keys(admins: Admins) -> None:
    for key in await admins.search.keys():
        assert (await admins.search.ask("DELETE", f"/keys/{key['uid']}")).status == 204


async def look_at_settings(admins: Admins) -> Any:
    return (await admins.search.ask("GET", f"/indexes/{SLUG}_entries/settings")).body


async def change_settings(admins: Admins) -> None:
    changed = {"filterableAttributes": ["secret"]}
    assert await admins.search.done("PATCH", f"/indexes/{SLUG}_entries/settings", changed) == "succeeded"


TAMPERINGS = (
    statement("a lifted connection limit", f'ALTER DATABASE "{SLUG}" CONNECTION LIMIT -1', DATABASE),
    statement("a database that is open to all", f'GRANT CONNECT ON DATABASE "{SLUG}" TO PUBLIC', DATABASE),
    statement("a log-in that was shut", f'ALTER ROLE "{SLUG}_1" NOLOGIN', LOGIN),
    statement("a log-in with more powers", f'ALTER ROLE "{SLUG}_1" CREATEDB CONNECTION LIMIT 90', LOGIN),
    Tampering("a disabled user", disable_user, look_at_user),
    Tampering("a user without its policy", detach_policy, look_at_user),
    Tampering("a policy that opens all buckets", widen_policy, look_at_policy),
    Tampering("a lifted quota", lift_quota, look_at_quota),
    Tampering("lifted limits of a collection", lift_strict_mode, look_at_collection),
    Tampering("forgotten tokens", forget_tokens, look_at_tokens),
    Tampering("a deleted key", delete_keys, look_at_keys),
    Tampering("other settings of an index", change_settings, look_at_settings),
)


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda tampering: tampering.what)
async def test_what_was_changed_by_hand_is_repaired_without_a_new_credential(
    world: World, admins: Admins, bindings: dict[str, dict[str, str]], tampering: Tampering
) -> None:
    before = await tampering.look(admins)
    await tampering.tamper(admins)

    async def repaired() -> bool:
        found = await tampering.look(admins)
        assert found == before, found
        return True

    await eventually(repaired)
    await world.ready(SLUG)
    assert await world.bindings(SLUG) == bindings
    assert await opened(world.plane, bindings) == ALL


def data_of(server: Server) -> Path:
    return server.log_file.parent / "data"


async def held_by_vectors(admins: Admins) -> set[str]:
    return await admins.vectors.names()


async def held_by_search(admins: Admins) -> set[str]:
    return await admins.search.indexes()


async def held_by_store(admins: Admins) -> set[str]:
    return await admins.buckets()


async def held_by_postgres(admins: Admins) -> set[str]:
    """Databases and roles beside those that a new server has, and rights that somebody changed."""
    of_servers = {"postgres", "template0", "template1"}
    changed = await admins.sql("SELECT datname || datacl::text FROM pg_database WHERE datacl::text !~ '^{=c/'")
    roles = {role for role in await admins.roles() if not role.startswith("pg_")}
    return (await admins.databases() | roles | {text for (text,) in changed}) - of_servers


@pytest.mark.parametrize(
    ("name", "engine", "condition", "held"),
    [
        ("postgres", "postgres", "PostgresReady", held_by_postgres),
        ("qdrant", "vectors", "VectorsReady", held_by_vectors),
        ("meilisearch", "search", "SearchReady", held_by_search),
        ("minio", "objectStore", "ObjectStoreReady", held_by_store),
    ],
)
async def test_an_empty_server_in_the_place_of_ours_gets_nothing_written_and_ours_is_welcome_back(
    world: World,
    admins: Admins,
    bindings: dict[str, dict[str, str]],
    name: str,
    engine: str,
    condition: str,
    held: Callable[[Admins], Awaitable[set[str]]],
) -> None:
    server: Server = getattr(world.plane, name)
    ours, aside = data_of(server), data_of(server).with_name("aside")
    await server.stop()
    ours.rename(aside)
    if isinstance(server, Postgres):
        await server.initialise()  # the others make what they need themselves
    await server.start()
    changed = await world.reason(DATA_CLUSTERS, SLUG, condition, "EngineChanged")
    assert "another server answers at this address" in changed["message"]
    assert await held(admins) == set()
    assert await opened(world.plane, bindings) == ALL - {engine}
    assert await held(admins) == set()
    await server.stop()
    ours.rename(ours.with_name("stranger"))
    aside.rename(ours)
    await server.start()
    await world.ready(SLUG)
    await world.reason(DATA_PLANES, "default", condition, "Ready")
    assert await opened(world.plane, bindings) == ALL
    await asyncio.to_thread(remove_tree, ours.with_name("stranger"))


async def put_empty_one_in_place_of(server: Server) -> None:
    """Ours is stopped, its data set aside."""
    await server.stop()
    data_of(server).rename(data_of(server).with_name("aside"))
    if isinstance(server, Postgres):
        await server.initialise()
    await server.start()


async def put_back(server: Server) -> None:
    """Ours, with all that it had."""
    await server.stop()
    await asyncio.to_thread(remove_tree, data_of(server))
    data_of(server).with_name("aside").rename(data_of(server))
    await server.start()


def taken(world: World, plane: str) -> list[dict[str, Any]]:
    """What the log says of servers that took the place of others."""
    lines = (json.loads(line) for line in world.log().splitlines() if '"engine_accepted"' in line)
    return [line for line in lines if line["plane"] == plane]


async def accepted(world: World, condition: str, *, instead: str = "") -> str:
    """Do what the condition of the DataPlane says about the server that answers now; returns the annotation."""
    told = await world.reason(DATA_PLANES, "default", condition, "EngineChanged")
    found = re.search(r"annotation (bulkhead\.dev/accept-engine=(\S+)) of", told["message"])
    assert found is not None, told
    await world.plane.kubectl("annotate", "--overwrite", "dataplane", "default", instead or found[1])
    return found[1]


@pytest.mark.parametrize(
    ("name", "loss", "unmarked"), [("postgres", LOSSES[0], False), ("qdrant", LOSSES[2], True)], ids=["id", "unmarked"]
)
async def test_a_server_that_is_accepted_gets_nothing_of_what_was_lost_and_the_former_may_be_accepted_again(
    world: World,
    admins: Admins,
    bindings: dict[str, dict[str, str]],
    name: str,
    loss: Loss,
    unmarked: bool,  # noqa: FBT001 - a case
) -> None:
    server: Server = getattr(world.plane, name)
    await put_empty_one_in_place_of(server)
    entry = await accepted(world, loss.condition)
    assert entry.endswith("/unmarked") is unmarked
    await world.reason(DATA_PLANES, "default", loss.condition, "Ready")
    await world.reason(DATA_CLUSTERS, SLUG, loss.condition, "DataMissing")
    assert not await loss.there(admins), "an empty one hides the loss"
    assert taken(world, "default")[-1]["engine"] == loss.engine

    await put_back(server)
    stale = await accepted(world, loss.condition, instead=entry)
    assert (await world.condition(DATA_PLANES, "default", loss.condition))["reason"] == "EngineChanged"
    await world.plane.kubectl("annotate", "--overwrite", "dataplane", "default", stale)
    await world.ready(SLUG)
    assert await world.bindings(SLUG) == bindings
    assert await opened(world.plane, bindings) == ALL
    await world.plane.kubectl("annotate", "dataplane", "default", "bulkhead.dev/accept-engine-")


async def test_a_plane_that_nobody_uses_takes_the_server_that_answers(world: World) -> None:
    """As after a mistyped host that reached another one."""
    spec = (await world.kube.get(DATA_PLANES, "default"))["spec"]
    await world.apply("DataPlane", "idle", {"postgres": {**spec["postgres"], "warmDatabases": 0}})
    await world.plane_ready("idle")
    server = world.plane.postgres
    for number, change in enumerate((put_empty_one_in_place_of, put_back), start=1):
        await change(server)
        await world.plane.kubectl("annotate", "--overwrite", "dataplane", "idle", f"bulkhead.dev/reconcile={number}")

        async def is_taken(times: int = number) -> bool:
            return len(taken(world, "idle")) == times

        await eventually(is_taken)
        await world.plane_ready("idle")
    await world.plane_ready()
    await world.delete(DATA_PLANES, "idle")
    await world.gone(DATA_PLANES, "idle")


def remove_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()
