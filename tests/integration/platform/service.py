"""The platform service as the process that ships, on a real database."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from psycopg.conninfo import make_conninfo

from tests.integration.platform.server import Database

ROOT = Path(__file__).parents[3]
PROGRAM = ("bulkhead.cli.main", "platform", "serve")
SECONDS = 30.0


def settings(database: Database, **others: str) -> dict[str, str]:
    """Variables of the environment for a service on `database`, with ports that are free."""
    key = base64.b64encode(bytes(range(32))).decode()
    values = {
        "API_DSN": database.dsn("api"),
        "WORKER_DSN": database.dsn("worker"),
        "PEPPER": key,
        "KEY_ENCRYPTION_KEY": key,
        "URL": "https://platform.example.com",
        "LISTEN": "127.0.0.1:0",
        "OPERATIONS_LISTEN": "127.0.0.1:0",
        "DRAIN_DELAY_SECONDS": "0",
        "DRAIN_SECONDS": "20",
        **({} if "EXPORT_DIRECTORY" in others else {"WITHOUT_EXPORT": "true"}),
        **others,
    }
    return {f"BULKHEAD_PLATFORM_{name}": value for name, value in values.items()}


def over(dsn: str, port: int) -> str:
    """`dsn` by another port of loopback."""
    return make_conninfo(dsn, host="127.0.0.1", port=port)


@dataclass
class Service:
    """A running one. `events` holds the lines of its log, in order."""

    process: asyncio.subprocess.Process
    events: list[dict[str, Any]] = field(default_factory=list)
    errors: str = ""
    _heard: asyncio.Condition = field(default_factory=asyncio.Condition)
    _ended: bool = False

    @classmethod
    @contextlib.asynccontextmanager
    async def started(
        cls, environment: Mapping[str, str], *, program: tuple[str, ...] = PROGRAM
    ) -> AsyncIterator[Service]:
        """A process for the time of the block; killed at its end if it still runs."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *program,
            env={"PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}", **environment},
            cwd=os.sep,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        service = cls(process)
        listening = asyncio.create_task(service._listen())
        try:
            yield service
        finally:
            if process.returncode is None:
                process.kill()
            await listening

    async def event(self, name: str, count: int = 1) -> dict[str, Any]:
        """The line of this event, once it was logged so many times."""
        async with asyncio.timeout(SECONDS), self._heard:
            await self._heard.wait_for(lambda: len(self._named(name)) >= count or self._ended)
        assert len(self._named(name)) >= count, f"{name} was not logged; {self.errors or self.events}"
        return self._named(name)[count - 1]

    async def port(self) -> int:
        """Of the public listener."""
        return int((await self.event("serving"))["port"])

    async def operations(self) -> int:
        """The port of health and metrics."""
        return int((await self.event("started"))["operations"])

    def stop(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    async def status(self) -> int:
        """How it ended."""
        async with asyncio.timeout(SECONDS):
            return await self.process.wait()

    def _named(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.events if line["event"] == name]

    async def _listen(self) -> None:
        assert self.process.stdout
        assert self.process.stderr
        async for line in self.process.stdout:
            async with self._heard:
                self.events.append(json.loads(line))
                self._heard.notify_all()
        self.errors = (await self.process.stderr.read()).decode()
        await self.process.wait()
        async with self._heard:
            self._ended = True
            self._heard.notify_all()


async def ask(port: int, path: str) -> tuple[int, str]:
    """Status and text of a GET; status 0: nobody takes the connection."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as session:
        try:
            async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                return response.status, await response.text()
        except aiohttp.ClientConnectorError:
            return 0, ""


async def until(port: int, path: str, status: int) -> str:
    """The text of a page, once it has this status."""
    async with asyncio.timeout(SECONDS):
        while True:
            found, text = await ask(port, path)
            if found == status:
                return text
            await asyncio.sleep(0.05)
