"""What the queue holds: one object of one of our kinds, or the data that is left of one."""

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


RETAINED_DATA = "RetainedData"
"""No kind of the API: the record alone is left, so it goes by the UID."""


def retained_data(uid: str) -> Key:
    return Key(RETAINED_DATA, uid)
