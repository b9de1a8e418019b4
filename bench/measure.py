"""What a run cost: CPU and memory of processes, calls and changes of the operator."""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>[^}]*)\})? (?P<value>[0-9.e+-]+)$")


@dataclass(frozen=True, slots=True)
class Sample:
    """The operator's own counters at one moment.

    calls: requests to the API server by verb and resource; changes: by target
    reconciles: of all kinds; busy: keys that wait or run
    cpu: seconds; memory: bytes resident
    """

    calls: Counter[str]
    changes: Counter[str]
    reconciles: int
    busy: int
    leading: bool
    cpu: float
    memory: int

    def since(self, before: Sample) -> Sample:
        """What came between."""
        return Sample(
            self.calls - before.calls,
            self.changes - before.changes,
            self.reconciles - before.reconciles,
            self.busy,
            self.leading,
            self.cpu - before.cpu,
            self.memory,
        )


async def sample(url: str, pid: int) -> Sample:
    """Counters from the operator's metrics, CPU and memory from the kernel."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    calls: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    for found in filter(None, map(_SAMPLE.match, lines)):
        labels, value = dict(re.findall(r'(\w+)="([^"]*)"', found["labels"] or "")), int(float(found["value"]))
        totals[found["name"]] += value
        if found["name"] == "bulkhead_kube_request_seconds_count":
            calls[f"{labels['verb']} {labels['resource']}"] += value
        if found["name"] == "bulkhead_mutations_total":
            changes[labels["target"]] += value
    return Sample(
        calls,
        changes,
        reconciles=totals["bulkhead_reconcile_seconds_count"],
        busy=totals["bulkhead_queue_depth"] + totals["bulkhead_queue_running"],
        leading=bool(totals["bulkhead_leading"]),
        cpu=cpu_seconds(pid),
        memory=resident_bytes(pid),
    )


def asked(audit_log: Path, user: str, *, since: int) -> Counter[str]:
    """What a user asked of the API server, by verb and resource, after its audit log had so many bytes. Unlike the
    operator's own count it holds what libraries ask by themselves."""
    with audit_log.open("rb") as log:
        log.seek(since)
        lines = [line for line in log if user.encode() in line and line.endswith(b"\n")]
    events = [event for event in map(json.loads, lines) if event["user"]["username"] == user]
    # A watch is told twice: as it begins, and as it ends, which may be much later.
    begun = (e for e in events if e["stage"] == ("ResponseStarted" if e["verb"] == "watch" else "ResponseComplete"))
    return Counter(f"{event['verb']} {event.get('objectRef', {}).get('resource', '')}".strip() for event in begun)


def spent(pids: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds so far of each process with all its descendants, living and gone."""
    found = {int(folder.name): stat for folder in Path("/proc").glob("[0-9]*") if (stat := _stat_of(folder))}
    own = {pid: sum(map(int, stat[11:15])) / TICKS for pid, stat in found.items()}
    children: dict[int, list[int]] = defaultdict(list)
    for pid, stat in found.items():
        children[int(stat[1])].append(pid)

    def whole(pid: int) -> float:
        return own.get(pid, 0.0) + sum(map(whole, children[pid]))

    return {name: whole(pid) for name, pid in pids.items()}


def machine_seconds() -> tuple[float, float]:
    """CPU seconds so far that all processes of the machine have had, and that its host has given to others instead."""
    user, nice, system, _idle, _waiting, irq, softirq, steal = (
        int(word) / TICKS for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    )
    return user + nice + system + irq + softirq, steal


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    return sum(map(int, _stat_of(Path(f"/proc/{pid}"))[11:13])) / TICKS


def resident_bytes(pid: int, *, peak: bool = False) -> int:
    """Memory that a process has in use, or the most that it ever had."""
    field = "VmHWM:" if peak else "VmRSS:"
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def _stat_of(process: Path) -> list[str]:
    """The fields after the name, which may hold spaces; none where the process is gone."""
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
