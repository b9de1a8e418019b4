"""What the demo shows on a plane that runs."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console

from hack.demo.kubectl import Kubectl
from hack.demo.platform import Access, Platform
from hack.demo.tenants import Tenants
from hack.plane.process import ProcessError
from hack.plane.state import PlaneFacts, read_state


def show(folder: Path, console: Console, started: float) -> int:
    """Everything, in order. Returns the exit status. started: by the monotonic clock"""
    state = read_state(folder)
    if state is None or state.plane is None:
        console.print(f"[red]The plane ended while it started: see {folder / 'up.log'}", soft_wrap=True)
        return 1
    plane = state.plane
    if plane.kubernetes is None or plane.platform is None or plane.gateway is None:
        console.print("[red]The plane that runs is of another demo: end it with `make demo-down`, and start again")
        return 1
    kubectl = Kubectl(plane.kubernetes)
    platform = Platform(kubectl, plane.platform, plane.gateway, console)
    try:
        with ThreadPoolExecutor(1) as beside:
            joining = beside.submit(platform.join)
            holds = Tenants(kubectl, log_of("operator", plane), emulated(plane), console).run()
            console.out(joining.result(), end="", highlight=False)
        access = platform.use()
    except ProcessError as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        return 1
    how_to_go_on(plane, access, console, time.monotonic() - started)
    return 0 if holds else 1


def emulated(plane: PlaneFacts) -> list[str]:
    """Engines, as the isolation matrix calls them, that are no real servers."""
    engines = {"vectors": plane.qdrant, "search": plane.meilisearch}
    return [name for name, facts in engines.items() if facts is not None and facts.emulated]


def log_of(name: str, plane: PlaneFacts) -> Path:
    return Path(next(server.log_file for server in plane.servers if server.name == name))


def how_to_go_on(plane: PlaneFacts, access: Access, console: Console, seconds: float) -> None:
    """The next commands to type."""
    assert plane.kubernetes is not None  # noqa: S101 - asked for above
    console.rule(f"[bold]Up after {seconds:.1f} s. Go on")
    for line in (
        f"export KUBECONFIG={plane.kubernetes.kubeconfig}",
        f"export PATH={access.program.parent}:{Path(plane.kubernetes.kubectl).parent}:$PATH",
        "kubectl get tenants,dataclusters,dataplanes",
        "kubectl describe datacluster acme",
        "kubectl delete networkpolicy default-deny -n tenant-acme   # and look again",
        f"curl -K {access.reader} {access.url}/v1/clusters",
        f"curl -K {access.reader} {access.proxied}/hello   # what the Data API was sent",
        f"curl -K {access.reader} {access.url}/v1/audit",
        f"curl -K {access.admin} {access.url}/v1/data-planes",
        "bulkhead platform verify-audit",
        f"tail -f {log_of('operator', plane)}",
        "make demo-down",
    ):
        console.print(f"  {line}", soft_wrap=True)
