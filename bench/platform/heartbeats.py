"""Heartbeats of many clusters: what they cost, and what troubles them.

One service as it ships, on Postgres that forces to disk, hears all clusters each period. In order, all in one run:

    steady          latency, CPU, memory. What of it is authentication tells another replica, to which the same
                    heartbeats are sent: it is the same service, but remembers whom it has authenticated once
    wrong keys      a hundred a second, from the address of the good ones and from a hundred others, each window beside
                    one without: a third names live keys, a third keys without a fast value, a third no key at all
    cold            clusters whose fast values are gone, so that each costs one scrypt
    restart         the service is killed and started again while the clusters go on
    own connections one for each cluster, instead of a few that all share
    revocation      a key that two replicas serve is revoked by somebody of its organisation, over HTTP

Everything runs on one machine. What else ran on it meanwhile is told beside each cost: `others`, in cores, is what was
neither the service nor Postgres nor a generator, and `stolen` what the machine's host gave to somebody else.
"""

from __future__ import annotations

import asyncio
import math
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import psycopg

from bench.measure import machine_seconds, resident_bytes, spent
from bench.platform import population
from bench.platform.generator import SPREAD, Plan
from bench.platform.load import Generated, Window, generating, joined, waiting
from bench.platform.population import Cluster, Population, populate
from bulkhead.protocol.credentials import Secret, ServiceKey, new_id
from bulkhead.protocol.heartbeat import PERIOD
from hack.plane.plane import Part, Plane, PlaneOptions
from hack.plane.platform import Platform, Replica
from hack.plane.ports import LOOPBACK

MIB = 2**20
WRONG_PER_SECOND = 100
GOOD_SOURCES = [f"127.0.0.{number}" for number in range(1, 9)]
"""Eight: no address may have more than 4096 connections."""
MANY_SOURCES = [f"127.0.1.{number}" for number in range(1, 101)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How much of everything.

    period: seconds from one heartbeat of a cluster to the next; seconds: of each window; rounds: of wrong keys
    """

    clusters: int = 10_000
    cold: int = 500
    period: float = float(PERIOD)
    seconds: float = 25.0
    rounds: int = 2
    tls: bool = False


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one window: shares of a core. others: that were nobody's of this run; stolen: by the machine's host"""

    service: float
    postgres: float
    generators: float
    others: float
    stolen: float

    def report(self) -> dict[str, float]:
        return {
            "service": round(self.service, 3),
            "Postgres": round(self.postgres, 3),
            "generators": round(self.generators, 3),
            "others": round(self.others, 2),
            "stolen": round(self.stolen, 2),
        }


class RememberingReplica(Replica):
    """See `remembering.py`."""

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform, "platform-remembering", platform.plane.site.ports.reserve(), {})
        self._launch = replace(self._launch, argv=[sys.executable, "-m", "bench.platform.remembering"])
        platform.plane.servers.append(self)


@dataclass(frozen=True, slots=True)
class Measured:
    """Heartbeats of all clusters to one replica, for a window. memory: bytes of the service then"""

    window: Window
    cost: Cost
    memory: int
    generated: Generated
    seconds: float


