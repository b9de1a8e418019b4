"""What the service is told: by variables of the environment, secrets also by files that variables name.

    Wrong     a variable is missing or says nonsense; the message names the variable and never a secret

Each command reads what it needs and nothing else: who serves has no log-in of the owner.

    BULKHEAD_PLATFORM_OWNER_DSN             migrate
    BULKHEAD_PLATFORM_MAINTENANCE_DSN       token, grant, fence, verify-audit
    BULKHEAD_PLATFORM_API_DSN, _WORKER_DSN  serve
    BULKHEAD_PLATFORM_PEPPER                serve: 32 bytes in base64; its outcomes of scrypt are remembered under it
    BULKHEAD_PLATFORM_KEY_ENCRYPTION_KEY    serve: 32 bytes in base64; private keys rest in the database under it
    ..._PREVIOUS                            of the two above, while they are rotated
    BULKHEAD_PLATFORM_URL                   serve: the address that joiners know, without a slash at its end
    BULKHEAD_PLATFORM_LISTEN                serve: host:port
    BULKHEAD_PLATFORM_OPERATIONS_LISTEN     serve: host:port of health and metrics, which are not for callers
    BULKHEAD_PLATFORM_TLS_CERTIFICATE_FILE, _TLS_KEY_FILE   serve: PEM; without them TLS ends at a proxy in front
    BULKHEAD_PLATFORM_DRAIN_DELAY_SECONDS   serve: from SIGTERM, which takes readiness back, to the last connection
    BULKHEAD_PLATFORM_DRAIN_SECONDS         serve: for requests that run then
    BULKHEAD_PLATFORM_EXPORT_DIRECTORY      serve, fence, verify-audit: where heads and revocations outlive the database
    BULKHEAD_PLATFORM_WITHOUT_EXPORT        serve: true, as --without-export: there is none, on purpose
    BULKHEAD_PLATFORM_TRUSTED_PROXIES       serve: networks whose word about a caller's address is taken
    BULKHEAD_PLATFORM_ALLOWED_ADDRESSES     serve: private networks that webhooks and issuers may lie in
    BULKHEAD_PLATFORM_API_CONNECTIONS, _WORKER_CONNECTIONS, _DATABASE_WAIT_SECONDS, _STATEMENT_SECONDS
    BULKHEAD_PLATFORM_SCRYPT_AT_ONCE, _SCRYPT_WAITING

Every secret (the DSNs, the pepper and the key encryption key) may be given by NAME_FILE instead of NAME. Others are not
refused: Kubernetes itself adds variables with this prefix (…_SERVICE_HOST, …_PORT) beside a Service of that name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psycopg
from psycopg import conninfo

from bulkhead.platform.database.pools import Bounds

PREFIX: Final = "BULKHEAD_PLATFORM_"
KEY_BYTES: Final = 32

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Wrong(Exception):
    """A setting that can not be used, named by its variable."""


@dataclass(frozen=True, slots=True)
class Dsn:
    """How to reach the database in one role. `text` holds a password."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Key:
    """32 secret bytes. `id` tells it from others without telling it, and stands beside what was made with it."""

    value: bytes = field(repr=False)

    @property
    def id(self) -> str:
        return hashlib.sha256(b"bulkhead key id\0" + self.value).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Keys:
    """One that is used, and one that was used before, while it is rotated."""

    current: Key
    previous: Key | None = None

    def named(self, key_id: str) -> Key | None:
        """The one with this id; None: it is neither."""
        return next((key for key in (self.current, self.previous) if key and key.id == key_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrypt:
    """How much of it at a time: each takes 16 MiB and some 40 ms of one core."""

    at_once: int
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files, read again when they change."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `serve` is told.

    Attributes:
        url: canonical: no slash at its end.
        export_directory: None: there is none, on purpose.
    """

    api: Dsn
    worker: Dsn
    api_bounds: Bounds
    worker_bounds: Bounds
    pepper: Keys
    key_encryption: Keys
    url: str
    host: str
    port: int
    operations_host: str
    operations_port: int
    tls: TlsFiles | None
    drain_delay_seconds: float
    drain_seconds: float
    export_directory: Path | None
    trusted_proxies: tuple[Network, ...]
    allowed_addresses: tuple[Network, ...]
    scrypt: Scrypt


class Environment:
    """Reads settings one by one."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def owner(self) -> Dsn:
        """The log-in of `migrate`. Raises Wrong."""
        return self._dsn("OWNER_DSN")

    def maintenance(self) -> Dsn:
        """The log-in of people who maintain. Raises Wrong."""
        return self._dsn("MAINTENANCE_DSN")

    def needed_export_directory(self) -> Path:
        """The export, for who can not do without. Raises Wrong."""
        directory = self._folder("EXPORT_DIRECTORY")
        if directory is None:
            raise Wrong(f"{PREFIX}EXPORT_DIRECTORY is not set: the directory in which heads and revocations are kept")
        return directory

    def serve(self, *, without_export: bool = False) -> Settings:
        """All that the service needs. Raises Wrong.

        without_export: it is said by other means than the environment that there is none
        """
        wait = self._number("DATABASE_WAIT_SECONDS", 5, 1, 60)
        statement = self._number("STATEMENT_SECONDS", 10, 1, 300)
        host, port = self._listen("LISTEN", "127.0.0.1:8080")
        operations_host, operations_port = self._listen("OPERATIONS_LISTEN", "127.0.0.1:9090")
        return Settings(
            api=self._dsn("API_DSN"),
            worker=self._dsn("WORKER_DSN"),
            api_bounds=Bounds(
                most=self._number("API_CONNECTIONS", 10, 2, 500), wait_seconds=wait, statement_seconds=statement
            ),
            worker_bounds=Bounds(
                most=self._number("WORKER_CONNECTIONS", 4, 2, 100), wait_seconds=wait, statement_seconds=statement
            ),
            pepper=self._keys("PEPPER"),
            key_encryption=self._keys("KEY_ENCRYPTION_KEY"),
            url=self._url(),
            host=host,
            port=port,
            operations_host=operations_host,
            operations_port=operations_port,
            tls=self._tls(),
            drain_delay_seconds=self._number("DRAIN_DELAY_SECONDS", 5, 0, 600),
            drain_seconds=self._number("DRAIN_SECONDS", 25, 1, 600),
            export_directory=self._export(without=without_export or self._yes("WITHOUT_EXPORT")),
            trusted_proxies=self._networks("TRUSTED_PROXIES"),
            allowed_addresses=self._networks("ALLOWED_ADDRESSES"),
            scrypt=Scrypt(
                at_once=self._number("SCRYPT_AT_ONCE", 1, 1, 64), waiting=self._number("SCRYPT_WAITING", 64, 1, 4096)
            ),
        )

    def _text(self, name: str) -> str:
        return self._variables.get(PREFIX + name, "").strip()

    def _secret(self, name: str) -> str:
        """By variable or by file, empty where neither is set."""
        plain, file = self._text(name), self._text(f"{name}_FILE")
        if plain and file:
            raise Wrong(f"{PREFIX}{name} and {PREFIX}{name}_FILE are both set: set one of them")
        if not file:
            return plain
        try:
            text = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise Wrong(f"{PREFIX}{name}_FILE: {file} can not be read: {reason}") from None
        if not text:
            raise Wrong(f"{PREFIX}{name}_FILE: {file} is empty")
        return text

    def _needed(self, name: str, what: str) -> str:
        text = self._secret(name)
        if not text:
            raise Wrong(f"{PREFIX}{name} (or {PREFIX}{name}_FILE) is not set: {what}")
        return text

    def _dsn(self, name: str) -> Dsn:
        text = self._needed(name, "a connection string of Postgres, such as postgresql://user:password@host/database")
        try:
            conninfo.conninfo_to_dict(text)
        except psycopg.Error:
            # What the library says quotes the string, and with it the password.
            raise Wrong(f"{PREFIX}{name} is no connection string of Postgres") from None
        return Dsn(text)

    def _keys(self, name: str) -> Keys:
        what = "32 random bytes in base64, such as `openssl rand -base64 32` gives"
        current = self._key(name, self._needed(name, what))
        previous = self._secret(f"{name}_PREVIOUS")
        return Keys(current, self._key(f"{name}_PREVIOUS", previous) if previous else None)

    def _key(self, name: str, text: str) -> Key:
        try:
            value = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise Wrong(f"{PREFIX}{name} is not base64") from None
        if len(value) != KEY_BYTES:
            raise Wrong(f"{PREFIX}{name} has {len(value)} bytes, it has to have {KEY_BYTES}")
        return Key(value)

    def _url(self) -> str:
        name = f"{PREFIX}URL"
        text = self._text("URL")
        if not text:
            raise Wrong(f"{name} is not set: the address that joiners know, such as https://platform.example.com")
        try:
            parts = urlsplit(text)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            raise Wrong(f"{name} is no URL") from None
        if not host or parts.query or parts.fragment or "@" in parts.netloc or text.endswith("/"):
            raise Wrong(f"{name} has to be scheme, host and path alone, without a slash at its end")
        if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
            raise Wrong(f"{name} has to begin with https:// (http:// is for loopback alone)")
        return text

    def _tls(self) -> TlsFiles | None:
        certificate, key = self._text("TLS_CERTIFICATE_FILE"), self._text("TLS_KEY_FILE")
        if bool(certificate) != bool(key):
            raise Wrong(f"{PREFIX}TLS_CERTIFICATE_FILE and {PREFIX}TLS_KEY_FILE go together: set both or none")
        return TlsFiles(certificate=Path(certificate), key=Path(key)) if certificate else None

    def _listen(self, name: str, default: str) -> tuple[str, int]:
        text = self._text(name) or default
        host, _, port = text.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise Wrong(f"{PREFIX}{name} has to be host:port, such as 0.0.0.0:8080 or [::]:8080")
        return host.removeprefix("[").removesuffix("]"), int(port)

    def _folder(self, name: str) -> Path | None:
        text = self._text(name)
        if not text:
            return None
        path = Path(text)
        if not path.is_dir():
            raise Wrong(f"{PREFIX}{name}: {text} is no directory")
        return path

    def _networks(self, name: str) -> tuple[Network, ...]:
        words = [word.strip() for word in self._text(name).split(",") if word.strip()]
        try:
            return tuple(ipaddress.ip_network(word) for word in words)
        except ValueError as error:
            raise Wrong(
                f"{PREFIX}{name}: {error}; networks are listed with commas, such as 10.0.0.0/8, fd00::/8"
            ) from None

    def _export(self, *, without: bool) -> Path | None:
        name = f"{PREFIX}EXPORT_DIRECTORY"
        directory = self._folder("EXPORT_DIRECTORY")
        if directory is None and not without:
            raise Wrong(
                f"{name} is not set: a directory that outlives the database, in which revocations and heads of the "
                "audit are kept. To serve without one (nobody will notice that the database was restored, and what was "
                f"revoked since the backup lives again) say --without-export, or {PREFIX}WITHOUT_EXPORT=true"
            )
        if directory is not None and without:
            raise Wrong(
                f"{name} is set, and --without-export or {PREFIX}WITHOUT_EXPORT says that there is none: say one"
            )
        return directory

    def _yes(self, name: str) -> bool:
        text = self._text(name)
        if text not in ("", "true", "false"):
            raise Wrong(f"{PREFIX}{name} has to be true or false")
        return text == "true"

    def _number(self, name: str, default: int, least: int, most: int) -> int:
        text = self._text(name) or str(default)
        if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
            raise Wrong(f"{PREFIX}{name} has to be a whole number from {least} to {most}")
        return int(text)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
