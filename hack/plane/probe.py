"""One HTTP request, to ask a server whether it is up."""

import asyncio
import ssl
from collections.abc import Mapping

import aiohttp

PROBE_SECONDS = 2.0


async def status_of(
    url: str, context: ssl.SSLContext | None = None, headers: Mapping[str, str] | None = None
) -> int | None:
    """The HTTP status of a GET, None when nothing answers."""
    timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
    connector = aiohttp.TCPConnector(ssl=context or True, force_close=True)
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            async with session.get(url, headers=headers) as response:
                return response.status
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError):
        return None
