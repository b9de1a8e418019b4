"""Builders with defaults: a DataCluster `acme` that is claimed and wants access."""

from __future__ import annotations

from bulkhead.api.data_cluster import DataClusterSpec, SearchRequest
from bulkhead.api.meta import LocalRef
from bulkhead.api.names import physical_names
from bulkhead.api.ownership import Stamp
from bulkhead.api.plan import PlanSpec
from bulkhead.api.record import Credential, Holding
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.contract import Access, Request, ServerRequest
from bulkhead.engines.meilisearch.decide import Marker, Owner, Seen, SeenIndex, SeenServer
from bulkhead.engines.meilisearch.keys import Key, key_uid, tenant_key

UID = "8c1f0d3e-0000-4000-8000-000000000001"
PLANE_UID = "8c1f0d3e-0000-4000-8000-00000000aaaa"
IDENTITY = "meilisearch-one"
MASTER = Sensitive("m" * 32)
CREATED = "2026-11-22T12:00:00.123456789Z"
INDEXES = ("acme_datasets", "acme_entries")
PROVISIONED = tuple(f"index/{name}" for name in INDEXES)


def stamp(uid: str = UID, installation: str = "here") -> Stamp:
    return Stamp(installation, uid)


def credential(generation: int = 1) -> Credential:
    return Credential(generation=generation, identity=key_uid(stamp(), generation), value=Sensitive("value"))


def holding(
    *,
    server: str = IDENTITY,
    claimed: tuple[str, ...] = PROVISIONED,
    provisioned: tuple[str, ...] = (),
    generations: tuple[int, ...] = (1,),
) -> Holding:
    return Holding(
        server=server,
        claimed_at="2026-11-22T12:00:00Z",
        claimed=tuple(name for name in claimed if name not in provisioned),
        provisioned=provisioned,
        credentials=tuple(credential(generation) for generation in generations),
    )


def request(
    *,
    access: Access = Access.OPEN,
    held: Holding | None = None,
    indexes: tuple[str, ...] = ("entries", "datasets"),
) -> Request:
    return Request(
        stamp=stamp(),
        names=physical_names("acme", UID, indexes, opaque=False),
        spec=DataClusterSpec(tenant_ref=LocalRef(name="acme"), search=SearchRequest(indexes=indexes)),
        plan=PlanSpec(),
        holding=holding() if held is None else held,
        access=access,
    )


def index(
    *, created_at: str = CREATED, primary_key: str | None = "id", empty: bool = False, configured: bool = True
) -> SeenIndex:
    return SeenIndex(created_at=created_at, primary_key=primary_key, empty=empty, configured=configured)


def owner(mark: str = str(stamp()), created_at: str = CREATED) -> Owner:
    return Owner(mark, created_at)


def key(generation: int = 1, indexes: tuple[str, ...] = INDEXES) -> Key:
    return tenant_key(stamp(), generation, indexes)


def foreign_key(*indexes: str, name: str = str(stamp(uid="former"))) -> Key:
    return Key("a-uid", name, ("search",), indexes)


def seen(
    indexes: dict[str, SeenIndex] | None = None,
    owners: dict[str, Owner] | None = None,
    keys: tuple[Key, ...] = (),
    *,
    server: str = IDENTITY,
    waiting_tasks: int = 0,
    tasks: int = 0,
    strangers: tuple[Key, ...] = (),
) -> Seen:
    return Seen(
        server=server,
        indexes=indexes or {},
        owners=owners or {},
        keys=keys,
        waiting_tasks=waiting_tasks,
        tasks=tasks,
        strangers=strangers,
    )


def in_place(*keys: Key) -> Seen:
    return seen(dict.fromkeys(INDEXES, index()), dict.fromkeys(INDEXES, owner()), keys or (key(),))


def server_request(*, remembered: str = "") -> ServerRequest:
    return ServerRequest(stamp=stamp(PLANE_UID), holding=Holding(server=remembered), proposal="proposed")


def server(marker: Marker | None = None, *, occupied: bool = False) -> SeenServer:
    return SeenServer(version="1.50.0", marker=marker, occupied=occupied)


def marker(mark: str = str(stamp(PLANE_UID)), identity: str = IDENTITY) -> Marker:
    return Marker(mark, identity)
