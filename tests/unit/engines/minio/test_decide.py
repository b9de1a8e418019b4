"""Every rule of ownership, loss, repair, cutting and removal, without a server."""

from __future__ import annotations

import pytest

from bulkhead.api.ownership import Stamp
from bulkhead.engines.contract import Access, ClaimFirst, Conflict, DataMissing, Do, EngineChanged, Invalid
from bulkhead.engines.minio.decide import decide, decide_removal, uploads_matter
from bulkhead.engines.minio.state import Seen, Upload, Uploads, User
from bulkhead.engines.minio.steps import (
    AbortUpload,
    AttachPolicy,
    ClosePublicAccess,
    CreateBucket,
    CreateUser,
    DetachPolicies,
    DisableUser,
    EnableUser,
    EraseBucket,
    LeaveGroup,
    PutPolicy,
    RemoveEmptyBucket,
    RemovePolicy,
    RemoveUser,
    RevokeSessions,
    SetQuota,
    StampBucket,
)
from tests.unit.engines.minio import gen

BUCKET = "acme-data"
POLICY = "acme"
KEY = gen.names().access_key(1)
SECRET = gen.secret_key(KEY)
SECOND = gen.names().access_key(2)
STRANGER = gen.stamp(uid="uid-of-globex")
FOREIGN = gen.stamp(installation="another-installation")
PROVISIONED = frozenset({"bucket"})
CREATION = (
    CreateBucket(BUCKET, gen.stamp()),
    StampBucket(BUCKET, gen.stamp()),
    SetQuota(BUCKET, 64 * gen.KIBI),
    PutPolicy(POLICY, gen.wanted().document),
    CreateUser(KEY, SECRET),
    AttachPolicy(KEY, POLICY),
)
RETIRED = (DisableUser(KEY), RevokeSessions(KEY), RemoveUser(KEY))
CUT = (DetachPolicies(KEY), RevokeSessions(KEY), DisableUser(KEY))


def test_nothing_is_created_before_the_names_are_claimed() -> None:
    assert decide(gen.request(claimed_at=""), gen.absent()) == ClaimFirst()


def test_after_the_claim_everything_is_created_and_the_policy_is_there_before_the_user() -> None:
    assert decide(gen.request(), gen.absent()) == Do(CREATION, PROVISIONED)


def test_what_is_as_wanted_needs_no_step() -> None:
    assert decide(gen.request(), gen.seen()) == Do((), PROVISIONED)


def test_an_empty_bucket_that_lost_its_stamp_to_a_crash_is_stamped_after_the_claim() -> None:
    seen = gen.seen(bucket=gen.bucket(stamp=None, empty=True))
    assert decide(gen.request(), seen) == Do((StampBucket(BUCKET, gen.stamp()),), PROVISIONED)


def test_a_new_generation_is_made_beside_the_old_one() -> None:
    request = gen.request(generations=(1, 2))
    steps = (CreateUser(SECOND, gen.secret_key(SECOND)), AttachPolicy(SECOND, POLICY))
    assert decide(request, gen.seen()) == Do(steps, PROVISIONED)


def test_a_generation_out_of_force_is_removed_with_its_sessions() -> None:
    seen = gen.seen(users={KEY: gen.user(), SECOND: gen.user()})
    assert decide(gen.request(generations=(2,)), seen) == Do(RETIRED, PROVISIONED)


@pytest.mark.parametrize(
    ("stamp", "owner"),
    [
        (STRANGER, f"installation {gen.INSTALLATION}, UID uid-of-globex"),
        (FOREIGN, "installation another-installation, UID uid-of-acme"),
    ],
)
def test_a_bucket_with_another_stamp_is_a_conflict(stamp: Stamp, owner: str) -> None:
    seen = gen.seen(bucket=gen.bucket(stamp=stamp, empty=True))
    assert decide(gen.request(), seen) == Conflict("bucket", BUCKET, owner)


def test_an_unstamped_bucket_with_something_in_it_is_a_conflict_even_after_the_claim() -> None:
    seen = gen.seen(bucket=gen.bucket(stamp=None, empty=False))
    assert decide(gen.request(), seen) == Conflict("bucket", BUCKET, "it bears no stamp")


