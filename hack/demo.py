"""`make demo`: two tenants on a local plane, from `kubectl apply` to the proof that neither can reach the other.

python -m hack.demo up      start the plane if it does not run, and show
python -m hack.demo down    end everything that the demo started
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from hack.isolation import matrix
from hack.isolation.attempt import Outcome, Tenant, outcome
from hack.plane import __main__ as plane_command
from hack.plane.emulation import REPOSITORY
from hack.plane.process import ProcessError
from hack.plane.state import PlaneFacts, read_state, runs

SLUGS: Final = ("acme", "globex")
EXAMPLE: Final = REPOSITORY / "docs" / "examples" / "tenants.yaml"
READY_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.1
ENGINES: Final = {"postgres": "Postgres", "objectStore": "bucket", "vectors": "vectors", "search": "search"}


def main(arguments: list[str]) -> int:
    """Run `up` or `down`. Returns the exit status."""
    folder = plane_command.default_folder().with_name("demo")
    if arguments == ["down"]:
        return plane_command.main(["down", f"--state={folder}"])
    if arguments not in ([], ["up"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        return up(folder, Console(highlight=False))
    except KeyboardInterrupt:
        plane_command.main(["down", f"--state={folder}"])
        return 130


def up(folder: Path, console: Console) -> int:
    """Start the plane, show, and say how to go on."""
    started = time.monotonic()
    state = read_state(folder)
    if state is None or not runs(state):
        console.rule("[bold]A plane of real servers, and Bulkhead on it")
        if failed := plane_command.main(["up", "--detach", "--bulkhead", f"--state={folder}"]):
            return failed
        state = read_state(folder)
    if state is None or state.plane is None or state.plane.kubernetes is None:
        console.print("[red]The plane ended while it started: see up.log in", str(folder))
        return 1
    try:
        holds = Show(state.plane, console).run()
    except ProcessError as error:
        console.print(f"[red]{error}")
        return 1
    how_to_go_on(state.plane, console, time.monotonic() - started)
    return 0 if holds else 1


class Show:
    """What is shown, in order."""

    def __init__(self, plane: PlaneFacts, console: Console) -> None:
        assert plane.kubernetes is not None  # noqa: S101 - the demo starts it
        self._console = console
        self._kubeconfig = plane.kubernetes.kubeconfig
        self._log = Path(next(server.log_file for server in plane.servers if server.name == "operator"))
        self._program = plane.kubernetes.kubectl

    def run(self) -> bool:
        """Whether everything held."""
        self._apply()
        self._become_ready()
        tenants = [self._tenant(slug) for slug in SLUGS]
        works = asyncio.run(self._use(tenants[0]))
        holds = asyncio.run(self._prove(tenants))
        return works and holds

    # -- apply ---------------------------------------------------------------------------------------------------------
    def _apply(self) -> None:
        self._console.rule("[bold]kubectl apply -f docs/examples/tenants.yaml")
        self._console.print(EXAMPLE.read_text().strip(), style="cyan")
        self._console.print(self._kubectl("apply", "-f", str(EXAMPLE)))

    def _become_ready(self) -> None:
        """Engine by engine, as the operator's log tells it, until both are Ready."""
        started = time.monotonic()
        told: set[str] = set()
        with self._log.open() as log:
            while time.monotonic() - started < READY_SECONDS:
                for line in log:
                    self._tell(json.loads(line), told)
                if {f"DataCluster/{slug} ready" for slug in SLUGS} <= told:
                    self._kubectl("wait", "--for=condition=Ready", "--timeout=10s", "tenants", *SLUGS)
                    self._console.print(self._kubectl("get", "tenants,dataclusters"))
                    return
                time.sleep(POLL_SECONDS)
        raise ProcessError(
            f"not ready within {READY_SECONDS:.0f} s:\n{self._kubectl('get', 'dataclusters', '-o', 'yaml')}"
        )

    def _tell(self, event: dict[str, Any], told: set[str]) -> None:
        if event["event"] == "converged" and event["key"].startswith("DataCluster/"):
            name = event["key"].partition("/")[2]
            engine = ENGINES[event["engine"]]
            self._console.print(f"  {name:8} {engine:9} ready in {event['seconds']:.2f} s, {event['steps']} steps")
        if event["event"] == "data_cluster" and event["phase"] == "Active":
            self._console.print(f"  {event['name']:8} [bold green]Ready[/bold green]")
            told.add(f"DataCluster/{event['name']} ready")

    # -- use and prove -------------------------------------------------------------------------------------------------
    async def _use(self, tenant: Tenant) -> bool:
        self._console.rule(f"[bold]{tenant.slug} works with its own credentials")
        outcomes = [await outcome(tenant, tenant, each) for each in matrix.attempts(tenant, tenant) if each.allowed]
        for each in outcomes:
            mark = "[green]works[/green]" if each.holds else f"[red]fails: {each.answer}[/red]"
            self._console.print(f"  {ENGINES[each.engine]:9} {each.kind:32} {mark}")
        return all(each.holds for each in outcomes)

    async def _prove(self, tenants: list[Tenant]) -> bool:
        self._console.rule("[bold]Everybody tries everybody: the isolation matrix")
        outcomes = [each async for each in matrix.run(tenants)]
        self._console.print(table(outcomes))
        for each in outcomes:
            if not each.holds:
                self._console.print(f"[red]{each.attacker} -> {each.victim}: {each.engine}: {each.kind}: {each.answer}")
        return all(each.holds for each in outcomes)

    def _tenant(self, slug: str) -> Tenant:
        postgres, object_store, vectors, search = (
            self._secret(slug, f"{name}-binding") for name in ("postgres", "object-store", "vectors", "search")
        )
        return Tenant(slug, postgres, object_store, vectors, search)

    def _secret(self, slug: str, name: str) -> dict[str, str]:
        found = json.loads(self._kubectl("get", "secret", name, "-n", f"tenant-{slug}", "-o", "json"))
        return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}

    def _kubectl(self, *arguments: str) -> str:
        ran = subprocess.run(
            [self._program, f"--kubeconfig={self._kubeconfig}", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            raise ProcessError(f"kubectl {' '.join(arguments)}: {ran.stderr.strip()}")
        return ran.stdout


def table(outcomes: list[Outcome]) -> Table:
    """One row per ordered pair, one column per engine: how many ways in were tried, and whether all came as they
    must.
    """
    drawn = Table("who", "on", *ENGINES.values())
    for attacker, victim, cells in matrix.table(outcomes):
        own = attacker == victim
        drawn.add_row(attacker, "its own" if own else victim, *dict(_cells(cells, own=own)).values())
    return drawn


def _cells(cells: dict[str, str], *, own: bool) -> Iterator[tuple[str, str]]:
    for engine in ENGINES:
        held, _, tried = cells[engine].partition("/")
        word = "right" if own else "refused"
        colour = "green" if held == tried else "red"
        yield engine, f"[{colour}]{held} of {tried} {word}[/{colour}]"


def how_to_go_on(plane: PlaneFacts, console: Console, seconds: float) -> None:
    """The next commands to type."""
    assert plane.kubernetes is not None  # noqa: S101 - the demo starts it
    console.rule(f"[bold]Up after {seconds:.1f} s. Go on")
    console.print(f"  export KUBECONFIG={plane.kubernetes.kubeconfig}", soft_wrap=True)
    console.print(f"  export PATH={Path(plane.kubernetes.kubectl).parent}:$PATH", soft_wrap=True)
    console.print("  kubectl get tenants,dataclusters,dataplanes")
    console.print("  kubectl describe datacluster acme")
    console.print("  kubectl delete networkpolicy default-deny -n tenant-acme   # and look again")
    console.print(f"  tail -f {next(s.log_file for s in plane.servers if s.name == 'operator')}", soft_wrap=True)
    console.print("  make demo-down")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
