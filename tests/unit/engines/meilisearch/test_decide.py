from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.engines.contract import Access, ClaimFirst, Conflict, DataMissing, Decision, Do, EngineChanged, Request
from bulkhead.engines.meilisearch import decide as rules
from bulkhead.engines.meilisearch.decide import Owner, Seen, SeenIndex
from bulkhead.engines.meilisearch.keys import Key
from bulkhead.engines.meilisearch.steps import (
    CancelTasks,
    ConfigureIndex,
    CreateIndex,
    CreateKey,
    DeleteIndex,
    DeleteKey,
    DeleteTasks,
    MeilisearchStep,
    ReleaseIndexes,
    StampIndexes,
    WriteIdentity,
)
from tests.unit.engines.meilisearch import gen

COMPLETE = frozenset(gen.PROVISIONED)
DATASETS, ENTRIES = gen.INDEXES
NOTES, NOTES_OBJECT = "acme_notes", "index/acme_notes"
BEGUN = gen.holding(claimed=(NOTES_OBJECT,), provisioned=gen.PROVISIONED)
WIDER = gen.key(indexes=(*gen.INDEXES, NOTES))
V = TypeVar("V")
CUT = gen.request(access=Access.CUT)


def decide(request: Request, seen: Seen) -> Decision:
    return rules.decide(rules.wanted_of(request), seen)


def removal(request: Request, seen: Seen) -> Do | Conflict | EngineChanged:
    return rules.decide_removal(rules.wanted_of(request), seen)


def with_index(name: str, index: SeenIndex | None, owner: Owner | None) -> Seen:
    """All in place but for one index."""
    whole = gen.in_place()
    indexes, owners = dict(whole.indexes), dict(whole.owners)
    del indexes[name], owners[name]
    return replace(
        whole,
        indexes=indexes if index is None else {**indexes, name: index},
        owners=owners if owner is None else {**owners, name: owner},
    )


def test_a_new_data_cluster_gets_indexes_stamps_settings_and_last_its_key() -> None:
    assert decide(gen.request(), gen.seen()) == Do(
        (
            CreateIndex(DATASETS),
            CreateIndex(ENTRIES),
            StampIndexes(gen.stamp(), gen.INDEXES),
            ConfigureIndex(DATASETS),
            ConfigureIndex(ENTRIES),
            CreateKey(gen.key()),
        ),
        provisions=COMPLETE,
    )


def test_what_is_in_place_asks_for_nothing() -> None:
    assert decide(gen.request(), gen.in_place()) == Do((), provisions=COMPLETE)


def test_a_data_cluster_without_indexes_asks_for_nothing_and_gets_no_key() -> None:
    assert decide(gen.request(indexes=()), gen.seen()) == Do((), provisions=frozenset())


def test_nothing_is_created_before_the_names_are_claimed() -> None:
    assert decide(gen.request(held=gen.holding(claimed=())), gen.seen()) == ClaimFirst(COMPLETE)


def test_a_claim_is_one_of_names_and_not_of_those_that_come_later() -> None:
    request = gen.request(indexes=("entries", "datasets", "notes"))
    assert decide(request, gen.seen()) == ClaimFirst(frozenset({NOTES_OBJECT}))


def test_another_server_behind_the_address_gets_no_writes() -> None:
    seen = gen.seen(server="meilisearch-two")
    changed = EngineChanged("meilisearch-one", "meilisearch-two")
    assert decide(gen.request(), seen) == changed
    assert decide(CUT, seen) == changed
    assert removal(CUT, seen) == changed


@pytest.mark.parametrize(
    ("mark", "owner"),
    [
        (str(gen.stamp(uid="other")), "installation here, UID other"),
        (str(gen.stamp(installation="elsewhere")), f"installation elsewhere, UID {gen.UID}"),
        ("made by hand", "its stamp is not one of ours"),
    ],
)
@pytest.mark.parametrize("index", [gen.index(), gen.index(empty=True), None])
def test_a_name_that_is_stamped_for_somebody_else_is_a_conflict(mark: str, owner: str, index: SeenIndex | None) -> None:
    assert decide(gen.request(), with_index(ENTRIES, index, gen.owner(mark))) == Conflict("index", ENTRIES, owner)


