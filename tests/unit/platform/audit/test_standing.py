"""A database that shows less than the export must not serve."""

from __future__ import annotations

import pytest

from bulkhead.platform.audit import heads, standing
from bulkhead.platform.audit.export import AnyLine, EpochLine, HeadLine, KeyLine, RevocationLine, Revoked
from bulkhead.platform.audit.heads import Head
from bulkhead.platform.audit.standing import Database, Exported
from bulkhead.protocol.keys import SigningKey

KEY = SigningKey(b"k" * 32)
LAST = b"\x11" * 32
OTHER = b"\x22" * 32


def head(sequence: int, epoch: int = 1, last: bytes = LAST) -> Head:
    return Head(epoch=epoch, sequence=sequence, hash=last.hex(), at=0)


def exported(epoch: int = 1, furthest: Head | None = None) -> Exported:
    return Exported(epoch=epoch, head=furthest)


def database(sequence: int = 10, epoch: int = 1, at_head: bytes | None = LAST) -> Database:
    return Database(epoch=epoch, sequence=sequence, hash=LAST, hash_at_head=at_head)


@pytest.mark.parametrize(
    ("known", "found"),
    [
        pytest.param(Exported(), database(), id="an empty export"),
        pytest.param(exported(), database(0, at_head=None), id="an epoch and no head yet"),
        pytest.param(exported(1, head(10)), database(10), id="the same head"),
        pytest.param(exported(1, head(10)), database(15), id="rows since"),
        pytest.param(exported(2, head(10, 1)), database(5, 2, None), id="fenced after a restore, nothing signed since"),
    ],
)
def test_a_database_that_shows_as_much_as_the_export_may_serve(known: Exported, found: Database) -> None:
    assert standing.shortfall(known, found) == ""


@pytest.mark.parametrize(
    ("known", "found", "reason"),
    [
        pytest.param(exported(2), database(epoch=1), "epoch 2, the database 1", id="from before a fence"),
        pytest.param(exported(1), database(epoch=2), "without this export", id="fenced beside the export"),
        pytest.param(exported(1, head(10)), database(9, at_head=None), "row 10", id="rows are missing"),
        pytest.param(exported(1, head(10)), database(30, at_head=OTHER), "not the one", id="went on from a backup"),
    ],
)
def test_a_database_that_shows_less_or_something_else_is_told_with_what_to_do(
    known: Exported, found: Database, reason: str
) -> None:
    told = standing.shortfall(known, found)
    assert reason in told
    assert "bulkhead platform fence" in told


def test_the_furthest_head_is_the_one_of_the_latest_life() -> None:
    given = [head(1000, 1), head(901, 2), head(900, 2), head(999, 1)]
    found = standing.total(HeadLine(at=1, statement=heads.sign(each, KEY)) for each in given)
    assert found.head == head(901, 2)
    assert found.epoch == 2


def test_revocations_and_keys_are_gathered() -> None:
    revoked = RevocationLine(at=1, epoch=1, what=Revoked.API_TOKEN, id="a" * 32)
    key = KeyLine(at=1, kid=KEY.public.kid, key=KEY.public.text)
    found = standing.total([EpochLine(at=1, epoch=4), revoked, key, revoked])
    assert found == Exported(epoch=4, revocations=frozenset({revoked}), kids=frozenset({KEY.public.kid}), lived=4)


REVOCATION = RevocationLine(at=1, epoch=2, what=Revoked.API_TOKEN, id="a" * 32)
HEAD = HeadLine(at=1, statement=heads.sign(head(8, 2), KEY))


@pytest.mark.parametrize(
    "sign", [EpochLine(at=1, epoch=2), REVOCATION, HEAD], ids=["a start", "a revocation", "a head"]
)
def test_an_epoch_that_a_fence_began_has_been_lived_in_once_there_is_any_other_sign_of_it(sign: AnyLine) -> None:
    fence = EpochLine(at=1, epoch=2, after=7)
    begun = standing.total([EpochLine(at=1, epoch=1), fence])
    assert (begun.epoch, begun.fenced, begun.lived) == (2, 2, 1)
    found = standing.total([sign, fence])
    assert (found.epoch, found.fenced, found.lived) == (2, 2, 2)


def test_a_running_replica_knows_the_last_row_that_it_saw() -> None:
    known = standing.seen(Exported(), database(10))
    assert "row 10" in standing.shortfall(known, database(9, at_head=None))
    assert "not the one" in standing.shortfall(known, database(12, at_head=OTHER))
    assert standing.shortfall(known, database(12)) == ""
