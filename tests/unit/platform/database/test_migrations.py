"""Which migrations a database lacks, and what a migration may not contain."""

from __future__ import annotations

import re

import pytest

from bulkhead.platform.database.migrate import Applied, Migration, Refused, pending, shipped

OURS = tuple(Migration(number, f"{number:04}_subject", b"%d" % number) for number in (1, 2, 3))
NEXT = Migration(4, "0004_subject", b"4")


def applied(*migrations: Migration) -> list[Applied]:
    return [Applied(migration.number, migration.name, migration.checksum) for migration in migrations]


@pytest.mark.parametrize("number", range(4))
def test_what_is_not_applied_is_pending_in_order(number: int) -> None:
    assert pending(OURS, applied(*OURS[:number])) == OURS[number:]


def test_what_a_newer_release_applied_is_no_business_of_ours() -> None:
    assert pending(OURS, applied(*OURS, NEXT)) == ()


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (applied(OURS[0], OURS[2]), "0002 was never applied"),
        (applied(OURS[1]), "0001 was never applied"),
        (applied(Migration(1, "0001_subject", b"other")), "0001_subject is not what was applied"),
        (applied(*OURS[:2], Migration(3, "0003_subject", b"other"), NEXT), "0003_subject is not what was applied"),
    ],
)
def test_a_database_that_was_made_otherwise_is_refused(rows: list[Applied], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        pending(OURS, rows)


def test_what_was_applied_and_is_shipped_no_more_is_refused() -> None:
    with pytest.raises(Refused, match="0002_subject was applied here and is missing"):
        pending((OURS[0], OURS[2]), applied(*OURS[:2]))


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [migration.number for migration in shipped()] == list(range(1, len(shipped()) + 1))


@pytest.mark.parametrize("migration", shipped(), ids=lambda migration: migration.name)
def test_a_migration_neither_ends_its_transaction_nor_needs_to_be_outside_of_one(migration: Migration) -> None:
    statements = re.sub(r"\$\$.*?\$\$|--[^\n]*", "", migration.text.decode(), flags=re.DOTALL)
    for word in ("COMMIT", "ROLLBACK", "BEGIN", "START TRANSACTION", "CONCURRENTLY", "VACUUM"):
        assert not re.search(rf"\b{word}\b", statements), word
