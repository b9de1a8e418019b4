from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.api.data_cluster import Distance
from bulkhead.engines.contract import (
    Access,
    ClaimFirst,
    Conflict,
    DataMissing,
    Decision,
    Do,
    EngineChanged,
    Invalid,
    Request,
)
from bulkhead.engines.qdrant import decide as rules
from bulkhead.engines.qdrant.decide import Seen, SeenCollection
from bulkhead.engines.qdrant.steps import (
    CreateCollection,
    CreateRegister,
    DeleteCollection,
    DeleteSnapshot,
    Entry,
    IndexField,
    LimitCollection,
    Limits,
    QdrantStep,
    Register,
    Snapshot,
    StampCollection,
    Stranger,
    Unregister,
)
from tests.unit.engines.qdrant import gen

COMPLETE = frozenset({"collection"})


def decide(request: Request, seen: Seen) -> Decision:
    return rules.decide(rules.wanted_of(request), seen)


def removal(request: Request, seen: Seen) -> Do | Conflict | EngineChanged:
    return rules.decide_removal(rules.wanted_of(request), seen)


def test_a_new_data_cluster_gets_its_collection_its_indexes_and_last_its_access() -> None:
    assert decide(gen.request(), gen.seen()) == Do(
        (
            CreateCollection("acme_entries", gen.stamp(), 4, "Cosine", gen.LIMITS),
            IndexField("acme_entries", "dataset"),
            IndexField("acme_entries", "document"),
            Register(gen.entry(1)),
        ),
        provisions=COMPLETE,
    )


def test_what_is_in_place_asks_for_nothing() -> None:
    assert decide(gen.request(), gen.in_place()) == Do((), provisions=COMPLETE)


def test_nothing_is_created_before_the_names_are_claimed() -> None:
    assert decide(gen.request(held=gen.holding(claimed=False)), gen.seen()) == ClaimFirst()


def test_another_server_behind_the_address_gets_no_writes() -> None:
    seen = gen.seen(server="qdrant-two")
    assert decide(gen.request(), seen) == EngineChanged("qdrant-one", "qdrant-two")
    assert decide(gen.request(access=Access.CUT), seen) == EngineChanged("qdrant-one", "qdrant-two")
    assert removal(gen.request(access=Access.CUT), seen) == EngineChanged("qdrant-one", "qdrant-two")


def test_a_server_that_lost_our_register_is_another_server() -> None:
    assert decide(gen.request(), gen.seen(server="")) == EngineChanged("qdrant-one", "")


@pytest.mark.parametrize(
    ("mark", "owner"),
    [
        (str(gen.stamp(uid="other")), "installation here, UID other"),
        (str(gen.stamp(installation="elsewhere")), f"installation elsewhere, UID {gen.UID}"),
        ("made by hand", "its stamp is not one of ours"),
        (None, "it bears no stamp"),
    ],
)
def test_a_collection_of_somebody_else_is_a_conflict(mark: str | None, owner: str) -> None:
    seen = gen.seen(gen.collection(mark=mark))
    assert decide(gen.request(), seen) == Conflict("collection", "acme_entries", owner)


def test_an_empty_collection_with_another_stamp_is_still_somebody_elses() -> None:
    seen = gen.seen(gen.collection(mark=str(gen.stamp(uid="other")), empty=True))
    assert isinstance(decide(gen.request(), seen), Conflict)


def test_an_empty_unstamped_collection_before_our_claim_is_a_conflict() -> None:
    seen = gen.seen(gen.collection(mark=None, empty=True))
    assert isinstance(decide(gen.request(held=gen.holding(claimed=False)), seen), Conflict)


def test_an_empty_unstamped_collection_after_our_claim_is_stamped() -> None:
    seen = gen.seen(gen.collection(mark=None, empty=True), gen.entry(1))
    assert decide(gen.request(), seen) == Do((StampCollection("acme_entries", gen.stamp()),), provisions=COMPLETE)


def test_a_provisioned_collection_that_is_gone_is_not_made_anew() -> None:
    request = gen.request(held=gen.holding(provisioned=True))
    assert decide(request, gen.seen()) == DataMissing("collection", "acme_entries")


