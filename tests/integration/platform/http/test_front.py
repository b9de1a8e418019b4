"""What the front promises to handlers and to callers, over a real socket."""

from __future__ import annotations

import contextlib
import re
import socket

import psycopg
import psycopg_pool
import pytest
from structlog.testing import capture_logs

from bulkhead.platform.http.front import Front
from bulkhead.platform.http.limits import Allowance
from bulkhead.platform.http.route import Route, UserWith
from bulkhead.platform.http.table import Table
from tests.integration.platform.http.served import (
    ID,
    World,
    bearer,
    eventually,
    get,
    post,
    request,
)

NOTE = b'{"noteText":"hello"}'
NOTES = f"/clusters/{ID}/notes"
TRACE = "0af7651916cd43dd8448eb211c80319c"


async def test_all_is_committed_before_the_answer_leaves() -> None:
    world = World()
    async with world.served() as served:
        reply = await served.say(post(NOTES, NOTE, bearer()))
        assert (reply.status, reply.json) == (201, {"noteText": "hello", "times": 1})
        assert world.log.transactions == ["begin", "commit", "after"]


async def test_a_commit_that_fails_is_no_success() -> None:
    world = World()
    world.fail_commit = psycopg.OperationalError("server closed the connection")
    async with world.served() as served:
        reply = await served.say(post(NOTES, NOTE, bearer()))
        assert (reply.status, reply.json["code"], reply.headers["retry-after"]) == (503, "unavailable", "2")
        assert "after" not in world.log.transactions


async def test_a_handler_that_asks_for_no_transaction_costs_none() -> None:
    world = World()
    async with world.served() as served:
        assert (await served.say(get("/open"))).status == 200
        assert world.log.transactions == []


async def test_a_refused_call_is_rolled_back_and_what_tells_of_it_is_written_first() -> None:
    world = World()
    async with world.served() as served:
        assert (await served.say(post(f"/clusters/{ID}/refused", NOTE, bearer()))).status == 404
        assert world.log.transactions == ["begin", "rollback", "refusal of 127.0.0.1"]


async def test_a_refusal_that_can_not_be_written_is_not_told() -> None:
    world = World()
    world.fail_audit = psycopg_pool.PoolTimeout("no connection")
    async with world.served() as served:
        assert (await served.say(post(f"/clusters/{ID}/refused", NOTE, bearer()))).status == 503


async def test_a_fault_of_ours_tells_its_trace_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    world = World()
    async with world.served() as served:
        reply = await served.say(post(f"/clusters/{ID}/broken", b'{"noteText":"hunter2"}', bearer()))
    assert (reply.status, reply.json["code"]) == (500, "internal")
    assert re.fullmatch("[0-9a-f]{32}", reply.json["trace"])
    assert world.log.transactions == ["begin", "rollback"]
    logged = capsys.readouterr().out
    assert "hunter2" not in logged + str(reply.body)
    assert "RuntimeError" in logged
    assert reply.json["trace"] in logged


async def test_who_goes_on_failing_is_in_the_log_once() -> None:
    with capture_logs() as logged:
        async with World().served() as served:
            for _ in range(3):
                assert (await served.say(post(NOTES, NOTE, bearer("wrong")))).status == 401
    lines = [each for each in logged if each["event"] == "request"]
    assert [(each["log_level"], each.get("failures")) for each in lines] == [
        ("info", 1),
        ("debug", None),
        ("debug", None),
    ]


async def test_a_handler_that_takes_too_long_is_ended() -> None:
    async with World().served() as served:
        reply = await served.say(get("/late"))
        assert (reply.status, reply.json["code"]) == (503, "unavailable")


def test_a_row_whose_caller_nobody_can_authenticate_is_an_error_at_the_start() -> None:
    world = World()

    class Fronted(World):
        def rows(self) -> tuple[Route, ...]:
            return ()

    front = Fronted().front()
    assert isinstance(front, Front)
    with pytest.raises(ValueError, match="no authenticator for ServiceKey, UserWith"):
        Front(
            Table(world.rows()),
            authenticators={},
            transaction=world.transaction,
            quota=world.quota,
            audit=world.audit,
            failures=front._failures,
            metrics=front._metrics,
            randomness=bytes,
        )


async def test_no_row_that_names_a_caller_answers_without_a_credential() -> None:
    world = World()
    async with world.served() as served:
        for row in world.rows():
            path = row.path.replace("{id:uuid}", str(ID)).replace("{path:path}", "x")
            for method in row.methods if isinstance(row.caller, UserWith) else ():
                async with contextlib.aclosing(await served.connect()) as wire:
                    wire.say(request(method, path))
                    reply = await wire.reply(method=method)
                    assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Authorization: Bearer",
        "Authorization: Basic Zm9vOmJhcg==",
        "Authorization: Bearer a b",
        "Authorization: good-key",
    ],
)
async def test_what_is_no_bearer_credential_is_told_what_to_send(header: str) -> None:
    async with World().served() as served:
        reply = await served.say(post(NOTES, NOTE, *([header] if header else [])))
        assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")


async def test_an_ability_that_a_user_has_not_is_named() -> None:
    async with World().served() as served:
        reply = await served.say(get("/users", bearer()))
        assert (reply.status, reply.json["code"], reply.json["detail"]) == (403, "ability_missing", "CLUSTER_READ")