@dataclass(slots=True)
class Bench:
    """A service with its clusters."""

    platform: Platform
    replica: Replica
    people: Population
    amounts: Amounts
    say: Callable[[str], None]

    @property
    def longest(self) -> float:
        """Seconds in which every cluster beats at least once."""
        return self.amounts.period * (1 + SPREAD)

    def plan(self, requests: list[bytes], **others: Any) -> Plan:
        """So many requests each period."""
        return Plan(
            **{
                "host": LOOPBACK,
                "port": self.replica.port,
                "requests": requests,
                "period": self.amounts.period,
                "sources": GOOD_SOURCES[:1],
                "ca_pem": self.platform.ca_pem,
                **others,
            }
        )

    def beats(self, clusters: Sequence[Cluster]) -> list[bytes]:
        return population.beats(clusters, self.people.acknowledged, f"{LOOPBACK}:{self.replica.port}")

    def wrong(self) -> list[bytes]:
        """Ten seconds of them: live keys, keys without a fast value and keys that there are not, in turn."""
        guessed = Secret.generate(os.urandom)

        def guess(number: int) -> Cluster:
            of = self.people.cold if number % 3 == 1 else self.people.warm
            cluster = of[number % len(of)]
            key_id = new_id(os.urandom) if number % 3 == 2 else cluster.key.id
            return Cluster(cluster.id, ServiceKey(key_id, guessed))

        return self.beats([guess(number) for number in range(10 * WRONG_PER_SECOND)])

    async def cost(self, replica: Replica, seconds: float, *generators: Generated) -> tuple[tuple[float, float], Cost]:
        """A window from now on, and what it cost."""
        pids = {"service": replica.pid, "postgres": self.platform.database.postgres.pid}
        pids |= {f"generator {number}": each.pid for number, each in enumerate(generators)}
        before, (busy, stolen) = spent(pids), machine_seconds()
        begun, ended = await waiting(time.monotonic, seconds)
        after, (busy_after, stolen_after) = spent(pids), machine_seconds()
        shares = {name: (after[name] - before[name]) / (ended - begun) for name in pids}
        service, postgres = shares.pop("service"), shares.pop("postgres")
        generated = sum(shares.values())
        all_of_it = (busy_after - busy) / (ended - begun)
        return (begun, ended), Cost(
            service=service,
            postgres=postgres,
            generators=generated,
            others=max(0.0, all_of_it - service - postgres - generated),
            stolen=(stolen_after - stolen) / (ended - begun),
        )

    async def measured(self, replica: Replica, *, warm_up: float, seconds: float) -> Measured:
        """Heartbeats of all to `replica`."""
        plan = self.plan(self.beats(self.people.warm), port=replica.port)
        async with generating(plan) as generated:
            await asyncio.sleep(warm_up)
            window, cost = await self.cost(replica, seconds, generated)
            memory = resident_bytes(replica.pid)
        return Measured(generated.window(*window), cost, memory, generated, window[1] - window[0])

    async def steady(self) -> dict[str, Any]:
        """Cost and latency at rest, and of the same without authentication: real, remembering, real."""
        seconds = self.amounts.seconds
        remembering = RememberingReplica(self.platform)
        await remembering.start()
        real = [await self.measured(self.replica, warm_up=self.longest, seconds=seconds)]
        known = await self.measured(remembering, warm_up=self.longest + 5, seconds=2 * seconds)
        real.append(await self.measured(self.replica, warm_up=5, seconds=seconds))
        await remembering.stop()
        service = statistics.mean(each.cost.service for each in real) - known.cost.service
        postgres = statistics.mean(each.cost.postgres for each in real) - known.cost.postgres
        p99 = max(each.window.at(0.99) for each in real)
        self.say(f"steady: p99 {p99:.1f} ms; authentication: {service:.2f} of a core, and {postgres:.2f} of Postgres")
        return {
            "authentication, share of a core": {
                "service": round(service, 3),
                "Postgres": round(postgres, 3),
                "both": round(service + postgres, 3),
            },
            "windows": [self._settled(each) for each in real],
            "window of the replica that remembers": self._settled(known),
        }

    def _settled(self, each: Measured) -> dict[str, Any]:
        return {
            **_latency(each.window),
            "heartbeats a second": round(sum(each.window.statuses.values()) / each.seconds, 1),
            "shares of a core": each.cost.report(),
            "service, MiB": round(each.memory / MIB, 1),
            "generator late, ms (p99)": round(1000 * each.generated.outcome.late, 2),
        }

    async def wrong_keys(self, good: Generated) -> Callable[[], dict[str, Any]]:
        """Windows with and without, one after the other. What they say is known once `good` has ended."""
        quiet: list[tuple[float, float]] = []
        loud: dict[str, list[tuple[float, float]]] = {"one": [], "many": []}
        costs: dict[str, list[Cost]] = {"none": [], "one": [], "many": []}
        answers: dict[str, dict[str, int]] = {}
        requests = self.wrong()
        for number in range(self.amounts.rounds):
            for kind in ("one", "many") if number % 2 == 0 else ("many", "one"):
                window, cost = await self.cost(self.replica, self.amounts.seconds, good)
                quiet.append(window)
                costs["none"].append(cost)
                # Connections of their own: a shared one would speak for whoever has opened it.
                sources = GOOD_SOURCES[:1] if kind == "one" else MANY_SOURCES
                plan = self.plan(requests, period=10.0, sources=sources, seed=number, own_connections=True)
                async with generating(plan) as bad:
                    await asyncio.sleep(2)
                    window, cost = await self.cost(self.replica, self.amounts.seconds, good, bad)
                loud[kind].append(window)
                costs[kind].append(cost)
                answers[kind] = dict(sorted(bad.outcome.codes.items()))
                self.say(f"wrong keys from {kind}: service {cost.service:.2f} of a core")

        def report() -> dict[str, Any]:
            without = [good.window(*window) for window in quiet]
            before = [each.at(0.99) for each in without]
            found: dict[str, Any] = {"good heartbeats, p99 ms, without wrong keys": _rounded(before)}
            for kind, source in (("one", "the good ones' own address"), ("many", "a hundred addresses")):
                with_wrong = [good.window(*window) for window in loud[kind]]
                found |= {
                    f"good heartbeats, p99 ms, with wrong keys from {source}": _rounded(w.at(0.99) for w in with_wrong),
                    f"p99 with / without, medians, {source}": _rounded(
                        [statistics.median(w.at(0.99) for w in with_wrong) / statistics.median(before)], 2
                    )[0],
                    f"p99 with / without, all windows as one, {source}": _rounded(
                        [joined(with_wrong).at(0.99) / joined(without).at(0.99)], 2
                    )[0],
                    f"good heartbeats refused, {source}": [w.refused for w in with_wrong],
                    f"good heartbeats not answered by the end, {source}": [w.unanswered for w in with_wrong],
                    f"answers to wrong keys, {source}": answers[kind],
                    f"shares of a core, {source}": [cost.report() for cost in costs[kind]],
                }
            return {**found, "shares of a core, without wrong keys": [cost.report() for cost in costs["none"]]}

        return report

    async def cold(self, good: Generated) -> Callable[[], dict[str, Any]]:
        """Clusters that cost a scrypt each, beside the others."""
        begun = time.monotonic()
        async with generating(self.plan(self.beats(self.people.cold), sources=GOOD_SOURCES[1:2])) as cold:
            seconds = max(2 * self.amounts.seconds, 2 * self.amounts.period)
            window, cost = await self.cost(self.replica, seconds, good, cold)

        def report() -> dict[str, Any]:
            accepted = cold.first_accepted(begun)
            return {
                "clusters without a fast value": len(self.people.cold),
                "accepted": len(accepted),
                "all accepted after, s": round(max(accepted.values(), default=float("nan")), 1),
                "their answers": dict(sorted(cold.outcome.codes.items())),
                "the others": _latency(good.window(*window)),
                "shares of a core": cost.report(),
            }

        return report

    async def restart(self, good: Generated) -> Callable[[], dict[str, Any]]:
        """Killed, and started again at once."""
        killed = time.monotonic()
        await self.replica.kill()
        await self.replica.start()
        ready = time.monotonic()
        await asyncio.sleep(self.longest + 10)

        def report() -> dict[str, Any]:
            accepted = good.first_accepted(ready)
            return {
                "down, s": round(ready - killed, 2),
                "clusters accepted again": f"{len(accepted)} of {len(self.people.warm)}",
                "all accepted after the start, s": round(max(accepted.values(), default=float("nan")), 1),
                "one period with its spread, s": self.longest,
                "refused after the start": good.window(ready, ready + self.longest).refused,
                "in the first ten seconds, ms (p50, p99)": _quantiles(good.window(ready, ready + 10)),
            }

        return report

    async def own_connections(self) -> dict[str, Any]:
        """As many connections as clusters."""
        plan = self.plan(self.beats(self.people.warm), own_connections=True, sources=GOOD_SOURCES)
        async with generating(plan) as good:
            await asyncio.sleep(self.longest)
            window, cost = await self.cost(self.replica, self.amounts.seconds, good)
            memory = resident_bytes(self.replica.pid)
        measured = Measured(good.window(*window), cost, memory, good, window[1] - window[0])
        return {"connections": good.outcome.connections, **self._settled(measured)}

    async def revocation(self) -> dict[str, Any]:
        """Accepted by both replicas, revoked, and refused by both at the next call."""
        second = self.platform.replica()
        await second.start()
        cluster = self.people.warm[0]
        before = [await self._beat(replica, cluster) for replica in (self.replica, second)]
        await self._revoke(cluster)
        after = [await self._beat(replica, cluster) for replica in (self.replica, second)]
        await second.stop()
        return {"before, on each replica": before, "the next heartbeat after, on each replica": after}

    async def _revoke(self, cluster: Cluster) -> None:
        """By the first replica, as somebody of the cluster's organisation."""
        organisation = ("--organisation", population.ORGANISATION)
        await self.platform.run("grant", "member", "ada", *organisation, "--ability", "CLUSTER_WRITE")
        token = (await self.platform.run("grant", "token", "ada", "--name", "bench")).split()[-1]
        url = f"{self.replica.url}/v1/clusters/{cluster.id}/keys"
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
            session.delete(url, ssl=self.replica.context or True) as answer,
        ):
            assert answer.ok, await answer.text()

    async def _beat(self, replica: Replica, cluster: Cluster) -> str:
        (request,) = self.beats([cluster])
        head, _, body = request.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        url = f"{replica.url}/v1/clusters/{cluster.id}/heartbeat"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers=headers, ssl=replica.context or True) as answer,
        ):
            document = await answer.json(content_type=None)
            return f"{answer.status} {document.get('code', '')}".strip()


