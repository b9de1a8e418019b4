"""How a list of conditions changes, and what people and kstatus read from it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.api.conditions import (
    HEALING,
    MESSAGE_BYTES,
    MOST_CONDITIONS,
    NEEDS_A_PERSON,
    ConditionType,
    Phase,
    Reason,
    Status,
    condition,
    kstatus,
    merge,
    phase,
    ready,
)
from bulkhead.api.meta import Condition

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)

any_condition = st.builds(
    condition, st.sampled_from(ConditionType), st.sampled_from(Status), st.sampled_from(Reason), st.text()
)


def postgres(status: Status = Status.TRUE, reason: Reason = Reason.READY, message: str = "") -> Condition:
    return condition(ConditionType.POSTGRES_READY, status, reason, message)


def search(status: Status = Status.TRUE, reason: Reason = Reason.READY, message: str = "") -> Condition:
    return condition(ConditionType.SEARCH_READY, status, reason, message)


def test_the_time_of_transition_stays_while_the_status_does() -> None:
    old = merge((), [postgres(Status.FALSE, Reason.PROVISIONING)], generation=1, now=NOON)
    (new,) = merge(old, [postgres(Status.FALSE, Reason.ENGINE_UNAVAILABLE)], generation=1, now=LATER)
    assert (new.reason, new.last_transition_time) == (Reason.ENGINE_UNAVAILABLE, "2026-01-01T12:00:00Z")


def test_the_time_of_transition_moves_with_the_status() -> None:
    old = merge((), [postgres(Status.FALSE, Reason.PROVISIONING)], generation=1, now=NOON)
    (new,) = merge(old, [postgres()], generation=1, now=LATER)
    assert new.last_transition_time == "2026-01-01T13:00:00Z"


def test_a_condition_restored_without_a_time_gets_one() -> None:
    (new,) = merge([postgres()], [postgres()], generation=1, now=NOON)
    assert new.last_transition_time == "2026-01-01T12:00:00Z"


def test_every_condition_tells_the_generation_that_it_is_about() -> None:
    old = merge((), [postgres()], generation=1, now=NOON)
    (new,) = merge(old, [postgres()], generation=2, now=LATER)
    assert new.observed_generation == 2


def test_an_engine_that_is_no_longer_offered_loses_its_condition() -> None:
    old = merge((), [postgres(), search()], generation=1, now=NOON)
    assert [each.type for each in merge(old, [postgres()], generation=2, now=LATER)] == ["PostgresReady"]


def test_a_condition_of_somebody_else_is_kept_as_it_is() -> None:
    theirs = Condition(
        type="example.com/Backup", status="True", reason="Done", last_transition_time="2020-01-01T00:00:00Z"
    )
    assert merge([theirs], [postgres()], generation=3, now=NOON)[-1] == theirs


def test_conditions_of_others_never_crowd_out_ours() -> None:
    theirs = [Condition(type=f"A{each}", status="True", reason="Done") for each in range(50)]
    merged = merge(theirs, [search()], generation=1, now=NOON)
    assert len(merged) == MOST_CONDITIONS
    assert merged[0].type == ConditionType.SEARCH_READY


@given(st.lists(any_condition), st.lists(any_condition))
def test_merging_the_same_again_changes_nothing(old: list[Condition], new: list[Condition]) -> None:
    first = merge(old, new, generation=1, now=NOON)
    assert merge(first, new, generation=1, now=LATER) == first


@given(
    st.lists(any_condition, unique_by=lambda each: each.type).flatmap(
        lambda new: st.tuples(st.just(new), st.permutations(new))
    )
)
def test_the_order_of_the_input_does_not_show(lists: tuple[list[Condition], list[Condition]]) -> None:
    one, other = lists
    assert merge((), one, generation=1, now=NOON) == merge((), other, generation=1, now=NOON)


@given(st.text(min_size=900))
def test_a_message_is_one_line_of_at_most_1_kib(message: str) -> None:
    shown = postgres(message=message).message
    assert len(shown.encode()) <= MESSAGE_BYTES
    assert shown.isprintable()


def test_a_cut_message_says_that_it_was_cut() -> None:
    assert postgres(message="ü" * 2000).message.endswith("ü…")


def test_every_reason_is_in_one_class_and_reads_as_kubernetes_wants_it() -> None:
    assert not HEALING & NEEDS_A_PERSON
    assert all(reason.value.isalpha() and reason.value[0].isupper() for reason in Reason)


def test_ready_needs_every_part() -> None:
    assert ready([postgres(), search()]).status == Status.TRUE
    assert ready([postgres(), search(Status.UNKNOWN, Reason.PROVISIONING)]).status == Status.FALSE


def test_ready_tells_first_what_a_person_must_do() -> None:
    summary = ready([
        postgres(Status.FALSE, Reason.ENGINE_UNAVAILABLE, "no answer"),
        search(Status.FALSE, Reason.CONFLICT, 'index "a_entries" is not ours'),
    ])  # fmt: skip
    assert summary.reason == Reason.CONFLICT
    assert summary.message == 'PostgresReady: no answer; SearchReady: index "a_entries" is not ours'


@pytest.mark.parametrize(
    ("overall", "expected"),
    [
        (condition(ConditionType.READY, Status.TRUE, Reason.READY), ("False", "False")),
        (condition(ConditionType.READY, Status.FALSE, Reason.PROVISIONING), ("True", "False")),
        (condition(ConditionType.READY, Status.FALSE, Reason.ENGINE_UNAVAILABLE), ("True", "False")),
        (condition(ConditionType.READY, Status.FALSE, Reason.CONFLICT), ("False", "True")),
        (condition(ConditionType.READY, Status.FALSE, Reason.SUSPENDED), ("False", "False")),
        (condition(ConditionType.READY, Status.FALSE, Reason.PAUSED), ("False", "False")),
    ],
)
def test_kstatus_tells_progress_from_standstill(overall: Condition, expected: tuple[str, str]) -> None:
    reconciling, stalled = kstatus(overall)
    assert (reconciling.status, stalled.status) == expected


def test_a_data_cluster_that_waits_for_a_person_is_pending() -> None:
    overall = condition(ConditionType.READY, Status.FALSE, Reason.PLAN_NOT_FOUND)
    assert phase([overall, *kstatus(overall)], deleting=False, provisioned=False) == Phase.PENDING


def test_a_data_cluster_in_the_making_is_provisioning() -> None:
    overall = condition(ConditionType.READY, Status.FALSE, Reason.PROVISIONING)
    assert phase([overall, *kstatus(overall)], deleting=False, provisioned=False) == Phase.PROVISIONING


def test_what_was_complete_once_and_lacks_something_is_degraded() -> None:
    overall = condition(ConditionType.READY, Status.FALSE, Reason.ENGINE_UNAVAILABLE)
    assert phase([overall, *kstatus(overall)], deleting=False, provisioned=True) == Phase.DEGRADED


def test_a_suspension_that_is_not_confirmed_is_not_shown_as_suspended() -> None:
    overall = condition(ConditionType.READY, Status.FALSE, Reason.SUSPENDING)
    unknown = condition(ConditionType.SUSPENDED, Status.UNKNOWN, Reason.SUSPENDING)
    assert phase([overall, unknown], deleting=False, provisioned=True) == Phase.DEGRADED


@pytest.mark.parametrize(
    ("conditions", "deleting", "expected"),
    [
        ([condition(ConditionType.READY, Status.TRUE, Reason.READY)], False, Phase.ACTIVE),
        ([condition(ConditionType.READY, Status.TRUE, Reason.READY)], True, Phase.DELETING),
        ([condition(ConditionType.SUSPENDED, Status.TRUE, Reason.SUSPENDED)], False, Phase.SUSPENDED),
        (
            [
                condition(ConditionType.READY, Status.TRUE, Reason.READY),
                condition(ConditionType.CONNECTED, Status.FALSE, Reason.ENGINE_UNAVAILABLE),
            ],
            False,
            Phase.OFFLINE,
        ),
    ],
)
def test_the_phase_follows_from_the_conditions(conditions: list[Condition], deleting: bool, expected: Phase) -> None:  # noqa: FBT001 - a case
    assert phase(conditions, deleting=deleting, provisioned=True) == expected