def test_a_full_unstamped_index_is_a_conflict() -> None:
    seen = with_index(ENTRIES, gen.index(), None)
    assert decide(gen.request(), seen) == Conflict("index", ENTRIES, "it bears no stamp")


def test_an_empty_unstamped_index_before_our_claim_is_a_conflict() -> None:
    seen = gen.seen({ENTRIES: gen.index(empty=True)})
    assert isinstance(decide(gen.request(held=gen.holding(claimed=())), seen), Conflict)


def test_an_empty_index_with_another_primary_key_was_not_left_by_us() -> None:
    seen = with_index(ENTRIES, gen.index(empty=True, primary_key=None), None)
    assert isinstance(decide(gen.request(), seen), Conflict)


def test_an_empty_unstamped_index_after_our_claim_is_stamped() -> None:
    seen = with_index(ENTRIES, gen.index(empty=True), None)
    assert decide(gen.request(), seen) == Do((StampIndexes(gen.stamp(), (ENTRIES,)),), provisions=COMPLETE)


def test_the_stamp_of_an_index_that_had_the_name_before_is_renewed_only_for_an_empty_one() -> None:
    earlier = gen.owner(created_at="2026-01-01T00:00:00Z")
    empty = with_index(ENTRIES, gen.index(empty=True), earlier)
    full = with_index(ENTRIES, gen.index(), earlier)
    assert decide(gen.request(), empty) == Do((StampIndexes(gen.stamp(), (ENTRIES,)),), provisions=COMPLETE)
    assert decide(gen.request(), full) == Conflict("index", ENTRIES, "made anew since it was stamped")


def test_a_provisioned_index_that_is_gone_is_not_made_anew() -> None:
    request = gen.request(held=gen.holding(provisioned=gen.PROVISIONED))
    assert decide(request, with_index(ENTRIES, None, gen.owner())) == DataMissing("index", ENTRIES)
    assert decide(request, with_index(ENTRIES, None, None)) == DataMissing("index", ENTRIES)


@pytest.mark.parametrize("owner", [None, gen.owner(created_at="2026-01-01T00:00:00Z")])
def test_an_empty_one_in_the_place_of_a_provisioned_index_does_not_hide_the_loss(owner: Owner | None) -> None:
    request = gen.request(held=gen.holding(provisioned=gen.PROVISIONED))
    assert decide(request, with_index(ENTRIES, gen.index(empty=True), owner)) == DataMissing("index", ENTRIES)


THEIRS = Conflict("key", "a-uid", "installation here, UID former")


@pytest.mark.parametrize("index", [ENTRIES, "acme_*", "a*"])
def test_a_key_of_another_for_our_index_is_a_conflict_before_anything_is_claimed_made_or_opened(index: str) -> None:
    strangers = (gen.foreign_key("theirs", index),)
    assert decide(gen.request(held=gen.holding(claimed=())), gen.seen(strangers=strangers)) == THEIRS
    assert decide(gen.request(), gen.seen(strangers=strangers)) == THEIRS
    assert decide(gen.request(), replace(gen.in_place(), strangers=strangers)) == THEIRS
    lost = gen.request(held=gen.holding(provisioned=gen.PROVISIONED))
    assert decide(lost, gen.seen(strangers=strangers)) == THEIRS


@pytest.mark.parametrize("name", ["", "a dashboard"])
def test_a_key_that_bears_no_stamp_is_in_the_way_of_an_index_that_is_new_and_not_of_one_in_use(name: str) -> None:
    strangers = (gen.foreign_key(ENTRIES, name=name),)
    decision = decide(gen.request(), gen.seen(strangers=strangers))
    assert isinstance(decision, Conflict)
    assert (decision.kind, decision.name) == ("key", "a-uid")
    in_use = gen.request(held=gen.holding(provisioned=gen.PROVISIONED))
    assert decide(in_use, replace(gen.in_place(), strangers=strangers)) == Do((), provisions=COMPLETE)


