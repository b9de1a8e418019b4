"""Whether a token opens anything, and what may be minted by whom: pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from bulkhead.protocol.assertions import Source
from bulkhead.protocol.problems import Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All that decides about an API token. Times are the database's; None: it never came to that.

    member_ended_at: of the membership, of its issuer's word for the organisation, or of the issuer
    minter_revoked_at: of the token that minted this one
    """

    now: datetime
    epoch: int
    platform_epoch: int
    expires_at: datetime
    revoked_at: datetime | None
    member_ended_at: datetime | None
    minter_revoked_at: datetime | None


def refusal(standing: Standing) -> Code | None:
    """Why a token opens nothing; None: it does. Tokens of a former life of the platform are carried over by the fence,
    where it knows what was revoked since.
    """
    ended = (standing.revoked_at, standing.member_ended_at, standing.minter_revoked_at)
    if any(moment is not None for moment in ended) or standing.epoch < standing.platform_epoch:
        return Code.API_TOKEN_REVOKED
    return Code.API_TOKEN_EXPIRED if standing.expires_at <= standing.now else None


MINTED_BY: Final[Mapping[Source, frozenset[Source]]] = {
    Source.HUMAN: frozenset(Source),
    Source.WORKER: frozenset({Source.WORKER}),
    Source.MCP: frozenset({Source.MCP}),
}
"""What a minted token may say of who uses it: no program makes a credential that passes for a person."""


def exceeds(asked: frozenset[str], source: Source, *, minter: frozenset[str], minter_source: Source) -> str:
    """In which way what is asked goes beyond its minter; empty: in none."""
    if beyond := sorted(asked - minter):
        return f"the minter itself lacks {', '.join(beyond)}"
    if source not in MINTED_BY[minter_source]:
        return f"a credential of a {minter_source.value} mints none of a {source.value}"
    return ""
