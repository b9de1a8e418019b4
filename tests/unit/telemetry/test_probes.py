"""Health, readiness and metrics, over a real socket."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from bulkhead.runtime.metrics import Metrics
from bulkhead.telemetry.probes import LoopCanary, Probes
from tests.unit.runtime.virtual_time import in_virtual_time


class Operator:
    """Two checks that can be made to fail, behind the pages."""

    def __init__(self) -> None:
        self.sick = ""
        self.busy = ""
        self.metrics = Metrics()
        self.probes = Probes(
            healthy=[lambda: "", lambda: self.sick], ready=[lambda: self.busy], render_metrics=self.metrics.render
        )

    async def get(self, page: str) -> tuple[int, str]:
        async with (
            self.probes.serving("127.0.0.1", 0) as port,
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/{page}") as response,
        ):
            return response.status, await response.text()


@pytest.mark.parametrize("page", ["healthz", "readyz"])
async def test_all_is_well_when_no_check_says_otherwise(page: str) -> None:
    assert await Operator().get(page) == (200, "ok")


async def test_a_failed_check_says_what_is_wrong() -> None:
    operator = Operator()
    operator.sick = "the watch of secrets is silent"
    assert await operator.get("healthz") == (503, "the watch of secrets is silent")


async def test_a_process_that_is_not_ready_is_still_healthy() -> None:
    operator = Operator()
    operator.busy = "still listing"
    assert (await operator.get("healthz"))[0] == 200
    assert (await operator.get("readyz"))[0] == 503


async def test_metrics_are_served_in_prometheus_text() -> None:
    operator = Operator()
    operator.metrics.mutated("postgres", "CreateLogin", succeeded=True)
    status, text = await operator.get("metrics")
    assert status == 200
    assert 'bulkhead_mutations_total{action="CreateLogin",result="done",target="postgres"} 1.0' in text


async def test_a_port_that_is_taken_is_an_error() -> None:
    operator = Operator()
    async with operator.probes.serving("127.0.0.1", 0) as port:
        with pytest.raises(OSError, match="address already in use"):
            async with Operator().probes.serving("127.0.0.1", port):
                pass


@in_virtual_time
async def test_the_canary_is_well_while_the_loop_turns() -> None:
    canary = LoopCanary(on_lag=lambda _: None)
    canary.start()
    await asyncio.sleep(100)
    assert canary.check() == ""
    canary.stop()


@in_virtual_time
async def test_a_canary_that_no_longer_sings_is_reported() -> None:
    canary = LoopCanary(on_lag=lambda _: None)
    canary.start()
    canary.stop()
    await asyncio.sleep(30)
    assert canary.check() == "the event loop is 29 s late"
