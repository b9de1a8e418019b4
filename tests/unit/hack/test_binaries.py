import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hack.plane.binaries import TOOLS, BinaryMissing, Toolbox, build_key, fits, link_flags, pinned_version
from hack.plane.process import Warden

ETCD = TOOLS["etcd"]
KUBECTL = TOOLS["kubectl"]
MINIO = TOOLS["minio"]
MINIO_PIN = "v0.0.0-20260212201848-7aac2a2c5b7c"

# Stands in for the compiler: each build is noted, and does what the test says.
GO = """#!/bin/sh
if [ "$1" = env ]; then echo go1.26.8; exit 0; fi
echo "$@" >> {builds}
while [ "$1" != -o ]; do shift; done
{build}
"""


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


class Workshop:
    """Modules, a compiler and a cache, all in one folder."""

    def __init__(self, folder: Path, build: str = 'echo built > "$2"') -> None:
        self.folder = folder
        self.said: list[str] = []
        self.builds = folder / "builds"
        self.environ = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "XDG_CACHE_HOME": str(folder / "cache")}
        self.compiler(build)
        etcd = folder / "tools" / "etcd"
        etcd.mkdir(parents=True)
        (etcd / "go.mod").write_text("module x\n\nrequire (\n\tgo.etcd.io/etcd/server/v3 v3.6.14 // indirect\n)\n")
        (etcd / "go.sum").write_text("")

    def compiler(self, build: str) -> None:
        program(self.folder / "bin" / "go", GO.format(builds=self.builds, build=build))

    def build_count(self) -> int:
        return len(self.builds.read_text().splitlines()) if self.builds.exists() else 0

    @asynccontextmanager
    async def toolbox(self, version_of: Callable[[Path, str], str] = lambda *_: "") -> AsyncIterator[Toolbox]:
        async with Warden.running(self.folder / "warden.log") as warden:
            yield Toolbox(warden, self.environ, self.said.append, folder=self.folder / "tools", version_of=version_of)

    async def etcd(self, version_of: Callable[[Path, str], str] = lambda *_: "") -> Path:
        async with self.toolbox(version_of) as toolbox:
            return (await toolbox.paths("etcd"))["etcd"]


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_every_tool_is_pinned_in_its_module() -> None:
    folder = Path(__file__).parents[3] / "hack" / "tools"
    for tool in TOOLS.values():
        go_mod = (folder / tool.module / "go.mod").read_text()
        assert pinned_version(go_mod, tool.pin).startswith("v")
        assert tool.package in go_mod.split("require")[0]


def test_a_module_that_is_not_required_has_no_version() -> None:
    with pytest.raises(BinaryMissing, match=r"requires no k8s\.io/kubernetes"):
        pinned_version("require k8s.io/kubernetes-extra v1.0.0", "k8s.io/kubernetes")


@pytest.mark.parametrize(
    ("reported", "fitting"),
    [
        ("etcd Version: 3.6.14\nGit SHA: x", True),
        ("etcd Version: 3.6.2", True),
        ("etcd Version: 3.5.21", False),
        ("etcd Version: 13.6.2", False),
        ("etcd Version: 3.6.14-rc.1", False),
        ("", False),
    ],
)
def test_only_a_patch_release_of_the_pinned_minor_fits(reported: str, fitting: bool) -> None:  # noqa: FBT001 - a case
    assert fits(ETCD, "v3.6.14", reported) is fitting


def test_the_version_of_kustomize_inside_kubectl_is_not_its_own() -> None:
    assert not fits(KUBECTL, "v1.36.4", "Client Version: v1.32.4\nKustomize Version: v1.36.0")


@pytest.mark.parametrize(
    ("reported", "fitting"),
    [
        ("minio version RELEASE.2025-10-15T17-29-55Z", True),
        ("minio version DEVELOPMENT.2026-02-12T20-18-48Z", True),
        ("minio version RELEASE.2025-09-07T16-13-09Z", False),
        ("minio version DEVELOPMENT.GOGET", False),
    ],
)
def test_a_minio_without_the_last_security_fix_does_not_fit(reported: str, fitting: bool) -> None:  # noqa: FBT001 - a case
    assert fits(MINIO, MINIO_PIN, reported) is fitting


