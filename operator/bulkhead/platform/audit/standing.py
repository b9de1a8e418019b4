"""How far the export says that the platform had come, and whether a database shows less: then it was restored. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from bulkhead.platform.audit import heads
from bulkhead.platform.audit.export import AnyLine, Damaged, EpochLine, HeadLine, KeyLine, RevocationLine, lines
from bulkhead.platform.audit.heads import Head
from bulkhead.protocol.errors import Malformed

FENCE = "run `bulkhead platform fence`"


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds, in all.

    epoch: the highest; 0: it is empty
    head: the furthest; None: there is none
    revocations: as they were written; one may be there more than once
    kids: keys that sign heads
    fenced: the highest epoch that a fence began
    lived: the highest epoch in which a replica started, signed or revoked anything
    torn: names of files whose last line a crash has cut
    """

    epoch: int = 0
    head: Head | None = None
    revocations: frozenset[RevocationLine] = frozenset()
    kids: frozenset[str] = frozenset()
    torn: tuple[str, ...] = ()
    fenced: int = 0
    lived: int = 0


@dataclass(frozen=True, slots=True)
class Database:
    """Where a database stands.

    sequence, hash: of the chain's last row; 0 and empty: it has none
    hash_at_head: of the row that the furthest known head speaks of; None: there is no such row
    """

    epoch: int
    sequence: int
    hash: bytes
    hash_at_head: bytes | None


@dataclass(slots=True)
class _Sum:
    epoch: int = 0
    head: Head | None = None
    revocations: set[RevocationLine] = field(default_factory=set)
    kids: set[str] = field(default_factory=set)
    fenced: int = 0
    lived: int = 0

    def add(self, line: AnyLine) -> None:
        match line:
            case EpochLine():
                if line.after is None:
                    self.live(line.epoch)
                else:
                    self.epoch, self.fenced = max(self.epoch, line.epoch), max(self.fenced, line.epoch)
            case KeyLine():
                self.kids.add(line.kid)
            case HeadLine():
                self.take(heads.claimed(line.statement))
            case RevocationLine():
                self.revocations.add(line)
                self.live(line.epoch)

    def live(self, epoch: int) -> None:
        self.epoch, self.lived = max(self.epoch, epoch), max(self.lived, epoch)

    def take(self, head: Head) -> None:
        self.live(head.epoch)
        self.head = head if self.head is None else max(self.head, head, key=lambda each: each.order)


def read(directory: Path) -> Exported:
    """All that the export in `directory` holds. Raises Damaged, OSError."""
    torn: list[str] = []
    return total(lines(directory, torn=lambda path: torn.append(path.name)), torn)


def total(given: Iterable[AnyLine], torn: Iterable[str] = ()) -> Exported:
    """What lines say together. `torn` is read after the last of them. Raises Damaged."""
    found = _Sum()
    try:
        for line in given:
            found.add(line)
    except Malformed as error:
        raise Damaged(f"a head of the export can not be read: {error}") from None
    return Exported(
        found.epoch,
        found.head,
        frozenset(found.revocations),
        frozenset(found.kids),
        tuple(torn),
        found.fenced,
        found.lived,
    )


def seen(known: Exported, database: Database) -> Exported:
    """What a running replica knows once it has found `database` to be no less than that.

    A raised epoch is taken as it is: the fence compared the database with the export before it raised it.
    """
    head = known.head if known.epoch == database.epoch else None
    if database.sequence:
        head = Head(epoch=database.epoch, sequence=database.sequence, hash=database.hash.hex(), at=0)
    return replace(known, epoch=database.epoch, head=head)


def knowing(known: Exported, kids: frozenset[str]) -> Exported:
    """`known`, once these keys are exported too."""
    return replace(known, kids=known.kids | kids)


def shortfall(exported: Exported, database: Database) -> str:
    """Why this database must not serve beside this export, with what to do; empty: it may.

    An empty export says nothing: it is a new one.
    """
    if not exported.epoch:
        return ""
    if database.epoch < exported.epoch:
        return f"the export knows epoch {exported.epoch}, the database {database.epoch}: it was restored; {FENCE}"
    if database.epoch > exported.epoch:
        return (
            f"the database says epoch {database.epoch}, and the export ends with {exported.epoch}: "
            f"it was fenced without this export; {FENCE}"
        )
    head = exported.head
    if head is None or head.epoch < database.epoch:
        return ""
    if database.hash_at_head is None:
        return (
            f"row {head.sequence} of the audit was exported, and the database ends with {database.sequence}: "
            f"it was restored; {FENCE}"
        )
    if database.hash_at_head.hex() != head.hash:
        return f"row {head.sequence} of the audit is not the one that was exported: the database was restored; {FENCE}"
    return ""
