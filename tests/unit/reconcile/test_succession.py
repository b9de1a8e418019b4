"""One server in the place of another."""

from __future__ import annotations

import pytest

from bulkhead.api.record import EngineName, Holding
from bulkhead.reconcile.succession import Succession, acceptance, succession

PG, VECTORS = EngineName.POSTGRES, EngineName.VECTORS
HELD = Holding(server="one")
ONE_TO_TWO = "postgres:one/two"


def of(held: Holding, found: str, wish: str = "", *, engine: EngineName = PG, in_use: bool = True) -> Holding | None:
    """What a DataPlane holds then; None: as before."""
    taken = succession(engine, held, found, wish=wish, in_use=in_use)
    return taken.holding if taken is not None else None


def test_what_a_person_is_told_to_write_is_what_is_obeyed() -> None:
    assert acceptance(PG, "one", "two") == ONE_TO_TWO
    assert succession(PG, HELD, "two", wish=ONE_TO_TWO, in_use=True) == Succession(
        "one", Holding(server="two", predecessors=("one",), accepted=ONE_TO_TWO)
    )


@pytest.mark.parametrize(
    "wish",
    ["", "postgres", "postgres:two", "postgres:/two", "postgres:one/", "postgres:one/three", "postgres:zero/two",
     "vectors:one/two", "one/two", "postgres:one/unmarked"],
)  # fmt: skip
def test_a_server_that_is_not_named_exactly_is_not_taken(wish: str) -> None:
    assert of(HELD, "two", wish) is None


def test_of_several_entries_each_is_read() -> None:
    assert of(HELD, "two", f"vectors:a/b , {ONE_TO_TWO},") is not None


def test_the_same_server_as_before_needs_no_word_and_takes_none() -> None:
    assert of(HELD, "one", "postgres:one/one", in_use=False) is None


def test_the_first_server_of_all_is_no_successor() -> None:
    assert of(Holding(), "two", ONE_TO_TWO, in_use=False) is None


def test_an_entry_is_obeyed_once() -> None:
    """Left where it is, it must not let in the same stranger again after the way back."""
    assert of(Holding(server="one", predecessors=("two",), accepted=ONE_TO_TWO), "two", ONE_TO_TWO) is None


def test_on_the_way_back_a_server_is_no_predecessor_of_itself() -> None:
    back = of(Holding(server="two", predecessors=("one",)), "one", "postgres:two/one")
    assert back == Holding(server="one", predecessors=("two",), accepted="postgres:two/one")


def test_records_that_still_name_a_former_server_of_a_plane_made_anew_follow_too() -> None:
    assert of(Holding(server="two"), "two", ONE_TO_TWO) == Holding(
        server="two", predecessors=("one",), accepted=ONE_TO_TWO
    )


def test_an_entry_about_other_servers_than_the_one_in_hand_says_nothing_of_it() -> None:
    assert of(Holding(server="zero"), "two", ONE_TO_TWO) is None


def test_a_server_without_an_identity_is_named_by_what_it_lacks() -> None:
    taken = of(HELD, "", "vectors:one/unmarked", engine=VECTORS)
    assert taken == Holding(predecessors=("one",), accepted="vectors:one/unmarked")


@pytest.mark.parametrize("found", ["two", ""], ids=["marked", "unmarked"])
def test_a_plane_that_nobody_uses_takes_the_server_that_answers(found: str) -> None:
    assert of(HELD, found, in_use=False) == Holding(server=found, predecessors=("one",))


def test_a_plane_in_use_does_not() -> None:
    assert of(HELD, "two", in_use=True) is None
