"""Who calls with a registration token."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from psycopg.rows import class_row

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import look_up
from bulkhead.platform.http.incoming import Incoming
from bulkhead.platform.http.route import RegistrationToken, TokenHolder
from bulkhead.platform.joining import sql
from bulkhead.protocol import credentials
from bulkhead.protocol.errors import Malformed
from bulkhead.protocol.problems import Code, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundToken:
    """A token that there is."""

    id: UUID
    organisation_id: UUID | None
    plane_id: UUID | None
    digest: bytes = field(repr=False)


class RegistrationTokens:
    """The authenticator of rows that are called with a registration token."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __call__(self, caller: RegistrationToken, request: Incoming) -> TokenHolder:  # noqa: ARG002 - a protocol
        """Whose token the request shows; whether it is still good is the exchange's to say. Raises Problem."""
        try:
            shown = credentials.RegistrationToken.parse(request.bearer)
        except Malformed as error:
            raise Problem(Code.CREDENTIAL_MALFORMED, str(error)) from None
        found = await look_up(self._pool, sql.FIND_BY_DIGEST, (shown.digest, shown.digest), class_row(FoundToken))
        if found is None:
            raise Problem(Code.TOKEN_UNKNOWN)
        return TokenHolder(
            token_id=found.id, organisation_id=found.organisation_id, plane_id=found.plane_id, found=found
        )
