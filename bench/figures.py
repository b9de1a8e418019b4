"""What the rounds come to: figures for a report."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.contenders import Bench, Round
from bench.measure import Sample, asked, sample
from hack.plane.installation import NAMESPACE, SERVICE_ACCOUNT

MIB = 2**20
USER = f"system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}"


@dataclass(slots=True)
class Comparison:
    """Rounds of both contenders, each with so many tenants."""

    tenants: int
    trials: dict[int, float] = field(default_factory=dict)
    """Seconds of the bare script by concurrency."""
    operator: list[Round] = field(default_factory=list)
    bare: list[Round] = field(default_factory=list)

    @property
    def concurrency(self) -> int:
        """The one that made the script fastest."""
        return min(self.trials, key=lambda each: self.trials[each])

    @property
    def ratios(self) -> list[float]:
        """Throughput of the operator by that of the script, round by round."""
        return [bare.seconds / operator.seconds for operator, bare in zip(self.operator, self.bare, strict=True)]

    def report(self) -> dict[str, Any]:
        """All figures by what they are."""
        operator, bare = _median_seconds(self.operator), _median_seconds(self.bare)
        costs = [each.cost for each in self.operator if each.cost is not None]
        waits = sorted(latency for each in self.operator for latency in each.latencies)
        cpu, bare_cpu = self._cpu(self.operator), self._cpu(self.bare)
        return {
            "tenants per round": self.tenants,
            "operator, tenants/s (median)": round(self.tenants / operator, 1),
            "bare script, tenants/s (median)": round(self.tenants / bare, 1),
            "operator / bare": round(bare / operator, 3),
            "operator / bare, round by round": [round(ratio, 3) for ratio in self.ratios],
            "operator, s": [round(each.seconds, 2) for each in self.operator],
            "bare script, s": [round(each.seconds, 2) for each in self.bare],
            "bare script, s by concurrency in its trials": {str(k): round(v, 2) for k, v in self.trials.items()},
            "ready after, s (p50, p99, all applied at once)": [round(_at(waits, q), 2) for q in (0.5, 0.99)],
            "changes per tenant": round(sum(self._changes(costs).values()), 1),
            "changes per tenant by target": self._changes(costs),
            "calls per tenant": self._calls(costs),
            "CPU ms per tenant, operator": {**cpu, "all": round(sum(cpu.values()), 1)},
            "CPU ms per tenant, bare script": {**bare_cpu, "all": round(sum(bare_cpu.values()), 1)},
            "operator memory MiB (peak)": round(max(each.peak for each in self.operator) / MIB, 1),
        }

    def _cpu(self, rounds: Sequence[Round]) -> dict[str, float]:
        names = sorted({name for each in rounds for name in each.cpu})
        return {n: round(1000 * statistics.median(r.cpu[n] for r in rounds) / self.tenants, 1) for n in names}

    def _changes(self, costs: Sequence[Sample]) -> dict[str, float]:
        return self._per_tenant([cost.changes for cost in costs])

    def _calls(self, costs: Sequence[Sample]) -> dict[str, float]:
        return {call: many for call, many in self._per_tenant([cost.calls for cost in costs]).items() if many >= 0.1}

    def _per_tenant(self, counters: Sequence[Counter[str]]) -> dict[str, float]:
        names = sorted({name for each in counters for name in each})
        return {n: round(statistics.median(c[n] for c in counters) / self.tenants, 1) for n in names}


async def standing(bench: Bench, count: int, rest_seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """What so many tenants cost that are made, left alone, and found in place by an operator that starts."""
    async with bench.operator() as operator:
        made = await bench.provisioned(operator, count)
    say(f"{count} tenants ready after {made.seconds:.1f} s")
    assert made.cost is not None
    started = time.monotonic()
    operator = bench.make_operator()
    await operator.start()
    restart, done = await bench.until_quiet(operator)
    say(f"restarted, nothing left to do after {done - started:.1f} s")
    log = bench.installed.plane.audit_log
    log_size = log.stat().st_size
    await asyncio.sleep(rest_seconds)
    calls = asked(log, USER, since=log_size)
    rest = (await sample(operator.url, operator.pid)).since(restart)
    await operator.stop()
    return {
        "tenants": count,
        "made: tenants/s": round(count / made.seconds, 1),
        "made: operator CPU ms per tenant": round(1000 * made.cpu["operator"] / count, 1),
        "made: operator memory MiB (peak, then at rest)": [round(b / MIB, 1) for b in (made.peak, made.cost.memory)],
        "restart: s until nothing is left to do": round(done - started, 1),
        "restart: calls": dict(restart.calls),
        "restart: changes": sum(restart.changes.values()),
        "restart: CPU s": round(restart.cpu, 2),
        "rest: s": rest_seconds,
        "rest: calls to the API server per minute": round(sum(calls.values()) * 60 / rest_seconds, 1),
        "rest: calls": dict(calls),
        "rest: changes": sum(rest.changes.values()),
        "rest: CPU %": round(100 * rest.cpu / rest_seconds, 2),
        "rest: memory MiB": round(rest.memory / MIB, 1),
    }


def _median_seconds(rounds: Sequence[Round]) -> float:
    return statistics.median(each.seconds for each in rounds)


def _at(ordered: Sequence[float], quantile: float) -> float:
    return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]
