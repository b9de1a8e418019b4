"""The servers that are Go programs: taken from KUBEBUILDER_ASSETS, from PATH, or built from the modules in hack/tools.

A folder named in KUBEBUILDER_ASSETS is someone's choice and is used whatever version it holds. What merely happens to
be on PATH is used only if its version fits the pin. Which one was taken, and why not another, is always said.
"""

import asyncio
import hashlib
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hack.plane.cache import cache_folder, locked
from hack.plane.process import Launch, Warden, ending, tail

TOOLS_FOLDER: Final = Path(__file__).parents[1] / "tools"
BUILD_FLAGS: Final = ("-trimpath",)
STRIP: Final = "-s -w"
BUILD_ENVIRONMENT: Final = {"CGO_ENABLED": "0"}
PROGRESS_SECONDS: Final = 10.0
VERSION_SECONDS: Final = 20.0

Tell = Callable[[str], None]


class BinaryMissing(Exception):
    """A server's program is not there and can not be made; the message says what would help."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program and where its source is pinned.

    Attributes:
        module: folder below hack/tools whose go.mod pins it.
        pin: the Go module whose version in that go.mod is the version of the program.
        build_seconds: a cold build on two cores, measured; what progress is compared with.
        accepted: pattern of the versions that may be taken from PATH; empty: any patch release of the pinned minor.
    """

    name: str
    module: str
    package: str
    pin: str
    build_seconds: int
    version_argument: str = "--version"
    accepted: str = ""


