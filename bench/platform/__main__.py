"""The platform service, measured as it ships. Quote ratios and shares: absolute times depend on the machine.

python -m bench.platform heartbeats                      10,000 clusters every 30 s; some ten minutes
python -m bench.platform heartbeats --clusters 1000 --period 3 --seconds 10 --rounds 1     a trial
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
from pathlib import Path

import uvloop

from bench.platform import heartbeats, proxy

HEARTBEATS = heartbeats.Amounts()
PROXY = proxy.Amounts()


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m bench.platform", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subjects = found.add_subparsers(required=True, metavar="SUBJECT")
    beats = subjects.add_parser(
        "heartbeats",
        description=heartbeats.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="their latency, cost, and what troubles them",
    )
    beats.add_argument("--clusters", type=int, default=HEARTBEATS.clusters)
    beats.add_argument("--cold", type=int, default=HEARTBEATS.cold, help="clusters more whose fast value is gone")
    beats.add_argument("--period", type=float, default=HEARTBEATS.period, help="seconds; shorter for a trial")
    beats.add_argument("--seconds", type=float, default=HEARTBEATS.seconds, help="of each window")
    beats.add_argument("--rounds", type=int, default=HEARTBEATS.rounds, help="with and without wrong keys")
    beats.add_argument("--tls", action="store_true", help="to the service itself, instead of to a balancer in front")
    beats.set_defaults(measure=_heartbeats)
    passing = subjects.add_parser(
        "proxy",
        description=proxy.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="its throughput beside a bare pass-through, and its memory",
    )
    passing.add_argument("--connections", type=int, default=PROXY.connections, help="of clients")
    passing.add_argument("--seconds", type=float, default=PROXY.seconds, help="of each window")
    passing.add_argument("--rounds", type=int, default=PROXY.rounds, help="of A B B A, for each kind of request")
    passing.add_argument("--streamed", type=int, default=PROXY.streamed, help="bytes, while memory is watched")
    passing.add_argument("--small", action="store_true", help="only small requests")
    passing.set_defaults(measure=_proxy)
    found.add_argument("--json", type=Path, help="write the report there too")
    return found


async def _heartbeats(options: argparse.Namespace) -> dict[str, object]:
    amounts = heartbeats.Amounts(
        clusters=options.clusters,
        cold=options.cold,
        period=options.period,
        seconds=options.seconds,
        rounds=options.rounds,
        tls=options.tls,
    )
    return await heartbeats.measure(amounts, say)


async def _proxy(options: argparse.Namespace) -> dict[str, object]:
    amounts = proxy.Amounts(
        connections=options.connections,
        seconds=options.seconds,
        rounds=options.rounds,
        streamed=options.streamed,
        kinds=proxy.SMALL if options.small else proxy.KINDS,
    )
    return await proxy.measure(amounts, say)


def say(text: str) -> None:
    """Progress goes to the standard error: the report alone is for others."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    options = parser().parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(options.measure(options))
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    text = json.dumps({"machine": machine, **report}, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
