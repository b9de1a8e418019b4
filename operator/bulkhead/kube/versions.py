"""Order of resourceVersions, and what is remembered of objects that are gone."""

from __future__ import annotations

from collections import OrderedDict

_REMEMBERED = 4096


def is_newer(candidate: str, known: str) -> bool:
    """Whether `candidate` was written after `known`.

    They are numbers of one counter in every API server of today, which Kubernetes has promised since 1.35. Where one is
    not, what comes later is taken for newer.
    """
    if candidate.isdecimal() and known.isdecimal():
        return int(candidate) > int(known)
    return candidate != known


class Tombstones:
    """UIDs of objects seen deleted, with the version at which they went.

    The answer to a write may be put into a store after the object's deletion was seen: without this it would come back
    and stay. Only the latest few thousand are kept; an answer is never later than that.
    """

    def __init__(self) -> None:
        self._versions: OrderedDict[str, str] = OrderedDict()

    def bury(self, uid: str, resource_version: str) -> None:
        """Remember that the object went at this version."""
        self._versions[uid] = resource_version
        self._versions.move_to_end(uid)
        if len(self._versions) > _REMEMBERED:
            self._versions.popitem(last=False)

    def covers(self, uid: str, resource_version: str) -> bool:
        """Whether this state of the object is from before it went."""
        buried = self._versions.get(uid)
        return buried is not None and not is_newer(resource_version, buried)
