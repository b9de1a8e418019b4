"""Status from what was found: pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.api.conditions import ConditionType, Phase, Reason, Status
from bulkhead.api.data_cluster import DataCluster, DataClusterStatus
from bulkhead.api.meta import Condition
from bulkhead.api.record import EngineName
from bulkhead.engines.contract import Access
from bulkhead.reconcile.report import READY, Progress, Verdict, digest, patch, status_of, waiting
from tests.unit.reconcile import gen
from tests.unit.reconcile.memory_kube import merged

LATER = gen.NOW + timedelta(hours=1)
DOWN = Verdict(Status.UNKNOWN, Reason.ENGINE_UNAVAILABLE, "postgres is down")
CONFLICT = waiting(Reason.CONFLICT, "somebody has the name")
PAUSED = waiting(Reason.PAUSED, "paused by annotation")


def progress(postgres: Verdict = READY, search: Verdict = READY, namespace: Verdict = READY, **fields: Any) -> Progress:
    parts = {
        ConditionType.NAMESPACE_READY: namespace,
        ConditionType.POSTGRES_READY: postgres,
        ConditionType.SEARCH_READY: search,
    }
    return Progress(**{"parts": parts, "record": gen.record(), **fields})


def status(found: Progress, cluster: DataCluster | None = None) -> DataClusterStatus:
    return status_of(cluster or gen.cluster(), found, gen.NOW)


def condition(found: DataClusterStatus, kind: ConditionType) -> Condition | None:
    return next((each for each in found.conditions if each.type == kind), None)


def said(found: DataClusterStatus, kind: ConditionType) -> tuple[str, str] | None:
    """Status and reason of a condition."""
    shown = condition(found, kind)
    return (shown.status, shown.reason) if shown else None


def after(found: Progress) -> DataCluster:
    """A DataCluster whose status says this."""
    return gen.cluster(status=status(found))


def test_everything_in_place_is_ready() -> None:
    assert said(status(progress()), ConditionType.READY) == ("True", "Ready")


def test_the_plan_in_force_is_told_and_stays_where_it_was_not_looked_up() -> None:
    found = status(progress(plan="basic"))
    assert found.plan == "basic"
    assert status(Progress(overall=PAUSED), gen.cluster(status=found)).plan == "basic"
    assert status(progress(plan="large"), gen.cluster(status=found)).plan == "large"


def test_a_part_that_lacks_takes_ready_away() -> None:
    assert said(status(progress(postgres=DOWN)), ConditionType.READY) == ("False", "EngineUnavailable")


def test_what_a_person_must_do_goes_before_what_heals() -> None:
    assert said(status(progress(postgres=DOWN, search=CONFLICT)), ConditionType.READY) == ("False", "Conflict")


def test_each_part_has_its_condition() -> None:
    found = status(progress(postgres=DOWN))
    parts = (ConditionType.NAMESPACE_READY, ConditionType.POSTGRES_READY, ConditionType.SEARCH_READY)
    assert [said(found, kind) for kind in parts] == [
        ("True", "Ready"),
        ("Unknown", "EngineUnavailable"),
        ("True", "Ready"),
    ]


def test_an_engine_that_the_plane_does_not_offer_has_no_condition() -> None:
    assert condition(status(progress()), ConditionType.VECTORS_READY) is None


def test_what_stops_everything_is_what_ready_says() -> None:
    assert said(status(Progress(overall=PAUSED)), ConditionType.READY) == ("False", "Paused")


def test_parts_stay_as_last_reported_where_nothing_new_is_known() -> None:
    found = status(Progress(overall=PAUSED), after(progress(postgres=DOWN)))
    assert said(found, ConditionType.POSTGRES_READY) == ("Unknown", "EngineUnavailable")


def test_a_person_must_act_is_stalled() -> None:
    found = status(progress(postgres=CONFLICT))
    assert (said(found, ConditionType.STALLED), said(found, ConditionType.RECONCILING)) == (
        ("True", "Conflict"),
        ("False", "Conflict"),
    )


def test_foreign_conditions_are_kept() -> None:
    theirs = Condition(type="example.com/Backup", status="True", reason="Done")
    cluster = gen.cluster(status=DataClusterStatus(conditions=(theirs,)))
    assert theirs in status(progress(), cluster).conditions


def test_access_that_is_wanted_is_not_suspended() -> None:
    assert said(status(progress()), ConditionType.SUSPENDED) == ("False", "NotSuspended")


def test_suspension_that_every_engine_confirmed_is_true() -> None:
    assert said(status(progress(access=Access.CUT)), ConditionType.SUSPENDED) == ("True", "Suspended")


def test_suspension_is_unknown_until_every_engine_confirmed() -> None:
    found = condition(status(progress(search=DOWN, access=Access.CUT)), ConditionType.SUSPENDED)
    assert found is not None
    assert (found.status, found.reason, "SearchReady" in found.message) == ("Unknown", "Suspending", True)


def test_a_namespace_that_lacks_does_not_put_the_suspension_in_doubt() -> None:
    found = status(progress(namespace=CONFLICT, access=Access.CUT))
    assert said(found, ConditionType.SUSPENDED) == ("True", "Suspended")


def test_suspension_that_nobody_looked_at_is_unknown() -> None:
    found = status(Progress(overall=PAUSED, access=Access.CUT))
    assert said(found, ConditionType.SUSPENDED) == ("Unknown", "Suspending")


def test_what_is_suspended_is_not_ready() -> None:
    assert said(status(progress(access=Access.CUT)), ConditionType.READY) == ("False", "Suspended")


def test_what_its_tenant_no_longer_lists_says_so() -> None:
    assert said(status(progress(unlisted=True)), ConditionType.UNLISTED) == ("True", "Unlisted")


def test_what_is_listed_again_says_nothing_of_lists() -> None:
    assert condition(status(progress(), after(progress(unlisted=True))), ConditionType.UNLISTED) is None


FRESH = gen.record(holdings={EngineName.POSTGRES: gen.holding(fingerprint="", provisioned=())})
DELETING = gen.cluster(metadata={"deletion_timestamp": "2026-11-22T12:00:00Z"})


@pytest.mark.parametrize(
    ("found", "cluster", "phase"),
    [
        (progress(), None, Phase.ACTIVE),
        (progress(access=Access.CUT), None, Phase.SUSPENDED),
        (progress(postgres=DOWN), None, Phase.DEGRADED),
        (progress(postgres=DOWN, record=FRESH), None, Phase.PROVISIONING),
        (progress(postgres=CONFLICT, record=FRESH), None, Phase.PENDING),
        (Progress(overall=waiting(Reason.TENANT_NOT_FOUND, "")), None, Phase.PENDING),
        (progress(postgres=DOWN), DELETING, Phase.DELETING),
    ],
    ids=lambda value: str(value) if isinstance(value, Phase) else "",
)
def test_the_phase(found: Progress, cluster: DataCluster | None, phase: Phase) -> None:
    assert status(found, cluster).phase == phase


def test_the_identity_is_the_records() -> None:
    assert status(progress()).identity.database == "acme"


def test_the_tenants_uid_is_the_records() -> None:
    assert status(progress()).tenant_uid == gen.uid_of("acme")


def test_identity_and_credentials_stay_where_nobody_looked() -> None:
    before = after(progress())
    found = status(Progress(overall=PAUSED), before)
    assert (found.identity, found.credentials) == (before.status.identity, before.status.credentials)


def test_a_credential_is_shown_by_its_identity_and_end() -> None:
    held = gen.holding(credentials=(gen.credential(generation=2, identity="acme_2", expires_at=1_800_000_000),))
    shown = status(progress(record=gen.record(holdings={EngineName.POSTGRES: held}))).credentials["postgres"]
    assert (shown.generation, shown.issued_to, shown.expires_at) == (2, "acme_2", "2027-01-15T08:00:00Z")


def test_the_newest_credential_is_shown() -> None:
    held = gen.holding(credentials=(gen.credential(generation=1), gen.credential(generation=2)))
    shown = status(progress(record=gen.record(holdings={EngineName.POSTGRES: held}))).credentials["postgres"]
    assert shown.generation == 2


def test_no_secret_enters_a_status() -> None:
    assert gen.PASSWORD.encode() not in msgspec.json.encode(status(progress()))


def test_endpoints_stay_where_nobody_looked() -> None:
    before = after(progress(endpoints={"search": "https://search.data.svc:7700"}))
    assert status(Progress(overall=PAUSED), before).endpoints == {"search": "https://search.data.svc:7700"}


def test_a_status_tells_the_generation_that_it_is_about() -> None:
    assert status(progress(), gen.cluster(metadata={"generation": 7})).observed_generation == 7


VERDICTS = st.sampled_from([READY, DOWN, CONFLICT])
PROGRESSES = st.builds(
    progress,
    postgres=VERDICTS,
    search=VERDICTS,
    namespace=VERDICTS,
    access=st.sampled_from(Access),
    unlisted=st.booleans(),
    overall=st.sampled_from([None, PAUSED]),
)


@given(PROGRESSES)
def test_equal_findings_give_an_equal_status(found: Progress) -> None:
    first = status_of(gen.cluster(), found, gen.NOW)
    assert status_of(gen.cluster(status=first), found, LATER) == first


@given(PROGRESSES, PROGRESSES)
def test_a_status_does_not_depend_on_the_one_before_but_for_its_times(before: Progress, found: Progress) -> None:
    changed = status_of(gen.cluster(status=status(before)), found, LATER)
    assert digest(changed) == digest(msgspec.structs.replace(status(found), endpoints=changed.endpoints))


def test_times_do_not_change_the_digest_of_a_status() -> None:
    assert digest(status_of(gen.cluster(), progress(), LATER)) == digest(status(progress()))


def test_a_message_changes_the_digest_of_a_status() -> None:
    other = waiting(Reason.CONFLICT, "somebody else has the name")
    assert digest(status(progress(postgres=other))) != digest(status(progress(postgres=CONFLICT)))


def test_everything_in_place_is_complete() -> None:
    assert progress().complete


def test_suspended_and_confirmed_is_complete() -> None:
    assert progress(access=Access.CUT).complete


def test_a_part_that_lacks_is_not_complete() -> None:
    assert not progress(search=DOWN).complete


def test_what_was_stopped_is_not_complete() -> None:
    assert not progress(overall=PAUSED).complete


LEAVES = st.one_of(st.booleans(), st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=2))
DOCUMENTS = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(LEAVES, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=6),
    max_size=3,
)


@given(DOCUMENTS, DOCUMENTS)
def test_applying_the_patch_gives_what_is_wanted(before: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert merged(before, patch(before, wanted) or {}) == wanted


@given(DOCUMENTS)
def test_what_is_as_wanted_needs_no_patch(document: dict[str, Any]) -> None:
    assert patch(document, document) is None


@given(DOCUMENTS, DOCUMENTS)
def test_every_part_of_a_patch_is_needed(before: dict[str, Any], wanted: dict[str, Any]) -> None:
    change = patch(before, wanted) or {}
    assert all(merged(before, {k: v for k, v in change.items() if k != key}) != wanted for key in change)


@given(DOCUMENTS)
def test_a_patch_leaves_out_what_is_nested_and_unchanged(document: dict[str, Any]) -> None:
    assert patch({"kept": document, "x": 1}, {"kept": document, "x": 2}) == {"x": 2}


def test_a_patch_names_the_nested_field_that_changed_alone() -> None:
    assert patch({"a": {"b": 1, "c": 2, "d": 3}}, {"a": {"b": 1, "c": 9}}) == {"a": {"c": 9, "d": None}}
