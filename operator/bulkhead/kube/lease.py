"""Leader election on a Lease: who holds it may act.

A holder is believed only as long as its record changes, measured by our own clock: the times in the record come from
another machine. Every write carries the resourceVersion that was read, so of two candidates one gets a Conflict.
Whoever could not renew for `renew_deadline` no longer leads, well before another one takes over. What remains of an
overlap (a request in flight) is made harmless by the record of each DataCluster, not by this file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from bulkhead.kube.client import KubeClient
from bulkhead.kube.errors import KubeError, NotFound
from bulkhead.kube.resources import LEASES

Json = dict[str, Any]

_log = structlog.get_logger(__name__)


class LeadershipLost(Exception):
    """The Lease was not renewed in time, or is another's: stop acting at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTiming:
    """Seconds."""

    duration: float = 15.0
    """After this long without a change of the record anybody may take over."""
    renew_deadline: float = 10.0
    """After this long without a renewal we no longer lead."""
    renew_every: float = 4.0
    retry_every: float = 2.0
    """Between attempts of a candidate, and of a holder after a failure."""
    request: float = 3.0
    """Two attempts fit between a renewal that is due and the deadline."""


class LeaderElection:
    """One candidate.

    client: with a session of its own, so that no busy pool delays a renewal
    identity: unique for each process, also for a restarted one
    now: wall clock, for the record that people read; aware, UTC
    clock: seconds that also pass while the machine is suspended
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        timing: LeaseTiming | None = None,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._now = now
        self._clock = clock
        self._sleep = sleep
        self._timing = timing or LeaseTiming()
        self._ours: Json | None = None
        self._rival = ("", "")
        self._rival_seen_at = 0.0
        self._renewed_at: float | None = None
        self._leaving = False
        self._writing = asyncio.Lock()

    @property
    def leading(self) -> bool:
        """Whether we may act now. False also where this process was stopped for too long to know."""
        return self._remaining() > 0

    async def acquire(self) -> None:
        """Wait until we lead."""
        while not await self._attempt(self._timing.request):
            await self._sleep(self._timing.retry_every)
        _log.info("leading", lease=self._name, identity=self._identity)

    async def hold(self, on_lost: Callable[[], None]) -> None:
        """Renew until we lead no longer; then call `on_lost`, before anything else runs, and raise LeadershipLost.
        Returns quietly where we gave the lease back ourselves."""
        pause = self._timing.renew_every
        while self.leading:
            await self._sleep(min(pause, self._remaining()))
            renewed = await self._attempt(min(self._timing.request, self._remaining()))
            pause = self._timing.renew_every if renewed else self._timing.retry_every
        if self._leaving:
            return
        on_lost()
        raise LeadershipLost(f"the lease {self._namespace}/{self._name} is no longer ours")

    async def release(self) -> None:
        """Give the lease back, so that the next one need not wait for it to run out. Never raises KubeError."""
        self._leaving = True
        # A renewal under way would take it back.
        async with self._writing:
            lease, self._ours, self._renewed_at = self._ours, None, None
        if lease is None:
            return
        released = {**lease, "spec": {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}}
        try:
            async with asyncio.timeout(self._timing.request):
                await self._client.replace(LEASES, self._name, released, self._namespace)
        except (KubeError, TimeoutError) as error:
            _log.warning("lease not released, it will run out", lease=self._name, error=str(error))

    async def _attempt(self, seconds: float) -> bool:
        """Try once to take or renew the lease."""
        async with self._writing:
            return not self._leaving and await self._take(seconds)

    async def _take(self, seconds: float) -> bool:
        started = self._clock()
        try:
            async with asyncio.timeout(seconds):
                self._ours = await self._write()
        except (KubeError, TimeoutError) as error:
            # It may have been written all the same: read before the next try.
            self._ours = None
            _log.warning("lease not written", lease=self._name, error=str(error) or "no answer in time")
            return False
        # From before the request: the server may have taken it at any time since.
        self._renewed_at = started if self._ours else None
        return self._ours is not None

    async def _write(self) -> Json | None:
        """The lease as we wrote it, or None where it is another's."""
        lease = self._ours or await self._read()
        if lease is None:
            content = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": {"name": self._name}}
            return await self._client.create(LEASES, self._claimed(content), self._namespace)
        if not self._is_free(lease):
            return None
        return await self._client.replace(LEASES, self._name, self._claimed(lease), self._namespace)

    async def _read(self) -> Json | None:
        try:
            return await self._client.get(LEASES, self._name, self._namespace)
        except NotFound:
            return None

    def _is_free(self, lease: Json) -> bool:
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder in ("", self._identity):
            return True
        rival = (holder, lease["metadata"]["resourceVersion"])
        if rival != self._rival:
            self._rival, self._rival_seen_at = rival, self._clock()
            return False
        return self._clock() - self._rival_seen_at >= (spec.get("leaseDurationSeconds") or self._timing.duration)

    def _claimed(self, lease: Json) -> Json:
        spec = lease.get("spec") or {}
        now = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        claim = {**spec, "leaseDurationSeconds": int(self._timing.duration), "renewTime": now}
        if spec.get("holderIdentity") != self._identity:
            transitions = (spec.get("leaseTransitions") or 0) + bool(spec)
            claim |= {"holderIdentity": self._identity, "acquireTime": now, "leaseTransitions": transitions}
        return {**lease, "spec": claim}

    def _remaining(self) -> float:
        """Seconds until we no longer lead; 0 where we do not."""
        if self._renewed_at is None:
            return 0.0
        return max(0.0, self._renewed_at + self._timing.renew_deadline - self._clock())
