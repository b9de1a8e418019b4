"""Whether a Meilisearch server refuses what it must refuse: tried and asked at each look at it."""

from __future__ import annotations

from bulkhead.api.sensitive import Sensitive
from bulkhead.engines import release
from bulkhead.engines.errors import Insecure, Refused
from bulkhead.engines.meilisearch.api import MeilisearchApi
from bulkhead.engines.meilisearch.errors import RIGHTS
from bulkhead.engines.meilisearch.keys import key_value, require_strong
from bulkhead.engines.release import Release

OLDEST: Release = (1, 48, 3)
"""The first that denies actions on the whole server to keys of single indexes; earlier ones granted them."""
FORBIDDEN_FEATURE = "foreignKeys"
"""With it, a search in a tenant's own index gives documents of another's."""
LEAK = (
    "Meilisearch lets any search key learn the filterable attributes of any index whose name it guesses "
    "(federation.facetsByIndex of /multi-search): drop that field in front of the server, or use naming: Opaque"
)
_LISTING = "/indexes?limit=1"


def require_release(version: str) -> None:
    """Raises Insecure for one that can not hold tenants apart."""
    release.require("Meilisearch", version, OLDEST)


async def require_locked(api: MeilisearchApi, master_key: Sensitive) -> None:
    """Raises Insecure for a server without a master key, or with one that is too short: it lets in who has none."""
    require_strong(master_key)
    if not (await api.answers_to({}, _LISTING)).refused("Meilisearch"):
        raise Insecure("Meilisearch answers somebody without a key: start it with a master key (MEILI_MASTER_KEY)")


async def require_master(api: MeilisearchApi, master_key: Sensitive) -> None:
    """Raises Refused for an admin key in place of the master key: what is derived from it would open nothing."""
    key = await api.any_key()
    if key is not None and key.key != key_value(master_key, key.uid):
        raise Refused(
            f"what we were given for Meilisearch is a key, not the master key that keys derive from: {RIGHTS}"
        )


async def require_safe_features(api: MeilisearchApi) -> None:
    """Raises Insecure where an experimental feature lets tenants read each other."""
    if (await api.experimental_features()).get(FORBIDDEN_FEATURE):
        raise Insecure(
            f"the experimental feature {FORBIDDEN_FEATURE} of Meilisearch lets a key read indexes that it does not "
            "list: turn it off (PATCH /experimental-features)"
        )
