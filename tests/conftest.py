"""How the suite is spread over workers: what shares a server stays together, and what takes longest starts first.

Workers and servers share few cores, so the time that one example of a property takes says nothing: no deadline on it.
"""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).parent
TOGETHER = (
    "integration/operator",
    "integration/kube",
    "integration/platform",
    "contract/qdrant",
    "contract/meilisearch",
)
"""Folders whose tests share one server or one plane; elsewhere a file is what stays together."""
FIRST = ("faults", "integration/operator", "integration/engines")

hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: rank(item.path.relative_to(ROOT)))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item.path.relative_to(ROOT))))


def rank(path: Path) -> int:
    """Place in the order; the sort is stable, so that files keep theirs."""
    found = [number for number, folder in enumerate(FIRST) if path.is_relative_to(folder)]
    return found[0] if found else len(FIRST)


def group(path: Path) -> str:
    """What runs on one worker."""
    return next((folder for folder in TOGETHER if path.is_relative_to(folder)), str(path))
