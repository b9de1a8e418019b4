"""The MinIO engine against a real server: from nothing to a bucket, through drift, cuts and crashes, to nothing."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial

import pytest
import pytest_asyncio
from minio.commonconfig import COMPLIANCE, ENABLED
from minio.error import S3Error
from minio.retention import Retention
from minio.time import utcnow
from minio.versioningconfig import VersioningConfig

from bulkhead.engines.contract import Conflict, DataMissing, EngineChanged, Request
from bulkhead.engines.errors import Refused, Unavailable
from bulkhead.engines.minio import listing
from bulkhead.engines.minio.state import Uploads
from bulkhead.engines.minio.steps import CreateUser, MinioStep, RemoveUser
from hack.plane.minio import Minio as Server
from tests.integration.engines.cost import Tally
from tests.integration.engines.minio_server import (
    Driver,
    admin,
    answer_to,
    begin_upload,
    client_of,
    derived_client,
    engine_of,
    get,
    inventory,
    list_uploads,
    pool,
    put,
    root,
    running_server,
    stamp_tags,
    sts_client,
    sweep,
    upload_parts,
)
from tests.unit.engines.minio import gen

BUCKET = "acme-data"
NOBODY = "somebody-else"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def server() -> AsyncIterator[Server]:
    async with running_server() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def driver(server: Server) -> AsyncIterator[Driver]:
    engine = engine_of(server)
    yield await Driver.of(engine)
    await engine.close()


@pytest.fixture(autouse=True)
def _empty_server(server: Server) -> Iterator[None]:
    yield
    sweep(server)


async def test_a_tenant_is_complete_after_one_round_and_its_keys_open_its_bucket(
    server: Server, driver: Driver
) -> None:
    request = await driver.converge(driver.request(), rounds=2)
    tenant = client_of(server, request)
    put(tenant, BUCKET, text=b"hello")
    assert get(tenant, BUCKET) == b"hello"


async def test_the_plan_becomes_a_hard_quota(server: Server, driver: Driver) -> None:
    request = await driver.converge(driver.request(size="64Ki"))
    with pytest.raises(S3Error, match="XMinioAdminBucketQuotaExceeded"):
        put(client_of(server, request), BUCKET, text=b"x" * 65 * gen.KIBI)


async def test_no_step_and_no_log_line_shows_the_secret(server: Server, driver: Driver) -> None:
    request = driver.request()
    secret_key = request.holding.credentials[0].value.reveal()
    shown = " ".join(f"{step} {step!r}" for step in await driver.steps(request))
    await driver.converge(request)
    assert secret_key not in shown
    assert secret_key not in server.log_file.read_text()


async def _created(driver: Driver) -> Callable[[], Awaitable[Sequence[MinioStep]]]:
    return lambda: driver.steps(driver.request())


async def _rotated(driver: Driver) -> Callable[[], Awaitable[Sequence[MinioStep]]]:
    await driver.converge(driver.request())
    return lambda: driver.steps(driver.request(generations=(2,)))


async def _suspended(driver: Driver) -> Callable[[], Awaitable[Sequence[MinioStep]]]:
    await driver.converge(driver.request())
    return lambda: driver.steps(gen.cut(driver.request()))


async def _resumed(driver: Driver) -> Callable[[], Awaitable[Sequence[MinioStep]]]:
    await driver.converge(driver.request())
    await driver.converge(gen.cut(driver.request()))
    return lambda: driver.steps(driver.request())


async def _erased(driver: Driver) -> Callable[[], Awaitable[Sequence[MinioStep]]]:
    await driver.converge(driver.request())
    return lambda: driver.removal(driver.request())


Journey = Callable[[Driver], Awaitable[Callable[[], Awaitable[Sequence[MinioStep]]]]]


async def _run(driver: Driver, left: Callable[[], Awaitable[Sequence[MinioStep]]], crash_at: int = 0) -> int:
    """Do what is left until nothing is. At one step the answer gets lost and it is done again; then all that was known
    is forgotten. How many steps there were."""
    done = 0
    while steps := await left():
        for step in steps:
            await driver.engine.act(step)
            done += 1
            if done == crash_at:
                await driver.engine.act(step)
                break
    return done


@pytest.mark.parametrize("journey", [_created, _rotated, _suspended, _resumed, _erased])
async def test_a_crash_at_any_step_leads_to_the_same_end(server: Server, driver: Driver, journey: Journey) -> None:
    length = await _run(driver, await journey(driver))
    undisturbed = inventory(server)
    for crash_at in range(1, length + 1):
        sweep(server)
        await _run(driver, await journey(driver), crash_at)
        assert inventory(server) == undisturbed, f"crashed at step {crash_at}"
    assert length > 1


async def test_a_bucket_of_somebody_else_is_a_conflict_and_stays_as_it_is(server: Server, driver: Driver) -> None:
    root(server).make_bucket(BUCKET)
    put(root(server), BUCKET)
    before = inventory(server)
    request = driver.request()
    decision = driver.engine.decide(request, await driver.engine.observe(request))
    assert decision == Conflict("bucket", BUCKET, "it bears no stamp")
    await driver.converge(gen.cut(request))
    await driver.erase(request)
    assert inventory(server) == before


async def test_the_data_of_a_namesake_with_another_uid_is_never_touched(server: Server, driver: Driver) -> None:
    await driver.converge(driver.request(uid="the-first"))
    before = inventory(server)
    second = driver.request(uid="the-second")
    decision = driver.engine.decide(second, await driver.engine.observe(second))
    assert decision == Conflict("bucket", BUCKET, f"installation {gen.INSTALLATION}, UID the-first")
    await driver.converge(gen.cut(second))
    await driver.erase(second)
    assert inventory(server) == before


def _make_policy(server: Server) -> None:
    statement = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::somewhere/*"]}
    document = {"Version": "2012-10-17", "Statement": [statement]}
    admin(server).policy_add(gen.names().policy, policy=document)


def _make_user(server: Server) -> None:
    """With a policy of its own, so that it opens something."""
    access_key = gen.names().access_key(1)
    admin(server).user_add(access_key, "a-secret-of-somebody-else")
    admin(server).attach_policy(["readonly"], user=access_key)


@pytest.mark.parametrize(
    ("make", "conflict"),
    [
        (_make_policy, Conflict("policy", gen.names().policy, "it bears no stamp")),
        (_make_user, Conflict("user", gen.names().access_key(1), "it was there before our names were claimed")),
    ],
    ids=["policy", "user"],
)
async def test_a_policy_or_user_of_somebody_else_is_a_conflict_and_stays_as_it_is(
    server: Server, driver: Driver, make: Callable[[Server], None], conflict: Conflict
) -> None:
    make(server)
    before = inventory(server)
    request = gen.request(server=driver.server, claimed_at="")
    decision = driver.engine.decide(request, await driver.engine.observe(request))
    assert decision == conflict
    await driver.converge(gen.cut(request))
    await driver.erase(request)
    assert inventory(server) == before


async def test_the_policy_of_a_namesake_whose_bucket_is_gone_is_never_touched(server: Server, driver: Driver) -> None:
    await driver.converge(driver.request(uid="the-first"))
    root(server).remove_bucket(BUCKET)
    before = inventory(server)
    second = driver.request(uid="the-second")
    decision = driver.engine.decide(second, await driver.engine.observe(second))
    owner = f"installation {gen.INSTALLATION}, UID the-first"
    assert decision == Conflict("policy", gen.names().policy, owner)
    await driver.converge(gen.cut(second))
    await driver.erase(second)
    assert inventory(server) == before


async def test_a_bucket_that_came_in_between_look_and_creation_is_not_taken_over(
    server: Server, driver: Driver
) -> None:
    create, *_ = await driver.steps(driver.request())
    root(server).make_bucket(BUCKET)
    put(root(server), BUCKET)
    with pytest.raises(Unavailable, match="somebody else made one"):
        await driver.engine.act(create)


async def test_a_bucket_that_lost_its_stamp_to_a_crash_is_taken_up_while_it_is_empty(
    server: Server, driver: Driver
) -> None:
    root(server).make_bucket(BUCKET)
    await driver.converge(driver.request())
    assert stamp_tags(server, BUCKET)["bulkhead.dev/uid"] == gen.uid_of("acme")


async def test_a_provisioned_bucket_that_is_gone_is_reported_missing(server: Server, driver: Driver) -> None:
    await driver.converge(driver.request())
    root(server).remove_bucket(BUCKET)
    request = driver.request(provisioned=("bucket",))
    decision = driver.engine.decide(request, await driver.engine.observe(request))
    assert decision == DataMissing("bucket", BUCKET)


async def test_another_server_is_told_from_the_one_remembered(driver: Driver) -> None:
    request = gen.request(server="another-deployment")
    decision = driver.engine.decide(request, await driver.engine.observe(request))
    assert decision == EngineChanged("another-deployment", driver.server)


def _quota_lifted(server: Server, _: Request) -> None:
    admin(server).bucket_quota_set(BUCKET, 1 << 40)


def _opened_to_the_public(server: Server, _: Request) -> None:
    statement = {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject"]}
    policy = {"Version": "2012-10-17", "Statement": [{**statement, "Resource": [f"arn:aws:s3:::{BUCKET}/*"]}]}
    root(server).set_bucket_policy(BUCKET, json.dumps(policy))


def _policy_widened(server: Server, _: Request) -> None:
    statement = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
    policy = json.loads(admin(server).policy_info("acme"))
    admin(server).policy_add("acme", policy={**policy, "Statement": [*policy["Statement"], statement]})


def _other_policy(server: Server, request: Request) -> None:
    admin(server).policy_set("readwrite", user=request.holding.credentials[0].identity)


def _no_policy(server: Server, request: Request) -> None:
    admin(server).policy_set("", user=request.holding.credentials[0].identity)


def _in_a_group(server: Server, request: Request) -> None:
    members: list[str] = [request.holding.credentials[0].identity]
    admin(server).group_add("everybody", members)  # type: ignore[arg-type]  # a list is what the server takes
    admin(server).policy_set("readwrite", group="everybody")


def _disabled(server: Server, request: Request) -> None:
    admin(server).user_disable(request.holding.credentials[0].identity)


def _secret_changed(server: Server, request: Request) -> None:
    admin(server).user_add(request.holding.credentials[0].identity, "another-secret-key")


def _user_removed(server: Server, request: Request) -> None:
    admin(server).user_remove(request.holding.credentials[0].identity)


Change = Callable[[Server, Request], None]
CHANGES: Sequence[Change] = (
    _quota_lifted,
    _opened_to_the_public,
    _policy_widened,
    _other_policy,
    _no_policy,
    _in_a_group,
    _disabled,
    _secret_changed,
    _user_removed,
)


UNSEEN_BY_A_SURVEY = (_quota_lifted, _opened_to_the_public, _secret_changed)


@pytest.mark.parametrize("change", CHANGES)
async def test_what_somebody_changed_by_hand_is_set_back(server: Server, driver: Driver, change: Change) -> None:
    request = await driver.converge(driver.request())
    before = inventory(server)
    change(server, request)
    assert await driver.steps(request)
    await driver.converge(request)
    assert inventory(server) == before
    put(client_of(server, request), BUCKET)


async def test_sessions_made_with_a_secret_that_was_changed_by_hand_are_ended(server: Server, driver: Driver) -> None:
    request = await driver.converge(driver.request())
    session = sts_client(server, request)
    assert list(session.list_objects(BUCKET)) == []
    _secret_changed(server, request)
    await driver.converge(request)
    assert answer_to(lambda: list(session.list_objects(BUCKET))) == "InvalidAccessKeyId"


@pytest.mark.parametrize("change", [c for c in CHANGES if c not in UNSEEN_BY_A_SURVEY])
async def test_a_survey_shows_what_was_changed(server: Server, driver: Driver, change: Change) -> None:
    request = await driver.converge(driver.request())
    change(server, request)
    assert (await driver.engine.survey()).get(request.stamp.uid) != driver.engine.fingerprint(request)


async def test_a_survey_shows_every_tenant_of_this_installation_as_its_fingerprint_says(
    server: Server, driver: Driver
) -> None:
    requests = [await driver.converge(driver.request(slug)) for slug in ("a", "ab", "a-b-1")]
    foreign = gen.request("other", installation=NOBODY, server=driver.server)
    await driver.converge(foreign)
    root(server).make_bucket("of-nobody")
    assert await driver.engine.survey() == {r.stamp.uid: driver.engine.fingerprint(r) for r in requests}


async def test_a_survey_asks_as_often_for_six_tenants_as_for_two(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def admit(slug: str) -> str:
        return (await driver.converge(driver.request(slug))).stamp.uid

    pool = driver.engine._api("counting requests")._pool
    await Tally(monkeypatch, pool, "urlopen").does_not_grow_with_tenants(driver.engine, admit)


async def test_a_survey_tells_a_tenant_that_is_cut_from_one_that_is_open(driver: Driver) -> None:
    request = await driver.converge(driver.request())
    cut = await driver.converge(gen.cut(request))
    assert await driver.engine.survey() == {cut.stamp.uid: driver.engine.fingerprint(cut)}
    assert driver.engine.fingerprint(cut) != driver.engine.fingerprint(request)


async def test_two_generations_work_side_by_side_until_the_older_one_is_retired(server: Server, driver: Driver) -> None:
    first = await driver.converge(driver.request())
    session = sts_client(server, first)
    both = await driver.converge(driver.request(generations=(1, 2)))
    put(client_of(server, both, 0), BUCKET)
    put(client_of(server, both, 1), BUCKET)
    second = await driver.converge(driver.request(generations=(2,)))
    put(client_of(server, second), BUCKET)
    assert answer_to(lambda: put(client_of(server, first), BUCKET)) == "InvalidAccessKeyId"
    assert answer_to(lambda: put(session, BUCKET)) == "InvalidAccessKeyId"


async def test_several_retired_generations_are_all_found(server: Server, driver: Driver) -> None:
    await driver.converge(driver.request(generations=(1, 2, 3)))
    await driver.converge(driver.request(generations=(4,)))
    assert set(json.loads(admin(server).user_list())) == {gen.names().access_key(4)}


async def test_left_over_users_go_from_the_outside_in_so_that_a_crash_hides_none(driver: Driver) -> None:
    await driver.converge(driver.request(generations=(1, 2, 3, 4, 5)))
    steps = await driver.steps(driver.request(generations=(3,)))
    removed = [step.access_key for step in steps if isinstance(step, RemoveUser)]
    assert removed == [gen.names().access_key(generation) for generation in (1, 2, 5, 4)]


async def test_a_generation_newer_than_the_record_knows_is_removed_and_cut_like_a_retired_one(
    server: Server, driver: Driver
) -> None:
    newer = await driver.converge(driver.request(generations=(1, 2, 3)))
    await driver.converge(gen.cut(driver.request()))
    assert answer_to(lambda: put(client_of(server, newer), BUCKET)) == "InvalidAccessKeyId"
    await driver.converge(driver.request())
    assert set(json.loads(admin(server).user_list())) == {gen.names().access_key(1)}


async def test_cut_no_key_of_the_tenant_opens_anything(server: Server, driver: Driver) -> None:
    request = await driver.converge(driver.request())
    clients = (client_of(server, request), sts_client(server, request), derived_client(server, request))
    put(clients[0], BUCKET)
    link = clients[0].presigned_get_object(BUCKET, "k")
    assert [get(each, BUCKET) for each in clients] == [b"x"] * 3
    await driver.converge(gen.cut(request))
    denials = [answer_to(partial(get, each, BUCKET)) for each in clients]
    assert denials == ["InvalidAccessKeyId", "InvalidAccessKeyId", "AccessDenied"]
    assert pool(server.ca_pem).request("GET", link).status == 403


async def test_opened_again_the_same_keys_open_the_same_data(server: Server, driver: Driver) -> None:
    request = await driver.converge(driver.request())
    put(client_of(server, request), BUCKET, text=b"kept")
    before = inventory(server)
    await driver.converge(gen.cut(request))
    await driver.converge(request)
    assert inventory(server) == before
    assert get(client_of(server, request), BUCKET) == b"kept"


async def test_a_user_that_a_late_call_enables_again_still_opens_nothing(server: Server, driver: Driver) -> None:
    request = await driver.converge(driver.request())
    await driver.converge(gen.cut(request))
    held = request.holding.credentials[0]
    await driver.engine.act(CreateUser(held.identity, held.value))
    assert answer_to(lambda: put(client_of(server, request), BUCKET)) == "AccessDenied"


async def test_nothing_is_left_after_removal(server: Server, driver: Driver) -> None:
    request = await driver.converge(driver.request(generations=(1, 2)))
    put(client_of(server, request), BUCKET)
    await driver.erase(request)
    assert inventory(server) == {"buckets": {}, "users": {}, "policies": set()}


async def test_versions_and_delete_markers_are_erased_too(server: Server, driver: Driver) -> None:
    request = await driver.converge(driver.request())
    root(server).set_bucket_versioning(BUCKET, VersioningConfig(ENABLED))
    tenant = client_of(server, request)
    put(tenant, BUCKET)
    put(tenant, BUCKET, text=b"y")
    tenant.remove_object(BUCKET, "k")
    await driver.erase(request)
    assert root(server).list_buckets() == []


async def test_a_bucket_that_lost_its_tags_is_not_told_to_be_erased_until_it_has_them_back(
    server: Server, driver: Driver
) -> None:
    await driver.converge(driver.request())
    request = driver.request(provisioned=("bucket",))
    put(client_of(server, request), BUCKET)
    tags = root(server).get_bucket_tags(BUCKET)
    assert tags is not None
    root(server).delete_bucket_tags(BUCKET)
    with pytest.raises(AssertionError, match="Conflict"):
        await driver.erase(request)
    assert get(root(server), BUCKET) == b"x"
    root(server).set_bucket_tags(BUCKET, tags)
    await driver.erase(request)
    assert not root(server).bucket_exists(BUCKET)


async def test_a_namesake_can_not_go_on_with_an_upload_of_the_former_owner(server: Server, driver: Driver) -> None:
    first = await driver.converge(driver.request(uid="the-first"))
    upload = begin_upload(client_of(server, first), BUCKET, "k")
    await driver.erase(first)
    second = await driver.converge(driver.request(uid="the-second"))
    assert answer_to(lambda: upload_parts(client_of(server, second), BUCKET, "k", upload)) == "NoSuchUpload"


async def test_more_uploads_than_one_look_takes_are_neither_read_by_a_cut_nor_left_by_an_erasure(
    server: Server, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, all_of_them = 100, 250
    monkeypatch.setattr("bulkhead.engines.minio.engine.MOST_UPLOADS", at_once)
    request = await driver.converge(driver.request())
    tenant = client_of(server, request)
    for number in range(all_of_them):
        tenant._create_multipart_upload(BUCKET, f"{'long/' * 100}{number}", {})
    looks = _looks_at_uploads(monkeypatch)
    await driver.converge(gen.cut(request))
    assert looks == []

    await driver.erase(request, rounds=6)
    assert looks == [at_once, at_once, all_of_them - 2 * at_once]
    assert BUCKET not in inventory(server)["buckets"]  # type: ignore[operator]  # names of buckets
    root(server).make_bucket(BUCKET)
    assert list_uploads(root(server), BUCKET, "") == []


def _looks_at_uploads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many uploads each look takes in from now on."""
    read, looks = listing.read, list[int]()

    def counted(answer: listing.Answer, most: int) -> Uploads:
        found = read(answer, most)
        looks.append(len(found.found))
        return found

    monkeypatch.setattr("bulkhead.engines.minio.listing.read", counted)
    return looks


