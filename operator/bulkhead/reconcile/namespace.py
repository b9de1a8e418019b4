"""A DataCluster's namespace and what it holds: created, repaired, cleared of what is no longer wanted, and removed.

What is there is known from metadata watches; the API server is asked only to change something, or when what bears our
name is not known to us.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bulkhead.api import labels
from bulkhead.api.conditions import Reason
from bulkhead.api.meta import GROUP
from bulkhead.kube.children import ChildMeta, PartialObject, child_from
from bulkhead.kube.client import KubeClient
from bulkhead.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from bulkhead.kube.resources import NAMESPACES, NETWORK_POLICIES, ROLE_BINDINGS, SECRETS
from bulkhead.reconcile.children import Child
from bulkhead.reconcile.report import READY, Verdict, waiting
from bulkhead.reconcile.settled import ChildDigest
from bulkhead.reconcile.together import together
from bulkhead.reconcile.view import View

PRUNED = (NETWORK_POLICIES, ROLE_BINDINGS)
"""Kinds of which one that is no longer wanted is deleted: it opens something."""
MADE_ANEW = (ROLE_BINDINGS, SECRETS)
"""Kinds with a field that can not change (roleRef, type). Any other that is refused stays as it is: a namespace without
its quota or its policies would be worse than one with the old ones."""


async def apply_namespace(wanted: Child, uid: str, kube: KubeClient, view: View) -> Verdict:
    """The namespace itself; one that exists and does not bear our stamp is never touched."""
    try:
        seen = view.child(wanted.resource, "", wanted.name) or await _create_namespace(wanted, kube)
        if seen.labels.get(labels.DATA_CLUSTER_UID) != uid:
            return _not_ours(wanted.name)
        view.apply_child("MODIFIED", seen)
        if seen.deletion_timestamp:
            return waiting(
                Reason.NAMESPACE_TERMINATING, f'the namespace "{wanted.name}" is being deleted; waiting for its end'
            )
        if _metadata_differs(wanted, seen):
            metadata = {key: wanted.body["metadata"][key] for key in ("labels", "annotations")}
            view.put_child(NAMESPACES, await kube.merge_patch(NAMESPACES, wanted.name, {"metadata": metadata}))
    except (Forbidden, Invalid) as error:
        return waiting(Reason.CLUSTER_REFUSED, str(error))
    return READY


def is_ours(name: str, uid: str, view: View) -> bool:
    """Whether the namespace is known to bear our stamp and to stay."""
    seen = view.child(NAMESPACES, "", name)
    return seen is not None and seen.labels.get(labels.DATA_CLUSTER_UID) == uid and not seen.deletion_timestamp


async def apply_contents(wanted: Iterable[Child], kube: KubeClient, view: View) -> Verdict:
    """Every object of `wanted` in the namespace, side by side."""
    try:
        await together(_apply(child, kube, view) for child in wanted)
    except (Forbidden, Invalid, Conflict) as error:
        return waiting(Reason.CLUSTER_REFUSED, str(error))
    return READY


async def remove(name: str, uid: str, kube: KubeClient) -> bool:
    """Delete the namespace if it is ours. True once nothing of ours is there; its watch tells when it went."""
    try:
        live = await kube.get_metadata(NAMESPACES, name)
    except NotFound:
        return True
    metadata = live["metadata"]
    if metadata.get("labels", {}).get(labels.DATA_CLUSTER_UID) != uid:
        return True
    if "deletionTimestamp" not in metadata:
        await kube.delete(NAMESPACES, name, uid=metadata["uid"])
    return False


async def _create_namespace(wanted: Child, kube: KubeClient) -> ChildMeta:
    """The new one, or the one that has its name already and is shown by no watch of ours."""
    try:
        answer = await kube.create(NAMESPACES, dict(wanted.body))
    except AlreadyExists:
        answer = await kube.get_metadata(NAMESPACES, wanted.name)
    return child_from(NAMESPACES, msgspec.convert(answer, PartialObject).metadata)


def _not_ours(name: str) -> Verdict:
    return waiting(
        Reason.CONFLICT,
        f'the namespace "{name}" exists already and does not bear the stamp of this DataCluster; it is left untouched: '
        "remove it, or choose another name for this DataCluster",
    )


def _metadata_differs(wanted: Child, seen: ChildMeta) -> bool:
    """A namespace is all metadata, so its drift is told by comparison; others may add labels of their own."""
    metadata = wanted.body["metadata"]
    return not (
        metadata["labels"].items() <= seen.labels.items()
        and metadata["annotations"].items() <= seen.annotations.items()
    )


async def _apply(child: Child, kube: KubeClient, view: View) -> None:
    seen = view.child(child.resource, child.namespace, child.name)
    if seen is not None and in_place(child, seen, view):
        return
    if seen is None:
        try:
            view.put_child(child.resource, await kube.create(child.resource, dict(child.body), child.namespace))
        except AlreadyExists:
            await _replace(child, child.claimed(), kube, view)
        return
    await _replace(child, dict(child.body) if seen.ownership else child.claimed(), kube, view)


def in_place(child: Child, seen: ChildMeta, view: View) -> bool:
    """Whether what was watched is what is wanted, and nobody wrote into it since we did."""
    return _state(seen) == _wanted_state(child, view)


async def _replace(child: Child, body: dict[str, Any], kube: KubeClient, view: View) -> None:
    """Put the whole content in place: what somebody added disappears."""
    try:
        view.put_child(child.resource, await kube.replace(child.resource, child.name, body, child.namespace))
    except NotFound:
        view.put_child(child.resource, await kube.create(child.resource, dict(child.body), child.namespace))
    except Invalid:
        if child.resource not in MADE_ANEW:
            raise
        await kube.delete(child.resource, child.name, child.namespace)
        view.put_child(child.resource, await kube.create(child.resource, dict(child.body), child.namespace))


async def prune(wanted: Iterable[Child], uid: str, kube: KubeClient, view: View) -> None:
    """Delete policies and bindings that are no longer wanted."""
    keys = {child.key for child in wanted}
    for seen in view.children_of(uid):
        if seen.key.resource in PRUNED and (seen.key.resource.plural, seen.key.namespace, seen.key.name) not in keys:
            try:
                await kube.delete(seen.key.resource, seen.key.name, seen.key.namespace, uid=seen.uid)
            except NotFound:
                continue


def digests(children: Iterable[ChildMeta]) -> list[ChildDigest]:
    """What the watches show of the children, for the settled digest; whatever others did to them shows too."""
    return [(seen.key.resource.plural, seen.key.namespace, seen.key.name, _state(seen)) for seen in children]


def wanted_digests(children: Iterable[Child], view: View) -> list[ChildDigest]:
    """The same for what is wanted, as it shows as long as nobody writes to what we left."""
    return [(child.resource.plural, child.namespace, child.name, _wanted_state(child, view)) for child in children]


def _state(seen: ChildMeta) -> str:
    if seen.deletion_timestamp:
        return "deleting"
    content = seen.annotations.get(labels.CONTENT_HASH, "")
    if seen.key.resource == NAMESPACES:
        return f"{content} {_marks(seen.labels)}"
    return f"{content} {seen.ownership}"


def _wanted_state(child: Child, view: View) -> str:
    if child.resource == NAMESPACES:
        return f"{child.digest} {_marks(child.body['metadata']['labels'])}"
    return f"{child.digest} {view.left(child.resource, child.namespace, child.name)}"


def _marks(found: Mapping[str, str]) -> str:
    """The labels of a namespace that decide something; others may add labels of their own."""
    deciding = ("pod-security.kubernetes.io/", f"{GROUP}/")
    return ",".join(f"{key}={value}" for key, value in sorted(found.items()) if key.startswith(deciding))
