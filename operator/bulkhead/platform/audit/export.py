"""What must outlive the database: heads of the audit chain, the epoch, and everything that was revoked.

    Export
    ├── Unwritable    what was to be kept is not kept for certain: the act that needed it must not be answered as done
    └── Damaged       a file does not hold what was written to it

One directory, on storage that all replicas share and that no backup of the database brings back. One file per replica
and start, so that no two write the same; lines of JSON, each on the disk before its writer goes on. A file that could
not be written to is left as it is and another is begun: what a crash has torn is always the end of a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import structlog
from msgspec import Meta

from bulkhead.protocol.documents import Closed
from bulkhead.protocol.scalars import Compact, Kid, Token256, UnixSeconds, Uuid

log = structlog.get_logger(__name__)

MOST_FILE_BYTES = 64 * 2**20
MOST_LINE_BYTES = 16384

_REPLICA = re.compile(r"[a-z0-9-]{1,64}", re.ASCII)

Number = Annotated[int, Meta(ge=1)]
Sequence = Annotated[int, Meta(ge=0)]


class Unwritable(Exception):
    """The storage of the export does not take a line. What was to be kept may be there or not."""


class Damaged(Exception):
    """A line before the last of a file can not be read. The message says which."""


class Revoked(StrEnum):
    """What was ended for good, and must not come to life again with a backup."""

    SERVICE_KEY = "service-key"
    """id: the key's."""
    REGISTRATION_TOKEN = "registration-token"  # noqa: S105 - a kind
    """id: the token's."""
    PLANE_IDENTITY = "plane-identity"
    """id: the plane's."""
    CLUSTER_IDENTITY = "cluster-identity"
    """id: the cluster's."""
    CLUSTER = "cluster"
    """Deleted. id: the cluster's."""
    PLANE_GRANT = "plane-grant"
    """id: the plane's; with organisation."""
    API_TOKEN = "api-token"  # noqa: S105 - a kind
    """id: the token's."""
    API_TOKEN_VALUE = "api-token-value"  # noqa: S105 - a kind
    """Rotated: a backup may hold a former value. id: the token's; rotation: the number of the new one."""
    MEMBERSHIP = "membership"
    """id: the membership's."""
    ISSUER = "issuer"
    """id: the issuer's."""
    ISSUER_ORGANISATION = "issuer-organisation"
    """id: the issuer's; with organisation."""
    PLATFORM_ADMIN = "platform-admin"
    """id: the issuer's; with subject."""


class Line(Closed, frozen=True, kw_only=True, omit_defaults=True, tag_field="line"):
    """What every line says. at: by the writer's clock, for people; nothing is decided by it."""

    at: UnixSeconds


class EpochLine(Line, frozen=True, kw_only=True, tag="epoch"):
    """A life of the platform goes on, or has begun.

    after: the last row of the chain that the fence after a restore found: rows after it that heads of former epochs
        speak of were lost. None: no fence wrote this, but a replica at its start
    """

    epoch: Number
    after: Sequence | None = None


class KeyLine(Line, frozen=True, kw_only=True, tag="key"):
    """A key that signs heads. link: the word of the key before it; None: it is the first."""

    kid: Kid
    key: Token256
    link: Compact | None = None


class HeadLine(Line, frozen=True, kw_only=True, tag="head"):
    """A signed head, see heads.py."""

    statement: Compact


class RevocationLine(Line, frozen=True, kw_only=True, tag="revocation"):
    """Something was revoked in the life `epoch`; which fields go with what: see Revoked."""

    epoch: Number
    what: Revoked
    id: Annotated[str, Meta(min_length=1, max_length=64)]
    organisation: Uuid | None = None
    subject: Annotated[str, Meta(max_length=255)] = ""
    rotation: Annotated[int, Meta(ge=0)] = 0


AnyLine = EpochLine | KeyLine | HeadLine | RevocationLine

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyLine] = msgspec.json.Decoder(AnyLine)


