"""Postgres: one server, password log-in over TCP on the loopback interface, every statement in its log."""

import os
import secrets
import signal
from pathlib import Path

import psycopg
from psycopg import sql

from hack.plane.accounts import Account, can_reach, copy_parts
from hack.plane.ports import LOOPBACK
from hack.plane.postgres_builds import PostgresBuild
from hack.plane.private import write_private
from hack.plane.process import Launch, Server
from hack.plane.site import Site

SUPERUSER = "postgres"
MAX_CONNECTIONS = 300
CONNECT_SECONDS = 2
ENVIRONMENT = {"LC_ALL": "C"}
WITHOUT_DISK = {"fsync": "off", "full_page_writes": "off", "wal_level": "minimal", "max_wal_senders": "0"}
"""It survives a crash of its own, not of the machine. Whole pages would be logged after each checkpoint, as every DROP
DATABASE is one, and so would all of every database that is made."""


class Postgres(Server):
    """The relational engine.

    Attributes:
        host, port, superuser, password: the bootstrap superuser, with a password made for this plane.
        ca_file: what its certificate is verified with; None: this server has no TLS.
        version: the major version.
        log_file: holds every statement (`log_statement = all`), so a secret in SQL text is found there.
    """

    def __init__(self, site: Site, build: PostgresBuild, *, tls: bool) -> None:
        self._folder = site.folder("postgres")
        self._site = site
        self._build = reachable_build(build, site.account, self._folder / "build")
        self.host = LOOPBACK
        self.port = site.ports.reserve()
        self.superuser = SUPERUSER
        self.password = secrets.token_urlsafe(24)
        self.version = build.version
        self.ca_file = write_private(self._folder / "ca.crt", site.authority.certificate) if tls else None
        launch = Launch(
            [self._build.programs / "postgres", "-D", self._folder / "data"],
            self._folder / "postgres.log",
            env=ENVIRONMENT,
            account=site.account,
            stop_signal=signal.SIGINT,  # SIGTERM would wait for every client to leave
        )
        super().__init__("postgres", site.warden, launch)

    def dsn(self, database: str = "postgres") -> str:
        """Connection string of the superuser; verifies the server when it has TLS. A secret."""
        tls = (
            {"sslmode": "disable"}
            if self.ca_file is None
            else {"sslmode": "verify-full", "sslrootcert": str(self.ca_file)}
        )
        return psycopg.conninfo.make_conninfo(
            host=self.host, port=self.port, user=self.superuser, password=self.password, dbname=database, **tls
        )

    async def initialise(self) -> None:
        """Make the data directory.

        Every plane runs initdb (0.7 s) instead of copying what one made before: all copies would have one system
        identifier, and another server behind the same address could not be told apart.
        """
        password = self._own(write_private(self._folder / "password", self.password))
        data = self._folder / "data"
        data.mkdir(mode=0o700)
        await self._warden.run(
            Launch(
                [
                    self._build.programs / "initdb",
                    f"--pgdata={self._own(data)}",
                    f"--username={SUPERUSER}",
                    f"--pwfile={password}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C.UTF-8",
                    "--no-sync",
                    "--no-instructions",
                ],
                self._folder / "initdb.log",
                env=ENVIRONMENT,
                account=self._site.account,
            )
        )
        password.unlink()
        self._configure(data)

    async def answers(self) -> bool:
        try:
            async with await psycopg.AsyncConnection.connect(self.dsn(), connect_timeout=CONNECT_SECONDS):
                return True
        except psycopg.OperationalError:
            return False

    async def create_operator(self, name: str = "bh_op") -> str:
        """Make the restricted role that an operator gets instead of a superuser; returns its new password.

        It may create roles and databases, end sessions, and limit temporary files, and nothing else.
        """
        password = secrets.token_urlsafe(24)
        async with await psycopg.AsyncConnection.connect(self.dsn(), autocommit=True) as connection:
            verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
            for statement in operator_statements(name, verifier.decode()):
                await connection.execute(statement)
        return password

    def _configure(self, data: Path) -> None:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": str(MAX_CONNECTIONS),
            "password_encryption": "scram-sha-256",
            "log_statement": "all",
            "log_line_prefix": "%m [%p] %u@%d ",
            "ssl": "off",
        }
        if not self._site.fsync:
            settings |= WITHOUT_DISK
        if self.ca_file is not None:
            own = self._site.authority.server("postgres")
            settings |= {
                "ssl": "on",
                "ssl_min_protocol_version": "TLSv1.3",
                "ssl_cert_file": str(self._own(write_private(self._folder / "server.crt", own.certificate))),
                "ssl_key_file": str(self._own(write_private(self._folder / "server.key", own.key))),
            }
        with (data / "postgresql.conf").open("a", encoding="utf-8") as configuration:
            configuration.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        kind = "host" if self.ca_file is None else "hostssl"
        (data / "pg_hba.conf").write_text(f"{kind} all all {LOOPBACK}/32 scram-sha-256\n")

    def _own(self, path: Path) -> Path:
        """Give a file or folder to the account that the server runs as; returns it."""
        if account := self._site.account:
            os.chown(path, account.uid, account.gid)
        return path


def operator_statements(name: str, verifier: str) -> list[sql.SQL | sql.Composed]:
    """What a superuser runs once per server (15 or later) to set up a restricted operator.

    The password is given as a SCRAM verifier: every statement is logged.
    """
    role = sql.Identifier(name)
    return [
        sql.SQL("CREATE ROLE {} LOGIN CREATEROLE CREATEDB PASSWORD {}").format(role, sql.Literal(verifier)),
        # To end the sessions of roles that are gone; without it, the removal of a database hangs on an orphan.
        sql.SQL("GRANT pg_signal_backend TO {}").format(role),
        sql.SQL("REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC"),
        sql.SQL("GRANT CONNECT ON DATABASE postgres TO {}").format(role),
        sql.SQL("GRANT SET ON PARAMETER temp_file_limit TO {}").format(role),
    ]


def reachable_build(build: PostgresBuild, account: Account | None, folder: Path) -> PostgresBuild:
    """The build itself, or a copy of it in `folder` if the account can not reach where it is."""
    if account is None or all(can_reach(account, build.root / part) for part in build.parts):
        return build
    copy_parts(build.root, build.parts, folder)
    return PostgresBuild(build.version, build.tls, build.origin, folder, build.parts, build.bindir)