@asynccontextmanager
async def bench(amounts: Amounts, say: Callable[[str], None]) -> AsyncIterator[Bench]:
    """A service with its clusters, on a plane of Postgres alone."""
    async with Plane.start(PlaneOptions(parts=frozenset({Part.POSTGRES}), fsync=True)) as plane:
        platform = await Platform.install(plane, tls=amounts.tls)
        async with await psycopg.AsyncConnection.connect(platform.database.superuser_dsn, autocommit=True) as session:
            # A plane logs every statement for the sake of tests; nobody who runs a service does.
            await session.execute("ALTER DATABASE platform SET log_statement = 'none'")
        replica = platform.replica()
        await replica.start()
        people = await populate(platform, warm=amounts.clusters, cold=amounts.cold)
        say(f"{amounts.clusters} clusters, and {amounts.cold} without a fast value")
        yield Bench(platform, replica, people, amounts, say)


async def measure(amounts: Amounts, say: Callable[[str], None]) -> dict[str, Any]:
    """The report."""
    async with bench(amounts, say) as found:
        report: dict[str, Any] = {
            "clusters": amounts.clusters,
            "period, s": amounts.period,
            "TLS to the service": amounts.tls,
            "load average before": round(os.getloadavg()[0], 1),
            "steady": await found.steady(),
        }
        async with generating(found.plan(found.beats(found.people.warm))) as good:
            await asyncio.sleep(found.longest)
            wrong = await found.wrong_keys(good)
            cold = await found.cold(good)
            restart = await found.restart(good)
        report |= {"wrong keys": wrong(), "cold": cold(), "restart": restart()}
        say(f"restart: all accepted after {report['restart']['all accepted after the start, s']} s")
        report["one connection for each cluster"] = await found.own_connections()
        report["revocation"] = await found.revocation()
        report["load average after"] = round(os.getloadavg()[0], 1)
        report["service, MiB at most"] = round(resident_bytes(found.replica.pid, peak=True) / MIB, 1)
        return report


def _latency(window: Window) -> dict[str, Any]:
    return {
        "heartbeats": sum(window.statuses.values()),
        "not accepted": window.refused,
        "not answered by the end": window.unanswered,
        "ms (p50, p99)": _quantiles(window),
    }


def _quantiles(window: Window) -> list[float | None]:
    return _rounded((window.at(quantile) for quantile in (0.5, 0.99)), 2)


def _rounded(values: Iterable[float], digits: int = 1) -> list[float | None]:
    """None: it took longer than was waited for, or nothing came."""
    return [round(value, digits) if math.isfinite(value) else None for value in values]
