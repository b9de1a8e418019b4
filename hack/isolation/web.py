"""One JSON request with a tenant's key, for the engines that speak HTTP."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from hack.isolation.attempt import Binding, Refused


@dataclass(frozen=True, slots=True)
class Web:
    """A base URL and how to authenticate there."""

    binding: Binding
    headers: Mapping[str, str]

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer. Raises Refused for 401 and 403, AssertionError for any other refusal: what is not there
        at all proves nothing."""
        context = ssl.create_default_context(cadata=self.binding.get("ca.crt"))
        connector = aiohttp.TCPConnector(ssl=context, force_close=True)
        timeout = aiohttp.ClientTimeout(total=15)
        url = f"{self.binding['uri'].rstrip('/')}{path}"
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, headers=dict(self.headers)) as session,
            session.request(method, url, json=body) as response,
        ):
            if response.status in (401, 403):
                raise Refused(f"{response.status} {(await response.text())[:200]}")
            if response.status >= 400:
                raise AssertionError(f"{method} {path}: {response.status} {await response.text()}")
            return await response.json(content_type=None)
