"""The id of this installation, part of every stamp: made once, kept in a Secret of the operator's namespace.

Where that Secret is lost, the id is read back from any record: a new id would turn all that we made into strangers'
property.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from bulkhead.api import labels
from bulkhead.kube.client import KubeClient
from bulkhead.kube.errors import AlreadyExists, NotFound
from bulkhead.kube.resources import SECRETS

_NAME = "installation"
_KEY = "id"


async def ensure(kube: KubeClient, namespace: str, new_id: Callable[[], str]) -> str:
    """The id: as stored, else as recovered from a record, else a new one."""
    stored = await _stored(kube, namespace)
    if stored is not None:
        return stored
    wanted = await _recorded(kube, namespace) or new_id()
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "bulkhead.dev/installation",
        "metadata": {"name": _NAME, "namespace": namespace},
        "data": {_KEY: base64.b64encode(wanted.encode()).decode()},
    }
    try:
        await kube.create(SECRETS, body, namespace)
    except AlreadyExists:
        return await _stored(kube, namespace) or wanted
    return wanted


async def _stored(kube: KubeClient, namespace: str) -> str | None:
    try:
        secret = await kube.get(SECRETS, _NAME, namespace)
    except NotFound:
        return None
    return base64.b64decode(secret["data"][_KEY]).decode()


async def _recorded(kube: KubeClient, namespace: str) -> str | None:
    async for item in kube.list_metadata(SECRETS, namespace, label_selector=labels.RECORD):
        found = item["metadata"].get("labels", {}).get(labels.INSTALLATION)
        if found:
            return str(found)
    return None
