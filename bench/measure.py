"""What a run cost: time, CPU and memory of processes, calls and changes."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import aiohttp

TICKS = os.sysconf("SC_CLK_TCK")
_SAMPLE = re.compile(r"^(?P<name>\w+)\{(?P<labels>[^}]*)\} (?P<value>[0-9.e+-]+)$")


@dataclass(frozen=True, slots=True)
class Sample:
    """The operator's own counters at one moment.

    calls: requests to the API server by verb and resource; changes: by target
    cpu: seconds; memory: bytes resident
    """

    calls: Counter[str]
    changes: Counter[str]
    cpu: float
    memory: int

    def since(self, before: Sample) -> Sample:
        """What came between."""
        return Sample(self.calls - before.calls, self.changes - before.changes, self.cpu - before.cpu, self.memory)


async def sample(url: str, pid: int) -> Sample:
    """Counters from the operator's metrics, CPU and memory from the kernel."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        lines = (await response.text()).splitlines()
    calls: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    for line in lines:
        found = _SAMPLE.match(line)
        if found is None:
            continue
        labels = dict(re.findall(r'(\w+)="([^"]*)"', found["labels"]))
        if found["name"] == "bulkhead_kube_request_seconds_count":
            calls[f"{labels['verb']} {labels['resource']}"] += int(float(found["value"]))
        if found["name"] == "bulkhead_mutations_total":
            changes[labels["target"]] += int(float(found["value"]))
    return Sample(calls, changes, cpu_seconds(pid), resident_bytes(pid))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid: int) -> int:
    """Memory that a process has in use."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024
