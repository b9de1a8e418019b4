"""The record: the operator's durable memory of one DataCluster, kept in one Secret of its own namespace.

It is written before anything is made. Whatever else exists (tenant Secrets, status, objects in engines) derives from
it,
so that a lost status, a tenant's edit or a crash between two steps never leads to a second password or a second
database.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from bulkhead.api.names import PhysicalNames
from bulkhead.api.sensitive import Sensitive


class EngineName(StrEnum):
    """The engines, by the field of a DataPlane's spec that declares them."""

    POSTGRES = "postgres"
    OBJECT_STORE = "objectStore"
    VECTORS = "vectors"
    SEARCH = "search"


class Credential(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One generation of a tenant's credential for one engine."""

    generation: int
    identity: str
    """Login role, access key, token subject or key uid: never used twice, not even by a successor of the same name."""
    value: Sensitive
    """Password, secret key, token or key value."""
    verifier: str = ""
    """What the engine is given instead of the value (Postgres: the SCRAM verifier)."""
    signed_by: str = ""
    """Fingerprint of the admin key that `value` hangs on; another one in force means: issue again."""
    expires_at: int = 0
    """Unix seconds, 0: does not expire."""
    renew_at: int = 0
    """Unix seconds from which a new value is issued, 0: never."""


class Holding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the record holds for one engine."""

    server: str = ""
    """Identity of the server that this holding was claimed on; another one is `EngineChanged`."""
    claimed_at: str = ""
    """RFC 3339 time at which our names were seen absent; empty: not claimed, so nothing may be created."""
    claimed: tuple[str, ...] = ()
    """Of the objects that come and go with the spec (`index/acme_entries`) those whose names were seen absent and that
    may have been begun since, sorted. One leaves only by being provisioned: whether the spec still asks for it or not,
    what a crash left of it is found."""
    provisioned: tuple[str, ...] = ()
    """Objects that hold tenant data and were complete once (`database`, `bucket`, `index/acme_entries`), sorted.
    One that is
    here and gone from the engine is `DataMissing`."""
    credentials: tuple[Credential, ...] = ()
    """Generations in force, oldest first; the last one is published."""
    fingerprint: str = ""
    """Digest of what a bulk survey of the engine shows when all is as wanted; empty until it was so once. Of retained
    data: when its access is cut."""
    recreated: str = ""
    """The last value of the annotation `bulkhead.dev/recreate` that was obeyed for this engine."""
    predecessors: tuple[str, ...] = ()
    """Of a DataPlane: the servers in whose place `server` was accepted, sorted."""
    accepted: str = ""
    """Of a DataPlane: the last entry of the annotation `bulkhead.dev/accept-engine` that was obeyed for this engine."""

    @property
    def begun(self) -> bool:
        """Whether anything was ever made under it, or may have been: before that comes a claim."""
        return bool(self.claimed_at or self.claimed or self.provisioned)

    @property
    def published(self) -> Credential | None:
        """The credential that projections carry."""
        return self.credentials[-1] if self.credentials else None


class Registration(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a DataPlane or a DataCluster is known to the platform. What a step needs rests here before it is taken."""

    platform: str
    """The platform's URL in its canonical form; all but the key pair belongs to this platform alone."""
    private_key: Sensitive
    """Ed25519, in base64url: what the identity is bound to."""
    secret: Sensitive
    """Of the service key; its digest, never itself, is sent when it is registered."""
    token: Sensitive = Sensitive("")
    """Registration token in hand: kept until its exchange is answered, so that a lost answer is met by an exact
    repeat."""
    identity: str = ""
    """The platform's id of this plane or cluster; empty: not joined."""
    key_id: str = ""
    """Id of the service key; empty although there is an identity: it wants a re-join."""
    next_secret: Sensitive = Sensitive("")
    """Of the service key that is to take the place of the one in use, until the platform has answered."""
    challenge: str = ""
    """What a re-join answers, until it is answered itself."""
    trusted: tuple[str, ...] = ()
    """Public keys that sign for the platform, oldest first."""
    applied_generation: int = 0
    """Highest generation of the platform's desired state that was taken over."""
    suspended: bool = False
    """What that generation says."""


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Content of the Secret, as JSON under the key `record`."""

    installation: str
    uid: str
    slug: str
    tenant: str
    tenant_uid: str
    plane: str
    names: PhysicalNames
    holdings: dict[EngineName, Holding] = {}
    retained_at: str = ""
    """RFC 3339 time since which only the data of a deleted DataCluster is left; empty while it lives."""
    registration: Registration | None = None
    """None: it never began to join a platform."""

    def holding(self, engine: EngineName) -> Holding:
        """What is held for `engine`, an empty holding where nothing is."""
        return self.holdings.get(engine, Holding())

    def with_holding(self, engine: EngineName, holding: Holding) -> Record:
        """This record with `holding` in place of what it held for `engine`."""
        return msgspec.structs.replace(self, holdings={**self.holdings, engine: holding})

    def outline(self, *, settled: str, children: str, status: str) -> Outline:
        """What may be known of this record without reading a secret."""
        published = {name: held.published for name, held in self.holdings.items()}
        return Outline(
            uid=self.uid,
            slug=self.slug,
            tenant_uid=self.tenant_uid,
            plane=self.plane,
            fingerprints={name: held.fingerprint for name, held in self.holdings.items() if held.fingerprint},
            renew_at=min((c.renew_at for c in published.values() if c is not None and c.renew_at), default=0),
            settled=settled,
            children=children,
            status=status,
            retained_at=self.retained_at,
            platform=self.registration.platform if self.registration else "",
            identity=self.registration.identity if self.registration else "",
            suspended=self.registration is not None and self.registration.suspended,
        )


class PlaneRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The memory of one DataPlane: which server each engine is, and which of our preparations are made there."""

    installation: str
    uid: str
    proposal: str
    """Identity that we write into a server which has none of its own."""
    holdings: dict[EngineName, Holding] = {}
    registration: Registration | None = None
    """None: it never began to join a platform."""

    def holding(self, engine: EngineName) -> Holding:
        """What is held for `engine`, an empty holding where nothing is."""
        return self.holdings.get(engine, Holding())

    def with_holding(self, engine: EngineName, holding: Holding) -> PlaneRecord:
        """This record with `holding` in place of what it held for `engine`."""
        return msgspec.structs.replace(self, holdings={**self.holdings, engine: holding})


class Outline(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An annotation on the record's Secret: with it a restart needs no Secret value, only a metadata watch."""

    uid: str
    slug: str
    tenant_uid: str
    plane: str
    fingerprints: dict[EngineName, str] = {}
    """Per engine, what a survey should show."""
    renew_at: int = 0
    """Unix seconds at which the first credential wants renewal, 0: never."""
    settled: str = ""
    """Digest of inputs and children of the last reconcile that ended with everything in place; empty: none did."""
    children: str = ""
    """Digest of the children as that reconcile left them: while it fits, nobody wrote to them since."""
    status: str = ""
    """Digest of the status that was written then, times left out."""
    retained_at: str = ""
    platform: str = ""
    """URL of the platform that it joins or has joined; empty: none."""
    identity: str = ""
    """That platform's id of it; empty: it has not joined."""
    suspended: bool = False
    """That platform wants it suspended."""
