"""What every engine makes of specs: all that it does with them before it asks its server anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from bulkhead.api.data_cluster import DataClusterSpec
from bulkhead.api.data_plane import DataPlaneSpec, Naming
from bulkhead.api.names import physical_names
from bulkhead.api.ownership import Stamp
from bulkhead.api.plan import PlanSpec
from bulkhead.api.record import EngineName, Holding
from bulkhead.api.sensitive import Sensitive
from bulkhead.app import engine_of
from bulkhead.engines.contract import Access, ClaimFirst, Decision, Do, Engine, Request, Step
from bulkhead.engines.meilisearch.decide import Seen as SearchSeen
from bulkhead.engines.minio.state import Seen as StoreSeen
from bulkhead.engines.postgres.statement import Rights, Statement
from bulkhead.engines.qdrant.decide import Seen as VectorsSeen
from bulkhead.reconcile.planes import ADMIN_KEYS, AdminAccess, offered
from tests.unit.engines.postgres import gen as postgres

STAMP = Stamp("test", "3f9a1c2e-0000-4000-8000-000000000001")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = Sensitive("k" * 40)
SERVER = "a-server"
NOTHING: Mapping[EngineName, Any] = {
    EngineName.POSTGRES: postgres.nothing(identity=SERVER),
    EngineName.OBJECT_STORE: StoreSeen(SERVER, bucket=None, policy=None),
    EngineName.VECTORS: VectorsSeen(server=SERVER, collection=None, entry=None),
    EngineName.SEARCH: SearchSeen(server=SERVER),
}
"""What is seen on a server that holds nothing of ours."""


def decisions(plane: DataPlaneSpec, plan: PlanSpec, cluster: DataClusterSpec) -> Iterator[Decision]:
    """What each engine that the plane offers decides of a DataCluster of which there is nothing yet."""
    names = physical_names("acme", STAMP.uid, cluster.search.indexes, opaque=plane.naming is Naming.OPAQUE)
    for name, endpoint in offered(plane).items():
        admin = dict.fromkeys(ADMIN_KEYS[name], KEY)
        engine = engine_of(name, AdminAccess(endpoint, admin, None), STAMP.installation)
        credentials = engine.credentials(names, STAMP, Holding(), NOW)
        request = Request(
            stamp=STAMP,
            names=names,
            spec=cluster,
            plan=plan,
            holding=Holding(server=SERVER, credentials=credentials),
            access=Access.OPEN,
        )
        yield from _of(engine, request)
        assert engine.binding(request)


def _of(engine: Engine[Any, Any], request: Request) -> Iterator[Decision]:
    seen = NOTHING[engine.name]
    cut, first = replace(request, access=Access.CUT), engine.decide(request, seen)
    claimed = tuple(sorted(first.names)) if isinstance(first, ClaimFirst) else ()
    held = msgspec.structs.replace(request.holding, claimed_at="2026-11-22T12:00:00Z", claimed=claimed)
    then = engine.decide(replace(request, holding=held), seen)
    found = (first, then, engine.decide(cut, seen), engine.decide_removal(cut, seen))
    assert all(engine.fingerprint(each) for each in (request, cut))
    assert all(map(spelt, (step for each in found if isinstance(each, Do) for step in each.steps)))
    yield from found


def spelt(step: Step) -> str:
    """The step as it is logged, and where it is a statement, as it is sent."""
    sent = step.text(Rights(superuser=False, major=18)).as_string(None) if isinstance(step, Statement) else ""
    return f"{step}{sent}"
