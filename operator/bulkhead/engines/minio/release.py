"""Which releases of the server may hold tenants, and what is known to be open in the others. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bulkhead.engines.errors import Insecure

OLDEST = "2025-04-03T14-56-28Z"
"""Before it any user could import IAM settings (CVE-2024-55949), and some uploads went unverified (CVE-2025-31489)."""

VERIFIES_TRAILERS = "2026-04-11T03-20-12Z"
"""From it on no upload is taken unverified (CVE-2026-40344, CVE-2026-41145); the open-source server ended before it."""

UNVERIFIED_TRAILERS = (
    "uploads signed as STREAMING-UNSIGNED-PAYLOAD-TRAILER are not verified (CVE-2026-40344, CVE-2026-41145): policies "
    "of tenants deny them, but who guesses the access key of an administrator writes into every bucket; use a random "
    "one, and reject such uploads in front of the server"
)

DEFAULT_ADMINISTRATOR = "minioadmin"

_RELEASE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d)[:-](\d\d)[:-](\d\d)Z")


def release_of(version: str) -> str:
    """The release in `version` (`2025-10-15T17:29:55Z`, `RELEASE.2025-10-15T17-29-55Z`), such that releases sort; empty
    for a build without one."""
    match = _RELEASE.search(version)
    return f"{match[1]}-{match[2]}-{match[3]}Z" if match else ""


def oldest_version(versions: Iterable[str]) -> str:
    """Of the servers of one deployment, the version that counts while an upgrade rolls."""
    return min(versions, key=release_of, default="")


def advisories_of(version: str) -> tuple[str, ...]:
    """Known holes of this version that tenants can live with. Raises Insecure for one that they can not.

    A build without a release was made by whoever runs it: it is taken, and warned of as the newest open-source one.
    """
    release = release_of(version)
    if release and release < OLDEST:
        raise Insecure(
            f"the object store is of {release}: before {OLDEST} any of its users could take it over (CVE-2024-55949) "
            "or write into foreign buckets (CVE-2025-31489); upgrade it"
        )
    if release >= VERIFIES_TRAILERS:
        return ()
    return (UNVERIFIED_TRAILERS,)


def refuse_default_administrator() -> Insecure:
    """For a server that has an account of the vendor's default name."""
    return Insecure(
        f'the object store has an account named "{DEFAULT_ADMINISTRATOR}", the default of its vendor: whoever knows '
        "the name can write into every bucket (CVE-2026-41145); set MINIO_ROOT_USER to a random one"
    )
