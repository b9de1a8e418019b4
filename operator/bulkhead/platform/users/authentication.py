"""Who calls, where people may: told by the form of what is shown, without a second try as something else.

oat_…   API token       a person or a program that acts for one
bhk_…   service key     a plane, where the row is for planes too
"""

from __future__ import annotations

from typing import Any, Final

from psycopg.rows import tuple_row

from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import look_up
from bulkhead.platform.http.incoming import Incoming
from bulkhead.platform.http.route import Admin, Joined, PlatformAdmin, Principal, User, UserOrPlane, UserWith
from bulkhead.platform.keys.service_key import ServiceKeys
from bulkhead.platform.users import sql
from bulkhead.platform.users.api_token import ApiTokens
from bulkhead.platform.users.login import Logins, Person
from bulkhead.protocol.assertions import Source
from bulkhead.protocol.problems import Code, Problem

PLATFORM_ADMIN: Final = "PLATFORM_ADMIN"
"""What a person lacks who is none; no ability of an organisation."""


class Users:
    """The authenticator of rows for people, planes beside people, and platform admins."""

    def __init__(self, pool: Pool, *, tokens: ApiTokens, keys: ServiceKeys, logins: Logins) -> None:
        self._pool = pool
        self._tokens = tokens
        self._keys = keys
        self._logins = logins

    async def __call__(self, caller: UserWith | UserOrPlane | PlatformAdmin, request: Incoming) -> Principal:
        """Who shows the request's credential. Raises Problem, with what to do."""
        match request.bearer[:4]:
            case "oat_":
                return await self._by_token(caller, request)
            case "bhk_":
                return await self._by_key(caller, request)
            case "bht_":
                raise Problem(Code.CREDENTIAL_WRONG_KIND, "a registration token lets join, and nothing else")
            case _:
                return _as(caller, await self._logins.person(request.bearer))

    async def _by_token(self, caller: UserWith | UserOrPlane | PlatformAdmin, request: Incoming) -> User | Admin:
        found = await self._tokens.found(request.bearer, request.source)
        if not isinstance(caller, PlatformAdmin):
            return found.user()
        admin: tuple[Any, ...] | None = await look_up(self._pool, sql.PLATFORM_ADMIN, (found.id,), tuple_row)
        if admin is None:
            raise Problem(
                Code.ABILITY_MISSING, f"{PLATFORM_ADMIN}: this token was not made for it, or its owner is none"
            )
        issuer, subject = admin
        return Admin(subject=subject, issuer=issuer, source=found.source, token_id=found.id)

    async def _by_key(self, caller: UserWith | UserOrPlane | PlatformAdmin, request: Incoming) -> Joined:
        if not isinstance(caller, UserOrPlane):
            raise Problem(Code.CREDENTIAL_WRONG_KIND, "this is for people: show an API token")
        return await self._keys(caller, request)


def _as(caller: UserWith | UserOrPlane | PlatformAdmin, person: Person) -> User | Admin:
    """Who has logged in, in the part that the row is for."""
    standing = person.standing
    if isinstance(caller, PlatformAdmin):
        if not standing.platform_admin:
            raise Problem(Code.ABILITY_MISSING, PLATFORM_ADMIN)
        return Admin(subject=person.subject, issuer=person.issuer, source=Source.HUMAN)
    if standing.organisation_id is None:
        raise Problem(Code.MEMBERSHIP_MISSING)
    return User(
        organisation_id=standing.organisation_id,
        subject=person.subject,
        issuer=person.issuer,
        abilities=frozenset(standing.abilities or ()),
        source=Source.HUMAN,
    )
