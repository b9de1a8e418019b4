"""What the platform's proxy is compared with: a request in by uvicorn, out by httpx, and the answer back. It asks
nobody who calls, remembers nothing, and keeps its connections.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import uvicorn
from starlette.types import Receive, Scope, Send

_OF_THE_CONNECTION = {b"connection", b"host", b"keep-alive", b"transfer-encoding", b"te", b"upgrade"}


class PassThrough:
    """The ASGI application. name: that the upstream's certificate is verified for"""

    def __init__(self, client: httpx.AsyncClient, upstream: str, name: str) -> None:
        self._client = client
        self._upstream = upstream
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        headers = _passed(scope["headers"])
        has_body = any(name == b"content-length" for name, _ in headers)
        request = self._client.build_request(
            scope["method"],
            self._upstream + scope["raw_path"].decode(),
            headers=headers,
            content=_body(receive) if has_body else None,
            extensions={"sni_hostname": self._name},
        )
        response = await self._client.send(request, stream=True)
        try:
            start = {"status": response.status_code, "headers": _passed(response.headers.raw)}
            await send({"type": "http.response.start", **start})
            async for piece in response.aiter_raw():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await response.aclose()


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        yield message.get("body", b"")


def _passed(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() not in _OF_THE_CONNECTION]


async def serve(options: argparse.Namespace) -> None:
    """Until it is told to end."""
    context = ssl.create_default_context(cafile=options.ca)
    context.load_cert_chain(options.certificate, options.key)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(verify=context, limits=limits, trust_env=False, timeout=60.0) as client:
        app = PassThrough(client, options.upstream, options.name)
        config = uvicorn.Config(
            app,
            host=options.host,
            port=options.port,
            http="httptools",
            loop="uvloop",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_level="error",
            access_log=False,
        )
        await uvicorn.Server(config).serve()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True, help="https://HOST:PORT")
    parser.add_argument("--name", required=True, help="that its certificate is verified for")
    for name in ("--ca", "--certificate", "--key"):
        parser.add_argument(name, type=Path, required=True)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvicorn.Config("", loop="uvloop").get_loop_factory()) as runner:
        runner.run(serve(options))


if __name__ == "__main__":
    main()
