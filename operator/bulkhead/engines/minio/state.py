"""What is wanted of the store for one tenant, and what is seen of it there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bulkhead.api.ownership import Stamp
from bulkhead.api.quantity import size_in_bytes
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.contract import Request
from bulkhead.engines.minio import policy


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the request asks for."""

    stamp: Stamp
    bucket: str
    quota: int | None
    """Bytes; None where the plan's size is none."""
    policy: str
    document: str
    """The policy as canonical JSON."""
    secrets: Mapping[str, Sensitive]
    """Secret keys of the generations in force, by access key."""


@dataclass(frozen=True, slots=True)
class Bucket:
    stamp: Stamp | None
    quota: int
    """Bytes, 0 for none."""
    public: bool = False
    """Whether it has an access policy of its own, which would open it to people without credentials."""
    empty: bool = False
    """No object, version or unfinished upload; only looked at where the bucket bears no stamp."""


@dataclass(frozen=True, slots=True)
class Policy:
    stamp: Stamp | None
    document: str
    """As canonical JSON."""


@dataclass(frozen=True, slots=True)
class User:
    enabled: bool
    policies: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    secret_differs: bool = False
    """The record's secret key does not open it."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An unfinished multipart upload."""

    key: str = field(repr=False)
    upload_id: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Uploads:
    """Unfinished uploads, as many as one look takes."""

    found: tuple[Upload, ...] = ()
    more: bool = False
    """Whether there are others."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What is there under the names of one tenant."""

    server: str
    """Deployment id."""
    bucket: Bucket | None
    policy: Policy | None
    users: Mapping[str, User] = field(default_factory=dict)
    """By access key: those in force, and before them others under our names, in the order in which they are removed."""
    uploads: Uploads = Uploads()
    """Only looked at where the bucket is all that is left to erase."""


@dataclass(frozen=True, slots=True)
class ServerSeen:
    """Who answers."""

    identity: str
    version: str
    advisories: tuple[str, ...] = ()


def wanted_of(request: Request) -> Wanted:
    """What `request` asks for."""
    return Wanted(
        stamp=request.stamp,
        bucket=request.names.bucket,
        quota=_size(request.plan.object_store.size),
        policy=request.names.policy,
        document=policy.canonical(policy.document(request.names.bucket, request.stamp)),
        secrets={credential.identity: credential.value for credential in request.holding.credentials},
    )


def _size(text: str) -> int | None:
    try:
        return size_in_bytes(text)
    except ValueError:
        return None