def test_an_unstamped_empty_bucket_is_a_conflict_before_the_claim() -> None:
    seen = gen.seen(bucket=gen.bucket(stamp=None, empty=True))
    assert decide(gen.request(claimed_at=""), seen) == Conflict("bucket", BUCKET, "it bears no stamp")


@pytest.mark.parametrize("stamp", [None, STRANGER, FOREIGN])
def test_a_policy_that_does_not_bear_our_stamp_is_a_conflict(stamp: Stamp | None) -> None:
    decision = decide(gen.request(), gen.seen(policy=gen.policy(stamp=stamp)))
    assert isinstance(decision, Conflict)
    assert (decision.kind, decision.name) == ("policy", POLICY)


def test_our_policy_that_was_written_over_stamp_and_all_is_repaired_for_it_may_open_anything() -> None:
    request = gen.request(provisioned=("bucket",))
    seen = gen.seen(policy=gen.policy(stamp=None, document="{}"))
    assert decide(request, seen) == Do((PutPolicy(POLICY, gen.policy(request).document),), PROVISIONED)
    erased = decide_removal(gen.cut(request), gen.seen(policy=gen.policy(stamp=None), bucket=None, users={}))
    assert erased == Do((RemovePolicy(POLICY),))


def test_a_user_that_was_there_before_the_claim_is_a_conflict() -> None:
    seen = gen.seen(bucket=None, policy=None)
    assert decide(gen.request(claimed_at=""), seen) == Conflict(
        "user", KEY, "it was there before our names were claimed"
    )


def test_a_user_beside_our_stamped_policy_is_ours_even_if_the_record_lost_its_claim() -> None:
    assert decide(gen.request(claimed_at=""), gen.seen()) == Do((), PROVISIONED)


def test_a_provisioned_bucket_that_is_gone_is_never_made_anew() -> None:
    request = gen.request(provisioned=("bucket",))
    assert decide(request, gen.seen(bucket=None)) == DataMissing("bucket", BUCKET)


def test_a_policy_and_a_user_that_are_gone_are_repaired_for_they_hold_no_data() -> None:
    request = gen.request(provisioned=("bucket",))
    steps = (PutPolicy(POLICY, gen.wanted().document), CreateUser(KEY, SECRET), AttachPolicy(KEY, POLICY))
    assert decide(request, gen.seen(policy=None, users={})) == Do(steps, PROVISIONED)


@pytest.mark.parametrize("access", list(Access))
def test_nothing_is_written_to_another_server(access: Access) -> None:
    request = gen.request(access=access, server="deployment-0")
    assert decide(request, gen.seen()) == EngineChanged("deployment-0", gen.SERVER)


def test_a_conflict_outweighs_a_loss() -> None:
    request = gen.request(provisioned=("bucket",))
    seen = gen.seen(bucket=None, policy=gen.policy(stamp=STRANGER))
    assert isinstance(decide(request, seen), Conflict)


def test_a_changed_plan_changes_the_quota() -> None:
    assert decide(gen.request(size="1Mi"), gen.seen()) == Do((SetQuota(BUCKET, 1024 * gen.KIBI),), PROVISIONED)


def test_a_size_that_is_none_is_called_invalid_and_nothing_is_done() -> None:
    decision = decide(gen.request(size="plenty"), gen.absent())
    assert decision == Invalid("spec.objectStore.size of the Plan", '"plenty" is not a size like 50Gi')


def test_a_bucket_that_was_opened_to_the_public_is_closed() -> None:
    seen = gen.seen(bucket=gen.bucket(public=True))
    assert decide(gen.request(), seen) == Do((ClosePublicAccess(BUCKET),), PROVISIONED)


def test_a_policy_of_ours_that_was_changed_is_written_again() -> None:
    seen = gen.seen(policy=gen.policy(document="{}"))
    assert decide(gen.request(), seen) == Do((PutPolicy(POLICY, gen.wanted().document),), PROVISIONED)


