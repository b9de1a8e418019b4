"""What to do so that what is seen becomes what is wanted. Pure: every rule of ownership and loss is in here.

Whose is it? A bucket bears the stamp as tags, a policy in its statements. A user can bear none, but its name holds a
hash of our UID: it is ours once our names were claimed, or where the policy under our name is ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bulkhead.api.ownership import owner_of
from bulkhead.api.sensitive import Sensitive
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
    engine_changed,
)
from bulkhead.engines.minio.state import Bucket, Policy, Seen, User, Wanted, wanted_of
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
    MinioStep,
    PutPolicy,
    RemoveEmptyBucket,
    RemovePolicy,
    RemoveUser,
    RevokeSessions,
    SetQuota,
    StampBucket,
)

INSTALLATION_TAG = "bulkhead.dev/installation"
UID_TAG = "bulkhead.dev/uid"
"""The stamp of a bucket."""
BUCKET = "bucket"
"""In `Holding.provisioned`: the one object here that holds a tenant's data."""


def decide(request: Request, seen: Seen) -> Decision:
    """The steps towards `request`, or why none is taken."""
    holding, wanted = request.holding, wanted_of(request)
    if changed := engine_changed(request.holding.server, seen.server):
        return changed
    if request.access is Access.CUT:
        return _unless_stamps_are_lost(tuple(_cut(request, wanted, seen)), request, seen)
    if wanted.quota is None:
        return Invalid(
            "spec.objectStore.size of the Plan", f'"{request.plan.object_store.size}" is not a size like 50Gi'
        )
    if conflict := _conflict(request, wanted, seen):
        return conflict
    if BUCKET in holding.provisioned and seen.bucket is None:
        return DataMissing(BUCKET, wanted.bucket)
    if not holding.claimed_at and _incomplete(wanted, seen):
        return ClaimFirst()
    steps = (
        *_bucket_steps(wanted, wanted.quota, seen.bucket),
        *_policy_steps(wanted, seen),
        *_user_steps(wanted, seen),
    )
    return Do(steps, frozenset({BUCKET}))


def decide_removal(request: Request, seen: Seen) -> Do | Conflict | EngineChanged:
    """The steps that erase what is ours: first access is cut and users go. Then it is looked at again, so that no
    upload that was under way escapes the list of those to abort, and the bucket goes. Raises ValueError for a request
    that is not `Access.CUT`: only with that are uploads looked up."""
    if request.access is not Access.CUT:
        raise ValueError("removal needs a request with access cut")
    if changed := engine_changed(request.holding.server, seen.server):
        return changed
    wanted = wanted_of(request)
    shut = (*_cut(request, wanted, seen), *_users_go(request, seen))
    return _unless_stamps_are_lost(shut or tuple(_erase(request, wanted, seen)), request, seen)


def _unless_stamps_are_lost(steps: tuple[MinioStep, ...], request: Request, seen: Seen) -> Do | Conflict:
    """Once ours was provisioned, what has our name and bears no stamp is most likely ours still: tags are lost with
    one call. It is not touched, but nobody is told that it is shut or gone either."""
    if steps or BUCKET not in request.holding.provisioned:
        return Do(steps)
    bucket, stamp = seen.bucket, request.stamp
    if bucket is not None and bucket.stamp is None and not _bucket_is_ours(request, bucket):
        tags = f"{INSTALLATION_TAG}={stamp.installation}&{UID_TAG}={stamp.uid}"
        way_out = f'if it is the one that was made here, give it the tags "{tags}"'
        return Conflict("bucket", request.names.bucket, f"{owner_of(None)}; {way_out}")
    if seen.policy is not None and seen.policy.stamp is None and not _policy_is_ours(request, seen.policy):
        return Conflict("policy", request.names.policy, owner_of(None))
    return Do()


def uploads_matter(request: Request, seen: Seen) -> bool:
    """Whether unfinished uploads are what is to go next. While users of ours are left, as in any suspension, they are
    not: there may be more of them than are cheap to list, and a cut has no need of them."""
    ours = seen.bucket is not None and _bucket_is_ours(request, seen.bucket)
    return request.access is Access.CUT and ours and next(_our_users(request, seen), None) is None


def _conflict(request: Request, wanted: Wanted, seen: Seen) -> Conflict | None:
    if seen.bucket is not None and not _bucket_is_ours(request, seen.bucket):
        return Conflict("bucket", wanted.bucket, owner_of(seen.bucket.stamp))
    if seen.policy is not None and not _policy_is_ours(request, seen.policy):
        return Conflict("policy", wanted.policy, owner_of(seen.policy.stamp))
    if seen.users and not _users_are_ours(request, seen):
        return Conflict("user", next(iter(seen.users)), "it was there before our names were claimed")
    return None