@pytest.mark.parametrize("index", ["*", "acme_entries2", "acme_entrie", "acme2*", "entries"])
def test_a_key_for_all_indexes_is_an_administrators_and_one_for_another_is_no_concern_of_ours(index: str) -> None:
    seen = replace(gen.in_place(), strangers=(gen.foreign_key(index),))
    assert decide(gen.request(), seen) == Do((), provisions=COMPLETE)


def test_an_index_of_another_is_named_before_the_key_for_it() -> None:
    seen = replace(with_index(ENTRIES, gen.index(), None), strangers=(gen.foreign_key(ENTRIES),))
    assert decide(gen.request(), seen) == Conflict("index", ENTRIES, "it bears no stamp")


def test_a_key_of_another_for_an_index_that_nobody_asks_for_any_more_is_in_nobodys_way() -> None:
    seen = replace(gen.in_place(), strangers=(gen.foreign_key(NOTES),))
    assert decide(gen.request(held=BEGUN), seen) == Do((), provisions=COMPLETE)


def test_keys_of_others_are_looked_for_whenever_one_of_ours_is_to_be_made() -> None:
    wanted = rules.wanted_of(gen.request())
    assert rules.opens_anew(wanted, gen.seen())
    assert rules.opens_anew(wanted, gen.in_place(gen.key(indexes=(ENTRIES,))))
    assert not rules.opens_anew(wanted, gen.in_place())


def test_a_conflict_weighs_more_than_a_loss_and_a_loss_more_than_a_missing_claim() -> None:
    held = gen.holding(claimed=(), provisioned=(f"index/{ENTRIES}",))
    foreign = gen.seen({DATASETS: gen.index()})
    assert decide(gen.request(held=held), foreign) == Conflict("index", DATASETS, "it bears no stamp")
    assert decide(gen.request(held=held), gen.seen()) == DataMissing("index", ENTRIES)


def test_an_index_that_left_the_spec_keeps_its_data_and_its_place_in_the_key() -> None:
    request = gen.request(indexes=("entries",), held=gen.holding(provisioned=gen.PROVISIONED))
    assert decide(request, gen.in_place()) == Do((), provisions=COMPLETE)


def test_an_index_that_came_to_the_spec_is_made_and_put_into_the_key() -> None:
    request = gen.request(indexes=("entries", "datasets", "notes"), held=BEGUN)
    assert decide(request, gen.in_place()) == Do(
        (
            CreateIndex(NOTES),
            StampIndexes(gen.stamp(), (NOTES,)),
            ConfigureIndex(NOTES),
            DeleteKey(gen.key().uid),
            CreateKey(WIDER),
        ),
        provisions=COMPLETE | {NOTES_OBJECT},
    )


def with_notes(index: SeenIndex | None, owner: Owner | None = None, *keys: Key) -> Seen:
    """Everything that the spec asks for, and what there is under the name of an index that it asks for no more."""
    whole = gen.in_place(*keys)
    indexes = whole.indexes if index is None else {**whole.indexes, NOTES: index}
    owners = whole.owners if owner is None else {**whole.owners, NOTES: owner}
    return replace(whole, indexes=indexes, owners=owners)


def test_one_that_was_not_made_yet_is_not_made_any_more() -> None:
    assert decide(gen.request(held=BEGUN), gen.in_place()) == Do((), provisions=COMPLETE)


def test_one_that_a_crash_left_unstamped_is_finished_and_lives_on_like_any_that_left_the_spec() -> None:
    left = gen.index(empty=True, configured=False)
    assert decide(gen.request(held=BEGUN), with_notes(left)) == Do(
        (
            StampIndexes(gen.stamp(), (NOTES,)),
            ConfigureIndex(NOTES),
            DeleteKey(gen.key().uid),
            CreateKey(WIDER),
        ),
        provisions=COMPLETE | {NOTES_OBJECT},
    )


def test_one_that_may_hold_data_by_now_is_kept() -> None:
    """The crash came after its key was given and before that was remembered."""
    seen = with_notes(gen.index(), gen.owner(), WIDER)
    assert decide(gen.request(held=BEGUN), seen) == Do((), provisions=COMPLETE | {NOTES_OBJECT})