@pytest.mark.parametrize("policies", [frozenset[str](), frozenset({"readwrite"}), frozenset({"acme", "readwrite"})])
def test_a_user_gets_exactly_our_policy(policies: frozenset[str]) -> None:
    seen = gen.seen(users={KEY: gen.user(policies=policies)})
    assert decide(gen.request(), seen) == Do((AttachPolicy(KEY, POLICY),), PROVISIONED)


def test_a_user_is_taken_out_of_every_group() -> None:
    seen = gen.seen(users={KEY: gen.user(groups=frozenset({"b", "a"}))})
    assert decide(gen.request(), seen) == Do((LeaveGroup(KEY, "a"), LeaveGroup(KEY, "b")), PROVISIONED)


def test_a_disabled_user_is_enabled_before_it_gets_its_policy() -> None:
    seen = gen.seen(users={KEY: User(enabled=False)})
    assert decide(gen.request(), seen) == Do((EnableUser(KEY), AttachPolicy(KEY, POLICY)), PROVISIONED)


def test_a_secret_changed_in_place_is_set_back_and_no_session_made_with_it_survives() -> None:
    seen = gen.seen(users={KEY: gen.user(secret_differs=True)})
    steps = (DisableUser(KEY), RevokeSessions(KEY), CreateUser(KEY, SECRET))
    assert decide(gen.request(), seen) == Do(steps, PROVISIONED)


def test_cutting_takes_policy_sessions_and_log_in() -> None:
    assert decide(gen.cut(gen.request()), gen.seen()) == Do(CUT)


def test_cutting_reaches_users_that_the_record_does_not_know_of() -> None:
    seen = gen.seen(users={SECOND: gen.user()})
    steps = (DetachPolicies(SECOND), RevokeSessions(SECOND), DisableUser(SECOND))
    assert decide(gen.cut(gen.request()), seen) == Do(steps)


def test_cutting_ends_access_without_credentials_too() -> None:
    seen = gen.seen(bucket=gen.bucket(public=True), users={})
    assert decide(gen.cut(gen.request()), seen) == Do((ClosePublicAccess(BUCKET),))


def test_what_is_cut_needs_no_step() -> None:
    assert decide(gen.cut(gen.request()), gen.seen(users={KEY: User(enabled=False)})) == Do()


def test_cutting_never_creates_anything() -> None:
    assert decide(gen.cut(gen.request(provisioned=("bucket",))), gen.absent()) == Do()


def test_an_invalid_plan_does_not_keep_access_from_being_cut() -> None:
    assert decide(gen.cut(gen.request(size="plenty")), gen.seen()) == Do(CUT)


def test_cutting_does_not_touch_a_bucket_of_others_but_still_cuts_our_user() -> None:
    seen = gen.seen(bucket=gen.bucket(stamp=STRANGER, public=True))
    assert decide(gen.cut(gen.request()), seen) == Do(CUT)


def test_a_user_whose_policy_lost_its_stamp_is_cut_all_the_same() -> None:
    assert decide(gen.cut(gen.request()), gen.seen(policy=gen.policy(stamp=None))) == Do(CUT)


def test_a_user_that_was_there_before_the_claim_is_not_cut() -> None:
    seen = gen.seen(policy=None)
    assert decide(gen.cut(gen.request(claimed_at="")), seen) == Do()


ERASED = gen.cut(gen.request())
DISABLED = {KEY: User(enabled=False)}


def test_removal_cuts_access_first_and_takes_users_away_and_does_nothing_else_in_that_round() -> None:
    assert decide_removal(ERASED, gen.seen()) == Do((*CUT, RevokeSessions(KEY), RemoveUser(KEY)))
    assert decide_removal(ERASED, gen.seen(users=DISABLED)) == Do((RevokeSessions(KEY), RemoveUser(KEY)))


def test_unfinished_uploads_are_aborted_before_the_bucket_goes_and_the_policy_goes_last() -> None:
    seen = gen.seen(users={}, uploads=Uploads((Upload("k", "id"),)))
    assert decide_removal(ERASED, seen) == Do(
        (AbortUpload(BUCKET, "k", "id"), EraseBucket(BUCKET), RemovePolicy(POLICY))
    )


