"""A certificate that is renewed while it is used."""

from __future__ import annotations

import asyncio
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from bulkhead.platform.http.server import Bounds, Server, listen
from bulkhead.platform.http.tls import Tls
from hack.plane.certificates import Authority

AUTHORITY = Authority("platform", datetime.now(UTC))


def write(folder: Path, name: str, *, stamp: int) -> tuple[Path, Path]:
    own = AUTHORITY.server(name)
    certificate, key = folder / "tls.crt", folder / "tls.key"
    for path, text in ((certificate, own.certificate), (key, own.key)):
        path.write_text(text)
        os.utime(path, (stamp, stamp))
    return certificate, key


async def served_name(tls: Tls) -> str:
    """The name in the certificate that a client is shown."""
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=tls.context) as server:
        trust = ssl.create_default_context(cadata=AUTHORITY.certificate)
        trust.check_hostname = False
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), ssl=trust)
        shown = writer.get_extra_info("peercert")
        writer.close()
    return str(shown["subject"][-1][0][1])


async def test_renewed_files_count_from_the_next_look(tmp_path: Path) -> None:
    tls = Tls(*write(tmp_path, "old", stamp=1))
    write(tmp_path, "new", stamp=2)
    assert await served_name(tls) == "old"
    tls.look()
    assert await served_name(tls) == "new"


async def test_files_that_are_half_written_change_nothing_until_they_are_whole(tmp_path: Path) -> None:
    tls = Tls(*write(tmp_path, "old", stamp=1))
    (tmp_path / "tls.crt").write_text("-----BEGIN CERTIFICATE-----")
    tls.look()
    assert await served_name(tls) == "old"
    write(tmp_path, "new", stamp=3)
    tls.look()
    assert await served_name(tls) == "new"


async def test_files_that_are_gone_for_a_moment_change_nothing(tmp_path: Path) -> None:
    tls = Tls(*write(tmp_path, "old", stamp=1))
    (tmp_path / "tls.key").unlink()
    tls.look()
    assert await served_name(tls) == "old"


def test_files_that_are_not_usable_at_the_start_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"."):
        Tls(tmp_path / "none.crt", tmp_path / "none.key")


async def test_a_handshake_that_does_not_go_on_is_ended_in_time(tmp_path: Path) -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("nobody asked anything")

    tls = Tls(*write(tmp_path, "platform", stamp=1))
    listener = listen("127.0.0.1", 0)
    server = Server(app, listener, bounds=Bounds(head_seconds=0.2), tls=tls.context)
    running = asyncio.create_task(server.run())
    try:
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        async with asyncio.timeout(5.0):
            assert await reader.read() == b""
        writer.close()
    finally:
        server.stop()
        await running
