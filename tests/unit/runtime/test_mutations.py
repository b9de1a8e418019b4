"""The seam that every change passes."""

from __future__ import annotations

import pytest

from bulkhead.runtime.mutations import MayNotAct, Mutations


class Journal(Mutations):
    """A seam that notes what passes it, as the fault tests do."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.may_act = True
        super().__init__(
            lambda target, action, ok: self.notes.append(f"observed {target}/{action} {ok}"), lambda: self.may_act
        )

    def before(self, number: int, target: str, action: str) -> None:
        self.notes.append(f"before {number} {target}/{action}")

    def after(self, number: int, target: str, action: str) -> None:
        self.notes.append(f"after {number} {target}/{action}")

    async def succeed(self) -> str:
        self.notes.append("call")
        return "result"

    async def fail(self) -> str:
        self.notes.append("call")
        raise OSError("gone")


async def test_a_change_is_made_between_its_two_hooks() -> None:
    journal = Journal()
    assert await journal.perform("postgres", "CreateLogin", journal.succeed) == "result"
    assert journal.notes == [
        "before 1 postgres/CreateLogin",
        "call",
        "observed postgres/CreateLogin True",
        "after 1 postgres/CreateLogin",
    ]


async def test_a_change_that_failed_is_counted_as_failed_and_was_never_after() -> None:
    journal = Journal()
    with pytest.raises(OSError, match="gone"):
        await journal.perform("postgres", "CreateLogin", journal.fail)
    assert journal.notes == ["before 1 postgres/CreateLogin", "call", "observed postgres/CreateLogin False"]


async def test_changes_are_numbered_in_the_order_they_begin() -> None:
    journal = Journal()
    await journal.perform("kubernetes", "create secrets", journal.succeed)
    await journal.perform("minio", "CreateBucket", journal.succeed)
    assert [note for note in journal.notes if note.startswith("before")] == [
        "before 1 kubernetes/create secrets",
        "before 2 minio/CreateBucket",
    ]


async def test_a_change_that_may_not_be_made_is_not_begun() -> None:
    journal = Journal()
    journal.may_act = False
    with pytest.raises(MayNotAct, match="postgres: CreateLogin"):
        await journal.perform("postgres", "CreateLogin", journal.succeed)
    assert (journal.notes, journal.begun) == ([], 0)


async def test_a_change_is_asked_for_anew_each_time() -> None:
    journal = Journal()
    await journal.perform("postgres", "CreateLogin", journal.succeed)
    journal.may_act = False
    with pytest.raises(MayNotAct):
        await journal.perform("postgres", "CreateDatabase", journal.succeed)
    journal.may_act = True
    await journal.perform("postgres", "CreateDatabase", journal.succeed)
    assert journal.notes.count("call") == 2
