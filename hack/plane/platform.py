"""The platform service on a plane: its database on the plane's Postgres, and the program that ships, as processes."""

import asyncio
import base64
import os
import secrets
import shlex
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from hack.plane.emulation import REPOSITORY
from hack.plane.plane import Plane, run_text
from hack.plane.ports import LOOPBACK
from hack.plane.postgres import Postgres
from hack.plane.private import write_private
from hack.plane.probe import status_of
from hack.plane.process import Launch, ProcessError, Server

DATABASE: Final = "platform"
PREFIX: Final = "BULKHEAD_PLATFORM_"

Login = Literal["owner", "api", "worker", "maintenance"]
GROUPS: Final[Mapping[Login, str]] = {
    "api": "bulkhead_platform_api",
    "worker": "bulkhead_platform_worker",
    "maintenance": "bulkhead_platform_maintenance",
}
"""Made by `migrate`; whoever runs the service makes log-ins and puts them in."""


@dataclass(frozen=True, slots=True)
class Database:
    """The service's database. None of its log-ins is a superuser, and nobody else may connect to it."""

    postgres: Postgres
    passwords: dict[Login, str] = field(default_factory=dict, repr=False)

    @property
    def superuser_dsn(self) -> str:
        """To look, and to prepare what no command makes. A secret."""
        return self.postgres.dsn(DATABASE)

    def dsn(self, login: Login) -> str:
        """Connection string of a log-in. A secret."""
        return make_conninfo(self.superuser_dsn, user=_role(login), password=self.passwords[login])

    async def create(self) -> None:
        """The database, and who owns it."""
        await self._create_login("owner", sql.SQL("CREATEROLE"))
        name, owner = sql.Identifier(DATABASE), sql.Identifier(_role("owner"))
        async with await psycopg.AsyncConnection.connect(self.postgres.dsn(), autocommit=True) as session:
            await session.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, owner))
            await session.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))

    async def create_logins(self) -> None:
        """Of those who serve and maintain. After `migrate`, which makes what they are members of."""
        for login, group in GROUPS.items():
            await self._create_login(login, sql.SQL("IN ROLE {}").format(sql.Identifier(group)))

    async def _create_login(self, login: Login, attributes: sql.Composable) -> None:
        password = self.passwords[login] = secrets.token_urlsafe(24)
        role = _role(login)
        async with await psycopg.AsyncConnection.connect(self.postgres.dsn(), autocommit=True) as session:
            verifier = session.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
            await session.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} {}").format(
                    sql.Identifier(role), sql.Literal(verifier.decode()), attributes
                )
            )
            if login != "owner":
                grant = sql.SQL("GRANT CONNECT ON DATABASE {} TO {}")
                await session.execute(grant.format(sql.Identifier(DATABASE), sql.Identifier(role)))


