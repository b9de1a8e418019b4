"""Command line: write the files, or say which are stale."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hack.generate.definitions import files

FOLDER = Path(__file__).parents[2] / "crds"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.generate", description="Write crds/ from the API's structs.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a file is stale")
    check = parser.parse_args().check
    wanted = files()
    stale = sorted(name for name, text in wanted.items() if _text(FOLDER / name) != text)
    left = sorted(path.name for path in FOLDER.glob("*") if path.name not in wanted)
    if check:
        return _report(stale, left)
    FOLDER.mkdir(exist_ok=True)
    for name in stale:
        (FOLDER / name).write_text(wanted[name])
    for name in left:
        (FOLDER / name).unlink()
    return 0


def _report(stale: list[str], left: list[str]) -> int:
    for name in (*stale, *left):
        print(f"crds/{name} is stale: run `python -m hack.generate`", file=sys.stderr)
    return 1 if stale or left else 0


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
