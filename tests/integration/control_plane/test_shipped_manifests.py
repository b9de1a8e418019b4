"""What the README has a newcomer apply, on an empty cluster: every manifest and example that ships, as it lies there.

Without a warning either: a field that the API server does not know, a Pod that the namespace will not admit.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from bulkhead.api.meta import API_VERSION
from hack.plane.plane import Plane
from tests.world import eventually

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.yaml"))
PAGES = sorted(path for pattern in ("*.md", "docs/**/*.md") for path in ROOT.glob(pattern))
APPLY = ("apply", "--warnings-as-errors", "--validate=strict", "--dry-run=server")
"""Everything but the storing is done: what others apply here meets none of it."""


def shown_in(page: Path) -> list[str]:
    """The objects of our kinds that a page shows."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [block for block in blocks if f"apiVersion: {API_VERSION}" in block]


async def test_every_manifest_is_part_of_what_is_applied() -> None:
    found = yaml.safe_load((ROOT / "manifests" / "kustomization.yaml").read_text())["resources"]
    names = {path.name for path in (ROOT / "manifests").glob("*.yaml")} - {"kustomization.yaml"}
    assert set(found) == {"../crds", *names}


async def test_the_operators_pods_are_admitted(plane: Plane) -> None:
    async def made() -> bool:
        found = json.loads(await plane.kubectl("get", "deployment", "-n", "bulkhead-system", "-o", "json"))
        (operator,) = found["items"]
        status = operator.get("status", {})
        assert status.get("replicas") == operator["spec"]["replicas"], status
        return True

    await eventually(made)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
async def test_an_example_is_accepted(plane: Plane, example: Path) -> None:
    await plane.kubectl(*APPLY, "-f", str(example))


async def test_what_the_pages_show_is_accepted(plane: Plane) -> None:
    shown = [block for page in PAGES for block in shown_in(page)]
    assert shown, "no page shows an object any more"
    for block in shown:
        await plane.kubectl(*APPLY, "-f", "-", text=block)