class Platform:
    """An installed platform, with any number of replicas.

    Attributes:
        url: that joiners know: the address of the first replica.
        ca_pem: what its certificate is verified with; empty: it speaks plain HTTP.
        export: the directory that outlives the database.
        program: the `bulkhead` of whoever maintains it, with their log-ins; its owner alone can read it.
    """

    def __init__(self, plane: Plane, database: Database, *, tls: bool) -> None:
        self.plane = plane
        self.database = database
        self.export = plane.site.folder("platform-export")
        self.ca_pem = plane.ca_pem if tls else ""
        self._folder = plane.site.folder("platform")
        self.program = self._folder / "bulkhead"
        self._first_port = plane.site.ports.reserve()
        self.url = f"{'https' if tls else 'http'}://{LOOPBACK}:{self._first_port}"
        self._keys = {name: _random_key() for name in ("PEPPER", "KEY_ENCRYPTION_KEY")}
        self._tls = self._certificate() if tls else {}
        self._replicas = 0

    @classmethod
    async def install(cls, plane: Plane, *, tls: bool = True) -> "Platform":
        """Make the database and its log-ins; nothing is started. tls: without it TLS ends at a balancer in front."""
        database = Database(plane.postgres)
        await database.create()
        platform = cls(plane, database, tls=tls)
        platform._write_program("owner")
        await platform.run("migrate")
        await database.create_logins()
        platform._write_program("maintenance")
        return platform

    @property
    def pepper(self) -> bytes:
        """What fast values beside scrypt are made with. A secret."""
        return base64.b64decode(self._keys["PEPPER"])

    def replica(self, **settings: str) -> "Replica":
        """One more process that serves, not started yet. settings: variables without their prefix."""
        self._replicas += 1
        port = self._first_port if self._replicas == 1 else self.plane.site.ports.reserve()
        made = Replica(self, f"platform-{self._replicas}", port, settings)
        self.plane.servers.append(made)
        return made

    async def run(self, *words: str) -> str:
        """What `bulkhead platform` prints with these words.

        Raises:
            ProcessError: it failed; the message is what it said.
        """
        ran = await asyncio.to_thread(run_text, [str(self.program), "platform", *words], {}, "")
        if ran.returncode:
            raise ProcessError(f"bulkhead platform {words[0]}: {ran.stderr.strip() or ran.stdout.strip()}")
        return ran.stdout

    def serving(self, **others: str) -> dict[str, str]:
        """The environment of a process that serves: it has no log-in of who maintains. others: more, unprefixed."""
        return _environment(
            API_DSN=self.database.dsn("api"),
            WORKER_DSN=self.database.dsn("worker"),
            URL=self.url,
            EXPORT_DIRECTORY=str(self.export),
            ALLOWED_ADDRESSES=f"{LOOPBACK}/32",  # where everything is that a plane has
            DRAIN_DELAY_SECONDS="0",  # no balancer has to hear of it first
            **{**self._keys, **self._tls, **others},
        )

    def _write_program(self, login: Login) -> None:
        """For this log-in, and for what is beside the database."""
        own = {f"{login.upper()}_DSN": self.database.dsn(login), "EXPORT_DIRECTORY": str(self.export)}
        settings = [f"export {name}={shlex.quote(value)}" for name, value in _environment(**own).items()]
        command = f'exec {shlex.join(_command())} "$@"'
        write_private(self.program, "\n".join(["#!/bin/sh", *settings, command, ""])).chmod(0o700)

    def _certificate(self) -> dict[str, str]:
        pair = self.plane.site.authority.server("platform")
        files = {
            "TLS_CERTIFICATE_FILE": write_private(self._folder / "server.crt", pair.certificate),
            "TLS_KEY_FILE": write_private(self._folder / "server.key", pair.key),
        }
        return {name: str(path) for name, path in files.items()}


class Replica(Server):
    """A process of `bulkhead platform serve`.

    Attributes:
        platform: what it is one of.
        url: its own address; context: what verifies it, None: plain HTTP; operations_url: of its health and metrics.
    """

    def __init__(self, platform: Platform, name: str, port: int, settings: Mapping[str, str]) -> None:
        site = platform.plane.site
        folder = site.folder(name)
        operations = site.ports.reserve()
        scheme = platform.url.partition(":")[0]
        self.platform = platform
        self.port = port
        self.url = f"{scheme}://{LOOPBACK}:{port}"
        self.operations_url = f"http://{LOOPBACK}:{operations}"
        self.context = ssl.create_default_context(cadata=platform.ca_pem) if platform.ca_pem else None
        listen = {"LISTEN": f"{LOOPBACK}:{port}", "OPERATIONS_LISTEN": f"{LOOPBACK}:{operations}"}
        env = platform.serving(**listen, **settings)
        argv = [*_command(), "platform", "serve"]
        super().__init__(name, site.warden, Launch(argv, folder / "platform.log", env=env, cwd=folder))

    async def answers(self) -> bool:
        """Whether requests are served: the listener of operations answers before the other one does."""
        return await status_of(f"{self.url}/readyz", self.context) == 200


def _role(login: Login) -> str:
    return f"{DATABASE}_{login}"


def _random_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def _environment(**settings: str) -> dict[str, str]:
    path = f"{REPOSITORY / 'operator'}:{REPOSITORY}"
    own = {"PYTHONPATH": path}
    return own | {f"{PREFIX}{name}": value for name, value in settings.items()}


def _command() -> list[str]:
    return [sys.executable, "-m", "bulkhead.cli.main"]