@pytest.mark.parametrize(
    ("index", "owner"),
    [
        (gen.index(), None),
        (gen.index(empty=True, primary_key=None), None),
        (gen.index(created_at="2027-01-01T00:00:00Z"), gen.owner()),
        (gen.index(empty=True), gen.owner(str(gen.stamp(uid="other")))),
        (None, gen.owner()),
    ],
    ids=["full", "another key", "made anew and filled", "of another", "gone"],
)
def test_what_somebody_else_put_under_its_name_is_no_conflict_because_nobody_asks_for_it(
    index: SeenIndex | None, owner: Owner | None
) -> None:
    assert decide(gen.request(held=BEGUN), with_notes(index, owner)) == Do((), provisions=COMPLETE)


@pytest.mark.parametrize(
    ("index", "owner"), [(gen.index(empty=True), None), (gen.index(), gen.owner()), (None, gen.owner()), (None, None)]
)
def test_removal_takes_what_there_is_of_it_and_what_still_waits(index: SeenIndex | None, owner: Owner | None) -> None:
    seen = replace(with_notes(index, owner), waiting_tasks=1, tasks=1)
    steps = steps_of(removal(gen.request(access=Access.CUT, held=BEGUN), seen))
    assert (DeleteIndex(NOTES) in steps) is (index is not None)
    assert CancelTasks((*gen.INDEXES, NOTES)) in steps
    assert (ReleaseIndexes((*gen.INDEXES, NOTES)) in steps) is (owner is not None)


def test_settings_that_somebody_changed_are_put_back() -> None:
    seen = with_index(ENTRIES, gen.index(configured=False), gen.owner())
    assert decide(gen.request(), seen) == Do((ConfigureIndex(ENTRIES),), provisions=COMPLETE)


@pytest.mark.parametrize(
    "changes",
    [
        {"actions": ("*",)},
        {"indexes": ("*",)},
        {"indexes": (ENTRIES,)},
        {"name": "renamed"},
        {"expires_at": "2027-01-01T00:00:00Z"},
    ],
)
def test_a_key_that_differs_is_made_anew_under_its_uid(changes: dict[str, Any]) -> None:
    drifted = replace(gen.key(), **changes)
    assert decide(gen.request(), gen.in_place(drifted)) == Do(
        (DeleteKey(gen.key().uid), CreateKey(gen.key())), provisions=COMPLETE
    )


def test_two_generations_have_keys_while_one_retires() -> None:
    request = gen.request(held=gen.holding(generations=(1, 2)))
    assert decide(request, gen.in_place()) == Do((CreateKey(gen.key(2)),), provisions=COMPLETE)


def test_the_key_of_a_retired_generation_is_deleted() -> None:
    request = gen.request(held=gen.holding(generations=(2,)))
    assert decide(request, gen.in_place(gen.key(1), gen.key(2))) == Do(
        (DeleteKey(gen.key(1).uid),), provisions=COMPLETE
    )


def test_a_cut_deletes_every_key_and_leaves_the_data() -> None:
    assert decide(CUT, gen.in_place(gen.key(1), gen.key(2))) == Do(
        (DeleteKey(gen.key(1).uid), DeleteKey(gen.key(2).uid))
    )


def test_a_cut_that_is_done_or_was_never_needed_asks_for_nothing() -> None:
    assert decide(CUT, replace(gen.in_place(), keys=())) == Do(())
    never = gen.request(access=Access.CUT, held=gen.holding(server="", claimed=()))
    assert decide(never, gen.seen(server="")) == Do(())


def test_a_cut_works_beside_a_conflict_and_beside_a_loss() -> None:
    request = gen.request(access=Access.CUT, held=gen.holding(provisioned=gen.PROVISIONED))
    seen = gen.seen({ENTRIES: gen.index()}, {ENTRIES: gen.owner("x")}, (gen.key(),))
    assert decide(request, seen) == Do((DeleteKey(gen.key().uid),))


CUT_AND_PROVISIONED = gen.request(access=Access.CUT, held=gen.holding(provisioned=gen.PROVISIONED))