def _bucket_is_ours(request: Request, bucket: Bucket) -> bool:
    if bucket.stamp is None:
        return bool(request.holding.claimed_at) and bucket.empty  # made by us, and the crash came before the stamp
    return bucket.stamp == request.stamp


def _policy_is_ours(request: Request, policy: Policy) -> bool:
    """Our user's rights hang on it. So one that lost its stamp since everything was complete is taken for ours, written
    over by hand, and not left as it is: what it opens, it opens to our tenant."""
    if policy.stamp is None:
        return bool(request.holding.claimed_at) and BUCKET in request.holding.provisioned
    return policy.stamp == request.stamp


def _users_are_ours(request: Request, seen: Seen) -> bool:
    stamped = seen.policy is not None and seen.policy.stamp == request.stamp
    return stamped or bool(request.holding.claimed_at)


def _incomplete(wanted: Wanted, seen: Seen) -> bool:
    return seen.bucket is None or seen.policy is None or not wanted.secrets.keys() <= seen.users.keys()


def _bucket_steps(wanted: Wanted, quota: int, bucket: Bucket | None) -> Iterator[MinioStep]:
    if bucket is None:
        yield CreateBucket(wanted.bucket, wanted.stamp)
    if bucket is None or bucket.stamp is None:
        yield StampBucket(wanted.bucket, wanted.stamp)
    if bucket is not None and bucket.public:
        yield ClosePublicAccess(wanted.bucket)
    if bucket is None or bucket.quota != quota:
        yield SetQuota(wanted.bucket, quota)


def _policy_steps(wanted: Wanted, seen: Seen) -> Iterator[MinioStep]:
    if seen.policy is None or seen.policy.document != wanted.document:
        yield PutPolicy(wanted.policy, wanted.document)


def _user_steps(wanted: Wanted, seen: Seen) -> Iterator[MinioStep]:
    for access_key, secret_key in wanted.secrets.items():
        user = seen.users.get(access_key)
        if user is None:
            yield CreateUser(access_key, secret_key)
            yield AttachPolicy(access_key, wanted.policy)
        else:
            yield from _repair(access_key, secret_key, user, wanted.policy)
    for access_key, user in seen.users.items():
        if access_key not in wanted.secrets:
            yield from _retire(access_key, user)


def _repair(access_key: str, secret_key: Sensitive, user: User, policy: str) -> Iterator[MinioStep]:
    for group in sorted(user.groups):
        yield LeaveGroup(access_key, group)  # a group's policies are its members' too
    if user.secret_differs:
        yield DisableUser(access_key)  # or who knows the other secret makes new sessions until it is replaced
        yield RevokeSessions(access_key)  # they would outlive that secret
        yield CreateUser(access_key, secret_key)
    elif not user.enabled:
        yield EnableUser(access_key)  # before the policy: the server gives none to a disabled user
    if user.policies != {policy}:
        yield AttachPolicy(access_key, policy)


def _retire(access_key: str, user: User) -> Iterator[MinioStep]:
    if user.enabled:
        yield DisableUser(access_key)
    yield RevokeSessions(access_key)
    yield RemoveUser(access_key)


def _cut(request: Request, wanted: Wanted, seen: Seen) -> Iterator[MinioStep]:
    """Both policy and log-in are taken: a late CreateUser of a call that was given up would enable the user again."""
    if seen.bucket is not None and seen.bucket.public and _bucket_is_ours(request, seen.bucket):
        yield ClosePublicAccess(wanted.bucket)
    for access_key, user in _our_users(request, seen):
        if user.enabled:
            yield DetachPolicies(access_key)
            yield RevokeSessions(access_key)
            yield DisableUser(access_key)


def _users_go(request: Request, seen: Seen) -> Iterator[MinioStep]:
    """After the cut, which has disabled them."""
    for access_key, user in _our_users(request, seen):
        yield from _retire(access_key, replace(user, enabled=False))


def _erase(request: Request, wanted: Wanted, seen: Seen) -> Iterator[MinioStep]:
    if seen.bucket is not None and _bucket_is_ours(request, seen.bucket):
        for upload in seen.uploads.found:  # before the bucket: they survive it, and its namesake could read them
            yield AbortUpload(wanted.bucket, upload.key, upload.upload_id)
        if seen.uploads.more:
            return
        yield EraseBucket(wanted.bucket) if seen.bucket.stamp else RemoveEmptyBucket(wanted.bucket)
    if seen.policy is not None and _policy_is_ours(request, seen.policy):
        yield RemovePolicy(wanted.policy)


def _our_users(request: Request, seen: Seen) -> Iterator[tuple[str, User]]:
    if _users_are_ours(request, seen):
        yield from seen.users.items()