def test_kubernetes_is_stamped_with_its_version_in_both_packages() -> None:
    flags = link_flags("v1.36.4", "kubernetes")
    assert "-X k8s.io/component-base/version.gitVersion=v1.36.4" in flags
    assert "-X k8s.io/client-go/pkg/version.gitMinor=36" in flags


def test_minio_is_stamped_with_the_moment_and_commit_of_its_pseudo_version() -> None:
    flags = link_flags(MINIO_PIN, "minio")
    assert "cmd.Version=2026-02-12T20:18:48Z" in flags
    assert "cmd.ReleaseTag=DEVELOPMENT.2026-02-12T20-18-48Z" in flags
    assert "cmd.CommitID=7aac2a2c5b7c" in flags


def test_any_change_of_source_compiler_or_flags_is_another_cache_entry() -> None:
    keys = {
        build_key("mod", "sum", "go1", "-s"),
        build_key("mod2", "sum", "go1", "-s"),
        build_key("mod", "sum2", "go1", "-s"),
        build_key("mod", "sum", "go2", "-s"),
        build_key("mod", "sum", "go1", "-w"),
    }
    assert len(keys) == 5


async def test_kubebuilder_assets_win_whatever_their_version(workshop: Workshop) -> None:
    workshop.environ["KUBEBUILDER_ASSETS"] = str(workshop.folder / "assets")
    assets = program(workshop.folder / "assets" / "etcd")
    program(workshop.folder / "bin" / "etcd")
    assert await workshop.etcd(lambda *_: "etcd Version: 3.6.14") == assets
    assert "KUBEBUILDER_ASSETS" in workshop.said[0]


async def test_a_program_on_path_with_the_right_version_is_taken_and_said(workshop: Workshop) -> None:
    found = program(workshop.folder / "bin" / "etcd")
    assert await workshop.etcd(lambda *_: "etcd Version: 3.6.2\nGo Version: x") == found
    assert workshop.said == [f"etcd: {found} from PATH, it reports 'etcd Version: 3.6.2'"]


async def test_a_program_on_path_with_another_version_is_passed_over_and_said(workshop: Workshop) -> None:
    found = program(workshop.folder / "bin" / "etcd")
    assert await workshop.etcd(lambda *_: "etcd Version: 3.4.23") != found
    assert workshop.said[0] == f"etcd: {found} is passed over, it reports 'etcd Version: 3.4.23' and v3.6.14 is pinned"


async def test_what_is_built_is_kept_and_not_built_again(workshop: Workshop) -> None:
    first, second = await workshop.etcd(), await workshop.etcd()
    assert first == second
    assert first.read_text() == "built\n"
    assert workshop.build_count() == 1


async def test_a_build_says_what_it_builds_and_how_long_that_takes(workshop: Workshop) -> None:
    await workshop.etcd()
    assert workshop.said[0] == "etcd v3.6.14: building, expected to take 30 s on two cores"


async def test_two_builds_at_once_build_once(workshop: Workshop) -> None:
    async with workshop.toolbox() as one, workshop.toolbox() as other:
        paths = await asyncio.gather(one.paths("etcd"), other.paths("etcd"))
    assert paths[0] == paths[1]
    assert workshop.build_count() == 1


async def test_a_build_that_is_killed_halfway_leaves_no_program(workshop: Workshop) -> None:
    workshop.compiler('echo half > "$2"; kill -9 $$')
    with pytest.raises(BinaryMissing, match=r"the build of etcd v3\.6\.14 was ended by SIGKILL"):
        await workshop.etcd()
    workshop.compiler('echo whole > "$2"')
    assert (await workshop.etcd()).read_text() == "whole\n"


async def test_a_failed_build_shows_what_the_compiler_said(workshop: Workshop) -> None:
    workshop.compiler("echo undefined: x >&2; exit 1")
    with pytest.raises(BinaryMissing, match="undefined: x"):
        await workshop.etcd()


async def test_a_missing_compiler_is_one_clear_sentence(workshop: Workshop) -> None:
    workshop.environ["PATH"] = str(workshop.folder)
    with pytest.raises(BinaryMissing) as failure:
        await workshop.etcd()
    assert str(failure.value) == (
        "etcd v3.6.14 has to be built and there is no Go compiler on PATH: "
        "install Go, or name a folder that holds etcd in KUBEBUILDER_ASSETS"
    )