@pytest.mark.parametrize("empty", [False, True])
def test_a_provisioned_index_that_lost_its_stamp_is_neither_told_to_be_cut_nor_to_be_erased(*, empty: bool) -> None:
    seen = gen.seen({ENTRIES: gen.index(empty=empty)}, tasks=3)
    for decision in (decide(CUT_AND_PROVISIONED, seen), removal(CUT_AND_PROVISIONED, replace(seen, tasks=0))):
        assert isinstance(decision, Conflict)
        assert (decision.kind, decision.name) == ("index", ENTRIES)
        assert f'"stamp": "{gen.stamp()}", "createdAt": "{gen.CREATED}"' in decision.owner


def test_a_key_without_a_stamp_that_opens_what_was_provisioned_is_not_told_to_be_cut() -> None:
    """One that we made, of a generation that the record does not know, and that somebody named otherwise, looks so."""
    seen = replace(gen.in_place(), keys=(), strangers=(gen.foreign_key(ENTRIES, name="mine"),))
    assert decide(CUT_AND_PROVISIONED, seen) == Conflict("key", "a-uid", "its stamp is not one of ours")
    assert decide(CUT, seen) == Do(())
    stamped = replace(seen, strangers=(gen.foreign_key(ENTRIES),))
    assert decide(CUT_AND_PROVISIONED, stamped) == Do(())


def test_what_is_ours_beyond_doubt_goes_before_a_lost_stamp_is_told() -> None:
    seen = with_index(ENTRIES, gen.index(), None)
    assert decide(CUT_AND_PROVISIONED, seen) == Do((DeleteKey(gen.key().uid),))
    assert DeleteIndex(DATASETS) in steps_of(removal(CUT_AND_PROVISIONED, seen))


@pytest.mark.parametrize(
    "owner", [gen.owner(str(gen.stamp(uid="other"))), gen.owner(created_at="2026-01-01T00:00:00Z")]
)
def test_an_index_that_bears_anothers_stamp_or_is_a_later_one_is_passed_over(owner: Owner) -> None:
    seen = gen.seen({ENTRIES: gen.index()}, {ENTRIES: owner})
    assert decide(CUT_AND_PROVISIONED, seen) == Do(())
    assert removal(CUT_AND_PROVISIONED, seen) == Do(())


def test_access_comes_back_as_it_was() -> None:
    assert decide(gen.request(), replace(gen.in_place(), keys=())) == Do((CreateKey(gen.key()),), provisions=COMPLETE)


def test_removal_takes_keys_then_waiting_tasks_then_indexes_then_their_history_then_the_stamps() -> None:
    seen = replace(gen.in_place(), waiting_tasks=1, tasks=9)
    assert removal(CUT, seen) == Do(
        (
            DeleteKey(gen.key().uid),
            CancelTasks(gen.INDEXES),
            DeleteIndex(DATASETS),
            DeleteIndex(ENTRIES),
            DeleteTasks(gen.INDEXES),
            ReleaseIndexes(gen.INDEXES),
        )
    )


def test_removal_needs_what_is_seen_with_access_cut() -> None:
    with pytest.raises(ValueError, match="cut"):
        removal(gen.request(), gen.in_place())


@pytest.mark.parametrize("mark", [str(gen.stamp(uid="other")), str(gen.stamp(installation="elsewhere")), "x", None])
def test_removal_passes_over_what_is_not_ours(mark: str | None) -> None:
    foreign = gen.seen({ENTRIES: gen.index()}, {ENTRIES: gen.owner(mark)} if mark else {}, tasks=3)
    request = gen.request(access=Access.CUT, held=gen.holding(claimed=()))
    assert removal(request, foreign) == Do(())


def test_removal_passes_over_an_index_that_somebody_filled_in_the_place_of_ours() -> None:
    seen = gen.seen({ENTRIES: gen.index(created_at="2027-01-01T00:00:00Z")}, {ENTRIES: gen.owner()})
    decision = removal(CUT, seen)
    assert not [step for step in decision.steps if step == DeleteIndex(ENTRIES)]  # type: ignore[union-attr]  # Do


def test_removal_takes_the_empty_index_that_a_crash_left_unstamped() -> None:
    seen = gen.seen({ENTRIES: gen.index(empty=True)})
    assert removal(CUT, seen) == Do((DeleteIndex(ENTRIES), DeleteTasks(gen.INDEXES)))


