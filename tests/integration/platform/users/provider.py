"""Identity providers on loopback: one that others wrote, and one whose keys and words a test chooses."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from tests.world import eventually

AUDIENCE = "bulkhead"


@dataclass
class Provider:
    """Signs what a test wants, and publishes its public keys."""

    url: str = ""
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    kid: str = "first"
    looks: int = 0
    up: bool = True

    def claims(self, **others: Any) -> dict[str, Any]:
        now = int(time.time())
        said = {"iss": self.url, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 300, **others}
        return {name: value for name, value in said.items() if value is not None}

    def token(
        self, *, key: Any = None, algorithm: str = "RS256", head: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        said = {"kid": self.kid, **(head or {})}
        headers = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(self.claims(**claims), key or self.key, algorithm=algorithm, headers=headers)

    async def discovery(self, _: web.Request) -> web.Response:
        self.looks += 1
        if not self.up:
            raise web.HTTPServiceUnavailable
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/jwks"})

    async def jwks(self, _: web.Request) -> web.Response:
        public = jwt.get_algorithm_by_name("RS256").to_jwk(self.key.public_key(), as_dict=True)
        return web.json_response({"keys": [{**public, "kid": self.kid, "use": "sig", "alg": "RS256"}]})


@contextlib.asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    application = web.Application()
    application.router.add_get("/.well-known/openid-configuration", made.discovery)
    application.router.add_get("/jwks", made.jwks)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()


def another_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


@contextlib.asynccontextmanager
async def real_provider() -> AsyncIterator[str]:
    """The issuer of a running `oidc-provider-mock`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "oidc_provider_mock",
        "--port",
        str(port),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    issuer = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session:
            await eventually(lambda: _answers(session, issuer), seconds=60)
        yield issuer
    finally:
        process.terminate()
        await process.wait()


async def logged_in(issuer: str, subject: str, *, client: str = AUDIENCE) -> str:
    """The ID token of somebody who logs in, by the code flow."""
    back = "http://127.0.0.1/back"
    query = {"client_id": client, "redirect_uri": back, "response_type": "code", "scope": "openid", "nonce": "n"}
    async with aiohttp.ClientSession() as session:
        async with session.post(
            f"{issuer}/oauth2/authorize", params=query, data={"sub": subject}, allow_redirects=False
        ) as answer:
            (code,) = parse_qs(urlsplit(answer.headers["Location"]).query)["code"]
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": back,
            "client_id": client,
            "client_secret": "any",
        }
        async with session.post(f"{issuer}/oauth2/token", data=form) as answer:
            token = str((await answer.json())["id_token"])
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", token)
    return token


async def _answers(session: aiohttp.ClientSession, issuer: str) -> bool:
    try:
        async with session.get(f"{issuer}/.well-known/openid-configuration") as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:
        return False