async def test_a_namesake_can_not_find_an_upload_that_the_server_forgot_in_a_restart(
    server: Server, driver: Driver
) -> None:
    first = await driver.converge(driver.request(uid="the-first"))
    begin_upload(client_of(server, first), BUCKET, "k")
    await server.stop()
    await server.start()
    await driver.erase(first)
    second = await driver.converge(driver.request(uid="the-second"))
    tenant = client_of(server, second)
    assert answer_to(lambda: list_uploads(tenant, BUCKET, "k")) == "AccessDenied"
    assert answer_to(lambda: list_uploads(tenant, BUCKET, "")) == "AccessDenied"


async def test_sessions_of_the_former_owner_do_not_come_back_with_a_user_of_the_same_name(
    server: Server, driver: Driver
) -> None:
    request = await driver.converge(driver.request())
    session = sts_client(server, request)
    await driver.erase(request)
    await driver.converge(request)
    assert answer_to(lambda: put(session, BUCKET)) == "InvalidAccessKeyId"


async def test_an_object_lock_is_reported_with_its_day_and_nothing_is_lost() -> None:
    async with running_server() as server:  # of its own: nobody can clean up a locked bucket
        driver = await Driver.of(engine_of(server))
        root(server).make_bucket(BUCKET, object_lock=True)
        request = await driver.converge(driver.request())
        until = utcnow() + timedelta(days=2)
        root(server).put_object(BUCKET, "k", io.BytesIO(b"x"), 1, retention=Retention(COMPLIANCE, until))
        with pytest.raises(Refused, match=f"locked until {until:%Y-%m-%d}"):
            await driver.erase(request)
        assert get(root(server), BUCKET) == b"x"
        await driver.engine.close()
