"""Bulkhead and its platform on a plane, as the command line runs them."""

import time
from typing import Final

from hack.plane.gateway import Gateway
from hack.plane.installation import declare, ship
from hack.plane.kubernetes import ApiServer
from hack.plane.plane import Plane, say, together
from hack.plane.platform import Platform

HEARTBEAT_SECONDS: Final = 5
"""Somebody is watching, and there are few clusters."""


async def run_operator(plane: Plane) -> None:
    """Install Bulkhead and start its operator."""
    started = time.monotonic()
    installed = await ship(plane)
    async with together() as group:
        group.create_task(installed.operator(arguments=(f"--heartbeat-seconds={HEARTBEAT_SECONDS}",)).start())
        group.create_task(declare(plane))
    say(f"Bulkhead installed, its operator runs, after {time.monotonic() - started:.1f} s")


async def run_platform(plane: Plane) -> None:
    """Install the platform service, and start it and a gateway to the Data APIs."""
    started = time.monotonic()
    platform = await Platform.install(plane)
    gateway = Gateway(plane.site, platform=platform.url)
    plane.servers.append(gateway)
    async with together() as group:
        group.create_task(platform.replica().start())
        group.create_task(gateway.start())
    say(f"the platform service serves {platform.url}, after {time.monotonic() - started:.1f} s")


async def follow(plane: Plane) -> None:
    """Keep the gateway, if there is one, as the operator publishes, until this is cancelled."""
    gateway, api = plane.find(Gateway), plane.find(ApiServer)
    if gateway and api:
        await gateway.follow(api)
