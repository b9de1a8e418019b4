"""What the flows are given: every client, clock and source of randomness, made in the composition root."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bulkhead.api.record import EngineName, Record
from bulkhead.kube.client import KubeClient
from bulkhead.kube.resources import Resource
from bulkhead.reconcile import key
from bulkhead.reconcile.key import Key
from bulkhead.reconcile.planes import Planes
from bulkhead.reconcile.records import Records
from bulkhead.reconcile.view import View
from bulkhead.registration.beats import Beats
from bulkhead.runtime.mutations import Mutations


@dataclass(frozen=True, slots=True)
class Deps:
    """Shared by all flows."""

    installation: str
    namespace: str
    """The operator's own, the only one where Secrets that a spec names are looked up."""
    view: View
    kube: KubeClient
    records: Records
    planes: Planes
    mutations: Mutations
    beats: Beats
    joining: asyncio.Semaphore
    """Data clusters that join or re-join a platform at once: a slow one must leave workers for everything else."""
    clock: Callable[[], datetime]
    new_id: Callable[[], str]
    enqueue: Callable[[Key], None]
    """Another object must look again."""
    answered: Callable[[Resource, dict[str, Any]], None]
    """Takes over the API server's answer to our own write of one of our kinds."""
    repaired: Callable[[Record, EngineName], None]
    """That engine had something to repair of a DataCluster, and it is repaired."""

    def enqueue_data_clusters_on(self, plane: str) -> None:
        """Every DataCluster on that plane must look again."""
        for cluster in self.view.data_clusters_on(plane):
            self.enqueue(key.data_cluster(cluster.metadata.name))


@dataclass(frozen=True, slots=True)
class Outcome:
    """When a key must be looked at again if nothing changes before."""

    retry: bool = False
    """With back-off: something failed or is missing that may come back by itself."""
    at: float | None = None
    """Unix seconds, for renewals."""

    def or_sooner(self, other: Outcome) -> Outcome:
        """Whichever comes first."""
        times = [at for at in (self.at, other.at) if at is not None]
        return Outcome(retry=self.retry or other.retry, at=min(times, default=None))


DONE = Outcome()
RETRY = Outcome(retry=True)
