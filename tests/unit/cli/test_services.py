"""One program for two services: neither pays for the other."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bulkhead.cli.main import main

SHOW = """
import sys
from bulkhead.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(" ".join(sys.modules), file=sys.stderr)
"""


def imported(*arguments: str) -> set[str]:
    """What is imported once the command line was read."""
    ran = subprocess.run([sys.executable, "-c", SHOW, *arguments], capture_output=True, text=True, check=True)
    return set(ran.stderr.split())


def test_the_platform_service_imports_nothing_of_the_operator() -> None:
    modules = imported("platform", "migrate", "--help")
    assert "bulkhead.platform.database.migrate" in modules
    for name in ("kopf", "minio", "bulkhead.app", "bulkhead.kube", "bulkhead.engines", "bulkhead.reconcile"):
        assert name not in modules, name


def test_the_operator_imports_nothing_of_the_platform_service() -> None:
    modules = imported("operator", "--help")
    assert "kopf" in modules
    for name in ("bulkhead.platform", "psycopg_pool", "starlette", "uvicorn"):
        assert name not in modules, name


@pytest.mark.parametrize("command", ["migrate", "token", "grant", "fence", "verify-audit"])
def test_a_command_of_the_maintainers_imports_nothing_that_serves(command: str) -> None:
    modules = imported("platform", command, "--help")
    for name in ("bulkhead.platform.app", "bulkhead.platform.http.server", "uvicorn"):
        assert name not in modules, name


def test_help_imports_neither() -> None:
    modules = imported("--help")
    assert not {"bulkhead.app", "bulkhead.platform"} & modules


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["platform"], ["platform", "nonsense"]])
def test_a_command_that_there_is_not_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: bulkhead" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--heartbeat-seconds", "--drift-seconds"])
@pytest.mark.parametrize("value", ["0", "-30", "0.001", "1e9", "inf", "nan", "soon", ""])
def test_a_period_that_makes_no_sense_is_refused_with_what_would(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["operator", f"{option}={value}"])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert f"argument {option}: " in told
    assert "is not between 1 and " in told or "is not a number of seconds" in told


def test_a_setting_that_is_missing_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BULKHEAD_PLATFORM_OWNER_DSN", raising=False)
    assert main(["platform", "migrate"]) == 2
    assert "BULKHEAD_PLATFORM_OWNER_DSN" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_said_without_the_password(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BULKHEAD_PLATFORM_OWNER_DSN", "postgresql://owner:hunter2@127.0.0.1:1/bulkhead")
    assert main(["platform", "migrate", "--check"]) == 1
    said = capsys.readouterr().err
    assert "Connection refused" in said
    assert "hunter2" not in said
