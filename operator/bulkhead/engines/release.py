"""Release numbers of engines, to tell a server that is too old."""

from __future__ import annotations

import re

Release = tuple[int, int, int]


def release_of(text: str) -> Release | None:
    """Major, minor and patch that `text` starts with (`1.18.3`, `1.19.0-dev`); None where it starts otherwise."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None
