"""What each step does: one request, and what an unexpected but known answer to it means. Blocks."""

from __future__ import annotations

from bulkhead.api.ownership import Stamp
from bulkhead.engines.errors import Refused, Unavailable
from bulkhead.engines.minio.api import Api
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
    RemovePolicy,
    RemoveUser,
    RevokeSessions,
    SetQuota,
    StampBucket,
    UserStep,
)


def perform(api: Api, step: MinioStep) -> None:
    """Do `step`. Raises EngineError, or what the client library raises."""
    if isinstance(step, UserStep):
        _on_user(api, step)
    elif isinstance(step, PolicyStep):
        _on_policy(api, step)
    else:
        _on_bucket(api, step)


def _on_bucket(api: Api, step: BucketStep) -> None:
    match step:
        case CreateBucket(bucket, stamp):
            _create_bucket(api, bucket, stamp)
        case StampBucket(bucket, stamp):
            api.stamp_bucket(bucket, stamp)
        case ClosePublicAccess(bucket):
            api.close_public_access(bucket)
        case SetQuota(bucket, size):
            api.set_quota(bucket, size)
        case AbortUpload(bucket, key, upload_id):
            api.abort_upload(bucket, key, upload_id)
        case EraseBucket(bucket):
            _erase_bucket(api, bucket)
        case RemoveEmptyBucket(bucket):
            if not api.remove_empty_bucket(bucket):
                raise Unavailable(f"while trying to {step}: something is in it by now")


def _on_policy(api: Api, step: PolicyStep) -> None:
    match step:
        case PutPolicy(name, document):
            api.put_policy(name, document)
        case RemovePolicy(name):
            api.remove_policy(name)


def _on_user(api: Api, step: UserStep) -> None:
    match step:
        case CreateUser(access_key, secret_key):
            api.create_user(access_key, secret_key)
        case EnableUser(access_key):
            api.enable_user(access_key)
        case DisableUser(access_key):
            api.disable_user(access_key)
        case AttachPolicy(access_key, name):
            api.attach_policy(access_key, name)
        case DetachPolicies(access_key):
            api.detach_policies(access_key)
        case LeaveGroup(access_key, group):
            api.leave_group(access_key, group)
        case RevokeSessions(access_key):
            api.revoke_sessions(access_key)
        case RemoveUser(access_key):
            api.remove_user(access_key)


def _create_bucket(api: Api, bucket: str, stamp: Stamp) -> None:
    """The server calls every bucket ours, whoever made it: one that came in between is not taken over."""
    if api.create_bucket(bucket):
        return
    found = api.bucket_stamp(bucket)
    if found != stamp and (found is not None or not api.is_empty(bucket)):
        raise Unavailable(f'while trying to create bucket "{bucket}": somebody else made one of that name meanwhile')


def _erase_bucket(api: Api, bucket: str) -> None:
    """With object lock on, which we never switch on, the server refuses to erase a bucket, but removes an empty one."""
    if api.erase_bucket(bucket) or api.remove_empty_bucket(bucket):
        return
    day = api.locked_until(bucket)
    until = f"until {day}" if day else "by a legal hold or a default retention"
    raise Refused(
        f'while trying to erase bucket "{bucket}": its objects are locked {until}; remove their versions when the lock '
        "has ended, the rest is then done"
    )
