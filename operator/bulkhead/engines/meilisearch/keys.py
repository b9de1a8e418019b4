"""Keys of tenants: how they are derived, and the little that they may do.

The value of a key is an HMAC of its uid under the master key, so that it is known before the key is made, and again if
it is lost. Made anew under the same uid, a deleted key opens again, with all tokens that were derived from it; hence a
uid of its own for each owner and generation.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from bulkhead.api.ownership import Stamp
from bulkhead.api.record import Credential
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.errors import Insecure

ACTIONS = ("documents.add", "documents.delete", "documents.get", "indexes.get", "search")
"""What a Data API needs to write, read and search documents; sorted.

`tasks.get` is not among them: it shows how many tasks all tenants have, and in batches the names of their indexes. So a
client waits for a document to be there rather than for its task. `indexes.update` would rename an index into any free
name, `settings.update` can stall the one task queue of all, `*`, `*.get` and an empty list of indexes reach everything.
"""
EVERY_INDEX = "*"
MIN_KEY_BYTES = 16
"""What the server itself demands in production. Who holds a key can look for the master key offline and unseen."""

_NAMESPACE = uuid.UUID("b0a5b5f2-5d6e-5b59-8d6b-2f6c1c3a9e10")


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is on the server, without its value."""

    uid: str
    name: str
    actions: tuple[str, ...]
    indexes: tuple[str, ...]
    expires_at: str | None = None

    def names(self, index: str) -> bool:
        """Whether it is for `index`: listed, or by a pattern. One for all indexes, such as the server's own default
        keys, is an administrator's and names none."""
        return any(index == each or (each.endswith("*") and index.startswith(each[:-1])) for each in self._named)

    @property
    def _named(self) -> Iterator[str]:
        return (each for each in self.indexes if each != EVERY_INDEX)


def key_uid(stamp: Stamp, generation: int) -> str:
    """Always the same for an owner and a generation, and never for another: making it twice is one key."""
    return str(uuid.uuid5(uuid.uuid5(_NAMESPACE, str(stamp)), str(generation)))


def key_value(master_key: Sensitive, uid: str) -> Sensitive:
    """The value that the server gives to the key `uid` (meilisearch-auth, `generate_key_as_hexa`)."""
    return Sensitive(hmac.new(master_key.reveal().encode(), uid.encode(), hashlib.sha256).hexdigest())


def master_fingerprint(master_key: Sensitive) -> str:
    """Tells whether another master key is in force; 16 hex digits that say nothing of the key."""
    return hashlib.sha256(b"bulkhead/meilisearch/" + master_key.reveal().encode()).hexdigest()[:16]


def require_strong(master_key: Sensitive) -> None:
    """Raises Insecure for a master key that a tenant could find from its own."""
    if len(master_key.reveal().encode()) < MIN_KEY_BYTES:
        raise Insecure(
            f"the Meilisearch master key has fewer than {MIN_KEY_BYTES} bytes: tenants' keys derive from it, so they "
            "could find it by trying; set a longer random one on the server and under master-key in adminSecretRef"
        )


def tenant_key(stamp: Stamp, generation: int, indexes: tuple[str, ...]) -> Key:
    """The key of a generation: exactly these indexes, never a pattern. Raises ValueError where it would open more."""
    if not indexes or any("*" in index or not index for index in indexes):
        raise ValueError("a key without indexes, or with a pattern, would open those of others")
    return Key(uid=key_uid(stamp, generation), name=str(stamp), actions=ACTIONS, indexes=tuple(sorted(indexes)))


def issue(master_key: Sensitive, stamp: Stamp, generation: int) -> Credential:
    """The credential of a generation; it does not expire, and hangs on the master key."""
    uid = key_uid(stamp, generation)
    return Credential(
        generation=generation,
        identity=uid,
        value=key_value(master_key, uid),
        signed_by=master_fingerprint(master_key),
    )
