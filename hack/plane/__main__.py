"""A plane from the command line.

    python -m hack.plane up            start it and keep it until Ctrl-C
    python -m hack.plane up --detach   start it and return when it is ready
    python -m hack.plane status        what runs
    python -m hack.plane kubeconfig    path of the administrator's kubeconfig
    python -m hack.plane down          end it
    python -m hack.plane build         build every program that is missing, start nothing

Progress goes to the standard error, answers to the standard output.
"""

import argparse
import asyncio
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, get_args

from hack.plane.accounts import NoAccount
from hack.plane.binaries import TOOLS, BinaryMissing, Toolbox
from hack.plane.gateway import Gateway
from hack.plane.installation import declare, ship
from hack.plane.kubernetes import ApiServer
from hack.plane.memory import resident_megabytes
from hack.plane.plane import Part, Plane, PlaneOptions, say, together
from hack.plane.platform import Platform
from hack.plane.postgres_builds import PostgresVersion
from hack.plane.process import ProcessError, Warden
from hack.plane.state import AlreadyUp, State, claimed, facts_of, own_state, read_state, remove_state, runs, write_state

DOWN_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.1
HEARTBEAT_SECONDS: Final = 5
"""Somebody is watching, and there are few clusters."""
NEEDS: Final = {"bulkhead": Part.KUBERNETES, "platform": Part.POSTGRES}
"""What can be installed on a plane, and what that plane must not be without."""


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(words)
    options.words = words
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except (AlreadyUp, BinaryMissing, NoAccount, ProcessError) as error:
        say(str(error))
        return 1


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m hack.plane", description="A local plane: Kubernetes and engines.")
    commands = top.add_subparsers(required=True)
    for name, command in {"up": up, "down": down, "status": status, "kubeconfig": kubeconfig}.items():
        one = commands.add_parser(name)
        one.add_argument("--state", type=Path, default=default_folder(), help="folder that tells where it is")
        one.set_defaults(command=command)
        if command is up:
            add_options(one)
    commands.add_parser("build").set_defaults(command=build)
    return top


def add_options(one: argparse.ArgumentParser) -> None:
    one.add_argument("--detach", action="store_true", help="return when it is ready; `down` ends it")
    one.add_argument("--postgres", choices=get_args(PostgresVersion), default="18", help="major version")
    one.add_argument("--tls-postgres", action="store_true", help="Postgres with TLS")
    one.add_argument(
        "--no-fsync", action="store_true", help="force nothing to disk: faster, never for published figures"
    )
    one.add_argument("--bulkhead", action="store_true", help="install Bulkhead on it and run its operator")
    one.add_argument("--platform", action="store_true", help="run the platform service, and a gateway to the Data APIs")
    one.add_argument("--without", action="append", choices=[*Part], default=[], help="leave a part out; repeatable")


def default_folder() -> Path:
    root = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(root) / "bulkhead" / "plane"


def up(options: argparse.Namespace) -> int:
    for installed, part in NEEDS.items():
        if getattr(options, installed) and part in options.without:
            say(f"--{installed} needs {part}: leave out --without={part}")
            return 2
    if options.detach:
        return up_detached(options.state, [word for word in options.words if word != "--detach"])
    with claimed(options.state), suppress(KeyboardInterrupt):
        asyncio.run(run_until_told(options))
    return 0


def plane_options(options: argparse.Namespace) -> PlaneOptions:
    without = {Part(name) for name in options.without}
    if Part.KUBERNETES in without:
        without.add(Part.WORKLOADS)
    return PlaneOptions(
        parts=frozenset(Part) - without,
        postgres=options.postgres,
        tls_postgres=options.tls_postgres,
        fsync=not options.no_fsync,
    )


async def run_until_told(options: argparse.Namespace) -> None:
    """Run a plane until SIGINT or SIGTERM; both also end one that is still starting."""
    this_task = asyncio.current_task()
    assert this_task is not None  # noqa: S101 - it is what runs here
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this_task.cancel)
    write_state(options.state, own_state())
    try:
        async with Plane.start(plane_options(options), beside=run_platform if options.platform else None) as plane:
            if options.bulkhead:
                await run_operator(plane)
            write_state(options.state, own_state(facts_of(plane)))
            await stay(plane)
    except asyncio.CancelledError:
        say("ended")
    finally:
        remove_state(options.state)


