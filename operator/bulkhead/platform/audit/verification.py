"""Whether a chain is the one that was signed: pure, one row after the other.

What is looked for, and what finds it:

    a changed row               its hash is not that of its content
    columns beside a row that   they are compared with what the row itself says
      say something else
    a removed, inserted or      numbers have a gap or repeat, or a row does not hold the hash of the one before
      moved row
    rows that were all written  a signed head says another hash, or ends beyond the last row
      anew, or cut off the end
    a forged head               no key signed it that the first key vouches for
    another first key           the export and the database, or who asks, know a different one

Heads from the database alone can be cut off together with the rows: what is believed beyond that rests on the export.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from bulkhead.platform.audit import entry, heads
from bulkhead.platform.audit.heads import Forged, Head
from bulkhead.protocol import assertions, jws
from bulkhead.protocol.assertions import Jwk, Jwks, KeyUse, Link, Succession
from bulkhead.protocol.documents import decode
from bulkhead.protocol.errors import Malformed, Untrusted
from bulkhead.protocol.jws import Typ
from bulkhead.protocol.keys import PublicKey

FIRST_LINK = bytes(32)
MOST_FINDINGS = 50
"""That are kept; beyond it they are counted."""


class Kind(StrEnum):
    """What is wrong."""

    CHANGED = "changed"
    COLUMNS = "columns"
    ORDER = "order"
    REWRITTEN = "rewritten"
    CUT = "cut"
    FORGED = "forged"
    FOREIGN_KEY = "foreign key"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. Holds nothing of any row's content."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the chain, with what its columns say beside it."""

    sequence: int
    previous_hash: bytes
    hash: bytes
    entry: bytes
    organisation: UUID | None
    recorded_at: datetime
    action: str


@dataclass(frozen=True, slots=True)
class Key:
    """A public key as one place holds it. link: of its predecessor; empty for a first one."""

    public: PublicKey
    link: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Rows that a backup did not hold any more: a fence accepted that."""

    epoch: int
    after: int


@dataclass(frozen=True, slots=True)
class Trusted:
    """Keys that may have signed heads, by kid, and the first of them, on which all rest."""

    first: PublicKey | None
    keys: Mapping[str, PublicKey]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found.

    rows: that were read
    covered, covered_at: the last row that an exported head speaks of, and when that was signed (Unix seconds); 0: none
    vouched: as covered, by heads of the database too
    losses: what fences accepted as lost
    unlisted: findings beyond those that are kept
    """

    rows: int
    findings: tuple[Finding, ...]
    unlisted: int
    exported_heads: int
    database_heads: int
    covered: int
    covered_at: int
    vouched: int
    losses: tuple[Lost, ...]

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def trust(exported: Iterable[Key], database: Iterable[Key], pinned: str = "") -> Trusted:
    """Which keys to believe: those of the export before those of the database.

    pinned: fingerprint that the first key must have; empty: whichever is the first
    """
    outside, inside = tuple(exported), tuple(database)
    first_outside, first_inside = _first(outside), _first(inside)
    findings = []
    if len(first_outside) > 1 or len(first_inside) > 1:
        findings.append(Finding(Kind.FOREIGN_KEY, "there is more than one key that no other vouches for"))
    if first_outside and first_inside and not first_outside & first_inside:
        findings.append(Finding(Kind.FOREIGN_KEY, "the database's first key is not the export's"))
    first = next(iter(first_outside or first_inside), None)
    if pinned and (first is None or first.fingerprint != pinned):
        first = next((key for key in first_outside | first_inside if key.fingerprint == pinned), None)
        findings.append(Finding(Kind.FOREIGN_KEY, "the first key does not have the fingerprint that was asked for"))
    return Trusted(first, _reachable(first, outside + inside), tuple(findings))


def _first(keys: Iterable[Key]) -> frozenset[PublicKey]:
    return frozenset(key.public for key in keys if not key.link)


def _reachable(first: PublicKey | None, keys: tuple[Key, ...]) -> dict[str, PublicKey]:
    """Every key to which links lead. A key that a lost transaction made leaves a fork, and both ways are right."""
    known = {first.kid: first} if first else {}
    waiting = [key for key in keys if key.link]
    while found := [key for key in waiting if key.public.kid not in known and _vouched(key, known)]:
        known |= {key.public.kid: key.public for key in found}
    return known


def _vouched(key: Key, known: Mapping[str, PublicKey]) -> bool:
    try:
        claims = decode(Succession, jws.read(key.link, Typ.SUCCESSION).payload)
        predecessor = known.get(claims.predecessor)
        if predecessor is None:
            return False
        # Whose URL it was then is no matter: the platform may have moved.
        assertions.follow(
            Jwks(keys=(Jwk.of(predecessor),)),
            (Link(key=Jwk.of(key.public), signature=key.link),),
            platform=claims.platform,
            use=KeyUse.AUDIT_HEAD,
        )
    except (Malformed, Untrusted):
        return False
    return True


