"""Who made an object in an engine: the stamp that lies inside each of them."""

from __future__ import annotations

from dataclasses import dataclass

_PREFIX = "bulkhead"


@dataclass(frozen=True, slots=True)
class Stamp:
    """Installation and owner (UID of a DataCluster or DataPlane). Neighbours can read it, so it holds nothing else."""

    installation: str
    uid: str

    def __str__(self) -> str:
        return f"{_PREFIX}:{self.installation}:{self.uid}"

    @classmethod
    def parse(cls, text: str | None) -> Stamp | None:
        """The stamp that `text` is, or None where it is anything else."""
        parts = (text or "").split(":")
        if len(parts) != 3 or parts[0] != _PREFIX or not parts[1] or not parts[2]:
            return None
        return cls(parts[1], parts[2])


def owner_of(mark: Stamp | str | None) -> str:
    """What is known of whose an object is, from what it is marked with; for people."""
    if mark is None:
        return "it bears no stamp"
    stamp = mark if isinstance(mark, Stamp) else Stamp.parse(mark)
    return f"installation {stamp.installation}, UID {stamp.uid}" if stamp else "its stamp is not one of ours"
