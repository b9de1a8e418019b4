"""What the server makes of each step, as far as the engine sees it: enough to run decisions to their end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.contract import Request
from bulkhead.engines.minio.decide import uploads_matter
from bulkhead.engines.minio.state import Bucket, Policy, Seen, Uploads, User
from bulkhead.engines.minio.steps import (
    AbortUpload,
    AttachPolicy,
    BucketStep,
    ClosePublicAccess,
    CreateBucket,
    CreateUser,
    DetachPolicies,
    DisableUser,
    EnableUser,
    EraseBucket,
    LeaveGroup,
    MinioStep,
    PolicyStep,
    PutPolicy,
    RemoveEmptyBucket,
    RemoveUser,
    RevokeSessions,
    SetQuota,
    StampBucket,
    UserStep,
)
from tests.unit.engines.minio import gen


class Impossible(AssertionError):
    """The server would refuse this step here."""


MOST_UPLOADS = 2


def look(request: Request, world: Seen) -> Seen:
    """What a look shows of all that is there."""
    if not uploads_matter(request, world):
        return replace(world, uploads=Uploads())
    held = world.uploads.found
    return replace(world, uploads=Uploads(held[:MOST_UPLOADS], more=len(held) > MOST_UPLOADS))


def after(seen: Seen, step: MinioStep) -> Seen:
    """What is there when `step` is done."""
    if isinstance(step, UserStep):
        return replace(seen, users=_users_after(seen, step))
    if isinstance(step, PolicyStep):
        return replace(seen, policy=_policy_after(seen, step))
    if isinstance(step, AbortUpload):
        left = tuple(upload for upload in seen.uploads.found if upload.upload_id != step.upload_id)
        return replace(seen, uploads=Uploads(left))
    return replace(seen, bucket=_bucket_after(seen, step))


def _bucket_after(seen: Seen, step: BucketStep) -> Bucket | None:
    there = seen.bucket or Bucket(stamp=None, quota=0, empty=True)
    possible = {
        CreateBucket: seen.bucket is None,
        RemoveEmptyBucket: there.empty,
        EraseBucket: not seen.uploads.found,  # they would survive it
    }
    if not possible.get(type(step), seen.bucket is not None):
        raise Impossible(str(step))
    match step:
        case StampBucket(_, stamp):
            return replace(there, stamp=stamp, empty=False)
        case ClosePublicAccess():
            return replace(there, public=False)
        case SetQuota(_, size):
            return replace(there, quota=size)
        case CreateBucket():
            return there
    return None


def _policy_after(seen: Seen, step: PolicyStep) -> Policy | None:
    if isinstance(step, PutPolicy):
        return Policy(gen.stamp(), step.document)
    if any(step.policy in user.policies for user in seen.users.values()):
        raise Impossible("the policy is in use")
    return None


def _users_after(seen: Seen, step: UserStep) -> Mapping[str, User]:
    users = dict(seen.users)
    match step:
        case CreateUser(access_key, Sensitive()):
            users[access_key] = replace(users.get(access_key, User(enabled=True)), enabled=True, secret_differs=False)
        case EnableUser(access_key):
            users[access_key] = replace(users[access_key], enabled=True)
        case DisableUser(access_key):
            users[access_key] = replace(users[access_key], enabled=False)
        case AttachPolicy(access_key, name):
            if not users[access_key].enabled or seen.policy is None:
                raise Impossible(str(step))
            users[access_key] = replace(users[access_key], policies=frozenset({name}))
        case DetachPolicies(access_key):
            users[access_key] = replace(users[access_key], policies=frozenset())
        case LeaveGroup(access_key, group):
            users[access_key] = replace(users[access_key], groups=users[access_key].groups - {group})
        case RemoveUser(access_key):
            del users[access_key]
        case RevokeSessions():
            pass
    return users
