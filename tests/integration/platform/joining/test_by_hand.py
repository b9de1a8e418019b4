"""`bulkhead platform token`: what is printed, what is written, and what is refused before anything is written."""

from __future__ import annotations

import asyncio
import os

import pytest

from bulkhead.cli.main import main
from bulkhead.protocol import credentials
from bulkhead.protocol.keys import SigningKey
from bulkhead.protocol.proofs import IdentityKind
from tests.integration.platform.joining.platform import Joiner, World
from tests.integration.platform.server import Database, one


@pytest.fixture
def environment(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BULKHEAD_PLATFORM_MAINTENANCE_DSN", database.dsn("maintenance"))


async def run(*arguments: str) -> int:
    """Its exit status; in a thread, for the command has an event loop of its own."""
    return await asyncio.to_thread(main, ["platform", "token", *arguments])


@pytest.mark.usefixtures("environment")
async def test_a_plane_joins_with_the_token_that_alone_is_on_standard_output(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    plane = Joiner(IdentityKind.PLANE, "plane-eu")
    assert await run(plane.name, "--self-confirming") == 0
    printed = capsys.readouterr()
    token = printed.out.removesuffix("\n")
    assert credentials.RegistrationToken.parse(token).label in printed.err
    assert token not in printed.err
    assert (await plane.exchange(world.first, token)).status == 201
    confirmed = "SELECT confirmed_at IS NOT NULL FROM planes WHERE id = %s"
    assert await one(world.session, confirmed, (plane.identity,)) is True


@pytest.mark.usefixtures("environment")
async def test_the_audit_names_the_log_in_and_holds_no_token(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert await run("plane-audited") == 0
    token = capsys.readouterr().out.strip()
    entry = await one(
        world.session,
        """SELECT convert_from(entry, 'UTF8') FROM audit_intake
           WHERE action = 'registration_token.minted'
             AND convert_from(entry, 'UTF8')::jsonb->'target'->>'name' = 'plane-audited'""",
    )
    assert '"command_line"' in entry
    assert '"maintenance"' in entry
    assert token not in entry


@pytest.mark.usefixtures("environment")
async def test_a_token_for_a_key_is_good_for_no_other_and_confirms_it(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    plane = Joiner(IdentityKind.PLANE, "plane-eu")
    public = plane.key.public
    assert await run(plane.name, f"--public-key={public.text}", "--fingerprint", public.fingerprint.lower()) == 0
    token = capsys.readouterr().out.strip()
    thief = Joiner(IdentityKind.PLANE, plane.name)
    assert (await thief.exchange(world.first, token)).code == "token_wrong_cluster"
    assert (await plane.exchange(world.first, token)).status == 201
    confirmed = "SELECT confirmed_at IS NOT NULL FROM planes WHERE id = %s"
    assert await one(world.session, confirmed, (plane.identity,)) is True


@pytest.mark.usefixtures("environment")
async def test_a_plane_comes_back_with_another_key_pair_by_a_token_for_its_uid(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    plane = await world.joined_plane()
    plane.key, plane.secret = SigningKey.generate(os.urandom), credentials.Secret.generate(os.urandom)
    capsys.readouterr()
    assert await run(plane.name) == 0
    unbound = capsys.readouterr().out.strip()
    assert await run(plane.name, "--uid", plane.uid) == 0
    bound = capsys.readouterr().out.strip()
    assert (await plane.exchange(world.first, unbound)).code == "identity_bound"
    assert (await plane.exchange(world.first, bound)).status == 201


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("plane-eu", "--hours", "0"), "--hours"),
        (("plane-eu", "--hours", "169"), "--hours"),
        (("Not A Name",), "name"),
        (("plane-eu", "--uid", "7"), "uid"),
        (("plane-eu", "--public-key", "short"), "--public-key"),
        (("plane-eu", "--public-key", "A" * 43), "--public-key"),
        (("plane-eu", "--fingerprint", "ABCD"), "--public-key"),
        (
            ("plane-eu", "--public-key", SigningKey(b"k" * 32).public.text, "--fingerprint", "ABCD"),
            "--fingerprint",
        ),
    ],
)
async def test_what_makes_no_sense_is_named_and_mints_nothing(
    world: World, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], named: str
) -> None:
    before = await one(world.session, "SELECT count(*) FROM registration_tokens")
    assert await run(*arguments) == 2
    printed = capsys.readouterr()
    assert named in printed.err
    assert not printed.out
    assert await one(world.session, "SELECT count(*) FROM registration_tokens") == before


async def test_a_log_in_of_requests_mints_nothing_by_hand(
    database: Database, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BULKHEAD_PLATFORM_MAINTENANCE_DSN", database.dsn("api"))
    assert await run("plane-eu") == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("bulkhead: ")
    assert not printed.out
