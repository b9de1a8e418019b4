"""How the suite is spread over workers: what shares a server stays together, and what takes longest starts first.

Workers and servers share few cores, so the time that one example of a property takes says nothing: no deadline on it.
"""

from __future__ import annotations

import gc
from pathlib import Path

import hypothesis
import pytest
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

ROOT = Path(__file__).parent
TOGETHER = (
    "integration/operator/trouble",
    "integration/operator/joined",
    "integration/operator",
    "integration/kube",
    "integration/control_plane",
    *(f"integration/platform/{subject}" for subject in ("audit", "clusters", "database", "events", "http")),
    *(f"integration/platform/{subject}" for subject in ("joining", "proxy", "quota", "signing", "users")),
    "contract/qdrant",
    "contract/meilisearch",
)
"""Folders whose tests share one server or one plane, the inner ones first; elsewhere a file is what stays together."""
FIRST = (
    "faults",
    "integration/operator",
    "integration/engines/test_postgres.py",
    "integration/platform",
    "integration/engines",
)

hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {path: rank(path.relative_to(ROOT)) for path in {item.path for item in items}}
    items.sort(key=lambda item: ranks[item.path])


def pytest_collection_finish() -> None:
    """Thousands of tests are here to stay: no collection of garbage looks through them again."""
    gc.collect()
    gc.freeze()


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Not xdist's marks for groups: pytest 9.2 does not see what it makes of them, and nothing says so."""

    def _split_scope(self, nodeid: str) -> str:
        return group(Path(nodeid.partition("::")[0]).relative_to(ROOT.name))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    return Scheduling(config, log)


def rank(path: Path) -> int:
    """Place in the order; the sort is stable, so that files keep theirs."""
    found = [number for number, folder in enumerate(FIRST) if path.is_relative_to(folder)]
    return found[0] if found else len(FIRST)


def group(path: Path) -> str:
    """What runs on one worker."""
    return next((folder for folder in TOGETHER if path.is_relative_to(folder)), str(path))
