"""Whether a DataCluster needs anything at all, told from watched metadata alone: pure.

This is what makes the echo of our own writes and a restart with a thousand tenants cost nothing: the record's outline
remembers a digest of what the last complete reconcile saw, and here it is computed again from what the watches show.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from bulkhead.api import labels
from bulkhead.api.data_cluster import DataCluster
from bulkhead.api.record import Outline
from bulkhead.reconcile.context import Context
from bulkhead.reconcile.report import digest as status_digest

RENDERING = "1"
"""Raise it when a release renders children or configures engines otherwise: every DataCluster is then reconciled
once.
"""

ChildDigest = tuple[str, str, str, str]
"""Plural, namespace, name, state."""


def children_digest(children: Iterable[ChildDigest]) -> str:
    """Digest over the state of all children."""
    return _hash("/".join(child) for child in sorted(children))


def digest(cluster: DataCluster, context: Context, children: str) -> str:
    """Digest over everything that a complete reconcile depends on and results in, apart from the engines' insides."""
    inputs = (
        RENDERING,
        f"{cluster.metadata.uid}/{cluster.metadata.generation}",
        cluster.metadata.annotations.get(labels.RECONCILE, ""),
        # Obeyed when it is made, or it would lie in wait for a loss of which nobody knows yet.
        cluster.metadata.annotations.get(labels.RECREATE, ""),
        f"{context.tenant.metadata.uid}/{context.tenant.metadata.generation}",
        context.plan_version,
        context.open_plane.version,
        context.access.value,
        children,
    )
    return _hash(inputs)


def is_settled(cluster: DataCluster, context: Context, outline: Outline | None, children: str, now: float) -> bool:
    """True where a reconcile would find nothing to do. `now` in Unix seconds."""
    if outline is None or not outline.settled or cluster.metadata.deletion_timestamp:
        return False
    if outline.renew_at and now >= outline.renew_at:
        return False
    if outline.status != status_digest(cluster.status) or cluster.status.plan != context.plan_name:
        return False
    return outline.settled == digest(cluster, context, children)


def _hash(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
