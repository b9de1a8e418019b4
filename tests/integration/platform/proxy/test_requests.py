"""What a user sends to a cluster arrives there as it was sent, vouched for, and nothing else does."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from bulkhead.platform.audit.entry import Action, Entry
from bulkhead.platform.audit.intake import Intake
from bulkhead.platform.proxy.requests import SEEN_SECONDS
from bulkhead.protocol import assertions
from bulkhead.protocol.assertions import HEADER, Ability, Source, server_name
from bulkhead.protocol.keys import SigningKey
from tests.integration.platform.desk import user
from tests.integration.platform.http.served import Reply, Served, Wire
from tests.integration.platform.proxy.gen import PLATFORM, Yard
from tests.integration.platform.rows import Rows
from tests.world import eventually


@pytest.fixture
async def served(grounds: Yard) -> AsyncIterator[Served]:
    async with grounds.served() as running:
        yield running


@pytest.fixture
async def cluster(grounds: Yard) -> UUID:
    return await grounds.cluster()


def request(who: str, method: str, cluster: UUID, path: str, *headers: str, body: bytes | None = None) -> bytes:
    lines = [f"{method} /v1/clusters/{cluster}/proxy/{path} HTTP/1.1", "Host: platform.test", *headers]
    lines += [f"Authorization: Bearer {who}"] if who else []
    lines += [] if body is None else [f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b"")


async def ask(
    served: Served, who: str, method: str, cluster: UUID, path: str, *headers: str, body: bytes | None = None
) -> Reply:
    async with contextlib.aclosing(await served.connect()) as wire:
        wire.say(request(who, method, cluster, path, *headers, body=body))
        return await wire.reply(method=method)


async def refused(served: Served, who: str, method: str, cluster: UUID, path: str, *headers: str) -> tuple[int, str]:
    reply = await ask(served, who, method, cluster, path, *headers)
    return reply.status, reply.json["code"]


PATHS = [
    "",
    "a",
    "a/b//c/",
    "a%20b",
    "%C3%A9t%C3%A9",
    "%c3%a9T%C3%a9",
    "a?x=1&y=%2F..%2f",
    "a?x=../..",
    "a?b?c",
    "a;v=1/b:c@d!$&'()*+,",
    "a%3Fb%23c%25",
    "...",
    "a.",
    ".well-known/x",
    "a%252e",
    "%7Euser/~user",
]


@pytest.mark.parametrize("path", PATHS)
async def test_a_target_arrives_byte_for_byte(served: Served, cluster: UUID, path: str) -> None:
    reply = await ask(served, "reader", "GET", cluster, path)
    assert reply.status == 200, reply
    assert reply.json["target"] == f"/{path}"


async def test_an_assertion_says_who_asks_for_what_where(served: Served, grounds: Yard, cluster: UUID) -> None:
    told = (await ask(served, "writer", "PUT", cluster, "things/1?force=1", body=b"x")).json["assertion"]
    assert told["iss"] == PLATFORM
    assert told["aud"] == str(cluster)
    assert told["sub"] == "ada"
    assert told["organisation"] == str(grounds.organisation)
    assert told["abilities"] == [Ability.DATASET_READ, Ability.DATASET_WRITE]
    assert told["source"] == Source.HUMAN
    assert told["method"] == "PUT"
    assert told["path"] == assertions.path_hash(b"/things/1?force=1")


async def test_no_two_assertions_have_one_id(served: Served, cluster: UUID) -> None:
    told = [(await ask(served, "writer", "POST", cluster, "x", body=b"")).json["assertion"]["jti"] for _ in range(3)]
    assert len(set(told)) == 3


async def test_an_assertion_is_signed_with_the_key_that_its_cluster_has_acknowledged(
    served: Served, grounds: Yard, cluster: UUID
) -> None:
    assert (await ask(served, "reader", "GET", cluster, "x")).status == 200
    newest = grounds.jwks.newest.kid
    await grounds.change("UPDATE clusters SET acknowledged_kid = %s WHERE id = %s", newest, cluster)
    assert (await ask(served, "reader", "GET", cluster, "x")).status == 200


async def test_a_body_arrives_whole(served: Served, cluster: UUID) -> None:
    body = bytes(range(256)) * 4096
    reply = await ask(served, "writer", "POST", cluster, "x", "Content-Type: application/x-own", body=body)
    assert (reply.json["bytes"], reply.json["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())


async def test_a_body_in_chunks_arrives_whole(served: Served, cluster: UUID) -> None:
    async with contextlib.aclosing(await served.connect()) as wire:
        wire.say(request("writer", "POST", cluster, "x", "Transfer-Encoding: chunked"))
        for _ in range(3):
            wire.say(b"5\r\nhello\r\n")
        wire.say(b"0\r\n\r\n")
        told = (await wire.reply()).json
    assert told["bytes"] == 15
    assert ["transfer-encoding", "chunked"] in told["headers"]


async def test_only_listed_headers_arrive(served: Served, cluster: UUID) -> None:
    hostile = (
        "Cookie: a=b",
        "Forwarded: for=10.0.0.1",
        "X-Forwarded-For: 10.0.0.1",
        "X-Forwarded-Host: evil",
        "X-Real-Ip: 10.0.0.1",
        f"{HEADER}: forged",
        "Proxy-Authorization: Basic eDp5",
        "X-Original-Url: /admin",
        "Connection: keep-alive, accept",
        "Keep-Alive: 5",
        "TE: trailers",
        "User-Agent: curl",
        "Origin: https://evil.example",
    )
    reply = await ask(served, "reader", "GET", cluster, "x", "Accept: text/x", 'If-Match: "1"', *hostile)
    arrived = dict(reply.json["headers"])
    own = {
        "host": server_name(str(cluster)),
        HEADER.lower(): arrived[HEADER.lower()],
        "traceparent": arrived["traceparent"],
    }
    assert arrived == {**own, "accept": "text/x", "if-match": '"1"'}


async def test_a_trace_goes_on_at_the_cluster(served: Served, cluster: UUID) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    reply = await ask(served, "reader", "GET", cluster, "x", f"traceparent: {parent}", "tracestate: a=b")
    arrived = dict(reply.json["headers"])
    assert arrived["traceparent"].split("-")[1] == "0af7651916cd43dd8448eb211c80319c"
    assert arrived["traceparent"] != parent
    assert arrived["tracestate"] == "a=b"


async def test_an_answer_runs_nothing_in_the_origin_of_the_platform(served: Served, cluster: UUID) -> None:
    reply = await ask(served, "reader", "GET", cluster, "x")
    assert reply.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"


async def test_a_head_tells_the_length_without_the_body(served: Served, cluster: UUID) -> None:
    async with contextlib.aclosing(await served.connect()) as wire:
        wire.say(request("reader", "HEAD", cluster, "bytes/1000"))
        reply = await wire.reply(method="HEAD")
        assert (reply.status, reply.headers["content-length"]) == (200, "1000")
        wire.say(request("reader", "GET", cluster, "bytes/3"))
        assert (await wire.reply()).body == bytes(3)


async def test_events_arrive_as_they_happen(served: Served, cluster: UUID) -> None:
    async with contextlib.aclosing(await served.connect()) as wire:
        wire.say(request("reader", "GET", cluster, "events", "Accept: text/event-stream"))
        head = await wire.reader.readuntil(b"\r\n\r\n")
        assert b"content-type: text/event-stream\r\n" in head
        first = await wire.reader.readuntil(b"tick\n\n")
        second = await wire.reader.readuntil(b"tick\n\n")
        assert b"id: 0" in first
        assert b"id: 1" in second


HOSTILE_PATHS = [
    "..",
    ".",
    "a/../b",
    "a/./b",
    "../x",
    "%2e%2e/x",
    "a/%2E./b",
    "a/.%2e",
    "..;x=1/admin",
    "a%2fb",
    "a%2Fb",
    "a%5cb",
    "a\\b",
    "a%00b",
    "a%0d%0ab",
    "a%7f",
    "%c0%ae%c0%ae/x",
    "%c0%afx",
    "%ff",
    "a%zz",
    "a%2",
    "/evil.example/x",
]


@pytest.mark.parametrize("path", HOSTILE_PATHS)
async def test_a_path_that_two_readers_take_differently_is_refused(
    served: Served, grounds: Yard, cluster: UUID, path: str
) -> None:
    assert await refused(served, "reader", "GET", cluster, path) == (400, "path_refused")
    assert [row["action"] for row in await grounds.audited(cluster)] == ["proxy.refused"]


async def test_a_reader_writes_nothing(served: Served, cluster: UUID) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert await refused(served, "reader", method, cluster, "x") == (403, "ability_missing")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_a_safe_method_needs_no_more_than_to_read(served: Served, cluster: UUID, method: str) -> None:
    assert (await ask(served, "reader", method, cluster, "x")).status == 200
    assert (await ask(served, "", method, cluster, "x")).status == 401


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND"])
async def test_other_methods_are_not_passed(served: Served, cluster: UUID, method: str) -> None:
    reply = await ask(served, "writer", method, cluster, "x")
    assert reply.status in {400, 405}


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Transfer-Encoding: chunked, identity",),
        ("Upgrade: websocket", "Connection: upgrade"),
        ("Content-Length: +5",),
    ],
)
async def test_a_request_that_says_its_length_in_two_ways_reaches_no_cluster(
    served: Served, grounds: Yard, cluster: UUID, headers: tuple[str, ...]
) -> None:
    reply = await ask(served, "writer", "POST", cluster, "x", *headers)
    assert reply.status == 400
    assert await grounds.audited(cluster) == []


async def test_a_header_that_is_not_ascii_reaches_no_cluster(served: Served, cluster: UUID) -> None:
    assert await refused(served, "reader", "GET", cluster, "x", "Accept: \xe9") == (400, "request_malformed")


async def test_a_cluster_of_another_organisation_is_not_there(served: Served, grounds: Yard, cluster: UUID) -> None:
    grounds.people["stranger"] = user(uuid4(), "DATASET_READ")
    async with grounds.database.superuser() as session:
        grounds.people["stranger"] = user(await Rows(session).organisation(), "DATASET_READ")
    assert await refused(served, "stranger", "GET", cluster, "x") == (404, "not_found")
    assert await refused(served, "reader", "GET", uuid4(), "x") == (404, "not_found")


STATES = {
    "UPDATE liveness SET online = false WHERE identity_id = %s": (503, "cluster_offline"),
    "UPDATE clusters SET desired_state = 'suspended' WHERE id = %s": (503, "cluster_suspended"),
    "UPDATE clusters SET deleted_at = now() WHERE id = %s": (404, "not_found"),
    "UPDATE clusters SET identity_revoked_at = now() WHERE id = %s": (403, "identity_revoked"),
}


@pytest.mark.parametrize(("statement", "told"), STATES.items())
async def test_a_cluster_that_may_not_be_asked_says_why(
    served: Served, grounds: Yard, cluster: UUID, statement: str, told: tuple[int, str]
) -> None:
    await grounds.change(statement, cluster)
    assert await refused(served, "reader", "GET", cluster, "x") == told
    (row,) = await grounds.audited(cluster)
    assert (row["action"], row["details"]["code"]) == ("proxy.refused", told[1])


OF_THE_PLANE = {
    "UPDATE plane_grants SET revoked_at = now() WHERE plane_id = %s": (403, "grant_withdrawn"),
    "UPDATE planes SET identity_revoked_at = now() WHERE id = %s": (403, "plane_revoked"),
    "DELETE FROM plane_targets WHERE plane_id = %s": (503, "target_unset"),
    "UPDATE plane_targets SET sealed_client_key = decode(repeat('00', 64), 'hex') WHERE plane_id = %s": (
        503,
        "target_unset",
    ),
}


@pytest.mark.parametrize(("statement", "told"), OF_THE_PLANE.items())
async def test_a_plane_that_may_not_be_asked_says_why(
    served: Served, grounds: Yard, cluster: UUID, statement: str, told: tuple[int, str]
) -> None:
    await grounds.change(statement, grounds.plane)
    try:
        assert await refused(served, "reader", "GET", cluster, "x") == told
    finally:
        await grounds.change("UPDATE plane_grants SET revoked_at = NULL WHERE plane_id = %s", grounds.plane)
        await grounds.change("UPDATE planes SET identity_revoked_at = NULL WHERE id = %s", grounds.plane)
        await grounds.aim()


async def test_what_was_allowed_before_it_waited_long_for_the_audit_is_looked_at_again_before_it_is_sent(
    served: Served, grounds: Yard, cluster: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slowly(intake: Intake, entry: Entry) -> None:
        await write(intake, entry)
        if entry.action is Action.PROXY_REQUESTED:
            await grounds.change("UPDATE clusters SET desired_state = 'suspended' WHERE id = %s", cluster)
            grounds.clock.seconds += SEEN_SECONDS + 0.5

    write = Intake.write
    monkeypatch.setattr(Intake, "write", slowly)
    assert await refused(served, "writer", "POST", cluster, "x") == (503, "cluster_suspended")
    assert str(cluster) not in {used for used, _ in grounds.stand_in._used}
    before, after = await grounds.audited(cluster)
    assert before["action"] == "proxy.requested"
    assert (after["action"], after["details"]["code"]) == ("proxy.ended", "cluster_suspended")


async def test_what_did_not_wait_is_looked_at_once(served: Served, grounds: Yard, cluster: UUID) -> None:
    looks = grounds.looks
    assert (await ask(served, "reader", "GET", cluster, "x")).status == 200
    assert grounds.looks == looks + 1


async def test_one_busy_cluster_does_not_take_the_places_of_others(grounds: Yard) -> None:
    grounds.room.most_of_one = 1
    busy, other = await grounds.cluster(), await grounds.cluster()
    try:
        async with grounds.served() as served, contextlib.aclosing(await served.connect()) as wire:
            wire.say(request("reader", "GET", busy, "events"))
            await wire.reader.readuntil(b"tick\n\n")
            assert await refused(served, "reader", "GET", busy, "x") == (429, "rate_limited")
            assert (await ask(served, "reader", "GET", other, "x")).status == 200
    finally:
        grounds.room.most_of_one = 100


async def test_a_place_is_given_back_however_a_request_ends(grounds: Yard, served: Served, cluster: UUID) -> None:
    await ask(served, "reader", "GET", cluster, "x")
    await ask(served, "reader", "GET", cluster, "..")
    await ask(served, "reader", "GET", uuid4(), "x")

    async def empty() -> bool:
        return not grounds.room._running

    await eventually(empty)


async def test_an_assertion_for_one_cluster_is_refused_by_another(served: Served, grounds: Yard, cluster: UUID) -> None:
    other = await grounds.cluster()
    assertion = dict((await ask(served, "reader", "GET", cluster, "x")).json["headers"])[HEADER.lower()]
    for where, told in ((cluster, 200), (other, 401)):
        url = grounds.gateways._open[grounds.plane].url(str(where), b"/x")
        assert url is not None
        response = await grounds.gateways._open[grounds.plane].send(
            "GET", url, {HEADER: assertion, "host": server_name(str(where))}, None, repeatable=False
        )
        response.close()
        assert response.status == told


async def test_two_clusters_of_one_gateway_never_share_a_connection(served: Served, grounds: Yard) -> None:
    clusters = [await grounds.cluster(), await grounds.cluster()]
    for _ in range(3):
        for each in clusters:
            assert (await ask(served, "reader", "GET", each, "x")).json["assertion"]["aud"] == str(each)
    kept = grounds.gateways._open[grounds.plane]._reads.connector
    assert kept is not None
    hosts = {key.host for key in kept._conns}
    assert {server_name(str(each)) for each in clusters} <= hosts


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_gateway_is_not_closed_before_the_request_that_was_given_it_is_sent(
    served: Served, grounds: Yard, cluster: UUID, monkeypatch: pytest.MonkeyPatch, *, replaced: bool
) -> None:
    async def unused() -> bool:
        return not known._in_use

    async def recorded(intake: Intake, entry: Entry) -> None:
        if entry.action is Action.PROXY_REQUESTED:
            if replaced:
                grounds.gateways.of(replace(known.target, ca=f"{known.target.ca}\n"))
            await grounds.gateways.sweep(since)
        await write(intake, entry)

    assert (await ask(served, "reader", "GET", cluster, "x")).status == 200
    known, write = grounds.gateways._open[grounds.plane], Intake.write
    await eventually(unused)
    since = asyncio.get_running_loop().time()
    monkeypatch.setattr(Intake, "write", recorded)
    assert (await ask(served, "reader", "GET", cluster, "x")).status == 200
    await eventually(unused)
    await grounds.gateways.sweep(asyncio.get_running_loop().time() + 1)
    assert known._reads.closed, "once it is unused"


async def test_what_answers_with_the_certificate_of_another_cluster_is_sent_nothing(
    served: Served, grounds: Yard, cluster: UUID
) -> None:
    other = await grounds.cluster()
    clusters = dict(grounds.stand_in.served.clusters)
    swapped = {str(cluster): clusters[str(other)]}
    grounds.stand_in.served = msgspec.structs.replace(grounds.stand_in.served, clusters={**clusters, **swapped})
    assert await refused(served, "reader", "GET", cluster, "x") == (502, "target_untrusted")


async def test_a_gateway_of_another_authority_is_sent_nothing(served: Served, grounds: Yard, cluster: UUID) -> None:
    await grounds.aim(ca=grounds.clients_ca)
    try:
        assert await refused(served, "reader", "GET", cluster, "x") == (502, "target_untrusted")
    finally:
        await grounds.aim()


async def test_the_gateway_takes_nobody_without_the_platforms_certificate(
    served: Served, grounds: Yard, cluster: UUID
) -> None:
    own = grounds.authority.client("somebody else")
    sealed = grounds.sealing.seal(own.key.encode(), f"plane_targets/{grounds.plane}")
    await grounds.aim(client_certificate=own.certificate, sealed_client_key=sealed.text)
    try:
        assert await refused(served, "reader", "GET", cluster, "x") == (502, "target_unreachable")
    finally:
        await grounds.aim()


@pytest.mark.parametrize("seconds", [-3600, 3600])
async def test_a_cluster_whose_clock_is_off_is_told_apart(
    served: Served, grounds: Yard, cluster: UUID, seconds: int
) -> None:
    clock = grounds.stand_in.clock
    grounds.stand_in.clock = lambda: clock() + seconds
    try:
        assert await refused(served, "reader", "GET", cluster, "x") == (502, "clock_skew")
    finally:
        grounds.stand_in.clock = clock


async def test_a_cluster_that_does_not_know_our_keys_does_not_look_like_a_wrong_credential(
    served: Served, grounds: Yard, cluster: UUID
) -> None:
    own = grounds.stand_in.served.clusters[str(cluster)]
    others = assertions.Jwks(keys=(assertions.Jwk.of(SigningKey(b"s" * 32).public),))
    grounds.stand_in.served.clusters[str(cluster)] = msgspec.structs.replace(own, jwks=others)
    assert await refused(served, "reader", "GET", cluster, "x") == (502, "target_answer_refused")


async def test_a_request_is_in_the_audit_before_and_after(served: Served, grounds: Yard, cluster: UUID) -> None:
    reply = await ask(served, "writer", "POST", cluster, "secret/path?token=hunter2", body=b"12345")

    async def both() -> list[dict[str, Any]]:
        rows = await grounds.audited(cluster)
        return rows if len(rows) == 2 else []

    before, after = await eventually(both)
    assert before["action"] == "proxy.requested"
    assert before["actor"]["id"] == "ada"
    assert before["details"]["method"] == "POST"
    assert before["details"]["path"] == assertions.path_hash(b"/secret/path?token=hunter2")
    assert after["action"] == "proxy.ended"
    assert after["details"]["status"] == 200
    assert (after["details"]["bytesIn"], after["details"]["bytesOut"]) == (5, len(reply.body))
    assert "hunter2" not in json.dumps([before, after])


async def test_nothing_is_sent_that_could_not_be_recorded(served: Served, grounds: Yard, cluster: UUID) -> None:
    await grounds.change("ALTER TABLE audit_intake ADD CONSTRAINT none CHECK (action <> 'proxy.requested') NOT VALID")
    try:
        assert (await ask(served, "writer", "POST", cluster, "x", body=b"")).status == 500
    finally:
        await grounds.change("ALTER TABLE audit_intake DROP CONSTRAINT none")
    assert str(cluster) not in {used for used, _ in grounds.stand_in._used}


@contextlib.asynccontextmanager
async def following(served: Served, who: str, cluster: UUID) -> AsyncIterator[Wire]:
    async with contextlib.aclosing(await served.connect()) as wire:
        wire.say(request(who, "GET", cluster, "events"))
        await wire.reader.readuntil(b"tick\n\n")
        yield wire


ENDINGS = {
    "UPDATE clusters SET desired_state = 'suspended' WHERE id = %(cluster)s": "cluster_suspended",
    "UPDATE clusters SET identity_revoked_at = now() WHERE id = %(cluster)s": "identity_revoked",
    "UPDATE clusters SET deleted_at = now() WHERE id = %(cluster)s": "not_found",
    "UPDATE plane_grants SET revoked_at = now() WHERE plane_id = %(plane)s": "grant_withdrawn",
    "UPDATE planes SET identity_revoked_at = now() WHERE id = %(plane)s": "plane_revoked",
    "UPDATE plane_targets SET address = '127.0.0.1:1' WHERE plane_id = %(plane)s": "target_unset",
}


async def ended(grounds: Yard, cluster: UUID) -> dict[str, Any]:
    async def look() -> dict[str, Any]:
        return next((row for row in await grounds.audited(cluster) if row["action"] == "proxy.ended"), {})

    return await eventually(look)


@pytest.mark.parametrize(("statement", "code"), ENDINGS.items())
async def test_a_running_stream_ends_with_what_allowed_it(
    grounds: Yard, cluster: UUID, statement: str, code: str
) -> None:
    grounds.limits = replace(grounds.limits, look_seconds=0.1)
    try:
        async with grounds.served() as served:
            async with following(served, "reader", cluster) as wire:
                async with grounds.database.superuser() as session:
                    await session.execute(statement.encode(), {"cluster": cluster, "plane": grounds.plane})
                assert not (await wire.ended()).endswith(b"0\r\n\r\n"), "cut, not ended: a part is not the whole"
            assert (await ended(grounds, cluster))["details"]["code"] == code
    finally:
        grounds.limits = replace(grounds.limits, look_seconds=30.0)
        await grounds.change("UPDATE plane_grants SET revoked_at = NULL WHERE plane_id = %s", grounds.plane)
        await grounds.change("UPDATE planes SET identity_revoked_at = NULL WHERE id = %s", grounds.plane)
        await grounds.aim()


async def test_a_running_stream_ends_with_the_credential_that_it_came_by(grounds: Yard, cluster: UUID) -> None:
    grounds.limits = replace(grounds.limits, look_seconds=0.1)
    grounds.people["brief"] = grounds.people["reader"]
    try:
        async with grounds.served() as served:
            async with following(served, "brief", cluster) as wire:
                del grounds.people["brief"]
                await wire.ended()
            assert (await ended(grounds, cluster))["details"]["code"] == "api_token_unknown"
    finally:
        grounds.limits = replace(grounds.limits, look_seconds=30.0)


async def test_a_running_stream_outlives_the_silence_of_the_operator(grounds: Yard, cluster: UUID) -> None:
    grounds.limits = replace(grounds.limits, look_seconds=0.05)
    try:
        async with grounds.served() as served, following(served, "reader", cluster) as wire:
            await grounds.change("UPDATE liveness SET online = false WHERE identity_id = %s", cluster)
            looks = grounds.looks

            async def looked() -> bool:
                return grounds.looks > looks + 3

            await eventually(looked)
            await wire.reader.readuntil(b"tick\n\n")
    finally:
        grounds.limits = replace(grounds.limits, look_seconds=30.0)


async def test_a_caller_who_leaves_ends_the_request_at_the_cluster(
    grounds: Yard, served: Served, cluster: UUID
) -> None:
    async with following(served, "reader", cluster):
        pass
    assert (await ended(grounds, cluster))["details"]["reason"] == "cut off"