def test_an_empty_one_in_the_place_of_a_provisioned_collection_does_not_hide_the_loss() -> None:
    request = gen.request(held=gen.holding(provisioned=True))
    seen = gen.seen(gen.collection(mark=None, empty=True))
    assert decide(request, seen) == DataMissing("collection", "acme_entries")


def test_a_full_unstamped_one_in_the_place_of_a_provisioned_collection_is_a_conflict() -> None:
    request = gen.request(held=gen.holding(provisioned=True))
    assert isinstance(decide(request, gen.seen(gen.collection(mark=None))), Conflict)


FORMER = Stranger("the-point", str(gen.stamp(uid="former")))
THEIRS = Conflict('point of "bulkhead_tokens"', "the-point", "installation here, UID former")


def test_tokens_of_another_for_our_collection_are_a_conflict_before_anything_is_claimed_made_or_opened() -> None:
    unclaimed = gen.request(held=gen.holding(claimed=False))
    assert decide(unclaimed, gen.seen(stranger=FORMER)) == THEIRS
    assert decide(gen.request(), gen.seen(stranger=FORMER)) == THEIRS
    assert decide(gen.request(), gen.seen(gen.collection(), stranger=FORMER)) == THEIRS
    assert decide(gen.request(), replace(gen.in_place(), stranger=FORMER)) == THEIRS


def test_tokens_of_nobody_known_are_a_conflict_too() -> None:
    seen = gen.seen(stranger=Stranger("7", None))
    assert decide(gen.request(), seen) == Conflict('point of "bulkhead_tokens"', "7", "it bears no stamp")


def test_a_collection_of_another_is_named_before_the_tokens_for_it_and_these_before_a_loss() -> None:
    taken = gen.seen(gen.collection(mark=str(gen.stamp(uid="former"))), stranger=FORMER)
    assert decide(gen.request(), taken) == Conflict("collection", "acme_entries", "installation here, UID former")
    lost = gen.request(held=gen.holding(provisioned=True))
    assert decide(lost, gen.seen(stranger=FORMER)) == THEIRS


def test_other_dimensions_than_the_collection_has_are_refused_with_the_field() -> None:
    decision = decide(gen.request(dimensions=8), gen.in_place())
    assert isinstance(decision, Invalid)
    assert decision.field == "spec.embedding.dimensions"


def test_another_distance_than_the_collection_has_is_refused_with_the_field() -> None:
    decision = decide(gen.request(distance=Distance.DOT), gen.in_place())
    assert isinstance(decision, Invalid)
    assert decision.field == "spec.embedding.distance"


def test_another_plan_changes_the_limits() -> None:
    assert decide(gen.request(points=7), gen.in_place()) == Do(
        (LimitCollection("acme_entries", Limits(7, rules.UPSERT_BATCH)),), provisions=COMPLETE
    )


def test_limits_that_somebody_took_off_are_put_back() -> None:
    seen = gen.seen(gen.collection(limits=None), gen.entry(1))
    assert decide(gen.request(), seen) == Do((LimitCollection("acme_entries", gen.LIMITS),), provisions=COMPLETE)


def test_a_payload_index_that_somebody_dropped_is_put_back() -> None:
    seen = gen.seen(gen.collection(indexes=frozenset({"dataset"})), gen.entry(1))
    assert decide(gen.request(), seen) == Do((IndexField("acme_entries", "document"),), provisions=COMPLETE)


def test_two_generations_are_registered_while_one_retires() -> None:
    request = gen.request(held=gen.holding(generations=(1, 2)))
    assert decide(request, gen.in_place()) == Do((Register(gen.entry(1, 2)),), provisions=COMPLETE)


def test_a_retired_generation_is_taken_out() -> None:
    request = gen.request(held=gen.holding(generations=(2,)))
    seen = gen.seen(gen.collection(), gen.entry(1, 2))
    assert decide(request, seen) == Do((Register(gen.entry(2)),), provisions=COMPLETE)


def test_a_subject_that_nobody_issued_is_taken_out() -> None:
    seen = gen.seen(gen.collection(), gen.entry(1, 9))
    assert decide(gen.request(), seen) == Do((Register(gen.entry(1)),), provisions=COMPLETE)


def test_a_cut_revokes_every_token_and_leaves_the_data() -> None:
    seen = gen.seen(gen.collection(), gen.entry(1, 2))
    assert decide(gen.request(access=Access.CUT), seen) == Do((Register(gen.entry()),))


