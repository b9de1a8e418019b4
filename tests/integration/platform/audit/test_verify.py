"""Whatever a superuser of the database does to the audit is found."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import LiteralString

import pytest

from bulkhead.cli.main import main
from bulkhead.platform.audit import heads, sql, verify
from bulkhead.platform.audit.export import KeyLine, lines
from bulkhead.platform.audit.heads import Head
from bulkhead.protocol.keys import PublicKey, SigningKey
from tests.integration.platform.audit.gen import Platform, wrong
from tests.integration.platform.server import Servers, one, rows

REPLACE_KEY: LiteralString = "UPDATE signing_keys SET kid = %s, public_key = %s"

CHANGE: LiteralString = (
    "UPDATE audit_chain SET entry = convert_to(replace(convert_from(entry, 'UTF8'), 'unpaid', 'a mistake'), 'UTF8')"
    " WHERE sequence = 7"
)

COPY: LiteralString = (
    "INSERT INTO audit_chain (sequence, organisation_id, recorded_at, action, entry, previous_hash, hash)"
    " SELECT 6, organisation_id, recorded_at, action, entry, previous_hash, hash FROM audit_chain WHERE sequence = {}"
)

CHAIN_ANEW: LiteralString = """
DO $$
DECLARE
    link bytea := decode(repeat('00', 32), 'hex');
    found record;
BEGIN
    FOR found IN SELECT sequence, entry FROM audit_chain ORDER BY sequence LOOP
        UPDATE audit_chain SET previous_hash = link, hash = sha256(link || int8send(found.sequence) || found.entry)
            WHERE sequence = found.sequence RETURNING hash INTO link;
    END LOOP;
