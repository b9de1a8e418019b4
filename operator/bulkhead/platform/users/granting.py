"""What people of the platform give: organisations, planes and tenants for them, members, issuers, platform admins.

Each act says whether it changed anything, and is recorded in its own transaction if it did: to say it twice is the same
as to say it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from psycopg import AsyncConnection

from bulkhead.platform.audit.entry import Action, Actor, Details, Target, TargetKind
from bulkhead.platform.audit.record import record
from bulkhead.platform.keys import fast
from bulkhead.platform.keys.fast import Fast
from bulkhead.platform.keys.scrypt import Hashed
from bulkhead.platform.users import sql
from bulkhead.protocol.assertions import Ability, Source
from bulkhead.protocol.credentials import ApiToken
from bulkhead.protocol.problems import Code, Problem

Tx = AsyncConnection[Any]

LOCAL_ISSUER: Final = "urn:bulkhead:local"
"""Of people whom no identity provider vouches for: they have API tokens alone. It is no URL, so nobody signs for it."""
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""That may sign. Neither a shared secret nor none: a public key would be taken for such a secret."""
USUAL_ALGORITHMS: Final = ("RS256", "ES256")


@dataclass(frozen=True, slots=True)
class Given:
    """id: of what there is now; changed: whether it is otherwise than before."""

    id: UUID
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A living membership."""

    id: UUID
    organisation_id: UUID
    abilities: tuple[str, ...]
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """An API token that is to be made, with its secret as it rests.

    minter: id of the token that mints it; latest: when it ends at the latest, whatever `seconds` say
    """

    token: ApiToken
    hashed: Hashed
    fast: Fast | None = None
    name: str
    abilities: tuple[str, ...]
    source: Source
    seconds: int
    minter: str | None = None
    latest: Any = None
    platform_admin: bool = False


@dataclass(frozen=True, slots=True)
class Granting:
    """Gives, within `tx`, in the name of `by`. Each act raises Problem where what it names is missing or in the way."""

    tx: Tx
    by: Actor

    async def organisation(self, name: str) -> Given:
        """An organisation of this name."""
        row = await self._row(sql.ADD_ORGANISATION, name)
        if row is None:
            return Given(await self.organisation_named(name), changed=False)
        await self._record(row[0], Action.ORGANISATION_CREATED, _target(TargetKind.ORGANISATION, row[0], name))
        return Given(row[0], changed=True)

    async def organisation_named(self, name: str) -> UUID:
        """The id of the organisation that there is."""
        row = await self._row(sql.ORGANISATION, name)
        if row is None:
            raise Problem(Code.NOT_FOUND, f"there is no organisation {name!r}")
        found: UUID = row[0]
        return found

    async def plane(self, organisation: UUID, plane: UUID) -> Given:
        """Let a plane act for an organisation."""
        known = await self._row(sql.PLANE, plane)
        if known is None:
            raise Problem(Code.NOT_FOUND, f"no plane {plane} has joined")
        values = {"organisation": organisation, "plane": plane, "by": self.name}
        if await self._named(sql.GRANT_PLANE, values) is None:
            return Given(plane, changed=False)
        await self._record(organisation, Action.PLANE_GRANTED, _target(TargetKind.PLANE, plane, known[0]))
        return Given(plane, changed=True)

    async def tenant(self, organisation: UUID, plane: UUID, tenant: str) -> Given:
        """Say whose a tenant of a plane is. Another organisation's is not taken away from it."""
        if await self._row(sql.LIVING_GRANT, organisation, plane) is None:
            raise Problem(Code.GRANT_MISSING, "grant the plane to the organisation first")
        values = {"organisation": organisation, "plane": plane, "tenant": tenant, "by": self.name}
        if await self._named(sql.MAP_TENANT, values) is not None:
            details = Details(plane=str(plane), tenant=tenant)
            await self._record(organisation, Action.TENANT_MAPPED, _target(TargetKind.TENANT, "", tenant), details)
            return Given(organisation, changed=True)
        row = await self._row(sql.MAPPED, plane, tenant)
        if row is None or row[0] != organisation:
            raise Problem(Code.CONFLICT, f"the tenant {tenant!r} of this plane is mapped to another organisation")
        return Given(organisation, changed=False)

    async def issuer(self, url: str, audiences: Sequence[str], algorithms: Sequence[str]) -> Given:
        """Believe what an identity provider signs for one of these audiences, in one of these ways."""
        row = await self._row(sql.ISSUER, url)
        if row is None:
            row = await self._row(sql.ADD_ISSUER, url, list(audiences), list(algorithms))
            if row is None:
                raise Problem(Code.CONFLICT, "the issuer is being added by somebody else")
            await self._record(None, Action.ISSUER_CHANGED, _target(TargetKind.ISSUER, row[0], url))
            return Given(row[0], changed=True)
        if (sorted(row[1]), sorted(row[2]), row[3]) == (sorted(audiences), sorted(algorithms), True):
            return Given(row[0], changed=False)
        await self.tx.execute(sql.CHANGE_ISSUER, (list(audiences), list(algorithms), row[0]))
        await self._record(None, Action.ISSUER_CHANGED, _target(TargetKind.ISSUER, row[0], url))
        return Given(row[0], changed=True)

    async def issuer_named(self, url: str) -> UUID:
        """The id of the issuer that there is."""
        row = await self._row(sql.ISSUER, url)
        if row is None:
            raise Problem(Code.NOT_FOUND, f"there is no issuer {url}")
        found: UUID = row[0]
        return found

    async def local_issuer(self) -> UUID:
        """The one of people without an identity provider. Nothing that it lists is ever looked at."""
        return (await self.issuer(LOCAL_ISSUER, ["bulkhead"], ["EdDSA"])).id

    async def speaks_for(self, issuer: UUID, organisation: UUID, url: str) -> Given:
        """Let an issuer name members of an organisation. Those of a binding that had ended stay ended; `tx` has to see
        the organisation's rows."""
        if await self._row(sql.BELIEVED, issuer) is None:
            raise Problem(Code.NOT_FOUND, f"there is no issuer {url}")
        if await self._row(sql.SPEAKS_FOR, issuer, organisation) is not None:
            return Given(issuer, changed=False)
        for member, subject in await (await self.tx.execute(sql.END_MEMBERS, (issuer, organisation))).fetchall():
            await self._record(organisation, Action.MEMBER_ENDED, _target(TargetKind.MEMBER, member, subject))
        await self.tx.execute(sql.BIND_ISSUER, (issuer, organisation))
        await self._record(organisation, Action.ISSUER_CHANGED, _target(TargetKind.ISSUER, issuer, url))
        return Given(issuer, changed=True)

    async def member(
        self, organisation: UUID, issuer: UUID, subject: str, abilities: Sequence[Ability], *, name: str = ""
    ) -> Given:
        """Make a person a member with these abilities, or change the abilities of one who is."""
        wanted = sorted({ability.value for ability in abilities})
        if await self._row(sql.SPEAKS_FOR, issuer, organisation) is None:
            raise Problem(Code.CONFLICT, "the issuer may not speak for this organisation")
        found = await self.member_named(issuer, subject)
        if found is None:
            return await self._new_member(organisation, issuer, subject, wanted, name)
        if found.organisation_id != organisation:
            raise Problem(Code.CONFLICT, f"{subject!r} is a member of another organisation: end that first")
        if (sorted(found.abilities), found.name) == (wanted, name or found.name):
            return Given(found.id, changed=False)
        await self.tx.execute(sql.CHANGE_MEMBER, (wanted, name or found.name, found.id))
        target = _target(TargetKind.MEMBER, found.id, subject)
        await self._record(organisation, Action.MEMBER_CHANGED, target, Details(abilities=tuple(wanted)))
        return Given(found.id, changed=True)

    async def member_named(self, issuer: UUID, subject: str) -> Member | None:
        """The living membership of a person; None: there is none, or this transaction may not know of it."""
        row = await self._row(sql.MEMBER, issuer, subject)
        if row is None:
            return None
        return Member(id=row[0], organisation_id=row[1], abilities=tuple(row[2]), name=row[3])

    async def _new_member(
        self, organisation: UUID, issuer: UUID, subject: str, abilities: list[str], name: str
    ) -> Given:
        values = {
            "organisation": organisation,
            "issuer": issuer,
            "subject": subject,
            "name": name,
            "abilities": abilities,
            "by": self.name,
        }
        row = await self._named(sql.ADD_MEMBER, values)
        if row is None:
            raise Problem(Code.CONFLICT, f"{subject!r} is a member of another organisation: end that first")
        target = _target(TargetKind.MEMBER, row[0], subject)
        await self._record(organisation, Action.MEMBER_ADDED, target, Details(abilities=tuple(abilities)))
        return Given(row[0], changed=True)

    async def platform_admin(self, issuer: UUID, subject: str) -> Given:
        """Let a person administer the platform. Nobody who serves requests may."""
        values = {"issuer": issuer, "subject": subject, "by": self.name}
        if await self._named(sql.ADD_ADMIN, values) is None:
            return Given(issuer, changed=False)
        target = _target(TargetKind.MEMBER, issuer, subject)
        await self._record(None, Action.PLATFORM_ADMIN_ADDED, target)
        return Given(issuer, changed=True)

    async def end_platform_admin(self, issuer: UUID, subject: str) -> Given:
        """Let a person administer the platform no more, from the next call on, by log-in or token."""
        if await self._row(sql.END_ADMIN, issuer, subject) is None:
            return Given(issuer, changed=False)
        await self._record(None, Action.PLATFORM_ADMIN_ENDED, _target(TargetKind.MEMBER, issuer, subject))
        return Given(issuer, changed=True)

    async def is_platform_admin(self, issuer: UUID, subject: str) -> bool:
        """Whether this person administers the platform now."""
        return await self._row(sql.LIVING_ADMIN, issuer, subject) is not None

    async def token(self, organisation: UUID, membership: UUID, new: NewToken) -> int:
        """Keep an API token. Returns when it ends, in Unix seconds."""
        values = {
            "id": new.token.id,
            "organisation": organisation,
            "membership": membership,
            "minter": new.minter,
            "name": new.name,
            "abilities": list(new.abilities),
            "source": new.source.value,
            "seconds": new.seconds,
            "latest": new.latest,
            **fast.columns(new.fast),
            **new.hashed.columns,
        }
        row = await self._named(sql.MINT, values)
        if row is None:
            raise RuntimeError("the platform has no state: its database was never migrated")
        if new.platform_admin:
            await self.tx.execute(sql.MARK_PLATFORM_ADMIN, (new.token.id,))
        details = Details(abilities=new.abilities, source=new.source.value, label=new.name, expires_at=row[0])
        target = _target(TargetKind.API_TOKEN, new.token.id, new.name[:200])
        await self._record(organisation, Action.API_TOKEN_MINTED, target, details)
        ends: int = row[0]
        return ends

    @property
    def name(self) -> str:
        """Of who gives, as rows keep it."""
        return f"{self.by.issuer or self.by.kind} {self.by.id}"[:512]

    async def _row(self, statement: Any, *values: Any) -> tuple[Any, ...] | None:
        return await (await self.tx.execute(statement, values)).fetchone()

    async def _named(self, statement: Any, values: dict[str, Any]) -> tuple[Any, ...] | None:
        return await (await self.tx.execute(statement, values)).fetchone()

    async def _record(
        self, organisation: UUID | None, action: Action, target: Target, details: Details | None = None
    ) -> None:
        await record(self.tx, organisation, self.by, action, target, details or Details())


def _target(kind: TargetKind, id_: UUID | str, name: str) -> Target:
    return Target(kind=kind, id=str(id_), name=name[:512])