def test_a_cut_wants_no_subject_alive() -> None:
    assert rules.wanted_of(gen.request(access=Access.CUT)).tokens == ()


def test_a_cut_that_is_done_asks_for_nothing() -> None:
    seen = gen.seen(gen.collection(), gen.entry())
    assert decide(gen.request(access=Access.CUT), seen) == Do(())


def test_a_cut_of_what_was_never_made_creates_nothing() -> None:
    assert decide(gen.request(access=Access.CUT, held=gen.holding(server="", claimed=False)), gen.seen()) == Do(())


def test_a_cut_works_beside_a_conflict_and_beside_a_loss() -> None:
    request = gen.request(access=Access.CUT, held=gen.holding(provisioned=True))
    foreign = gen.collection(mark=None)
    assert decide(request, gen.seen(foreign, gen.entry(1))) == Do((Register(gen.entry()),))
    assert decide(request, gen.seen(None, gen.entry(1))) == Do((Register(gen.entry()),))


def test_access_comes_back_as_it_was() -> None:
    seen = gen.seen(gen.collection(), gen.entry())
    assert decide(gen.request(), seen) == Do((Register(gen.entry(1)),), provisions=COMPLETE)


def test_removal_takes_tokens_then_snapshots_then_the_collection_then_the_entry() -> None:
    snapshots = (Snapshot("a.snapshot"), Snapshot("b.snapshot", shard=0))
    seen = gen.seen(gen.collection(), gen.entry(1), snapshots=snapshots)
    assert removal(gen.request(access=Access.CUT), seen) == Do(
        (
            Register(gen.entry()),
            DeleteSnapshot("acme_entries", snapshots[0]),
            DeleteSnapshot("acme_entries", snapshots[1]),
            DeleteCollection("acme_entries"),
            Unregister(gen.stamp()),
        )
    )


def test_removal_needs_what_is_seen_with_access_cut() -> None:
    with pytest.raises(ValueError, match="cut"):
        removal(gen.request(), gen.in_place())


@pytest.mark.parametrize("mark", [str(gen.stamp(uid="other")), str(gen.stamp(installation="elsewhere")), "x", None])
def test_removal_passes_over_what_is_not_ours(mark: str | None) -> None:
    seen = gen.seen(gen.collection(mark=mark), snapshots=(Snapshot("a.snapshot"),))
    assert removal(gen.request(access=Access.CUT), seen) == Do(())


def test_removal_takes_the_empty_collection_that_a_crash_left_unstamped() -> None:
    seen = gen.seen(gen.collection(mark=None, empty=True))
    assert removal(gen.request(access=Access.CUT), seen) == Do((DeleteCollection("acme_entries"),))


CUT_AND_PROVISIONED = gen.request(access=Access.CUT, held=gen.holding(provisioned=True))


@pytest.mark.parametrize("empty", [False, True])
def test_a_provisioned_collection_that_lost_its_stamp_is_neither_told_to_be_cut_nor_to_be_erased(
    *, empty: bool
) -> None:
    seen = gen.seen(gen.collection(mark=None, empty=empty), snapshots=(Snapshot("a.snapshot"),))
    for decision in (decide(CUT_AND_PROVISIONED, seen), removal(CUT_AND_PROVISIONED, seen)):
        assert isinstance(decision, Conflict)
        assert (decision.kind, decision.name) == ("collection", "acme_entries")
        assert f'"bulkhead": "{gen.stamp()}"' in decision.owner


def test_what_is_ours_beyond_doubt_goes_before_a_lost_stamp_is_told() -> None:
    seen = gen.seen(gen.collection(mark=None), gen.entry(1))
    assert decide(CUT_AND_PROVISIONED, seen) == Do((Register(gen.entry()),))
    assert removal(CUT_AND_PROVISIONED, seen) == Do((Register(gen.entry()), Unregister(gen.stamp())))


def test_a_collection_that_bears_anothers_stamp_where_ours_was_is_passed_over() -> None:
    seen = gen.seen(gen.collection(mark=str(gen.stamp(uid="other"))))
    assert decide(CUT_AND_PROVISIONED, seen) == Do(())
    assert removal(CUT_AND_PROVISIONED, seen) == Do(())


