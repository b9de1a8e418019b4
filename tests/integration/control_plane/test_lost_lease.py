"""A process whose Lease ran out between two changes makes no further one; whoever has it then goes on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bulkhead.kube.errors import NotFound
from bulkhead.kube.lease import LeaderElection, LeaseTiming
from bulkhead.kube.resources import DATA_CLUSTERS, TENANTS
from bulkhead.reconcile import key
from bulkhead.reconcile.deps import RETRY
from bulkhead.reconcile.dispatch import Reconciler
from bulkhead.reconcile.view import View
from bulkhead.runtime.mutations import Mutations
from hack.plane.installation import NAMESPACE, Installation
from tests.integration.control_plane.flows import reconciler
from tests.integration.kube.cluster import Json, Requests, access, client_of, fresh
from tests.unit.reconcile import gen

WRITES = ("create", "update", "patch", "delete")


class Clock:
    """Passes when it is told to, or when somebody waits for it."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


class Sleepy(Mutations):
    """After so many changes the machine is asleep until the Lease has run out."""

    def __init__(self, election: LeaderElection, clock: Clock, sleeps_after: int) -> None:
        super().__init__(lambda *_: None, lambda: election.leading)
        self._clock = clock
        self._sleeps_after = sleeps_after

    def after(self, number: int, target: str, action: str) -> None:  # noqa: ARG002 - the seam's shape
        if number == self._sleeps_after:
            self._clock.now += LeaseTiming().duration


class Candidate:
    """One process: its election, what it sees, its flows and what it sent."""

    def __init__(self, election: LeaderElection, view: View, flows: Reconciler, requests: Requests) -> None:
        self.election = election
        self.reconcile = flows
        self._view = view
        self._requests = requests

    def sees(self, tenant: Json) -> None:
        self._view.tenants.put(tenant)

    @property
    def changes(self) -> list[tuple[str, str]]:
        """Verb and kind of everything it asked the API server to change, its Lease apart."""
        return [(verb, kind) for verb, kind, _ in self._requests.seen if verb in WRITES]


@asynccontextmanager
async def candidate(
    installed: Installation, lease: str, clock: Clock, *, sleeps_after: int = 0
) -> AsyncIterator[Candidate]:
    """A process of the installation."""
    ours, requests = access(installed.kubeconfig), Requests()
    async with client_of(ours) as unled:
        election = LeaderElection(
            unled,
            namespace=NAMESPACE,
            name=lease,
            identity=fresh("candidate"),
            now=lambda: gen.NOW,
            clock=lambda: clock.now,
            sleep=clock.sleep,
        )
        mutations = Sleepy(election, clock, sleeps_after)
        async with client_of(ours, requests, mutations=mutations) as kube:
            view = View(NAMESPACE)
            yield Candidate(election, view, reconciler(kube, mutations, view), requests)


async def test_nothing_is_changed_once_the_lease_ran_out_between_two_changes(installed: Installation) -> None:
    name, clock = fresh("tenant"), Clock()
    async with client_of(access(installed.plane.kubeconfig)) as user:
        body = {"apiVersion": "bulkhead.dev/v1alpha1", "kind": "Tenant", "metadata": {"name": name}, "spec": {}}
        tenant = await user.create(TENANTS, body)
        async with (
            candidate(installed, name, clock, sleeps_after=1) as first,
            candidate(installed, name, clock) as second,
        ):
            first.sees(tenant)
            await first.election.acquire()
            assert await first.reconcile(key.tenant(name)) == RETRY
            assert first.changes == [("patch", "tenants")]
            with pytest.raises(NotFound):
                await user.get(DATA_CLUSTERS, name)

            await second.election.acquire()
            assert await first.reconcile(key.tenant(name)) == RETRY
            assert first.changes == [("patch", "tenants")]
            second.sees(await user.get(TENANTS, name))
            assert not (await second.reconcile(key.tenant(name))).retry
        assert await user.get(DATA_CLUSTERS, name)
