"""Builders with defaults: a DataCluster `acme` that is claimed and wants access."""

from __future__ import annotations

from datetime import UTC, datetime

from bulkhead.api.data_cluster import DataClusterSpec, Distance, Embedding
from bulkhead.api.meta import LocalRef
from bulkhead.api.names import physical_names
from bulkhead.api.ownership import Stamp
from bulkhead.api.plan import PlanSpec, VectorLimits
from bulkhead.api.record import Credential, Holding
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.contract import Access, Request, ServerRequest
from bulkhead.engines.qdrant.decide import UPSERT_BATCH, Seen, SeenCollection, SeenRegister, SeenServer, own_entry
from bulkhead.engines.qdrant.steps import Entry, Limits, Snapshot, Stranger

UID = "8c1f0d3e-0000-4000-8000-000000000001"
PLANE_UID = "8c1f0d3e-0000-4000-8000-00000000aaaa"
IDENTITY = "qdrant-one"
KEY = Sensitive("k" * 40)
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LIMITS = Limits(points=1_000_000, batch=UPSERT_BATCH)


def stamp(uid: str = UID, installation: str = "here") -> Stamp:
    return Stamp(installation, uid)


def credential(generation: int = 1) -> Credential:
    return Credential(generation=generation, identity=f"{UID}/{generation}", value=Sensitive("token"))


def holding(
    *, server: str = IDENTITY, claimed: bool = True, provisioned: bool = False, generations: tuple[int, ...] = (1,)
) -> Holding:
    return Holding(
        server=server,
        claimed_at="2026-11-22T12:00:00Z" if claimed else "",
        provisioned=("collection",) if provisioned else (),
        credentials=tuple(credential(generation) for generation in generations),
    )


def request(
    *,
    access: Access = Access.OPEN,
    dimensions: int = 4,
    distance: Distance = Distance.COSINE,
    points: int = LIMITS.points,
    held: Holding | None = None,
) -> Request:
    return Request(
        stamp=stamp(),
        names=physical_names("acme", UID, ("entries",), opaque=False),
        spec=DataClusterSpec(
            tenant_ref=LocalRef(name="acme"), embedding=Embedding(dimensions=dimensions, distance=distance)
        ),
        plan=PlanSpec(vectors=VectorLimits(points=points)),
        holding=holding() if held is None else held,
        access=access,
    )


def collection(
    *,
    mark: str | None = str(stamp()),
    empty: bool = False,
    dimensions: int = 4,
    distance: str = "Cosine",
    limits: Limits | None = LIMITS,
    indexes: frozenset[str] = frozenset({"dataset", "document"}),
) -> SeenCollection:
    return SeenCollection(
        mark=mark, empty=empty, dimensions=dimensions, distance=distance, limits=limits, indexes=indexes
    )


def entry(*generations: int) -> Entry:
    return Entry(stamp(), "acme_entries", tuple(f"{UID}/{generation}" for generation in generations))


def seen(
    collection: SeenCollection | None = None,
    entry: Entry | None = None,
    *,
    server: str = IDENTITY,
    snapshots: tuple[Snapshot, ...] = (),
    stranger: Stranger | None = None,
) -> Seen:
    return Seen(server=server, collection=collection, entry=entry, snapshots=snapshots, stranger=stranger)


def in_place() -> Seen:
    return seen(collection(), entry(1))


def server_request(*, remembered: str = "") -> ServerRequest:
    return ServerRequest(stamp=stamp(PLANE_UID), holding=Holding(server=remembered), proposal="proposed")


def register(
    *, mark: str | None = str(stamp(PLANE_UID)), identity: str = IDENTITY, indexed: bool = True
) -> SeenRegister:
    return SeenRegister(mark=mark, identity=identity, indexes=frozenset({"tokens", "collection"} if indexed else ()))


def server(register: SeenRegister | None = None, entry: Entry | None = None) -> SeenServer:
    return SeenServer(version="1.18.3", register=register, entry=entry)


def prepared_server() -> SeenServer:
    return server(register(), own_entry(stamp(PLANE_UID)))