async def test_each_failed_authentication_is_counted_for_its_source_and_a_good_credential_passes_all_the_same() -> None:
    async with World().served() as served:
        for number in range(5):
            assert (await served.say(post(NOTES, NOTE, bearer(f"bad{number}")))).status == 401
        reply = await served.say(post(NOTES, NOTE, bearer("bad")))
        assert (reply.status, reply.json["code"]) == (429, "rate_limited")
        assert int(reply.headers["retry-after"]) > 0
        assert (await served.say(post(NOTES, NOTE, bearer()))).status == 201


async def test_every_answer_tells_where_its_caller_stands_with_the_quota() -> None:
    world = World()
    world.allowances = (Allowance("per-minute", 300, 60, 17, 42), Allowance("per-hour", 10000, 3600, 9000, 1800))
    async with world.served() as served:
        headers = (await served.say(post(NOTES, NOTE, bearer()))).headers
        assert headers["ratelimit-policy"] == '"per-minute";q=300;w=60, "per-hour";q=10000;w=3600'
        assert headers["ratelimit"] == '"per-minute";r=17;t=42, "per-hour";r=9000;t=1800'


async def test_a_quota_that_is_used_up_says_when_to_come_back() -> None:
    world = World()
    world.allowances = (Allowance("per-minute", 300, 60, -1, 42), Allowance("per-hour", 10000, 3600, -1, 1800))
    async with world.served() as served:
        reply = await served.say(post(NOTES, NOTE, bearer()))
        assert (reply.status, reply.headers["retry-after"]) == (429, "1800")
        assert reply.headers["ratelimit"].startswith('"per-minute";r=0;t=42')
        assert world.log.transactions == []


async def test_HEAD_is_GET_without_the_body() -> None:  # noqa: N802 - names of methods
    async with World().served() as served, contextlib.aclosing(await served.connect()) as wire:
        wire.say(request("HEAD", "/open"))
        head = await wire.reply(method="HEAD")
        wire.say(get("/open"))
        whole = await wire.reply()
        assert head.headers["content-length"] == whole.headers["content-length"] == str(len(whole.body))


async def test_no_answer_is_stored_or_guessed_at() -> None:
    async with World().served() as served:
        for data in (get("/open"), get("/nothing"), get("/any/x")):
            headers = (await served.say(data)).headers
            assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
            assert "server" not in headers


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_a_row_for_any_method_is_told_which_and_gets_the_path_as_it_was_sent(method: str) -> None:
    async with World().served() as served:
        reply = await served.say(request(method, "/any/a%2Fb/../%00/c"))
        assert reply.body == f"{method} a%2Fb/../%00/c".encode()


async def test_a_body_streams_in_and_out() -> None:
    async with World().served() as served:
        body = bytes(range(256)) * 4096
        reply = await served.say(request("POST", "/echo", f"Content-Length: {len(body)}") + body)
        assert (reply.status, reply.body) == (200, body)


async def test_a_stream_ends_when_its_client_leaves_even_if_it_has_nothing_to_say() -> None:
    world = World()
    async with world.served() as served:
        wire = await served.connect()
        wire.say(get("/quiet"))
        await eventually(lambda: world.log.streams == ["open"])
        await wire.aclose()
        await eventually(lambda: world.log.streams == ["open", "closed"])


async def test_an_answer_that_breaks_off_is_not_taken_for_whole() -> None:
    async with World().served() as served, contextlib.aclosing(await served.connect()) as wire:
        wire.say(get("/torn"))
        assert not (await wire.ended()).endswith(b"0\r\n\r\n")


async def test_a_trace_goes_on_with_a_span_of_its_own_and_keeps_its_flag() -> None:
    async with World().served() as served:
        reply = await served.say(get("/open", f"traceparent: 00-{TRACE}-b7ad6b7169203331-01"))
        version, trace_id, span_id, flags = reply.headers["traceresponse"].split("-")
        assert (version, trace_id, flags) == ("00", TRACE, "01")
        assert span_id != "b7ad6b7169203331"
        assert reply.json["noteText"].endswith(TRACE)


async def test_two_traces_are_none() -> None:
    async with World().served() as served:
        parent = f"traceparent: 00-{TRACE}-b7ad6b7169203331-01"
        assert (await served.say(get("/open", parent, parent))).status == 400


async def test_a_server_that_stops_finishes_what_runs_and_takes_nothing_new() -> None:
    world = World()
    async with world.served() as served, contextlib.aclosing(await served.connect()) as wire:
        wire.say(get("/slow"))
        await eventually(lambda: world.log.notes)
        served.server.stop()
        await eventually(lambda: not_listening(served.port))
        world.proceed.set()
        reply = await wire.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        await served.running


async def test_what_runs_longer_than_the_drain_may_take_is_cut_off() -> None:
    world = World()
    async with world.served(drain_seconds=0.2) as served, contextlib.aclosing(await served.connect()) as wire:
        wire.say(get("/slow"))
        await eventually(lambda: world.log.notes)
        served.server.stop()
        await served.running


async def test_while_draining_every_answer_asks_its_client_to_go_elsewhere() -> None:
    world = World()
    world.draining = True
    async with world.served() as served:
        assert (await served.say(get("/open"))).headers["connection"] == "close"


def not_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