TOOLS: Final = {
    tool.name: tool
    for tool in (
        Tool("etcd", "etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3", 30),
        Tool("kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes", 195),
        Tool(
            "kube-controller-manager",
            "kubernetes",
            "k8s.io/kubernetes/cmd/kube-controller-manager",
            "k8s.io/kubernetes",
            60,
        ),
        Tool("kube-scheduler", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler", "k8s.io/kubernetes", 10),
        Tool("kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl", "k8s.io/kubernetes", 20, "version --client"),
        Tool("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok", "sigs.k8s.io/kwok", 55),
        # The releases from October 2025 on hold the last security fix; nothing older is taken.
        Tool(
            "minio",
            "minio",
            "github.com/minio/minio",
            "github.com/minio/minio",
            230,
            accepted=r"\b(RELEASE|DEVELOPMENT)\.(2025-1[0-2]|2026-\d\d)-",
        ),
    )
}


def pinned_version(go_mod: str, pin: str) -> str:
    """The version of a module in the text of a go.mod."""
    found = re.search(rf"^\s*(?:require\s+)?{re.escape(pin)}\s+(v\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise BinaryMissing(f"go.mod requires no {pin}")
    return found[1]


def fits(tool: Tool, pinned: str, reported: str) -> bool:
    """Whether a program on PATH that reports this text about itself may stand in for the pinned one."""
    major, minor, *_ = pinned.removeprefix("v").split(".")
    pattern = tool.accepted or rf"(?<![\d.])v?{major}\.{minor}\.\d+\b(?!-)"
    return re.search(pattern, reported.partition("\nKustomize")[0]) is not None


def link_flags(pinned: str, module: str) -> str:
    """Linker flags: without a stamped version, clients see `v0.0.0-master` and MinIO calls itself DEVELOPMENT.GOGET."""
    stamps = {"kubernetes": kubernetes_stamps, "minio": minio_stamps}.get(module, no_stamps)(pinned)
    return " ".join([STRIP, *(f"-X {name}={value}" for name, value in stamps.items())])


def kubernetes_stamps(pinned: str) -> dict[str, str]:
    major, minor, _ = pinned.removeprefix("v").split(".")
    version = {"gitVersion": pinned, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return {f"{package}.{name}": value for package in packages for name, value in version.items()}


def minio_stamps(pinned: str) -> dict[str, str]:
    """From a Go pseudo-version, v0.0.0-YYYYMMDDhhmmss-commit: MinIO tags no releases any more."""
    _, moment, commit = pinned.split("-")
    at = time.strptime(moment, "%Y%m%d%H%M%S")
    values = {
        "Version": time.strftime("%Y-%m-%dT%H:%M:%SZ", at),
        "ReleaseTag": time.strftime("DEVELOPMENT.%Y-%m-%dT%H-%M-%SZ", at),
        "CommitID": commit,
        "ShortCommitID": commit,
        "CopyrightYear": str(at.tm_year),
    }
    return {f"github.com/minio/minio/cmd.{name}": value for name, value in values.items()}


def no_stamps(_pinned: str) -> dict[str, str]:
    return {}


def build_key(go_mod: str, go_sum: str, go_version: str, flags: str) -> str:
    """Name of a cache entry: any change of source, compiler or flags is another one."""
    return hashlib.sha256(f"{go_mod}\0{go_sum}\0{go_version}\0{flags}".encode()).hexdigest()[:16]


def reported_version(program: Path, argument: str) -> str:
    """What a program says of its version; empty if it fails to say."""
    try:
        ran = subprocess.run(
            [program, *argument.split()], capture_output=True, text=True, timeout=VERSION_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ran.stdout.strip()


class Toolbox:
    """Finds or builds programs, one at a time: a build takes all cores as it is."""

    def __init__(
        self,
        warden: Warden,
        environ: Mapping[str, str],
        tell: Tell,
        *,
        folder: Path = TOOLS_FOLDER,
        version_of: Callable[[Path, str], str] = reported_version,
    ) -> None:
        self._warden = warden
        self._environ = environ
        self._tell = tell
        self._folder = folder
        self._version_of = version_of
        self._cache = cache_folder(environ) / "tools"
        self._go_versions: dict[str, str] = {}

    async def paths(self, *names: str) -> dict[str, Path]:
        """Where each named tool is, built first if need be.

        Raises:
            BinaryMissing: a tool is nowhere and there is no Go compiler, or its build failed.
        """
        return {name: await self._path(TOOLS[name]) for name in names}

    async def _path(self, tool: Tool) -> Path:
        go_mod = (self._folder / tool.module / "go.mod").read_text()
        pinned = pinned_version(go_mod, tool.pin)
        if found := self._in_assets(tool) or await asyncio.to_thread(self._on_path, tool, pinned):
            return found
        return await self._built(tool, pinned, go_mod)

    def _in_assets(self, tool: Tool) -> Path | None:
        assets = self._environ.get("KUBEBUILDER_ASSETS")
        if not assets or not (program := Path(assets) / tool.name).is_file():
            return None
        self._tell(f"{tool.name}: {program}, because KUBEBUILDER_ASSETS names its folder")
        return program

    def _on_path(self, tool: Tool, pinned: str) -> Path | None:
        program = shutil.which(tool.name, path=self._environ.get("PATH", ""))
        if program is None:
            return None
        reported = self._version_of(Path(program), tool.version_argument)
        first_line = reported.partition("\n")[0] or "no version"
        if not fits(tool, pinned, reported):
            self._tell(f"{tool.name}: {program} is passed over, it reports {first_line!r} and {pinned} is pinned")
            return None
        self._tell(f"{tool.name}: {program} from PATH, it reports {first_line!r}")
        return Path(program)

    async def _built(self, tool: Tool, pinned: str, go_mod: str) -> Path:
        flags = link_flags(pinned, tool.module)
        go_sum = (self._folder / tool.module / "go.sum").read_text()
        go_version = await self._go_version(tool, pinned)
        entry = self._cache / f"{tool.module}-{build_key(go_mod, go_sum, go_version, ' '.join((*BUILD_FLAGS, flags)))}"
        program = entry / tool.name
        if program.exists():
            return program
        async with locked(entry.with_suffix(".lock"), lambda: self._tell(f"{tool.name}: waiting for another build")):
            if not program.exists():
                await self._build(tool, pinned, flags, program)
        return program

    async def _go_version(self, tool: Tool, pinned: str) -> str:
        """The compiler for this module: a `toolchain` line can make it another than the installed one."""
        if tool.module not in self._go_versions:
            self._go_versions[tool.module] = await asyncio.to_thread(self._ask_go_version, tool, pinned)
        return self._go_versions[tool.module]

    def _ask_go_version(self, tool: Tool, pinned: str) -> str:
        go = shutil.which("go", path=self._environ.get("PATH", ""))
        if go is None:
            raise BinaryMissing(
                f"{tool.name} {pinned} has to be built and there is no Go compiler on PATH: "
                f"install Go, or name a folder that holds {tool.name} in KUBEBUILDER_ASSETS"
            )
        ran = subprocess.run(
            [go, "env", "GOVERSION"],
            cwd=self._folder / tool.module,
            env=dict(self._environ),
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            raise BinaryMissing(f"{tool.name} {pinned} can not be built: {ran.stderr.strip()}")
        return ran.stdout.strip()

    async def _build(self, tool: Tool, pinned: str, flags: str, program: Path) -> None:
        program.parent.mkdir(parents=True, exist_ok=True)
        partial, log_file = program.with_suffix(".partial"), program.with_suffix(".log")
        log_file.unlink(missing_ok=True)
        started = time.monotonic()
        build = await self._warden.spawn(
            Launch(
                argv=("go", "build", *BUILD_FLAGS, "-ldflags", flags, "-o", partial, tool.package),
                log_file=log_file,
                env={**self._environ, **BUILD_ENVIRONMENT},
                cwd=self._folder / tool.module,
            )
        )
        self._tell(f"{tool.name} {pinned}: building, expected to take {tool.build_seconds} s on two cores")
        while not await build.wait(PROGRESS_SECONDS):
            elapsed = time.monotonic() - started
            self._tell(f"{tool.name} {pinned}: building for {elapsed:.0f} s of about {tool.build_seconds} s")
        if code := build.exited.result():
            raise BinaryMissing(f"the build of {tool.name} {pinned} {ending(code)}{tail(log_file)}")
        partial.replace(program)
        self._tell(f"{tool.name} {pinned}: built in {time.monotonic() - started:.0f} s, kept in {program.parent}")
