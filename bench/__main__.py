"""The operator against the best bare script that makes the same objects, and what it costs at rest.

A comparison makes so many tenants by the operator and by the script in each round, in the order A B B A. The script
runs with the concurrency that was fastest for it in trials of its own. One watch judges for both when a Tenant is
ready. Quote ratios of medians: absolute figures depend on the machine and on who else uses it.

    python -m bench                          both comparisons: Kubernetes objects alone, and with all engines
    python -m bench --alone --rounds 5       one of them
    python -m bench --standing 1000 --alone  no comparison: 1,000 tenants, their memory, calls at rest, a restart
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from bench.contenders import Bench
from bench.figures import Comparison, standing
from bench.readiness import judge
from bulkhead.kube.access import from_kubeconfig
from bulkhead.kube.client import KubeClient, Unrecorded
from hack.plane import installation
from hack.plane.plane import Part, Plane, PlaneOptions

TENANTS_ALONE, TENANTS_WITH_ENGINES = 200, 60
"""A round takes some seconds: long against all that is irregular in it."""


@asynccontextmanager
async def bench(*, alone: bool) -> AsyncIterator[Bench]:
    """Both contenders on a plane of its own."""
    parts = {Part.KUBERNETES, Part.POSTGRES} if alone else frozenset(Part) - {Part.WORKLOADS}
    async with Plane.start(PlaneOptions(parts=frozenset(parts), fsync=True)) as plane:
        installed = await installation.install(plane)
        access = from_kubeconfig([plane.kubeconfig])
        async with client(plane.kubeconfig) as user, client(installed.kubeconfig) as operator, judge(access) as found:
            yield Bench(installed, user, operator, found, alone)


@asynccontextmanager
async def client(kubeconfig: Path) -> AsyncIterator[KubeClient]:
    """The API server as whom a kubeconfig names."""
    access = from_kubeconfig([kubeconfig])
    async with access.open_session() as session:
        yield KubeClient(session, access.server, Unrecorded(), observe=lambda *_: None, jitter=random.random)


async def compare(options: argparse.Namespace, *, alone: bool) -> dict[str, Any]:
    """The report of one comparison."""
    count = options.tenants or (TENANTS_ALONE if alone else TENANTS_WITH_ENGINES)
    async with bench(alone=alone) as contenders:
        async with contenders.operator():
            pass  # opens the plane once: its own preparations are nobody's tenants
        found = Comparison(count)
        found.trials = await contenders.best_concurrency(max(16, count // 4))
        for number in range(options.rounds):
            for contender in "AB" if number % 2 == 0 else "BA":
                if contender == "A":
                    found.operator.append(await contenders.operated(count))
                else:
                    found.bare.append(await contenders.scripted(count, found.concurrency))
            say(f"round {number + 1} of {options.rounds}: operator / bare {found.ratios[-1]:.2f}")
        return {"what": title(alone=alone), **found.report()}


async def stand(options: argparse.Namespace, *, alone: bool) -> dict[str, Any]:
    """The report of so many tenants that are left alone."""
    async with bench(alone=alone) as contenders:
        return {"what": title(alone=alone), **await standing(contenders, options.standing, options.rest_seconds, say)}


def title(*, alone: bool) -> str:
    return "Kubernetes objects alone" if alone else "with Postgres, MinIO, vectors and search"


def say(text: str) -> None:
    """Progress goes to the standard error: the report alone is for others."""
    print(text, file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = found.add_mutually_exclusive_group()
    which.add_argument("--alone", action="store_true", help="only with Kubernetes objects alone")
    which.add_argument("--with-engines", action="store_true", help="only with engines")
    amounts = f"{TENANTS_ALONE} on Kubernetes objects alone, {TENANTS_WITH_ENGINES} with engines"
    found.add_argument("--tenants", type=int, help=f"of each contender in each round (default: {amounts})")
    found.add_argument("--rounds", type=int, default=3, help="of a comparison (default: 3)")
    found.add_argument("--standing", type=int, metavar="N", help="instead of a comparison: N tenants by the operator")
    found.add_argument(
        "--rest-seconds",
        type=float,
        default=180.0,
        help="how long calls of N tenants at rest are counted (default: 180)",
    )
    found.add_argument("--json", type=Path, help="write the report there too")
    return found


def main() -> int:
    options = parser().parse_args()
    measured = stand if options.standing else compare
    kinds = [alone for alone in (True, False) if not (options.with_engines if alone else options.alone)]
    reports = []
    for alone in kinds:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            reports.append(runner.run(measured(options, alone=alone)))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    text = json.dumps({"machine": machine, "reports": reports}, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
