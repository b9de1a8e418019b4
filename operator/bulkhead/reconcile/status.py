"""The one write of a status, and only when it changed."""

from __future__ import annotations

import msgspec
import structlog

from bulkhead.api.data_cluster import DataCluster, DataClusterStatus
from bulkhead.kube.errors import NotFound
from bulkhead.kube.resources import DATA_CLUSTERS
from bulkhead.reconcile.deps import Deps
from bulkhead.reconcile.report import patch

log = structlog.get_logger(__name__)


async def write(cluster: DataCluster, status: DataClusterStatus, deps: Deps) -> None:
    """Write what differs; one line in the log for each transition."""
    changes = patch(msgspec.to_builtins(cluster.status), msgspec.to_builtins(status))
    if changes is None:
        return
    try:
        deps.answered(DATA_CLUSTERS, await deps.kube.patch_status(DATA_CLUSTERS, cluster.metadata.name, changes))
    except NotFound:
        return  # it went while we worked; its finalizer was not ours to keep
    _log_transitions(cluster, status)


def _log_transitions(cluster: DataCluster, status: DataClusterStatus) -> None:
    before = {c.type: (c.status, c.reason) for c in cluster.status.conditions}
    changed = [c for c in status.conditions if before.get(c.type) != (c.status, c.reason)]
    if changed or cluster.status.phase != status.phase:
        log.info(
            "data_cluster",
            name=cluster.metadata.name,
            phase=status.phase,
            conditions={c.type: f"{c.status}/{c.reason}" for c in changed},
            message=next((c.message for c in changed if c.message), ""),
        )
