"""Whatever is there to begin with, wherever it is interrupted: decisions come to an end, and keep to what is ours."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bulkhead.engines.contract import Do, Request
from bulkhead.engines.minio.decide import decide, decide_removal
from bulkhead.engines.minio.state import Bucket, Policy, Seen, Upload, Uploads, User
from tests.unit.engines.minio import gen
from tests.unit.engines.minio.model import after, look

KEYS = [gen.names().access_key(generation) for generation in (1, 2, 3)]
WANTED = gen.wanted()

stamps = st.sampled_from([gen.stamp(), gen.stamp(uid="another"), gen.stamp(installation="another"), None])
sizes = st.sampled_from([0, 1, WANTED.quota or 0])
stamped = st.builds(Bucket, stamp=stamps.filter(bool), quota=sizes, public=st.booleans())
unstamped = st.builds(Bucket, stamp=st.none(), quota=sizes, public=st.booleans(), empty=st.booleans())
buckets = stamped | unstamped
documents = st.sampled_from([WANTED.document, "{}"])
# The stamp stands in the document, so one without it is never the document that is wanted.
policies = st.builds(Policy, stamp=stamps.filter(bool), document=documents) | st.just(Policy(None, "{}"))
names = st.frozensets(st.sampled_from(["acme", "readwrite"]))
users = st.builds(User, enabled=st.booleans(), policies=names, groups=names, secret_differs=st.booleans())
uploads = st.lists(st.builds(Upload, st.just("k"), st.sampled_from("12345")), max_size=5, unique=True).map(
    lambda held: Uploads(tuple(held))
)
worlds = st.builds(
    Seen,
    server=st.just(gen.SERVER),
    bucket=st.none() | buckets,
    policy=st.none() | policies,
    users=st.dictionaries(st.sampled_from(KEYS), users),
    uploads=uploads,
)
requests = st.builds(
    gen.request,
    claimed_at=st.sampled_from(["", gen.CLAIMED]),
    provisioned=st.sampled_from([(), ("bucket",)]),
    generations=st.sampled_from([(1,), (2,), (1, 2), (2, 3)]),
)
crashes = st.integers(0, 12)


def run(request: Request, seen: Seen, *, crash_after: int, removal: bool = False, rounds: int = 3) -> Seen:
    """Decide and act until nothing is left to do, with one crash after so many steps. At most so many rounds beside
    that one."""
    for _ in range(rounds + 1):
        shown = look(request, seen)
        decision = decide_removal(request, shown) if removal else decide(request, shown)
        steps = decision.steps if isinstance(decision, Do) else ()
        if not steps:
            return seen
        for step in steps[: crash_after or None]:
            seen = after(seen, step)  # type: ignore[arg-type]  # the contract knows steps of all engines
        crash_after = 0
    raise AssertionError("it goes on and on")


@given(requests, worlds, crashes)
def test_provisioning_ends_with_everything_as_wanted_or_does_nothing(
    request: Request, world: Seen, crash_after: int
) -> None:
    decision = decide(request, world)
    end = run(request, world, crash_after=crash_after)
    if not isinstance(decision, Do):
        assert end == world
        return
    assert end.bucket == gen.bucket(request)
    assert end.policy == gen.policy(request)
    assert end.users == gen.users(request)


@given(requests, worlds, crashes)
def test_cutting_ends_with_no_user_of_ours_that_opens_anything(request: Request, world: Seen, crash_after: int) -> None:
    cut = gen.cut(request)
    end = run(cut, world, crash_after=crash_after)
    ours = bool(request.holding.claimed_at) or (world.policy is not None and world.policy.stamp == request.stamp)
    assert not ours or not any(user.enabled for user in end.users.values())
    assert ours or end.users == world.users
    assert (end.bucket is None) == (world.bucket is None)


@given(requests, worlds, crashes)
def test_what_was_cut_is_the_same_when_it_is_open_again(request: Request, world: Seen, crash_after: int) -> None:
    before = run(request, world, crash_after=0)
    cut = run(gen.cut(request), before, crash_after=crash_after)
    if isinstance(decide(request, before), Do):
        assert run(request, cut, crash_after=crash_after) == before


@given(requests, worlds, crashes)
def test_removal_leaves_nothing_of_ours_and_all_of_others(request: Request, world: Seen, crash_after: int) -> None:
    end = run(gen.cut(request), world, crash_after=crash_after, removal=True, rounds=6)
    assert end.bucket is None or end.bucket == world.bucket
    assert end.policy is None or end.policy == world.policy
    for thing in (end.bucket, end.policy):
        assert thing is None or thing.stamp != request.stamp
    stranger = world.bucket is not None and world.bucket.stamp not in (None, request.stamp)
    assert not stranger or (end.bucket == world.bucket and end.uploads == world.uploads)