def test_the_bucket_stays_while_one_look_does_not_take_in_all_its_uploads() -> None:
    seen = gen.seen(users={}, uploads=Uploads((Upload("k", "id"),), more=True))
    assert decide_removal(ERASED, seen) == Do((AbortUpload(BUCKET, "k", "id"),))


@pytest.mark.parametrize(
    ("access", "seen"),
    [
        (Access.OPEN, gen.seen(users={})),
        (Access.CUT, gen.seen()),
        (Access.CUT, gen.seen(users=DISABLED)),
        (Access.CUT, gen.seen(users={}, bucket=None)),
        (Access.CUT, gen.seen(users={}, bucket=gen.bucket(stamp=STRANGER))),
    ],
    ids=["open", "to be cut", "suspended", "without a bucket", "somebody else's"],
)
def test_uploads_are_not_looked_up_where_no_step_would_need_them(access: Access, seen: Seen) -> None:
    assert not uploads_matter(gen.request(access=access), seen)


def test_uploads_are_looked_up_once_no_user_of_ours_is_left() -> None:
    assert uploads_matter(ERASED, gen.seen(users={}))


def test_nothing_left_means_nothing_to_do() -> None:
    assert decide_removal(ERASED, gen.absent()) == Do()


def test_a_bucket_without_a_stamp_is_only_ever_removed_empty() -> None:
    seen = gen.seen(bucket=gen.bucket(stamp=None, empty=True), policy=None, users={})
    assert decide_removal(ERASED, seen) == Do((RemoveEmptyBucket(BUCKET),))


@pytest.mark.parametrize("stamp", [None, STRANGER, FOREIGN])
def test_removal_passes_over_what_is_not_ours(stamp: Stamp | None) -> None:
    seen = gen.seen(
        bucket=gen.bucket(stamp=stamp), policy=gen.policy(stamp=stamp), users={}, uploads=Uploads((Upload("k", "i"),))
    )
    assert decide_removal(ERASED, seen) == Do()


LOST = gen.bucket(stamp=None)


def test_a_provisioned_bucket_that_lost_its_stamp_is_neither_told_to_be_cut_nor_to_be_erased() -> None:
    request = gen.cut(gen.request(provisioned=("bucket",)))
    cut, erased = gen.seen(bucket=LOST, users=DISABLED), gen.seen(bucket=LOST, policy=None, users={})
    for decision in (decide(request, cut), decide_removal(request, erased)):
        assert isinstance(decision, Conflict)
        assert (decision.kind, decision.name) == ("bucket", BUCKET)
        assert f"bulkhead.dev/installation={gen.INSTALLATION}&bulkhead.dev/uid=uid-of-acme" in decision.owner


def test_what_is_ours_beyond_doubt_goes_before_a_lost_stamp_is_told() -> None:
    request = gen.cut(gen.request(provisioned=("bucket",)))
    assert decide(request, gen.seen(bucket=LOST)) == Do(CUT)
    retired = Do((RevokeSessions(KEY), RemoveUser(KEY)))
    assert decide_removal(request, gen.seen(bucket=LOST, users=DISABLED)) == retired
    assert decide_removal(request, gen.seen(bucket=LOST, users={})) == Do((RemovePolicy(POLICY),))


def test_a_bucket_that_bears_anothers_stamp_where_ours_was_is_passed_over() -> None:
    request = gen.cut(gen.request(provisioned=("bucket",)))
    seen = gen.seen(bucket=gen.bucket(stamp=STRANGER), policy=None, users={})
    assert decide(request, seen) == decide_removal(request, seen) == Do()


def test_removal_writes_nothing_to_another_server() -> None:
    request = gen.cut(gen.request(server="deployment-0"))
    assert decide_removal(request, gen.seen()) == EngineChanged("deployment-0", gen.SERVER)


def test_removal_with_access_open_would_overlook_uploads_and_is_refused() -> None:
    with pytest.raises(ValueError, match="access cut"):
        decide_removal(gen.request(), gen.seen())
