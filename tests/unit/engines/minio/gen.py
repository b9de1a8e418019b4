"""Builders for the tests of the MinIO engine: one tenant, complete and in order, unless told otherwise."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from bulkhead.api.data_cluster import DataClusterSpec, Embedding
from bulkhead.api.meta import LocalRef
from bulkhead.api.names import PhysicalNames, physical_names
from bulkhead.api.ownership import Stamp
from bulkhead.api.plan import ObjectStoreLimits, PlanSpec
from bulkhead.api.record import Credential, Holding
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.contract import Access, Request
from bulkhead.engines.minio.state import Bucket, Policy, Seen, User, Wanted, wanted_of

INSTALLATION = "11111111-aaaa-4000-8000-000000000001"
SERVER = "deployment-1"
CLAIMED = "2026-01-01T00:00:00Z"
KIBI = 1024


def uid_of(slug: str) -> str:
    return f"uid-of-{slug}"


def stamp(*, installation: str = INSTALLATION, uid: str = "") -> Stamp:
    return Stamp(installation, uid or uid_of("acme"))


def names(slug: str = "acme", uid: str = "") -> PhysicalNames:
    return physical_names(slug, uid or uid_of(slug), (), opaque=False)


def secret_key(access_key: str) -> Sensitive:
    return Sensitive(hashlib.sha256(access_key.encode()).hexdigest()[:40])


def credential(generation: int = 1, slug: str = "acme", uid: str = "") -> Credential:
    access_key = names(slug, uid).access_key(generation)
    return Credential(generation=generation, identity=access_key, value=secret_key(access_key))


def request(
    slug: str = "acme",
    *,
    uid: str = "",
    size: str = "64Ki",
    access: Access = Access.OPEN,
    server: str = SERVER,
    claimed_at: str = CLAIMED,
    provisioned: tuple[str, ...] = (),
    generations: Iterable[int] = (1,),
    installation: str = INSTALLATION,
) -> Request:
    """One that is claimed and not yet provisioned."""
    holding = Holding(
        server=server,
        claimed_at=claimed_at,
        provisioned=provisioned,
        credentials=tuple(credential(generation, slug, uid) for generation in generations),
    )
    spec = DataClusterSpec(
        tenant_ref=LocalRef(name=slug), data_plane_ref=LocalRef(name="default"), embedding=Embedding(dimensions=3)
    )
    return Request(
        stamp=stamp(installation=installation, uid=uid or uid_of(slug)),
        names=names(slug, uid),
        spec=spec,
        plan=PlanSpec(object_store=ObjectStoreLimits(size=size)),
        holding=holding,
        access=access,
    )


def cut(of: Request) -> Request:
    """The same request with access cut."""
    return replace(of, access=Access.CUT)


def wanted(of: Request | None = None) -> Wanted:
    return wanted_of(of or request())


def bucket(of: Request | None = None, **changes: object) -> Bucket:
    """The bucket as wanted."""
    want = wanted(of)
    return replace(Bucket(stamp=want.stamp, quota=want.quota or 0), **changes)  # type: ignore[arg-type]  # named fields


def policy(of: Request | None = None, **changes: object) -> Policy:
    """The policy as wanted."""
    want = wanted(of)
    return replace(Policy(stamp=want.stamp, document=want.document), **changes)  # type: ignore[arg-type]  # named fields


def user(**changes: object) -> User:
    """A user in force."""
    return replace(User(enabled=True, policies=frozenset({names().policy})), **changes)  # type: ignore[arg-type]  # named


def users(of: Request | None = None) -> Mapping[str, User]:
    """The users as wanted with access open."""
    want = wanted(of)
    return {access_key: user(policies=frozenset({want.policy})) for access_key in want.secrets}


def absent() -> Seen:
    """Nothing under our names."""
    return Seen(server=SERVER, bucket=None, policy=None)


def seen(of: Request | None = None, **changes: object) -> Seen:
    """Everything as wanted with access open."""
    complete = Seen(server=SERVER, bucket=bucket(of), policy=policy(of), users=users(of))
    return replace(complete, **changes)  # type: ignore[arg-type]  # named fields