async def stay(plane: Plane) -> None:
    """Until this is cancelled. Meanwhile the gateway, if there is one, is kept as the operator publishes."""
    gateway, api = plane.find(Gateway), plane.find(ApiServer)
    if gateway and api:
        await gateway.follow(api)
    await asyncio.Event().wait()


async def run_operator(plane: Plane) -> None:
    started = time.monotonic()
    installed = await ship(plane)
    async with together() as group:
        group.create_task(installed.operator(arguments=(f"--heartbeat-seconds={HEARTBEAT_SECONDS}",)).start())
        group.create_task(declare(plane))
    say(f"Bulkhead installed, its operator runs, after {time.monotonic() - started:.1f} s")


async def run_platform(plane: Plane) -> None:
    started = time.monotonic()
    platform = await Platform.install(plane)
    gateway = Gateway(plane.site, platform=platform.url)
    plane.servers.append(gateway)
    async with together() as group:
        group.create_task(platform.replica().start())
        group.create_task(gateway.start())
    say(f"the platform service serves {platform.url}, after {time.monotonic() - started:.1f} s")


def up_detached(folder: Path, words: Sequence[str]) -> int:
    """Start this command with these words in a session of its own, and wait until its plane is ready."""
    with claimed(folder):
        remove_state(folder)
    log_file = folder / "up.log"
    command = [sys.executable, "-m", "hack.plane", *words]
    with log_file.open("w") as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    try:
        ready = wait_until_ready(child, folder, log_file)
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        return 130
    return 0 if ready else 1


def wait_until_ready(child: "subprocess.Popen[bytes]", folder: Path, log_file: Path) -> bool:
    with log_file.open() as log:
        while child.poll() is None:
            sys.stderr.write(log.read())
            state = read_state(folder)
            if state is not None and state.pid == child.pid and state.plane is not None:
                sys.stderr.write(log.read())
                return True
            time.sleep(POLL_SECONDS)
        sys.stderr.write(log.read())
    return False


def down(options: argparse.Namespace) -> int:
    """End the one process of the state; its warden ends all others."""
    state = read_state(options.state)
    if state is None or not runs(state):
        say(f"no plane is up in {options.state}")
        return 0
    for number in (signal.SIGTERM, signal.SIGKILL):
        if end(state, number):
            say("ended")
            return 0
    say(f"process {state.pid} could not be ended")
    return 1


def end(state: State, number: signal.Signals) -> bool:
    """Whether the process of the state has gone after this signal."""
    try:
        process = os.pidfd_open(state.pid)
    except ProcessLookupError:
        return True
    try:
        # Asked again behind the descriptor, which can not come to mean another process any more.
        if runs(state):
            signal.pidfd_send_signal(process, number)
        return bool(select.select([process], [], [], DOWN_SECONDS)[0])
    finally:
        os.close(process)


def status(options: argparse.Namespace) -> int:
    state = read_state(options.state)
    if state is None or not runs(state):
        print(f"no plane is up in {options.state}")
        return 1
    if state.plane is None:
        print(f"process {state.pid} starts a plane")
        return 1
    for server in state.plane.servers:
        memory = resident_megabytes(server.pid)
        print(
            f"{server.name:24} {'ended' if memory is None else f'pid {server.pid}, {memory:.0f} MB'}  {server.log_file}"
        )
    return 0


def kubeconfig(options: argparse.Namespace) -> int:
    state = read_state(options.state)
    if state is None or not runs(state) or state.plane is None or state.plane.kubernetes is None:
        say(f"no plane with Kubernetes is up in {options.state}")
        return 1
    print(state.plane.kubernetes.kubeconfig)
    return 0


def build(_: argparse.Namespace) -> int:
    for name, path in asyncio.run(build_all()).items():
        print(f"{name:24} {path}")
    return 0


async def build_all() -> dict[str, Path]:
    with tempfile.TemporaryDirectory(prefix="bulkhead-build-") as folder:
        async with Warden.running(Path(folder) / "warden.log") as warden:
            return await Toolbox(warden, os.environ, say).paths(*TOOLS)


if __name__ == "__main__":
    sys.exit(main())
