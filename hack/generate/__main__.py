"""Command line: write the files, or say which are stale."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hack.generate import definitions, platform, protocol

ROOT = Path(__file__).parents[2]
CRDS = Path("crds")
PROTOCOL = Path("docs/protocol.md")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m hack.generate",
        description="Write what the types tell: crds/, docs/openapi.json, and parts of docs/protocol.md.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a file is stale")
    check = parser.parse_args().check
    wanted = {CRDS / name: text for name, text in definitions.files().items()}
    wanted[Path("docs/openapi.json")] = platform.document()
    wanted[PROTOCOL] = protocol.document(_text(PROTOCOL))
    stale = sorted(path for path, text in wanted.items() if _text(path) != text)
    left = sorted(CRDS / path.name for path in (ROOT / CRDS).glob("*") if CRDS / path.name not in wanted)
    if check:
        return _report(stale, left)
    for path in stale:
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_text(wanted[path])
    for path in left:
        (ROOT / path).unlink()
    return 0


def _report(stale: list[Path], left: list[Path]) -> int:
    for path in (*stale, *left):
        print(f"{path} is stale: run `python -m hack.generate`", file=sys.stderr)
    return 1 if stale or left else 0


def _text(path: Path) -> str:
    return (ROOT / path).read_text() if (ROOT / path).exists() else ""


if __name__ == "__main__":
    sys.exit(main())
