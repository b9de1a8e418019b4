"""One HTTP request, to ask a server whether it is up."""

import ssl
from pathlib import Path

import aiohttp

PROBE_SECONDS = 2.0


async def status_of(url: str, context: ssl.SSLContext | None = None, *, socket: Path | None = None) -> int | None:
    """The HTTP status of a GET, None when nothing answers. socket: of Unix, that is asked whatever host `url` names"""
    timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
    connector: aiohttp.BaseConnector = (
        aiohttp.UnixConnector(str(socket), force_close=True)
        if socket
        else aiohttp.TCPConnector(ssl=context or True, force_close=True)
    )
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(url) as response,
        ):
            return response.status
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None
