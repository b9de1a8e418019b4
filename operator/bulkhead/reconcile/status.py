"""The one write of a status: only what changed, and only into the very object that it is about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import structlog

from bulkhead.api.data_cluster import DataCluster, DataClusterStatus
from bulkhead.api.meta import Condition, Meta
from bulkhead.kube.errors import NotFound
from bulkhead.kube.resources import DATA_CLUSTERS, Resource
from bulkhead.reconcile.deps import Deps
from bulkhead.reconcile.report import patch

log = structlog.get_logger(__name__)


async def write(cluster: DataCluster, status: DataClusterStatus, deps: Deps) -> None:
    """Write what differs; one line in the log for each transition."""
    changes = patch(msgspec.to_builtins(cluster.status), msgspec.to_builtins(status))
    if changes is not None and await put(DATA_CLUSTERS, cluster.metadata, changes, deps):
        _log_transitions(cluster, status)


async def put(resource: Resource, meta: Meta, changes: dict[str, Any], deps: Deps) -> bool:
    """Merge `changes` into the status of the object of that UID; False where it went while we worked. Raises Conflict
    where somebody wrote to it, or made another one of its name, and no watch has shown it yet: the next look sees that.

    The version is what binds it to the UID. A UID in the patch would bind nothing: of a write to a status the API
    server drops all metadata before it would compare UIDs.
    """
    known = deps.view.store_of(resource).get(meta.name)
    if known is None or known.metadata.uid != meta.uid:
        return False
    version = known.metadata.resource_version
    try:
        answer = await deps.kube.patch_status(resource, meta.name, changes, resource_version=version)
    except NotFound:
        return False
    deps.answered(resource, answer)
    return True


def transitions(before: Iterable[Condition], after: Iterable[Condition]) -> list[Condition]:
    """Those whose status or reason is another now."""
    known = {c.type: (c.status, c.reason) for c in before}
    return [c for c in after if known.get(c.type) != (c.status, c.reason)]


def _log_transitions(cluster: DataCluster, status: DataClusterStatus) -> None:
    changed = transitions(cluster.status.conditions, status.conditions)
    if changed or cluster.status.phase != status.phase:
        log.info(
            "data_cluster",
            name=cluster.metadata.name,
            phase=status.phase,
            conditions={c.type: f"{c.status}/{c.reason}" for c in changed},
            message=next((c.message for c in changed if c.message), ""),
        )
