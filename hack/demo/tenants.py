"""Two tenants: from `kubectl apply` to the proof that neither can reach the other."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from hack.demo.kubectl import Kubectl
from hack.isolation import matrix
from hack.isolation.attempt import Outcome, Tenant, outcome
from hack.plane.emulation import REPOSITORY
from hack.plane.process import ProcessError

SLUGS: Final = ("acme", "globex")
EXAMPLE: Final = REPOSITORY / "docs" / "examples" / "tenants.yaml"
READY_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.1
ENGINES: Final = {"postgres": "Postgres", "objectStore": "bucket", "vectors": "vectors", "search": "search"}


class Tenants:
    """What is shown of them, in order."""

    def __init__(self, kubectl: Kubectl, operator_log: Path, emulated: Collection[str], console: Console) -> None:
        """`emulated`: engines that are no real servers, which the matrix says."""
        self._emulated = emulated
        self._console = console
        self._kubectl = kubectl
        self._log = operator_log

    def run(self) -> bool:
        """Whether everything held."""
        self._apply()
        self._become_ready()
        tenants = [self._tenant(slug) for slug in SLUGS]
        works = asyncio.run(self._use(tenants[0]))
        holds = asyncio.run(self._prove(tenants))
        return works and holds

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
                if told.issuperset(SLUGS):
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
        if event["event"] == "data_cluster" and event["phase"] == "Active" and event["name"] not in told:
            self._console.print(f"  {event['name']:8} [bold green]Ready[/bold green]")
            told.add(event["name"])

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
        self._console.print(table(outcomes, self._emulated))
        for each in outcomes:
            if not each.holds:
                self._console.print(f"[red]{each.attacker} -> {each.victim}: {each.engine}: {each.kind}: {each.answer}")
        return all(each.holds for each in outcomes)

    def _tenant(self, slug: str) -> Tenant:
        secrets = self._kubectl.secrets(f"tenant-{slug}")
        return Tenant(slug, *(secrets[f"{name}-binding"] for name in ("postgres", "object-store", "vectors", "search")))


def table(outcomes: list[Outcome], emulated: Collection[str]) -> Table:
    """One row per ordered pair, one column per engine: how many ways in were tried, and whether all came as they
    must.
    """
    titles = (f"{title}, emulated" if engine in emulated else title for engine, title in ENGINES.items())
    drawn = Table("who", "on", *titles)
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
