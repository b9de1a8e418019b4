"""A receiver of webhooks, and replicas that send to it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.events.delivery import Deliveries
from bulkhead.platform.outbound import Outbound
from bulkhead.platform.signing.sealing import Sealing

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def sealing(**keys: bytes) -> Sealing:
    return Sealing(keys or {"kek": b"k" * 32}, random=os.urandom)


def outbound() -> Outbound:
    return Outbound(allowed=LOOPBACK)


def deliveries(worker: Pool, **keys: bytes) -> Deliveries:
    """Of one replica."""
    return Deliveries(worker, outbound=outbound(), sealing=sealing(**keys), new_id=uuid4, chance=lambda: 0.5)


@dataclass(frozen=True)
class Received:
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def signed_by(self, secret: str) -> bool:
        """As a receiver verifies it, from the specification and not from our code."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        text = b".".join((self.headers["webhook-id"].encode(), self.headers["webhook-timestamp"].encode(), self.body))
        wanted = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
        return any(hmac.compare_digest(f"v1,{wanted}", each) for each in self.headers["webhook-signature"].split())


@dataclass
class Receiver:
    """Takes what it is sent, and answers with `status` once `answering` is set."""

    port: int = 0
    status: int = 204
    received: list[Received] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    answering: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=receivers-own"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            _, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if line)}
            self.received.append(Received(headers, await reader.readexactly(int(headers["content-length"]))))
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
            await self.answering.wait()
            self.at_once -= 1
            writer.write(f"HTTP/1.1 {self.status} X\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    receiver.answering.set()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        receiver.answering.set()
        server.close()
