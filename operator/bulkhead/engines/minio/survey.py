"""One digest of a tenant's part of the store, from what is wanted and from what a look at all tenants shows. Pure.

It covers existence, policies and users. Quotas, access policies of buckets and secrets need a call per tenant: they are
found when a tenant is looked at by itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from bulkhead.engines.contract import Access, Request
from bulkhead.engines.minio import policy
from bulkhead.engines.minio.state import User, wanted_of


def digest_wanted(request: Request) -> str:
    """Digest of what a survey shows when `request` is fulfilled."""
    wanted = wanted_of(request)
    users = wanted.secrets if request.access is Access.OPEN else ()
    user = User(enabled=True, policies=frozenset({wanted.policy}))
    return _digest(wanted.document, {wanted.bucket}, dict.fromkeys(users, user))


def digests_seen(
    installation: str,
    policies: Mapping[str, Mapping[str, Any]],
    buckets: Collection[str],
    users: Mapping[str, User],
) -> dict[str, str]:
    """Digests by UID, for every policy that bears a stamp of `installation`. Policies and users come by name."""
    holders = _by_policy(users)
    found = {}
    for name, document in policies.items():
        stamp = policy.stamp_of(document)
        if stamp is not None and stamp.installation == installation:
            present = policy.buckets_of(document).intersection(buckets)
            found[stamp.uid] = _digest(policy.canonical(document), present, holders.get(name, {}))
    return found


def _by_policy(users: Mapping[str, User]) -> dict[str, dict[str, User]]:
    """Users by the policy that they are named after: `acme-3f9a1c-2` after `acme`."""
    found: dict[str, dict[str, User]] = {}
    for access_key, user in users.items():
        found.setdefault(access_key.rsplit("-", 2)[0], {})[access_key] = user
    return found


def _digest(document: str, buckets: Collection[str], users: Mapping[str, User]) -> str:
    """Disabled users do not count: what opens nothing is neither missed nor in the way."""
    opened = [[key, sorted(user.policies), sorted(user.groups)] for key, user in sorted(users.items()) if user.enabled]
    text = json.dumps([document, sorted(buckets), opened])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
