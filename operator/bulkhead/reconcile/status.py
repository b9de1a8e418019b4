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
    """Write what differs, and log each condition whose state changed: one line per transition."""
    changes = patch(msgspec.to_builtins(cluster.status), msgspec.to_builtins(status))
    if changes is None:
        return
    try:
        deps.view.put(DATA_CLUSTERS, await deps.kube.patch_status(DATA_CLUSTERS, cluster.metadata.name, changes))
    except NotFound:
        return  # it went while we worked; its finalizer was not ours to keep
    _log_transitions(cluster, status)


def _log_transitions(cluster: DataCluster, status: DataClusterStatus) -> None:
    before = {c.type: (c.status, c.reason) for c in cluster.status.conditions}
    for condition in status.conditions:
        if before.get(condition.type) != (condition.status, condition.reason):
            log.info(
                "condition",
                data_cluster=cluster.metadata.name,
                condition=condition.type,
                status=condition.status,
                reason=condition.reason,
                message=condition.message,
            )
