"""A database that was restored from a backup: it does not serve, and the fence heals it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest import mock
from uuid import UUID, uuid4

import pytest

from bulkhead.cli.main import main
from bulkhead.platform import fence
from bulkhead.platform.audit import standing
from bulkhead.platform.audit.export import Export, Revoked
from bulkhead.platform.audit.look import look
from bulkhead.platform.clusters.liveness import Liveness
from bulkhead.platform.database.pools import TooPowerful
from bulkhead.platform.fence import Outcome, Unfenced
from tests.integration.platform.clusters.gen import beat, beats
from tests.integration.platform.clusters.test_sync import opened, sync
from tests.integration.platform.joining.platform import World, world
from tests.integration.platform.link import Link
from tests.integration.platform.rows import Rows, Tenancy
from tests.integration.platform.server import Client, Database, one
from tests.integration.platform.service import Service, over, settings, until
from tests.integration.platform.users.people import AUDIT, Said, ask, grant, id_of
from tests.world import eventually


def export(directory: Path) -> Export:
    return Export(directory, replica=str(uuid4()), clock=lambda: 1_790_000_000.0)


async def fenced(database: Database, directory: Path | None, *, while_serving: bool = False) -> Outcome:
    writer = export(directory) if directory else None
    return await fence.fence(database.dsn("maintenance"), directory, writer, while_serving=while_serving)


async def command(database: Database, directory: Path | None, *words: str) -> Said:
    """`bulkhead platform ...`, by the log-in of maintenance."""
    return await asyncio.to_thread(_command, database.dsn("maintenance"), directory, words)


def _command(dsn: str, directory: Path | None, words: tuple[str, ...]) -> Said:
    environment = {"BULKHEAD_PLATFORM_MAINTENANCE_DSN": dsn}
    if directory:
        environment["BULKHEAD_PLATFORM_EXPORT_DIRECTORY"] = str(directory)
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environment),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        status = main(["platform", *words])
    return Said(status, out.getvalue(), err.getvalue())


@asynccontextmanager
async def served(database: Database, directory: Path, **others: str) -> AsyncIterator[int]:
    """The port of the service as it ships; what it has recorded is sealed, signed and exported at the end."""
    async with Service.started(settings(database, EXPORT_DIRECTORY=str(directory), **others)) as service:
        yield await service.port()
        service.stop()
        assert await service.status() == 0


async def admin_of(database: Database) -> tuple[str, str]:
    """A member who manages tokens and reads the audit: the name, and a token."""
    who, where = f"ada-{uuid4()}", f"acme-{uuid4()}"
    abilities = ("--ability", "TOKEN_ADMIN", "--ability", "AUDIT_READ")
    for words in (("organisation", where), ("member", who, "--organisation", where, *abilities)):
        assert (await grant(database, *words)).status == 0
    return who, await another_token(database, who)


async def another_token(database: Database, who: str) -> str:
    return (await grant(database, "token", who, "--name", "laptop")).token


@asynccontextmanager
async def platform(database: Database) -> AsyncIterator[tuple[Client, World]]:
    """One that has lived, in a database that a fence has not seen."""
    async with world(database) as made:
        yield made.session, made


@pytest.fixture
async def fresh(database: Database) -> AsyncIterator[Database]:
    async with database.server.migrated_database() as one_more:
        yield one_more


async def epoch_of(database: Database) -> int:
    async with database.superuser() as session:
        return int(await one(session, "SELECT epoch FROM platform_state"))


async def test_after_a_fence_all_that_was_issued_before_it_is_fenced_and_heals(fresh: Database, tmp_path: Path) -> None:
    async with platform(fresh) as (_, made):
        suspended, revoked, deleted = [await made.joined_cluster(name) for name in ("a", "b", "c")]
        stream = await opened(made, suspended)
        waiting = made.cluster("d")
        token = await made.token_for(waiting)
        # What the backup does not know, and the export does.
        writer = export(tmp_path)
        await writer.epoch(1)
        await writer.revocation(Revoked.CLUSTER_IDENTITY, revoked.identity, epoch=1)
        await writer.revocation(Revoked.CLUSTER, deleted.identity, epoch=1)
        await writer.close()
        outcome = await fenced(fresh, tmp_path)
        assert (outcome.epoch, outcome.streams, outcome.tokens) == (2, 1, 1)
        assert (await beat(made.first, suspended)).code == "key_fenced"
        assert (await beat(made.first, revoked)).code == "identity_revoked"
        assert (await beat(made.second, deleted)).code == "cluster_deleted"
        assert (await waiting.exchange(made.first, token)).code == "token_revoked"
        assert (await suspended.rejoin(made.first)).status == 200
        # It had applied a suspension that the backup does not know: nothing is wanted of it.
        answer = await beats(made.second, suspended, applied_generation=2)
        assert answer["desired"] is None
        assert answer["snapshot"] == {"replaces": {"epoch": stream.epoch, "number": stream.number}}
        assert (await sync(made, suspended, {"protocol": 1})).code == "body_invalid"


async def test_every_kind_of_revocation_is_applied_again(fresh: Database, tmp_path: Path) -> None:
    async with fresh.superuser() as session:
        rows = Rows(session)
        held = await Tenancy.made(rows)
        issuer = await one(session, "SELECT issuer_id FROM memberships WHERE id = %s", (held.membership,))
        token = await one(session, "SELECT id FROM registration_tokens LIMIT 1")
        await session.execute(
            "INSERT INTO platform_admins (issuer_id, subject, created_by) VALUES (%s, 'root', 'cli')", (issuer,)
        )
        writer, of = export(tmp_path), str(held.organisation)
        await writer.epoch(1)
        for what, id_ in {
            Revoked.SERVICE_KEY: held.service_key,
            Revoked.REGISTRATION_TOKEN: str(token),
            Revoked.PLANE_IDENTITY: str(held.plane),
            Revoked.CLUSTER_IDENTITY: str(held.cluster),
            Revoked.CLUSTER: str(held.cluster),
            Revoked.API_TOKEN: held.api_token,
            Revoked.MEMBERSHIP: str(held.membership),
            Revoked.ISSUER: str(issuer),
        }.items():
            await writer.revocation(what, id_, epoch=1)
        await writer.revocation(Revoked.API_TOKEN_VALUE, held.api_token, epoch=1, rotation=1)
        await writer.revocation(Revoked.PLANE_GRANT, str(held.plane), epoch=1, organisation=of)
        await writer.revocation(Revoked.ISSUER_ORGANISATION, str(issuer), epoch=1, organisation=of)
        await writer.revocation(Revoked.PLATFORM_ADMIN, str(issuer), epoch=1, subject="root")
        await writer.revocation(Revoked.MEMBERSHIP, str(UUID(int=1)), epoch=1)
        await writer.close()
        outcome = await fenced(fresh, tmp_path)
    assert {each.what for each in outcome.again} == set(Revoked)
    by_kind = {each.what: (each.exported, each.known, len(each.ended)) for each in outcome.again}
    assert by_kind.pop(Revoked.MEMBERSHIP) == (2, 1, 1)
    assert by_kind.pop(Revoked.API_TOKEN_VALUE) == (1, 1, 0)  # its token was ended just before
    assert set(by_kind.values()) == {(1, 1, 1)}


async def test_a_second_fence_changes_nothing_until_something_was_served(fresh: Database, tmp_path: Path) -> None:
    writer = export(tmp_path)
    await writer.epoch(1)
    assert (await fenced(fresh, tmp_path)).begun
    again = await fenced(fresh, tmp_path)
    assert (again.begun, again.epoch, await epoch_of(fresh)) == (False, 2, 2)
    await writer.epoch(2)
    await writer.close()
    assert (await fenced(fresh, tmp_path)).epoch == 3
    known = standing.read(tmp_path)
    async with fresh.session("maintenance") as session:
        assert standing.shortfall(known, await look(session, known.head)) == ""


async def test_it_refuses_while_replicas_are_live_unless_it_is_told(fresh: Database) -> None:
    async with fresh.superuser() as session:
        await session.execute("INSERT INTO replicas (id, name) VALUES (gen_random_uuid(), 'one')")
    with pytest.raises(Unfenced, match="1 replicas are serving"):
        await fenced(fresh, None)
    assert await epoch_of(fresh) == 1
    assert (await fenced(fresh, None, while_serving=True)).epoch == 2


async def test_without_an_export_every_api_token_ends(fresh: Database) -> None:
    async with fresh.superuser() as session:
        held = await Tenancy.made(Rows(session))
        assert (await fenced(fresh, None)).api_tokens == 1
        ended = await one(session, "SELECT revoked_at IS NOT NULL FROM api_tokens WHERE id = %s", (held.api_token,))
    assert ended


async def test_an_empty_export_and_a_wrong_log_in_are_refused(fresh: Database, tmp_path: Path) -> None:
    with pytest.raises(Unfenced, match="empty"):
        await fenced(fresh, tmp_path)
    with pytest.raises(TooPowerful):
        await fence.fence(fresh.dsn("api"), None, None)
    assert await epoch_of(fresh) == 1


async def test_a_restored_database_is_not_served_until_it_is_fenced_and_people_are_not_locked_out(
    fresh: Database, tmp_path: Path
) -> None:
    who, kept = await admin_of(fresh)
    revoked, rotated = await another_token(fresh, who), await another_token(fresh, who)
    async with served(fresh, tmp_path) as port:
        assert (await ask(port, kept, AUDIT)).status == 200
    async with fresh.server.backup(fresh.name) as backup:
        async with served(fresh, tmp_path) as port:
            assert (await ask(port, kept, f"/v1/tokens/{id_of(revoked)}", "DELETE")).status == 204
            again = await ask(port, rotated, f"/v1/tokens/{id_of(rotated)}/rotation", "POST", {"grace": 0})
            assert again.status == 200, again
        await fresh.server.restore(fresh.name, backup)
    async with Service.started(settings(fresh, EXPORT_DIRECTORY=str(tmp_path))) as service:
        assert await service.status() == 2
    assert "it was restored; run `bulkhead platform fence`" in service.errors
    assert "Traceback" not in service.errors
    said = await command(fresh, tmp_path, "fence")
    assert (said.status, said.err) == (0, "")
    assert "api-token: 1 that lived here, of 1 in the export" in said.out
    assert "api-token-value: 1 that lived here, of 1 in the export" in said.out
    assert "kept        1 API tokens" in said.out
    assert said.out.endswith("verdict     fenced: epoch 2\n")
    async with served(fresh, tmp_path) as port:
        assert (await ask(port, kept, AUDIT)).status == 200
        for dead in (revoked, rotated):
            assert (await ask(port, dead, AUDIT)).code == "api_token_revoked"
    said = await command(fresh, tmp_path, "verify-audit")
    assert said.status == 0, said
    assert "a restore, accepted by the fence of epoch 2" in said.out


async def test_a_replica_closes_when_its_database_is_restored_beneath_it_and_opens_once_it_is_fenced(
    fresh: Database, tmp_path: Path
) -> None:
    who, kept = await admin_of(fresh)
    async with served(fresh, tmp_path):
        pass
    postgres = fresh.server.postgres
    async with fresh.server.backup(fresh.name) as backup, Link.to(postgres.host, postgres.port) as link:
        revoked = await another_token(fresh, who)
        async with served(fresh, tmp_path):
            pass
        dsns = {"API_DSN": over(fresh.dsn("api"), link.port), "WORKER_DSN": over(fresh.dsn("worker"), link.port)}
        async with Service.started(settings(fresh, EXPORT_DIRECTORY=str(tmp_path), **dsns)) as service:
            port, operations = await service.port(), await service.operations()
            assert (await ask(port, revoked, AUDIT)).status == 200
            link.cut()
            await fresh.server.restore(fresh.name, backup)
            link.mend()
            await service.event("database_restored")
            assert "run `bulkhead platform fence`" in await until(operations, "/readyz", 503)
            closed = await ask(port, kept, AUDIT)
            assert (closed.status, closed.code) == (503, "unavailable")
            assert "restored" in closed.body["detail"]
            assert (await ask(port, "", "/v1/registrations/challenge", "POST", {})).status == 503
            await until(port, "/healthz", 200)
            assert (await fenced(fresh, tmp_path, while_serving=True)).begun
            await until(port, "/readyz", 200)
            assert (await ask(port, kept, AUDIT)).status == 200
            assert (await ask(port, revoked, AUDIT)).code == "api_token_unknown"


async def test_a_fence_that_dies_between_the_export_and_the_commit_is_simply_said_again(
    fresh: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(fresh, tmp_path):
        await admin_of(fresh)
    writer = export(tmp_path)
    real = writer.epoch

    async def die(epoch: int, *, after: int | None = None) -> None:
        await real(epoch, after=after)
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "epoch", die)
    with pytest.raises(KeyboardInterrupt):
        await fence.fence(fresh.dsn("maintenance"), tmp_path, writer, while_serving=True)
    assert (await epoch_of(fresh), standing.read(tmp_path).epoch) == (1, 2)
    async with Service.started(settings(fresh, EXPORT_DIRECTORY=str(tmp_path))) as service:
        assert await service.status() == 2
    said = await command(fresh, tmp_path, "fence")
    assert said.out.endswith("verdict     fenced: epoch 3\n"), said
    async with served(fresh, tmp_path):
        pass
    assert (await command(fresh, tmp_path, "verify-audit")).status == 0


async def test_an_export_that_takes_no_line_revokes_nothing_and_takes_readiness_until_it_does(
    fresh: Database, tmp_path: Path
) -> None:
    who, admin = await admin_of(fresh)
    token = await another_token(fresh, who)
    async with Service.started(settings(fresh, EXPORT_DIRECTORY=str(tmp_path))) as service:
        port, operations = await service.port(), await service.operations()
        _, most = resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (1, most))
        refused = await ask(port, admin, f"/v1/tokens/{id_of(token)}", "DELETE")
        assert (refused.status, refused.code) == (503, "unavailable")
        assert "the export can not be written" in await until(operations, "/readyz", 503)
        assert (await ask(port, token, AUDIT)).status == 200
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (most, most))
        await until(operations, "/readyz", 200)
        assert (await ask(port, admin, f"/v1/tokens/{id_of(token)}", "DELETE")).status == 204


async def test_tokens_of_a_life_before_the_last_stay_dead(fresh: Database, tmp_path: Path) -> None:
    async with fresh.superuser() as session:
        held = await Tenancy.made(Rows(session))
        await session.execute("UPDATE platform_state SET epoch = 2")
        writer = export(tmp_path)
        await writer.epoch(2)
        await writer.close()
        assert (await fenced(fresh, tmp_path)).api_tokens == 0
        assert await one(session, "SELECT epoch FROM api_tokens WHERE id = %s", (held.api_token,)) == 1


async def test_what_may_have_been_given_again_is_named(fresh: Database, tmp_path: Path) -> None:
    async with fresh.superuser() as session:
        held = await Tenancy.made(Rows(session))
    writer = export(tmp_path)
    await writer.revocation(Revoked.PLANE_GRANT, str(held.plane), epoch=1, organisation=str(held.organisation))
    await writer.close()
    told = list(fence.lines_for_people(await fenced(fresh, tmp_path)))
    assert any(str(held.plane) in line and "give it again" in line for line in told), told


async def test_a_schema_that_this_release_can_not_work_on_is_migrated_first(database: Database) -> None:
    async with database.server.empty_database() as empty:
        with pytest.raises(Unfenced, match="bulkhead platform migrate"):
            await fence.fence(empty.dsn("maintenance"), None, None)


async def test_the_command_says_what_lives_again_without_an_export_and_ends_with_2_for_wrong_settings(
    fresh: Database,
) -> None:
    said = await command(fresh, None, "fence")
    assert (said.status, "EXPORT_DIRECTORY is not set" in said.err) == (2, True)
    said = await command(fresh, None, "fence", "--without-export")
    assert said.status == 0
    assert "NOT ended   planes, clusters, members" in said.out
    said = await asyncio.to_thread(
        _command, "postgresql://m:very-secret@127.0.0.1:1/x", None, ("fence", "--without-export")
    )
    assert (said.status, "very-secret" in said.err, "Traceback" in said.err) == (1, False, False)


async def test_a_replica_that_is_closed_holds_no_lease_until_it_opens(fresh: Database) -> None:
    looks: list[None] = []
    opened = asyncio.Event()

    def closed() -> bool:
        looks.append(None)
        return not opened.is_set()

    async def has_looked() -> bool:
        return len(looks) > 2

    async with fresh.superuser() as session, fresh.pool("worker") as worker:

        async def leases() -> int:
            return int(await one(session, "SELECT count(*) FROM replicas"))

        liveness = Liveness(worker, name="closed", new_id=uuid4, clock=time.monotonic, seconds=0.01, closed=closed)
        running = asyncio.create_task(liveness.run())
        await eventually(has_looked)
        assert await leases() == 0
        opened.set()
        await eventually(leases)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
