"""Which servers may hold tenants."""

from __future__ import annotations

import pytest

from bulkhead.engines.errors import Insecure
from bulkhead.engines.minio.release import advisories_of, oldest_version


@pytest.mark.parametrize("version", ["2025-04-03T14:56:27Z", "RELEASE.2024-12-13T22-19-12Z", "2021-01-01T00:00:00Z"])
def test_a_server_that_any_user_can_take_over_is_insecure(version: str) -> None:
    with pytest.raises(Insecure, match="CVE-2024-55949"):
        advisories_of(version)


@pytest.mark.parametrize(
    "version",
    ["2025-04-03T14:56:28Z", "RELEASE.2025-10-15T17-29-55Z", "DEVELOPMENT.GOGET", "v0.0.0-20260212201848-7"],
)
def test_a_server_that_takes_unverified_uploads_is_warned_of(version: str) -> None:
    (advisory,) = advisories_of(version)
    assert "CVE-2026-41145" in advisory


def test_a_server_with_the_fix_is_not_warned_of() -> None:
    assert advisories_of("RELEASE.2026-04-11T03-20-12Z") == ()


def test_while_an_upgrade_rolls_the_oldest_server_counts() -> None:
    assert oldest_version(["2026-05-01T00:00:00Z", "2025-05-01T00:00:00Z"]) == "2025-05-01T00:00:00Z"
    assert oldest_version([]) == ""
