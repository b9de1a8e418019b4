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
    """A base URL and how to authenticate there.

    refusal: words by which the engine denies an access; a 403 without them is somebody else's, or for another reason
    """

    binding: Binding
    headers: Mapping[str, str]
    refusal: str

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer. Raises Refused for a 403 in the words of a refusal, AssertionError for any other error:
        what is not there at all, or a key that nobody knows, proves nothing."""
        context = ssl.create_default_context(cadata=self.binding.get("ca.crt"))
        connector = aiohttp.TCPConnector(ssl=context, force_close=True)
        timeout = aiohttp.ClientTimeout(total=15)
        url = f"{self.binding['uri'].rstrip('/')}{path}"
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, headers=dict(self.headers)) as session,
            session.request(method, url, json=body) as response,
        ):
            if response.status >= 400:
                answer = f"{response.status} {await response.text()}"
                if response.status == 403 and self.refusal in answer:
                    raise Refused(answer[:200])
                raise AssertionError(f"{method} {path}: {answer}")
            return await response.json(content_type=None)
