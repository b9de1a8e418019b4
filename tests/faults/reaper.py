"""Ends namespaces as the namespace controller does, without its grace of five seconds each.

The controller manager is stopped where this runs: hundreds of deletions would otherwise spend most of their time
waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp

from bulkhead.kube.client import KubeClient
from bulkhead.kube.errors import KubeError
from bulkhead.kube.resources import (
    LIMIT_RANGES,
    NAMESPACES,
    NETWORK_POLICIES,
    RESOURCE_QUOTAS,
    ROLE_BINDINGS,
    SECRETS,
)
from tests.background import running

CONTENTS = (SECRETS, NETWORK_POLICIES, RESOURCE_QUOTAS, LIMIT_RANGES, ROLE_BINDINGS)
POLL_SECONDS = 0.1


@contextlib.asynccontextmanager
async def reaping(kube: KubeClient, session: aiohttp.ClientSession, server: str) -> AsyncIterator[None]:
    """For the time of the block, every namespace that is being deleted is emptied and finalized."""
    async with running(_reap_forever(kube, session, server)):
        yield


async def _reap_forever(kube: KubeClient, session: aiohttp.ClientSession, server: str) -> None:
    while True:
        # Whatever it is, the next look may have more luck: an end of this would be seen by nobody.
        with contextlib.suppress(KubeError, aiohttp.ClientError, TimeoutError):
            async for item in kube.list(NAMESPACES):
                if "deletionTimestamp" in item["metadata"]:
                    await _reap(kube, session, server, item["metadata"]["name"])
        await asyncio.sleep(POLL_SECONDS)


async def _reap(kube: KubeClient, session: aiohttp.ClientSession, server: str, name: str) -> None:
    for resource in CONTENTS:
        async for item in kube.list_metadata(resource, name):
            await kube.delete(resource, item["metadata"]["name"], name)
    live = await kube.get(NAMESPACES, name)
    live["spec"]["finalizers"] = []
    async with session.put(f"{server}{NAMESPACES.path(name, subresource='finalize')}", json=live) as response:
        await response.read()
