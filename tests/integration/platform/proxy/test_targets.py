"""Where a plane's clusters are reached is set by administrators of the platform alone, and its key is never shown."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from bulkhead.platform.database.scope import Scope, transaction
from bulkhead.platform.http.route import Admin
from tests.integration.platform.http.served import Reply, Served
from tests.integration.platform.proxy.gen import Yard
from tests.integration.platform.proxy.test_requests import ask

ADMIN = Admin(subject="root", issuer="https://login.example.com", source="human")


@pytest.fixture
async def served(grounds: Yard) -> AsyncIterator[Served]:
    grounds.people["admin"] = ADMIN
    async with grounds.served() as running:
        yield running


async def call(served: Served, method: str, path: str, body: dict[str, Any] | None = None) -> Reply:
    text = b"" if body is None else json.dumps({"protocol": 1, **body}).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: platform.test", "Authorization: Bearer admin"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(text)}"] if text else []
    async with contextlib.aclosing(await served.connect()) as wire:
        wire.say(("\r\n".join(lines) + "\r\n\r\n").encode() + text)
        return await wire.reply()


def new(grounds: Yard, **changed: str) -> dict[str, Any]:
    return {
        "address": f"127.0.0.1:{grounds.gateway_port}",
        "ca": grounds.authority.certificate,
        "clientCertificate": grounds.client.certificate,
        "clientKey": grounds.client.key,
        **changed,
    }


async def test_a_target_that_was_set_is_used(served: Served, grounds: Yard) -> None:
    await grounds.change("DELETE FROM plane_targets")
    path = f"/v1/data-planes/{grounds.plane}/target"
    assert (await call(served, "GET", path)).status == 404
    reply = await call(served, "PUT", path, new(grounds))
    assert reply.status == 200, reply
    assert (await call(served, "GET", path)).json == reply.json
    cluster = await grounds.cluster()
    assert (await ask(served, "reader", "GET", cluster, "x")).status == 200


async def test_the_key_rests_sealed_and_is_never_shown(served: Served, grounds: Yard) -> None:
    reply = await call(served, "PUT", f"/v1/data-planes/{grounds.plane}/target", new(grounds))
    assert b"PRIVATE KEY" not in reply.body
    async with grounds.database.superuser() as session:
        ((row,),) = await (await session.execute("SELECT plane_targets::text FROM plane_targets")).fetchall()
    assert grounds.client.key.splitlines()[1] not in row
    assert grounds.client.key.encode().hex() not in row
    (entry,) = (await grounds.audited(grounds.plane))[-1:]
    assert entry["action"] == "plane.target_set"
    assert "PRIVATE KEY" not in json.dumps(entry)


REFUSED = [
    ({"address": "169.254.169.254:80"}, (422, "address_refused")),
    ({"address": "[fe80::1]:443"}, (422, "address_refused")),
    ({"address": "[::ffff:169.254.169.254]:80"}, (422, "address_refused")),
    ({"address": "0.0.0.0:443"}, (422, "address_refused")),
    ({"address": "224.0.0.1:443"}, (422, "address_refused")),
    ({"address": "https://gateway.example.com"}, (422, "body_invalid")),
    ({"ca": "nonsense"}, (422, "body_invalid")),
    ({"clientKey": "nonsense"}, (422, "body_invalid")),
    ({"clientKey": "\u0000"}, (422, "body_invalid")),
]


@pytest.mark.parametrize(("changed", "told"), REFUSED)
async def test_a_target_that_could_not_be_used_is_refused(
    served: Served, grounds: Yard, changed: dict[str, str], told: tuple[int, str]
) -> None:
    reply = await call(served, "PUT", f"/v1/data-planes/{grounds.plane}/target", new(grounds, **changed))
    assert (reply.status, reply.json["code"]) == told


async def test_a_plane_that_is_not_there_has_no_target(served: Served, grounds: Yard) -> None:
    assert (await call(served, "PUT", f"/v1/data-planes/{uuid4()}/target", new(grounds))).status == 404


async def test_an_organisation_can_not_write_where_its_requests_go(grounds: Yard) -> None:
    async with transaction(grounds.api, Scope(organisation=grounds.organisation)) as tx:
        changed = await tx.execute("UPDATE bulkhead.plane_targets SET address = 'evil:1'")
        assert changed.rowcount == 0