def test_nothing_is_left_to_remove_once_all_is_gone() -> None:
    assert removal(gen.request(access=Access.CUT, held=gen.holding(provisioned=True)), gen.seen()) == Do(())


def after(seen: Seen, step: QdrantStep) -> Seen:
    """What there is after `step`, as the server would have it."""
    match step:
        case CreateCollection(_, stamp, dimensions, distance, limits):
            made = SeenCollection(
                mark=str(stamp),
                empty=True,
                dimensions=dimensions,
                distance=distance,
                limits=limits,
                indexes=frozenset(),
            )
            return replace(seen, collection=seen.collection or made)
        case StampCollection(_, stamp):
            return _changed(seen, mark=str(stamp))
        case LimitCollection(_, limits):
            return _changed(seen, limits=limits)
        case IndexField(_, field):
            assert seen.collection is not None
            return _changed(seen, indexes=seen.collection.indexes | {field})
        case Register(entry):
            return replace(seen, entry=entry)
        case Unregister():
            return replace(seen, entry=None)
        case DeleteSnapshot(_, snapshot):
            return replace(seen, snapshots=tuple(kept for kept in seen.snapshots if kept != snapshot))
        case DeleteCollection():
            return replace(seen, collection=None)
        case CreateRegister():
            raise AssertionError("a tenant's decision never makes the register")


def _changed(seen: Seen, **changes: object) -> Seen:
    assert seen.collection is not None
    return replace(seen, collection=replace(seen.collection, **changes))  # type: ignore[arg-type]  # fields by name


def steps_of(decision: Decision) -> tuple[QdrantStep, ...]:
    assert isinstance(decision, Do), decision
    return tuple(decision.steps)  # type: ignore[arg-type]  # this engine's steps


collections = st.builds(
    gen.collection,
    mark=st.just(str(gen.stamp())),
    empty=st.booleans(),
    limits=st.sampled_from([gen.LIMITS, Limits(1, 1), None]),
    indexes=st.frozensets(st.sampled_from(["dataset", "document", "stray"])),
)
unstamped = st.just(gen.collection(mark=None, empty=True, limits=None))
entries = st.sampled_from([None, gen.entry(), gen.entry(1), gen.entry(1, 2), gen.entry(9)])
snapshot_lists = st.lists(st.builds(Snapshot, st.sampled_from("abc"), st.sampled_from([None, 0])), unique=True)
states = st.builds(
    gen.seen,
    st.one_of(st.none(), collections, unstamped),
    entries,
    snapshots=snapshot_lists.map(tuple),
).filter(lambda seen: seen.collection is not None or not seen.snapshots)


@given(states)
def test_one_round_puts_everything_in_place_from_any_state_of_ours(seen: Seen) -> None:
    for step in steps_of(decide(gen.request(), seen)):
        seen = after(seen, step)
    assert steps_of(decide(gen.request(), seen)) == ()


@given(states, st.integers(0, 5))
def test_stopping_after_any_step_ends_in_the_same_state(seen: Seen, stop: int) -> None:
    whole = interrupted = seen
    for step in steps_of(decide(gen.request(), seen)):
        whole = after(whole, step)
    for step in steps_of(decide(gen.request(), seen))[:stop]:
        interrupted = after(interrupted, step)
    for step in steps_of(decide(gen.request(), interrupted)):
        interrupted = after(interrupted, step)
    assert interrupted == whole


@given(states, st.integers(0, 7))
def test_removal_ends_with_nothing_of_ours_from_any_half_removed_state(seen: Seen, stop: int) -> None:
    request = gen.request(access=Access.CUT)
    for step in steps_of(removal(request, seen))[:stop]:
        seen = after(seen, step)
    for step in steps_of(removal(request, seen)):
        seen = after(seen, step)
    assert (seen.collection, seen.entry, steps_of(removal(request, seen))) == (None, None, ())


@given(states)
def test_a_cut_leaves_no_token_alive_and_touches_nothing_else(seen: Seen) -> None:
    cut = seen
    for step in steps_of(decide(gen.request(access=Access.CUT), seen)):
        cut = after(cut, step)
    assert cut.entry is None or cut.entry.tokens == ()
    assert cut.collection == seen.collection


