"""One HTTP request, to ask a server whether it is up."""

import ssl

import aiohttp

PROBE_SECONDS = 2.0


async def status_of(url: str, context: ssl.SSLContext | None = None) -> int | None:
    """The HTTP status of a GET, None when nothing answers."""
    timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
    connector = aiohttp.TCPConnector(ssl=context or True, force_close=True)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(url) as response,
        ):
            return response.status
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None