def test_removal_cancels_a_creation_that_still_waits_for_an_index_not_yet_there() -> None:
    seen = gen.seen(waiting_tasks=1, tasks=1)
    assert removal(CUT, seen) == Do((CancelTasks(gen.INDEXES), DeleteTasks(gen.INDEXES)))


def test_nothing_is_left_to_remove_once_all_is_gone() -> None:
    request = gen.request(access=Access.CUT, held=gen.holding(provisioned=gen.PROVISIONED))
    assert removal(request, gen.seen()) == Do(())


def after(seen: Seen, step: MeilisearchStep) -> Seen:
    """What there is after `step`, as the server would have it."""
    match step:
        case CreateIndex(name):
            made = gen.index(created_at=f"made {name}", empty=True, configured=False)
            return replace(seen, indexes={name: made, **seen.indexes}, tasks=seen.tasks + 1)
        case StampIndexes(stamp, names):
            new = {name: Owner(str(stamp), seen.indexes[name].created_at) for name in names}
            return replace(seen, owners={**seen.owners, **new})
        case ConfigureIndex(name):
            return replace(seen, indexes={**seen.indexes, name: replace(seen.indexes[name], configured=True)})
        case CreateKey(key):
            return replace(seen, keys=(*seen.keys, key))
        case DeleteKey(uid):
            return replace(seen, keys=tuple(key for key in seen.keys if key.uid != uid))
        case _:
            return after_erasing(seen, step)


def after_erasing(seen: Seen, step: MeilisearchStep) -> Seen:
    match step:
        case CancelTasks():
            return replace(seen, waiting_tasks=0)
        case DeleteIndex(name):
            return replace(seen, indexes=without(seen.indexes, (name,)), tasks=seen.tasks + 1)
        case DeleteTasks():
            return replace(seen, tasks=seen.waiting_tasks)
        case ReleaseIndexes(names):
            return replace(seen, owners=without(seen.owners, names))
        case _:
            raise AssertionError(step)


def without(values: Mapping[str, V], names: tuple[str, ...]) -> dict[str, V]:
    return {name: value for name, value in values.items() if name not in names}


def steps_of(decision: Decision) -> tuple[MeilisearchStep, ...]:
    assert isinstance(decision, Do), decision
    return tuple(decision.steps)  # type: ignore[arg-type]  # this engine's steps


def run(seen: Seen, steps: tuple[MeilisearchStep, ...]) -> Seen:
    for step in steps:
        seen = after(seen, step)
    return seen


@st.composite
def states(draw: st.DrawFn) -> Seen:
    """Any state that a crash or drift can leave of ours."""
    indexes, owners = {}, {}
    for name in gen.INDEXES:
        stage = draw(st.sampled_from(["absent", "created", "stamped", "gone"]))
        created = f"made {name}"
        if stage in {"created", "stamped"}:
            indexes[name] = gen.index(created_at=created, empty=stage == "created", configured=draw(st.booleans()))
        if stage in {"stamped", "gone"}:
            owners[name] = gen.owner(created_at=created)
    drifted = replace(gen.key(), actions=("*",))
    keys = draw(st.sampled_from([(), (gen.key(),), (gen.key(), gen.key(2)), (drifted,)]))
    waiting = draw(st.integers(0, 2))
    return gen.seen(indexes, owners, keys, waiting_tasks=waiting, tasks=waiting + draw(st.integers(0, 2)))


@given(states())
def test_one_round_puts_everything_in_place_from_any_state_of_ours(seen: Seen) -> None:
    done = run(seen, steps_of(decide(gen.request(), seen)))
    assert steps_of(decide(gen.request(), done)) == ()


@given(states(), st.integers(0, 7))
def test_stopping_after_any_step_ends_in_the_same_state(seen: Seen, stop: int) -> None:
    whole = run(seen, steps_of(decide(gen.request(), seen)))
    interrupted = run(seen, steps_of(decide(gen.request(), seen))[:stop])
    interrupted = run(interrupted, steps_of(decide(gen.request(), interrupted)))
    assert (interrupted.indexes, interrupted.owners, interrupted.keys) == (whole.indexes, whole.owners, whole.keys)


