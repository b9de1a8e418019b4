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
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, get_args

from hack.plane import detached
from hack.plane.accounts import NoAccount
from hack.plane.binaries import TOOLS, BinaryMissing, Toolbox
from hack.plane.facts import facts_of
from hack.plane.memory import resident_megabytes
from hack.plane.plane import Beside, Part, Plane, PlaneOptions, say
from hack.plane.postgres_builds import PostgresVersion
from hack.plane.process import ProcessError, Warden
from hack.plane.services import follow, run_operator, run_platform
from hack.plane.state import AlreadyUp, claimed, own_state, remove_state, running, write_state

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
        one.add_argument("--state", type=Path, default=detached.default_folder(), help="folder that tells where it is")
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


def up(options: argparse.Namespace) -> int:
    for installed, part in NEEDS.items():
        if getattr(options, installed) and part in options.without:
            say(f"--{installed} needs {part}: leave out --without={part}")
            return 2
    if options.detach:
        return up_detached(options)
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
        outlives=True,
    )


def beside(options: argparse.Namespace) -> dict[Part, Beside]:
    """What runs on a plane, by the part that it waits for."""
    asked = {Part.KUBERNETES: options.bulkhead and run_operator, Part.POSTGRES: options.platform and run_platform}
    return {part: run for part, run in asked.items() if run}


def up_detached(options: argparse.Namespace) -> int:
    try:
        with detached.starting(options.state, [word for word in options.words if word != "--detach"]) as plane:
            return 0 if plane.wait() else 1
    except KeyboardInterrupt:
        return 130


async def run_until_told(options: argparse.Namespace) -> None:
    """Run a plane until SIGINT or SIGTERM; both also end one that is still starting."""
    this_task = asyncio.current_task()
    assert this_task is not None  # noqa: S101 - it is what runs here
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this_task.cancel)
    write_state(options.state, own_state())
    try:
        async with Plane.start(plane_options(options), beside=beside(options)) as plane:
            write_state(options.state, own_state(facts_of(plane)))
            await follow(plane)
            await asyncio.Event().wait()
    except asyncio.CancelledError:
        say("ended")
    finally:
        remove_state(options.state)


def down(options: argparse.Namespace) -> int:
    return detached.down(options.state)


def status(options: argparse.Namespace) -> int:
    state = running(options.state)
    if state is None:
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
    state = running(options.state)
    if state is None or state.plane is None or state.plane.kubernetes is None:
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
