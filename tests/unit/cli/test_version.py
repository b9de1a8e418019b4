"""What a release calls itself."""

from __future__ import annotations

import tomllib
from pathlib import Path

import bulkhead

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_the_program_tells_the_version_that_it_is_packaged_as() -> None:
    assert tomllib.loads(PROJECT.read_text())["project"]["version"] == bulkhead.__version__
