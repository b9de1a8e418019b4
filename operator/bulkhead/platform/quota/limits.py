"""Which limit each kind of caller has: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """name: of the policy, as headers tell it; quota: requests in a window of so many seconds; block: leased at once"""

    name: str
    quota: int
    seconds: int = 60
    block: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.block <= self.quota:
            raise ValueError("a block is at least one request and at most the quota")


USER: Final = Limit(name="user", quota=600, block=30)
ORGANISATION: Final = Limit(name="organisation", quota=6000, block=200)
CLUSTER: Final = Limit(name="cluster", quota=120)
"""Four times what heartbeats, sync and a rotation come to."""
TOKEN: Final = Limit(name="token", quota=60)
"""A registration token is good for one exchange, which may be repeated."""
PLANE: Final = Limit(name="plane", quota=6000)
"""A plane asks for a token for each of its clusters, and may have a thousand that begin together."""
ADMIN: Final = Limit(name="admin", quota=600)