class Export:
    """One replica's part of the export.

    directory: must exist
    replica: an id that no other process has or had
    clock: Unix seconds
    """

    def __init__(
        self, directory: Path, *, replica: str, clock: Callable[[], float], most_bytes: int = MOST_FILE_BYTES
    ) -> None:
        if not _REPLICA.fullmatch(replica):
            raise ValueError("the id of a replica has 1 to 64 of a-z 0-9 -")
        self._directory = directory
        self._replica = replica
        self._clock = clock
        self._most_bytes = most_bytes
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="export")
        self._file: int | None = None
        self._bytes = 0
        self._number = 0
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why the last line was not taken; empty where it was. A replica with trouble is not ready."""
        return self._trouble

    async def epoch(self, epoch: int, *, after: int | None = None) -> None:
        """Keep that the platform lives its life `epoch`. Raises Unwritable, as all of these do."""
        await self._keep(EpochLine(at=self._now(), epoch=epoch, after=after))

    async def key(self, kid: str, key: str, link: str) -> None:
        """Keep a public key that signs heads; `link` is empty for the first."""
        await self._keep(KeyLine(at=self._now(), kid=kid, key=key, link=link or None))

    async def head(self, statement: str) -> None:
        """Keep a signed head."""
        await self._keep(HeadLine(at=self._now(), statement=statement))

    async def revocation(
        self,
        what: Revoked,
        id_: str,
        *,
        epoch: int,
        organisation: str | None = None,
        subject: str = "",
        rotation: int = 0,
    ) -> None:
        """Keep that something was revoked. It is on the disk when this returns.

        Call it in the transaction of the revocation, before the commit: what is kept and then not committed is revoked
        by the next fence, and its caller was told to try again; the other way round a restore would bring it back.
        """
        await self._keep(
            RevocationLine(
                at=self._now(),
                epoch=epoch,
                what=what,
                id=id_,
                organisation=organisation,
                subject=subject,
                rotation=rotation,
            )
        )

    async def close(self) -> None:
        """Let what is under way end, and take nothing more."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._abandon)
        self._writer.shutdown()

    async def _keep(self, line: AnyLine) -> None:
        """A caller that leaves does not stop the line that it asked for."""
        text = _encoder.encode(line)
        _decoder.decode(text)
        await asyncio.get_running_loop().run_in_executor(self._writer, self._append, text + b"\n")

    def _append(self, text: bytes) -> None:
        try:
            file = self._open_file()
            _write_whole(file, text)
            os.fsync(file)
        except OSError as error:
            self._trouble = error.strerror or type(error).__name__
            self._abandon()
            log.critical("export_unwritable", error=self._trouble)
            raise Unwritable(f"the export in {self._directory} can not be written: {self._trouble}") from error
        self._trouble = ""
        self._bytes += len(text)
        if self._bytes >= self._most_bytes:
            self._abandon()

    def _open_file(self) -> int:
        if self._file is None:
            self._number += 1
            opened = datetime.fromtimestamp(self._clock(), UTC)
            name = f"{opened:%Y%m%dT%H%M%SZ}-{self._replica}-{self._number:04}.jsonl"
            self._file = os.open(self._directory / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
            self._bytes = 0
            _sync_directory(self._directory)
        return self._file

    def _abandon(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None

    def _now(self) -> int:
        return int(self._clock())


def lines(directory: Path, *, torn: Callable[[Path], None] = lambda _: None) -> Iterator[AnyLine]:
    """Every line of every replica, file by file. `torn` is told of files whose last line a crash has cut.

    Raises:
        Damaged: another line can not be read, or was written by a newer release.
        OSError: the directory can not be read.
    """
    for name in sorted(entry.name for entry in os.scandir(directory) if entry.name.endswith(".jsonl")):
        yield from _lines_of(directory / name, torn)


def _lines_of(path: Path, torn: Callable[[Path], None]) -> Iterator[AnyLine]:
    """What can not be read is taken for torn if nothing follows it."""
    unread = 0
    with path.open("rb") as file:
        for number, text in enumerate(_bounded_lines(file.readline), start=1):
            if unread:
                raise Damaged(
                    f"line {unread} of {path.name} can not be read: it was changed, or written by a newer release"
                )
            line = _line(text)
            if line is None:
                unread = number
            else:
                yield line
    if unread:
        torn(path)


def _line(text: bytes) -> AnyLine | None:
    if not text.endswith(b"\n"):
        return None
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _bounded_lines(readline: Callable[[int], bytes]) -> Iterator[bytes]:
    while text := readline(MOST_LINE_BYTES):
        yield text


def _write_whole(file: int, text: bytes) -> None:
    while text:
        text = text[os.write(file, text) :]


def _sync_directory(directory: Path) -> None:
    """A file whose name is not on the disk is not there after a crash, whatever it holds."""
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
