"""From what the watches report to the keys that must be looked at, and from a key to its flow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import structlog

from bulkhead.api import labels
from bulkhead.kube.children import Change, ChildMeta
from bulkhead.kube.errors import Conflict, KubeError
from bulkhead.kube.resources import DATA_PLANES, PLANS, SECRETS, TENANTS, Resource
from bulkhead.reconcile import data_cluster, data_plane, key, planes, retained, tenant, undecodable
from bulkhead.reconcile.deps import RETRY, Deps, Outcome
from bulkhead.reconcile.key import Key
from bulkhead.reconcile.records import outline_in
from bulkhead.reconcile.unforeseen import broken
from bulkhead.reconcile.view import View
from bulkhead.runtime.mutations import MayNotAct

log = structlog.get_logger(__name__)


class Dispatcher:
    """Feeds the view and names the keys that an event concerns. No I/O: it runs inside the watch.

    enqueue_later: for what a plane counts, lists and keeps ready, which need not follow each change at once
    """

    def __init__(
        self,
        view: View,
        namespace: str,
        enqueue: Callable[[Key], None],
        enqueue_later: Callable[[Key], None],
    ) -> None:
        self._view = view
        self._namespace = namespace
        self._enqueue = enqueue
        self._enqueue_later = enqueue_later
        self._asked: dict[Key, object] = {}

    def object_changed(self, resource: Resource, name: str) -> None:
        """The newest state of an object of one of our kinds is another now; it may be gone."""
        before, after = self._view.changed(resource, name)
        self._enqueue_all(self._concerned(resource, name))
        for references in filter(None, {before, after}):
            self._enqueue(key.tenant(references.tenant))
            # Its count may differ; or what it keeps ready was taken, which a change of status tells.
            self._enqueue_later(key.data_plane(references.plane))

    def answered(self, resource: Resource, answer: dict[str, Any]) -> None:
        """Take over the answer to our own write, ahead of the watch. Its echo is no news then, so everybody whom it
        concerns is told now. What went with its last finalizer may have no echo at all: a watch that begins after it
        does not show it."""
        store = self._view.store_of(resource)
        take = store.remove if _is_gone(answer["metadata"]) else store.put
        if take(answer):
            self.object_changed(resource, answer["metadata"]["name"])

    def child_changed(self, change: Change, child: ChildMeta) -> None:
        """An object that belongs to a DataCluster, or a Secret of our own namespace, was seen or went."""
        before = self._view.child(*child.key)
        if not self._view.apply_child(change, child):
            return
        if child.key.resource == SECRETS and child.key.namespace == self._namespace:
            self._enqueue_all(self._planes_using(child.key.name))
            if outline := outline_in(child.annotations):
                self._enqueue_later(key.data_plane(outline.plane))  # which lists the records of nobody
        # Also whom it named before: it may have lost just that label.
        slugs = {each.labels.get(labels.DATA_CLUSTER) for each in (before, child) if each is not None}
        self._enqueue_all(key.data_cluster(slug) for slug in slugs if slug)

    def record_removed(self, name: str) -> None:
        """Take over our own removal of a record, ahead of the watch."""
        known = self._view.child(SECRETS, self._namespace, name)
        if known is not None:
            self.child_changed("DELETED", known)

    def _enqueue_all(self, keys: Iterable[Key]) -> None:
        for each in keys:
            self._enqueue(each)

    def _concerned(self, resource: Resource, name: str) -> Iterator[Key]:
        if resource == PLANS:
            yield from (key.data_cluster(each.metadata.name) for each in self._view.clusters)
            return
        asked = self._asks_for_something_else(resource, name)
        if asked or resource != DATA_PLANES:
            yield Key(resource.kind, name)
        if asked and resource == TENANTS:
            yield from (key.data_cluster(each.metadata.name) for each in self._view.data_clusters_of(name))
        elif asked and resource == DATA_PLANES:
            yield from (key.data_cluster(each.metadata.name) for each in self._view.data_clusters_on(name))

    def _asks_for_something_else(self, resource: Resource, name: str) -> bool:
        """Whether more changed than the status, which we write ourselves and which asks nobody for anything."""
        found = self._view.store_of(resource).get(name)
        meta = found.metadata if found is not None else None
        asked = meta and (meta.uid, meta.generation, meta.deletion_timestamp, tuple(sorted(meta.annotations.items())))
        before = self._asked.get(Key(resource.kind, name))
        self._asked[Key(resource.kind, name)] = asked
        return asked != before

    def _planes_using(self, secret: str) -> Iterator[Key]:
        for plane in self._view.planes:
            found = self._view.data_plane(plane.metadata.name)
            if found is not None and secret in planes.secret_names(found.spec):
                yield key.data_plane(found.metadata.name)


def _is_gone(metadata: Mapping[str, Any]) -> bool:
    return bool(metadata.get("deletionTimestamp")) and not metadata.get("finalizers")


class Reconciler:
    """Runs the flow of a key. The one place where an exception of a flow ends."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._suspects: set[Key] = set()

    def suspect(self, suspected: Key) -> None:
        """Have the next reconcile of this key look into the engines, whatever the record says."""
        self._suspects.add(suspected)
        self._deps.enqueue(suspected)

    async def __call__(self, wanted: Key) -> Outcome:
        """Look at one key. Never raises: what fails is logged without its values and tried again."""
        suspected = wanted in self._suspects
        self._suspects.discard(wanted)
        try:
            return await self._flow(wanted, suspected=suspected)
        except Conflict:
            outcome = RETRY  # somebody else wrote first: the next look reads what they wrote
        except MayNotAct as error:
            log.warning("reconcile_given_up", key=str(wanted), change=str(error))
            outcome = RETRY  # whoever may act by now looks at it; so do we, should it be us again
        except KubeError as error:
            log.warning("reconcile_failed", key=str(wanted), error=str(error))
            outcome = RETRY
        except Exception as error:  # noqa: BLE001 - one key's surprise must not end the work on all others
            await self._own_up(wanted, broken(wanted, error))
            outcome = RETRY
        if suspected:
            self._suspects.add(wanted)
        return outcome

    async def _flow(self, wanted: Key, *, suspected: bool) -> Outcome:
        if wanted.kind == key.RETAINED_DATA:
            return await retained.reconcile(wanted.name, self._deps)
        if outcome := await undecodable.report(wanted, self._deps):
            return outcome
        match wanted.kind:
            case "DataCluster":
                return await data_cluster.reconcile(wanted.name, self._deps, suspect=suspected)
            case "Tenant":
                return await tenant.reconcile(wanted.name, self._deps)
            case _:
                return await data_plane.reconcile(wanted.name, self._deps)

    async def _own_up(self, wanted: Key, message: str) -> None:
        """Have the object say that its flow broke: what it said last may have been that all is well."""
        try:
            match wanted.kind:
                case "DataCluster":
                    await data_cluster.broke(wanted.name, message, self._deps)
                case "DataPlane":
                    await data_plane.broke(wanted.name, message, self._deps)
        except Exception as error:  # noqa: BLE001 - what broke the flow may break this too
            log.warning("reconcile_broke_untold", key=str(wanted), error=type(error).__name__)
