"""What a caller may do: globally, or on a list of single collections."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Flag
from typing import Literal

from hack.plane.emulators.qdrant.errors import forbidden

GlobalMode = Literal["r", "m"]
CollectionMode = Literal["r", "rw", "prw"]


class Need(Flag):
    """What an operation needs beyond reading points."""

    READ = 0
    WRITE = 1
    MANAGE = 2
    EXTRAS = 4  # snapshots, payload indexes, named vectors, cluster info: what mode "prw" has not


@dataclass(frozen=True, slots=True)
class Access:
    """The `access` claim of a token. `everywhere` set: all collections; else only those in `collections`."""

    everywhere: GlobalMode | None = None
    collections: Mapping[str, CollectionMode] = field(default_factory=dict)

    def require_global(self, need: Need = Need.READ) -> None:
        if self.everywhere is None:
            raise forbidden("Global access is required")
        if need & (Need.WRITE | Need.MANAGE) and self.everywhere == "r":
            raise forbidden("Global manage access is required")

    def require(self, collection: str, need: Need = Need.READ) -> None:
        """The name is the one asked for: an alias is another name, whatever it points at."""
        if self.everywhere is not None:
            self.require_global(need)
            return
        mode = self.collections.get(collection)
        if mode is None:
            raise forbidden(f"Access to collection {collection} is required")
        _require_mode(collection, mode, need)

    def sees(self, collection: str) -> bool:
        return self.everywhere is not None or collection in self.collections


def _require_mode(collection: str, mode: CollectionMode, need: Need) -> None:
    if Need.EXTRAS in need and mode == "prw":
        raise forbidden(f"Only points access is allowed for collection {collection}")
    if Need.WRITE in need and mode == "r":
        raise forbidden(f"Write access to collection {collection} is required")
    if Need.MANAGE in need:
        raise forbidden("Manage access for this operation is required")


FULL = Access(everywhere="m")