def test_a_fresh_server_gets_the_register_with_the_proposed_identity() -> None:
    assert rules.decide_server(gen.server_request(), gen.server()) == Do(
        (
            CreateRegister(gen.stamp(gen.PLANE_UID), "proposed"),
            IndexField("bulkhead_tokens", "tokens"),
            IndexField("bulkhead_tokens", "collection"),
            Register(Entry(gen.stamp(gen.PLANE_UID), "", (f"{gen.PLANE_UID}/0",))),
        )
    )


def test_a_prepared_server_asks_for_nothing() -> None:
    assert rules.decide_server(gen.server_request(remembered=gen.IDENTITY), gen.prepared_server()) == Do(())


def test_a_server_without_the_register_that_we_remember_is_another_server() -> None:
    decision = rules.decide_server(gen.server_request(remembered=gen.IDENTITY), gen.server())
    assert decision == EngineChanged(gen.IDENTITY, "")


def test_a_server_with_another_identity_is_another_server() -> None:
    decision = rules.decide_server(gen.server_request(remembered="qdrant-zero"), gen.prepared_server())
    assert decision == EngineChanged("qdrant-zero", gen.IDENTITY)


@pytest.mark.parametrize("mark", [str(gen.stamp(gen.PLANE_UID, installation="elsewhere")), None, "x"])
def test_a_register_of_another_installation_is_a_conflict(mark: str | None) -> None:
    decision = rules.decide_server(gen.server_request(), gen.server(gen.register(mark=mark)))
    assert isinstance(decision, Conflict)


def test_a_data_plane_that_was_applied_anew_finds_its_register_again() -> None:
    register = gen.register(mark=str(gen.stamp("an-earlier-plane")))
    decision = rules.decide_server(gen.server_request(), gen.server(register))
    assert decision == Do((Register(rules.own_entry(gen.stamp(gen.PLANE_UID))),))


def test_a_register_whose_fields_lost_their_indexes_gets_them_back() -> None:
    seen = gen.server(gen.register(indexed=False), rules.own_entry(gen.stamp(gen.PLANE_UID)))
    assert rules.decide_server(gen.server_request(), seen) == Do(
        (IndexField("bulkhead_tokens", "tokens"), IndexField("bulkhead_tokens", "collection"))
    )


def test_the_digest_tells_absence_a_cut_and_each_generation_apart() -> None:
    digests = {
        rules.digest("acme_entries", ["u/1"]),
        rules.digest("acme_entries", ["u/1", "u/2"]),
        rules.digest("acme_entries", []),
        rules.digest("", ["u/1"]),
        rules.digest("ab_entries", ["u/1"]),
    }
    assert len(digests) == 5


def test_the_digest_does_not_hang_on_the_order() -> None:
    assert rules.digest("c", ["u/2", "u/1"]) == rules.digest("c", ["u/1", "u/2"])


def test_a_survey_shows_who_is_not_alone_with_tokens_for_its_collection() -> None:
    former = Entry(gen.stamp(uid="former"), "acme_entries", ("former/1",))
    alone = rules.surveyed("here", [gen.entry(1)], {"acme_entries"})
    assert alone == {gen.UID: rules.digest("acme_entries", [f"{gen.UID}/1"])}
    assert rules.surveyed("here", [gen.entry(1), former], {"acme_entries"})[gen.UID] != alone[gen.UID]
    assert (
        rules.surveyed("here", [gen.entry(1), replace(former, tokens=())], {"acme_entries"})[gen.UID] == alone[gen.UID]
    )


def test_a_survey_of_a_tenant_that_is_cut_does_not_hang_on_tokens_of_others() -> None:
    former = Entry(gen.stamp(uid="former"), "acme_entries", ("former/1",))
    shown = rules.surveyed("here", [gen.entry(), former], {"acme_entries"})
    assert shown[gen.UID] == rules.digest("acme_entries", [])


def test_a_survey_shows_no_other_installation_but_counts_its_tokens() -> None:
    foreign = Entry(gen.stamp(installation="elsewhere"), "acme_entries", ("foreign/1",))
    shown = rules.surveyed("here", [gen.entry(1), foreign], {"acme_entries"})
    assert shown == {gen.UID: rules.digest("acme_entries", [f"{gen.UID}/1"], 1)}
