"""Release numbers of engines, to tell a server that is too old."""

from __future__ import annotations

import re

from bulkhead.engines.errors import Insecure

Release = tuple[int, int, int]


def require(engine: str, version: str, oldest: Release) -> None:
    """Raises Insecure for a release that can not hold tenants apart, or that does not say which it is."""
    release = release_of(version)
    if release is None or release < oldest:
        needed = ".".join(map(str, oldest))
        raise Insecure(f'this {engine} is of version "{version}"; tenants need {needed} or later: upgrade it')


def release_of(text: str) -> Release | None:
    """Major, minor and patch that `text` starts with (`1.18.3`, `1.19.0-dev`); None where it starts otherwise."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None