@given(states(), st.integers(0, 9))
def test_removal_ends_with_nothing_of_ours_from_any_half_removed_state(seen: Seen, stop: int) -> None:
    seen = run(seen, steps_of(removal(CUT, seen))[:stop])
    seen = run(seen, steps_of(removal(CUT, seen)))
    assert seen == gen.seen()
    assert steps_of(removal(CUT, seen)) == ()


@given(states())
def test_a_cut_leaves_no_key_and_touches_nothing_else(seen: Seen) -> None:
    assert run(seen, steps_of(decide(CUT, seen))) == replace(seen, keys=())


def test_a_fresh_server_gets_the_proposed_identity() -> None:
    wanted = Do((WriteIdentity(gen.stamp(gen.PLANE_UID), "proposed"),))
    assert rules.decide_server(gen.server_request(), gen.server()) == wanted


def test_a_prepared_server_asks_for_nothing() -> None:
    request = gen.server_request(remembered=gen.IDENTITY)
    assert rules.decide_server(request, gen.server(gen.marker())) == Do(())


def test_a_server_without_the_marker_that_we_remember_is_another_server() -> None:
    request = gen.server_request(remembered=gen.IDENTITY)
    assert rules.decide_server(request, gen.server()) == EngineChanged(gen.IDENTITY, "")


def test_a_server_with_another_identity_is_another_server() -> None:
    request = gen.server_request(remembered="meilisearch-zero")
    assert rules.decide_server(request, gen.server(gen.marker())) == EngineChanged("meilisearch-zero", gen.IDENTITY)


@pytest.mark.parametrize("mark", [str(gen.stamp(gen.PLANE_UID, installation="elsewhere")), "", "x"])
def test_a_register_of_another_installation_is_a_conflict(mark: str) -> None:
    assert isinstance(rules.decide_server(gen.server_request(), gen.server(gen.marker(mark))), Conflict)


def test_an_index_of_somebody_else_under_the_registers_name_is_a_conflict() -> None:
    decision = rules.decide_server(gen.server_request(), gen.server(occupied=True))
    assert decision == Conflict("index", rules.REGISTER, "it bears no stamp")


def test_a_data_plane_that_was_applied_anew_finds_its_register_again() -> None:
    seen = gen.server(gen.marker(str(gen.stamp("an-earlier-plane"))))
    assert rules.decide_server(gen.server_request(), seen) == Do(())


def test_the_digest_tells_a_lost_index_a_cut_and_another_scope_apart() -> None:
    keys: list[list[Key]] = [[gen.key()], [gen.key(2)], [], [replace(gen.key(), actions=("*",))]]
    digests = {rules.digest(gen.INDEXES, each) for each in keys}
    digests |= {rules.digest(gen.INDEXES[:1], [gen.key()]), rules.digest((), [gen.key()])}
    assert len(digests) == 6


def test_the_digest_does_not_hang_on_the_order() -> None:
    one, two = gen.key(), gen.key(2)
    assert rules.digest(["b", "a"], [two, one]) == rules.digest(["a", "b"], [one, two])


def surveyed(*keys: Key) -> str:
    created = dict.fromkeys(gen.INDEXES, gen.CREATED)
    return rules.surveyed("here", created, dict.fromkeys(gen.INDEXES, gen.owner()), keys)[gen.UID]


def test_a_survey_shows_the_index_that_keys_of_others_are_for() -> None:
    alone = surveyed(gen.key())
    assert alone == rules.digest(gen.INDEXES, [gen.key()])
    assert surveyed(gen.key(), gen.foreign_key(ENTRIES)) == rules.digest(gen.INDEXES, [gen.key()], [ENTRIES])
    assert surveyed(gen.key(), gen.foreign_key("acme_*")) == rules.digest(gen.INDEXES, [gen.key()], gen.INDEXES)
    assert surveyed(gen.key(), gen.foreign_key("*", name="Default Search API Key")) == alone
    assert surveyed(gen.key(), gen.foreign_key("acme_entries2")) == alone


def test_a_survey_of_a_tenant_that_is_cut_does_not_hang_on_keys_of_others() -> None:
    assert surveyed(gen.foreign_key(ENTRIES)) == rules.digest(gen.INDEXES, [])