@dataclass(slots=True)
class Chain:
    """Verifies while it is given the rows in the order of their numbers.

    trusted: see `trust`
    exported, database: statements of heads from either place
    losses: what the export says that fences accepted
    """

    trusted: Trusted
    exported: Iterable[str]
    database: Iterable[str]
    losses: tuple[Lost, ...] = ()
    _findings: list[Finding] = field(default_factory=list)
    _unlisted: int = 0
    _rows: int = 0
    _last: int = 0
    _link: bytes = FIRST_LINK
    _good: int = 0
    _covered: Head | None = None
    _vouched: int = 0
    _counts: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    _heads: dict[int, list[tuple[Head, bool]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for finding in self.trusted.findings:
            self._tell(finding.kind, finding.text)
        for statements, outside in ((self.exported, True), (self.database, False)):
            for statement in statements:
                self._expect(statement, outside=outside)

    def row(self, row: Row) -> None:
        """Take the next row."""
        self._rows += 1
        self._require_place(row)
        if hashlib.sha256(row.previous_hash + row.sequence.to_bytes(8, "big", signed=True) + row.entry).digest() != (
            row.hash
        ):
            self._tell(Kind.CHANGED, f"row {row.sequence} was changed: its content does not have its hash")
        self._require_columns(row)
        self._require_heads(row)
        self._last, self._link = row.sequence, row.hash

    def report(self) -> Report:
        """What was found, once the last row was given."""
        for sequence in sorted(self._heads):
            for head, outside in self._heads.pop(sequence):
                if not self._was_lost(head):
                    place = "exported" if outside else "signed"
                    self._tell(
                        Kind.CUT,
                        f"row {sequence} was {place} on {_time(head.at)} and is not there: the chain ends with row "
                        f"{self._last}" + ("" if self._last < sequence else " and leaves it out"),
                    )
        return Report(
            rows=self._rows,
            findings=tuple(self._findings),
            unlisted=self._unlisted,
            exported_heads=self._counts[True],
            database_heads=self._counts[False],
            covered=self._covered.sequence if self._covered else 0,
            covered_at=self._covered.at if self._covered else 0,
            vouched=self._vouched,
            losses=self.losses,
        )

    def _expect(self, statement: str, *, outside: bool) -> None:
        try:
            head = heads.proven(statement, self.trusted.keys)
        except Forged as forged:
            self._tell(Kind.FORGED, f"{forged} ({'in the export' if outside else 'in the database'})")
            return
        self._counts[outside] += 1
        self._heads.setdefault(head.sequence, []).append((head, outside))

    def _require_place(self, row: Row) -> None:
        if row.sequence <= self._last:
            self._tell(Kind.ORDER, f"row {row.sequence} is there twice")
        elif row.sequence > self._last + 1:
            missing = (
                f"rows {self._last + 1} to {row.sequence - 1} are"
                if row.sequence - self._last > 2
                else (f"row {self._last + 1} is")
            )
            self._tell(Kind.ORDER, f"{missing} missing")
        elif row.previous_hash != self._link:
            self._tell(
                Kind.ORDER,
                f"row {row.sequence} does not follow row {self._last}: one was changed, removed, added or moved here",
            )

    def _require_columns(self, row: Row) -> None:
        try:
            said = entry.read(row.entry)
        except Malformed:
            self._tell(Kind.CHANGED, f"row {row.sequence} does not hold an act")
            return
        organisation = UUID(said.organisation) if said.organisation else None
        if (organisation, said.action.value, _parsed(said.at)) != (row.organisation, row.action, row.recorded_at):
            self._tell(
                Kind.COLUMNS, f"row {row.sequence} is filed under another organisation, act or time than it holds"
            )

    def _require_heads(self, row: Row) -> None:
        for head, outside in self._heads.pop(row.sequence, ()):
            if head.hash == row.hash.hex():
                self._good = max(self._good, row.sequence)
                self._vouched = row.sequence
                if outside:
                    self._covered = head
            elif not self._was_lost(head):
                self._tell(
                    Kind.REWRITTEN,
                    f"row {row.sequence} is not the one that was signed on {_time(head.at)}: something between row "
                    f"{self._good + 1} and row {row.sequence} was written anew",
                )

    def _was_lost(self, head: Head) -> bool:
        """Whether a later life began without this row."""
        return any(head.epoch < loss.epoch and head.sequence > loss.after for loss in self.losses)

    def _tell(self, kind: Kind, text: str) -> None:
        if len(self._findings) < MOST_FINDINGS:
            self._findings.append(Finding(kind, text))
        else:
            self._unlisted += 1


def _parsed(at: str) -> datetime | None:
    try:
        return datetime.fromisoformat(at.removesuffix("Z")).replace(tzinfo=UTC)
    except ValueError:
        return None


def _time(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
