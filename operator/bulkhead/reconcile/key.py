"""What the queue holds: one object of one of our kinds."""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """Kind and name; all our kinds are cluster-scoped."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


def data_cluster(name: str) -> Key:
    return Key("DataCluster", name)


def data_plane(name: str) -> Key:
    return Key("DataPlane", name)


def tenant(name: str) -> Key:
    return Key("Tenant", name)
