"""A Postgres that this machine has not: the test is skipped, or fails where nothing may be skipped in silence."""

from __future__ import annotations

import os
from collections.abc import Mapping

import pytest

from hack.plane.binaries import BinaryMissing
from hack.plane.plane import say
from hack.plane.postgres_builds import PostgresVersion, find_build, has_npm_build

NOTHING_SKIPPED = "BULKHEAD_NOTHING_SKIPPED"


async def needs_postgres(
    version: PostgresVersion, *, tls: bool = False, environ: Mapping[str, str] = os.environ
) -> None:
    """Skips the test where there is no such build. With BULKHEAD_NOTHING_SKIPPED=1 it fails, unless no file of ours
    could install the build."""
    try:
        await find_build(version, tls=tls, environ=environ, tell=say)
    except BinaryMissing as missing:
        if environ.get(NOTHING_SKIPPED) == "1" and has_npm_build(version):
            pytest.fail(f"{missing}; {NOTHING_SKIPPED} is set", pytrace=False)
        pytest.skip(str(missing))
