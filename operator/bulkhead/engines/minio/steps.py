"""The mutating calls of this engine. Each is one request that may be repeated."""

from __future__ import annotations

from dataclasses import dataclass, field

from bulkhead.api.ownership import Stamp
from bulkhead.api.sensitive import Sensitive


@dataclass(frozen=True, slots=True)
class CreateBucket:
    bucket: str
    stamp: Stamp
    """The bucket bears it only after the next step; here it tells our bucket from one that came in between."""

    def __str__(self) -> str:
        return f'create bucket "{self.bucket}"'


@dataclass(frozen=True, slots=True)
class StampBucket:
    bucket: str
    stamp: Stamp

    def __str__(self) -> str:
        return f'stamp bucket "{self.bucket}"'


@dataclass(frozen=True, slots=True)
class ClosePublicAccess:
    bucket: str

    def __str__(self) -> str:
        return f'remove the access policy of bucket "{self.bucket}"'


@dataclass(frozen=True, slots=True)
class SetQuota:
    bucket: str
    size: int
    """Bytes. MinIO takes 0 for no quota at all, so it is never 0."""

    def __str__(self) -> str:
        return f'limit bucket "{self.bucket}" to {self.size} bytes'


@dataclass(frozen=True, slots=True)
class PutPolicy:
    policy: str
    document: str
    """JSON."""

    def __str__(self) -> str:
        return f'write policy "{self.policy}"'


@dataclass(frozen=True, slots=True)
class CreateUser:
    """Also gives an existing user its secret back; it is enabled afterwards and keeps its policies."""

    access_key: str
    secret_key: Sensitive

    def __str__(self) -> str:
        return f'create user "{self.access_key}"'


@dataclass(frozen=True, slots=True)
class EnableUser:
    access_key: str

    def __str__(self) -> str:
        return f'enable user "{self.access_key}"'


@dataclass(frozen=True, slots=True)
class DisableUser:
    access_key: str

    def __str__(self) -> str:
        return f'disable user "{self.access_key}"'


@dataclass(frozen=True, slots=True)
class AttachPolicy:
    """Replaces whatever was attached before."""

    access_key: str
    policy: str

    def __str__(self) -> str:
        return f'give user "{self.access_key}" the policy "{self.policy}" alone'


@dataclass(frozen=True, slots=True)
class DetachPolicies:
    access_key: str

    def __str__(self) -> str:
        return f'take all policies from user "{self.access_key}"'


@dataclass(frozen=True, slots=True)
class LeaveGroup:
    access_key: str
    group: str

    def __str__(self) -> str:
        return f'take user "{self.access_key}" out of group "{self.group}"'


@dataclass(frozen=True, slots=True)
class RevokeSessions:
    """Ends the STS credentials of a user for good: they would come back with it, or with a namesake."""

    access_key: str

    def __str__(self) -> str:
        return f'revoke the sessions of user "{self.access_key}"'


@dataclass(frozen=True, slots=True)
class RemoveUser:
    access_key: str

    def __str__(self) -> str:
        return f'remove user "{self.access_key}"'


@dataclass(frozen=True, slots=True)
class AbortUpload:
    bucket: str
    key: str = field(repr=False)  # the tenant's own words
    upload_id: str = field(repr=False)

    def __str__(self) -> str:
        return f'abort an unfinished upload in bucket "{self.bucket}"'


@dataclass(frozen=True, slots=True)
class EraseBucket:
    """The bucket with all objects, versions and delete markers in it."""

    bucket: str

    def __str__(self) -> str:
        return f'erase bucket "{self.bucket}"'


@dataclass(frozen=True, slots=True)
class RemoveEmptyBucket:
    """For a bucket without a stamp: should it not be ours after all, nothing in it is lost."""

    bucket: str

    def __str__(self) -> str:
        return f'remove empty bucket "{self.bucket}"'


@dataclass(frozen=True, slots=True)
class RemovePolicy:
    policy: str

    def __str__(self) -> str:
        return f'remove policy "{self.policy}"'


BucketStep = CreateBucket | StampBucket | ClosePublicAccess | SetQuota | AbortUpload | EraseBucket | RemoveEmptyBucket
PolicyStep = PutPolicy | RemovePolicy
UserStep = (
    CreateUser | EnableUser | DisableUser | AttachPolicy | DetachPolicies | LeaveGroup | RevokeSessions | RemoveUser
)
MinioStep = BucketStep | PolicyStep | UserStep