END $$
"""
"""What somebody does who knows how the chain is made."""


@pytest.fixture
async def platform(servers: Servers, tmp_path: Path) -> AsyncIterator[Platform]:
    """Two heads over ten rows: one after the fifth, one after the last."""
    server = await servers.of("18")
    async with server.migrated_database() as database, Platform.of(database, tmp_path) as made:
        await made.sealed(5)
        await made.sealed(5)
        yield made


async def tamper(platform: Platform, *statements: LiteralString) -> None:
    """As a superuser who has taken away whatever refuses it."""
    async with platform.database.superuser() as session:
        await session.execute("SET session_replication_role = replica")
        for constraint in await rows(
            session,
            "SELECT conname FROM pg_constraint WHERE conrelid = 'audit_chain'::regclass"
            " AND contype IN ('c', 'f', 'p', 'u') ORDER BY contype IN ('p', 'u')",
        ):
            await session.execute(f'ALTER TABLE audit_chain DROP CONSTRAINT "{constraint[0]}" CASCADE'.encode())
        for statement in statements:
            await session.execute(statement)


async def test_an_untouched_chain_is_intact(platform: Platform) -> None:
    outcome = await platform.verify()
    assert outcome.report.intact
    assert (outcome.report.rows, outcome.report.covered) == (10, 10)
    assert (outcome.report.database_heads, outcome.report.exported_heads) == (2, 2)
    assert list(verify.lines_for_people(outcome))[-1] == "verdict     intact"


async def test_rows_after_the_last_exported_head_are_named_as_uncovered(platform: Platform) -> None:
    await platform.act(3)
    await platform.sealer().seal()
    await platform.act(2)
    outcome = await platform.verify()
    assert outcome.report.intact
    text = "\n".join(verify.lines_for_people(outcome))
    assert "to row 10 by a head exported on" in text
    assert "the 3 after it could be cut unseen" in text
    assert "2 recorded and not in the chain yet" in text


@pytest.mark.parametrize(
    ("statements", "kinds", "text"),
    [
        pytest.param(
            [CHANGE],
            ["changed"],
            "row 7 was changed",
            id="the content of a row",
        ),
        pytest.param(
            [
                CHANGE,
                "UPDATE audit_chain SET hash = sha256(previous_hash || int8send(sequence) || entry) WHERE sequence = 7",
            ],
            ["order"],
            "row 8 does not follow row 7",
            id="the content of a row and its hash",
        ),
        pytest.param(
            [CHANGE, CHAIN_ANEW],
            ["rewritten", "rewritten"],
            "something between row 6 and row 10 was written anew",
            id="the content of a row and every hash after it",
        ),
        pytest.param(
            ["DELETE FROM audit_chain WHERE sequence = 4"], ["order"], "row 4 is missing", id="a row is removed"
        ),
        pytest.param(
            ["DELETE FROM audit_chain WHERE sequence BETWEEN 2 AND 4"],
            ["order"],
            "rows 2 to 4 are missing",
            id="several rows are removed",
        ),
        pytest.param(
            [
                "DELETE FROM audit_chain WHERE sequence = 4",
                "UPDATE audit_chain SET sequence = sequence - 1 WHERE sequence > 4",
                CHAIN_ANEW,
            ],
            ["rewritten", "rewritten", "cut", "cut"],
            "row 5 is not the one that was signed",
            id="a row is removed and the others close up",
        ),
        pytest.param(
            ["DELETE FROM audit_chain WHERE sequence > 7"],
            ["cut", "cut"],
            "row 10 was exported on",
            id="the end is cut off",
        ),
        pytest.param(
            ["DELETE FROM audit_chain WHERE sequence > 7", "DELETE FROM audit_heads WHERE sequence > 7"],
            ["cut"],
            "is not there: the chain ends with row 7",
            id="the end is cut off with its head",
        ),
        pytest.param(["DELETE FROM audit_chain"], ["cut", "cut", "cut", "cut"], "the chain ends with row 0", id="all"),
        pytest.param(
            [
                "UPDATE audit_chain SET sequence = -sequence WHERE sequence IN (3, 4)",
                "UPDATE audit_chain SET sequence = 7 + sequence WHERE sequence IN (-3, -4)",
            ],
            ["order", "changed", "order", "changed", "order"],
            "row 3 does not follow row 2",
            id="two rows change places",
        ),
        pytest.param(
            [
                "UPDATE audit_chain SET sequence = sequence + 1 WHERE sequence > 5",
                COPY.format(1),
                CHAIN_ANEW,
            ],
            ["rewritten", "rewritten"],
            "something between row 6 and row 10 was written anew",
            id="a row is inserted",
        ),
        pytest.param(
            [
                COPY.format(6),
            ],
            ["order"],
            "row 6 is there twice",
            id="a row is there twice",
        ),
        pytest.param(
            ["UPDATE audit_chain SET organisation_id = NULL WHERE sequence = 2"],
            ["columns"],
            "row 2 is filed under another organisation",
            id="a row is hidden from its organisation",
        ),
        pytest.param(
            ["UPDATE audit_chain SET recorded_at = recorded_at + interval '1 microsecond' WHERE sequence = 2"],
            ["columns"],
            "row 2 is filed",
            id="the time beside a row",
        ),
        pytest.param(
            ["UPDATE audit_chain SET action = 'cluster.resumed' WHERE sequence = 2"],
            ["columns"],
            "row 2 is filed",
            id="the act beside a row",
        ),
    ],
)
async def test_tampering_is_found(
    platform: Platform, statements: list[LiteralString], kinds: list[str], text: str
) -> None:
    await tamper(platform, *statements)
    outcome = await platform.verify()
    assert wrong(outcome) == kinds
    told = list(verify.lines_for_people(outcome))
    assert any(line.startswith("WRONG") and text in line for line in told), told
    assert told[-1] == "verdict     NOT INTACT"


async def test_a_chain_and_heads_written_anew_with_another_key_are_found(platform: Platform) -> None:
    """Even a whole new chain with signed heads of its own: the export knows the first key."""
    forger = SigningKey(b"f" * 32)
    await tamper(platform, CHANGE, CHAIN_ANEW)
    async with platform.database.superuser() as session:
        await session.execute("SET session_replication_role = replica")
        digest = await one(session, "SELECT hash FROM audit_chain WHERE sequence = 10")
        statement = heads.sign(Head(epoch=1, sequence=10, hash=bytes(digest).hex(), at=1_790_000_000), forger)
        await session.execute("DELETE FROM audit_heads")
        await session.execute(REPLACE_KEY, (forger.public.kid, forger.public.raw))
        await session.execute(sql.SIGNED, (10, digest, forger.public.kid, statement))
    outcome = await platform.verify()
    assert set(wrong(outcome)) == {"foreign key", "forged", "rewritten"}


async def test_without_an_export_the_fingerprint_of_the_first_key_finds_that_too(platform: Platform) -> None:
    first = (await platform.verify()).trusted.first
    assert first is not None
    assert wrong(await platform.verify(export=False, first_key=first.fingerprint)) == []
    forger = SigningKey(b"f" * 32).public
    async with platform.database.superuser() as session:
        await session.execute("SET session_replication_role = replica")
        await session.execute(REPLACE_KEY, (forger.kid, forger.raw))
    outcome = await platform.verify(export=False, first_key=first.fingerprint)
    assert "foreign key" in wrong(outcome)
    assert "there is no export" in "\n".join(verify.lines_for_people(outcome))


async def test_a_head_of_a_key_that_the_first_does_not_vouch_for_is_forged(platform: Platform) -> None:
    forger = SigningKey(b"f" * 32)
    async with platform.database.superuser() as session:
        await session.execute("SET session_replication_role = replica")
        statement = heads.sign(Head(epoch=1, sequence=3, hash="00" * 32, at=1_790_000_000), forger)
        await session.execute(sql.SIGNED, (3, bytes(32), forger.public.kid, statement))
    assert wrong(await platform.verify()) == ["forged"]


async def test_heads_of_succeeding_keys_are_all_believed(platform: Platform) -> None:
    for _ in range(2):
        async with platform.database.superuser() as session:
            await session.execute("UPDATE signing_keys SET created_at = created_at - interval '91 days'")
        await platform.sealed(1)
    outcome = await platform.verify()
    assert outcome.report.intact
    assert len(outcome.trusted.keys) == 3
    assert len([line for line in lines(platform.directory) if isinstance(line, KeyLine)]) >= 3


async def test_rows_that_a_restore_lost_are_named_and_are_no_tampering_once_a_fence_accepted_that(
    platform: Platform,
) -> None:
    await tamper(platform, "DELETE FROM audit_chain WHERE sequence > 7", "DELETE FROM audit_heads WHERE sequence > 7")
    assert wrong(await platform.verify()) == ["cut"]
    await platform.export().epoch(2, after=7)
    async with platform.database.superuser() as session:
        await session.execute("UPDATE platform_state SET epoch = 2")
    await platform.sealed(6)
    outcome = await platform.verify()
    assert wrong(outcome) == []
    assert "what was after row 7" in "\n".join(verify.lines_for_people(outcome))


async def test_a_cut_within_the_same_life_is_not_excused_by_an_older_fence(platform: Platform) -> None:
    await platform.export().epoch(2, after=10)
    async with platform.database.superuser() as session:
        await session.execute("UPDATE platform_state SET epoch = 2")
    await platform.sealed(5)
    await tamper(platform, "DELETE FROM audit_chain WHERE sequence > 7", "DELETE FROM audit_heads WHERE sequence > 7")
    assert wrong(await platform.verify()) == ["cut", "cut"]


async def test_an_export_that_was_changed_in_the_middle_is_no_verdict(platform: Platform) -> None:
    with_key_and_head = next(path for path in platform.directory.iterdir() if len(path.read_text().splitlines()) > 1)
    with_key_and_head.write_bytes(b"x" + with_key_and_head.read_bytes())
    with pytest.raises(verify.NoVerdict, match="line 1 of"):
        await platform.verify()


async def test_a_changed_head_in_the_export_is_forged(platform: Platform) -> None:
    path = sorted(platform.directory.iterdir())[0]
    text = path.read_text()
    signature = text.rindex('"}')
    path.write_text(text[: signature - 20] + ("A" if text[signature - 20] != "A" else "B") + text[signature - 19 :])
    assert wrong(await platform.verify()) == ["forged"]


async def test_verifying_needs_no_more_than_the_role_of_maintenance_and_changes_nothing(platform: Platform) -> None:
    async with platform.database.superuser() as session:
        before = await one(session, "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables")
        await platform.verify()
        assert await one(session, "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables") == before


async def run(*arguments: str) -> int:
    return await asyncio.to_thread(main, ["platform", "verify-audit", *arguments])


async def test_the_command_ends_with_0_for_an_intact_chain_1_for_another_and_2_without_a_verdict(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BULKHEAD_PLATFORM_MAINTENANCE_DSN", platform.database.dsn("maintenance"))
    monkeypatch.setenv("BULKHEAD_PLATFORM_EXPORT_DIRECTORY", str(platform.directory))
    capsys.readouterr()
    assert await run() == 0
    assert capsys.readouterr().out.endswith("verdict     intact\n")
    first = PublicKey.parse(next(line.key for line in lines(platform.directory) if isinstance(line, KeyLine)))
    assert await run("--first-key", first.fingerprint) == 0
    assert await run("--first-key", SigningKey(b"f" * 32).public.fingerprint) == 1
    await tamper(platform, "DELETE FROM audit_chain WHERE sequence = 4")
    assert await run() == 1
    (platform.directory / "0.jsonl").write_text("x\nx\n")
    assert await run() == 2
    assert "line 1 of 0.jsonl" in capsys.readouterr().err


async def test_the_command_wants_an_export_unless_it_is_told_to_do_without(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BULKHEAD_PLATFORM_MAINTENANCE_DSN", platform.database.dsn("maintenance"))
    monkeypatch.delenv("BULKHEAD_PLATFORM_EXPORT_DIRECTORY", raising=False)
    assert await run() == 2
    assert "BULKHEAD_PLATFORM_EXPORT_DIRECTORY is not set" in capsys.readouterr().err
    assert await run("--without-export") == 0
    assert "there is no export" in capsys.readouterr().out


async def test_a_database_that_does_not_answer_is_no_verdict_and_no_secret_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BULKHEAD_PLATFORM_MAINTENANCE_DSN", "postgresql://m:very-secret@127.0.0.1:1/x")
    assert await run("--without-export") == 2
    assert "very-secret" not in "".join(capsys.readouterr())
