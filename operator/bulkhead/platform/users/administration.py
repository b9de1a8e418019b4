"""What platform admins do by the API: organisations, planes and tenants for them, issuers, members.

Who administers the platform is not among it: that is said on a host of the platform alone.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from bulkhead.platform.audit.actors import actor
from bulkhead.platform.audit.entry import Action, Details, Target, TargetKind
from bulkhead.platform.audit.export import Revoked
from bulkhead.platform.audit.record import record
from bulkhead.platform.database.pools import Pool
from bulkhead.platform.database.scope import Scope, transaction
from bulkhead.platform.destinations import Refused
from bulkhead.platform.http.route import Admin, Call, PlatformAdmin, Response, Route
from bulkhead.platform.outbound import Outbound
from bulkhead.platform.users import sql
from bulkhead.platform.users.granting import Granting
from bulkhead.platform.users.tokens import Keep
from bulkhead.protocol.assertions import Ability
from bulkhead.protocol.documents import Answer, Closed, Request
from bulkhead.protocol.problems import Code, Problem
from bulkhead.protocol.scalars import Name, Uuid

Tx = AsyncConnection[Any]
T = TypeVar("T", bound=msgspec.Struct)

MOST_ROWS = 200

Title = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
Subject = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+\Z")]
IssuerUrl = Annotated[
    str, Meta(max_length=512, pattern=r"^[\x21-\x7e]+\Z", description="As in `iss` of its tokens, to the letter")
]
Algorithm = Annotated[str, Meta(pattern=r"^(RS256|RS384|RS512|PS256|PS384|PS512|ES256|ES384|ES512|EdDSA)\Z")]


class Page(Closed, frozen=True, kw_only=True):
    """after: the id of the last row that was read"""

    after: Uuid | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_ROWS)] = 100


class TenantPageQuery(Closed, frozen=True, kw_only=True):
    """after: the last tenant that was read"""

    after: Name | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_ROWS)] = 100


class NewOrganisation(Request, frozen=True, kw_only=True):
    """name: that people know it by; unique"""

    name: Title


class Organisation(Answer, frozen=True, kw_only=True):
    """created_at: Unix seconds"""

    id: Uuid
    name: str
    created_at: int


class OrganisationPage(Answer, frozen=True, kw_only=True):
    """next: `after` of the next page; null: this is the last."""

    organisations: tuple[Organisation, ...]
    next: str | None


class PlaneGrant(Answer, frozen=True, kw_only=True):
    """That a plane may act for an organisation, or could once. Times in Unix seconds."""

    plane: Uuid
    organisation: Uuid
    granted_by: str
    granted_at: int
    withdrawn_at: int | None


class PlaneGrants(Answer, frozen=True, kw_only=True):
    """All of one plane."""

    grants: tuple[PlaneGrant, ...]


class Mapping(Request, frozen=True, kw_only=True):
    """organisation: whose the tenant is"""

    organisation: Uuid


class MappedTenant(Answer, frozen=True, kw_only=True):
    """bound: whether a Tenant has used it, so that another one of the name is refused"""

    tenant: str
    organisation: Uuid
    bound: bool
    set_by: str


class TenantPage(Answer, frozen=True, kw_only=True):
    """next: `after` of the next page; null: this is the last."""

    tenants: tuple[MappedTenant, ...]
    next: str | None


class IssuerRequest(Request, frozen=True, kw_only=True):
    """organisations: that it may speak for, beside those that it may already"""

    url: IssuerUrl
    audiences: Annotated[tuple[Title, ...], Meta(min_length=1, max_length=16)]
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1, max_length=10)] = ("RS256", "ES256")
    organisations: Annotated[tuple[Uuid, ...], Meta(max_length=64)] = ()


class Issuer(Answer, frozen=True, kw_only=True):
    """disabled_at: Unix seconds; null: it is believed"""

    id: Uuid
    url: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...]
    organisations: tuple[Uuid, ...]
    disabled_at: int | None


class IssuerPage(Answer, frozen=True, kw_only=True):
    """next: `after` of the next page; null: this is the last."""

    issuers: tuple[Issuer, ...]
    next: str | None


class MemberRequest(Request, frozen=True, kw_only=True):
    """abilities: all that the member may do; what is left out it may no more"""

    issuer: IssuerUrl
    subject: Subject
    abilities: Annotated[tuple[Ability, ...], Meta(max_length=len(Ability))]
    name: Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*\Z")] = ""


class Member(Answer, frozen=True, kw_only=True):
    """created_at: Unix seconds"""

    id: Uuid
    issuer: str
    subject: str
    name: str
    abilities: tuple[str, ...]
    created_by: str
    created_at: int


class MemberPage(Answer, frozen=True, kw_only=True):
    """next: `after` of the next page; null: this is the last."""

    members: tuple[Member, ...]
    next: str | None


def routes(*, pool: Pool, outbound: Outbound, keep: Keep) -> tuple[Route, ...]:
    """Rows of the table."""
    admins = _Administration(pool, outbound, keep)
    return (*_organisations(admins), *_grants(admins), *_issuers(admins), *_members(admins))


def _organisations(admins: _Administration) -> tuple[Route, ...]:
    all_, who = "/v1/organisations", PlatformAdmin()
    return (
        Route(
            "POST",
            all_,
            "Make an organisation, or find the one of this name",
            who,
            admins.make_organisation,
            body=NewOrganisation,
            answer=Organisation,
            status=201,
        ),
        Route("GET", all_, "List organisations", who, admins.list_organisations, query=Page, answer=OrganisationPage),
    )


def _grants(admins: _Administration) -> tuple[Route, ...]:
    plane, who = "/v1/grants/{plane:uuid}", PlatformAdmin()
    grant, tenant = f"{plane}/organisations/{{organisation:uuid}}", f"{plane}/tenants/{{tenant}}"
    return (
        Route("GET", plane, "List the organisations that a plane may act for", who, admins.grants, answer=PlaneGrants),
        Route("PUT", grant, "Let a plane act for an organisation", who, admins.grant_plane, status=204),
        Route("DELETE", grant, "No longer let a plane act for an organisation", who, admins.withdraw, status=204),
        Route(
            "GET",
            f"{plane}/tenants",
            "List the tenants of a plane that are mapped",
            who,
            admins.tenants,
            query=TenantPageQuery,
            answer=TenantPage,
        ),
        Route(
            "PUT",
            tenant,
            "Say whose a tenant of a plane is",
            who,
            admins.map_tenant,
            body=Mapping,
            status=204,
            codes=(Code.CONFLICT, Code.GRANT_MISSING),
        ),
        Route("DELETE", tenant, "Say no longer whose a tenant is", who, admins.unmap_tenant, status=204),
    )


def _issuers(admins: _Administration) -> tuple[Route, ...]:
    all_, who = "/v1/issuers", PlatformAdmin()
    return (
        Route("GET", all_, "List identity providers", who, admins.issuers, query=Page, answer=IssuerPage),
        Route(
            "PUT",
            all_,
            "Believe an identity provider, or change for whom and in what way",
            who,
            admins.put_issuer,
            body=IssuerRequest,
            answer=Issuer,
            codes=(Code.ADDRESS_REFUSED, Code.CONFLICT, Code.NOT_FOUND),
        ),
        Route("DELETE", f"{all_}/{{id:uuid}}", "No longer believe a provider", who, admins.disable_issuer, status=204),
        Route(
            "DELETE",
            f"{all_}/{{id:uuid}}/organisations/{{organisation:uuid}}",
            "No longer let a provider name members of an organisation",
            who,
            admins.unbind_issuer,
            status=204,
        ),
    )


def _members(admins: _Administration) -> tuple[Route, ...]:
    all_, who = "/v1/organisations/{organisation:uuid}/members", PlatformAdmin()
    return (
        Route("GET", all_, "List an organisation's members", who, admins.members, query=Page, answer=MemberPage),
        Route(
            "PUT",
            all_,
            "Make a person a member, or set what a member may do",
            who,
            admins.put_member,
            body=MemberRequest,
            answer=Member,
            codes=(Code.CONFLICT,),
        ),
        Route(
            "DELETE",
            f"{all_}/{{id:uuid}}",
            "End a membership, and every API token that lives by it",
            who,
            admins.end_member,
            status=204,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Administration:
    pool: Pool
    outbound: Outbound
    keep: Keep

    async def make_organisation(self, call: Call[Admin, NewOrganisation]) -> Organisation | Response:
        tx = await call.tx()
        given = await _granting(call, tx).organisation(call.body.name)
        (made,) = await _rows(tx, sql.ONE_ORGANISATION, Organisation, (given.id,))
        return made if given.changed else Response.json(made)

    async def list_organisations(self, call: Call[Admin, None]) -> OrganisationPage:
        rows, following = await _page(call, await call.tx(), sql.LIST_ORGANISATIONS, Organisation)
        return OrganisationPage(organisations=rows, next=following)

    async def grants(self, call: Call[Admin, None]) -> PlaneGrants:
        tx = await call.tx()
        return PlaneGrants(grants=await _rows(tx, sql.LIST_GRANTS, PlaneGrant, (call.id("plane"),)))

    async def grant_plane(self, call: Call[Admin, None]) -> None:
        tx, organisation = await call.tx(), call.id("organisation")
        await _need_organisation(tx, organisation)
        await _granting(call, tx).plane(organisation, call.id("plane"))

    async def withdraw(self, call: Call[Admin, None]) -> None:
        tx, plane, organisation = await call.tx(), call.id("plane"), call.id("organisation")
        if await _one(tx, sql.WITHDRAW_PLANE, plane, organisation) is None:
            raise Problem(Code.NOT_FOUND, "the plane may not act for this organisation")
        target = Target(kind=TargetKind.PLANE, id=str(plane))
        await _record(call, tx, organisation, Action.PLANE_GRANT_WITHDRAWN, target)
        await self.keep(Revoked.PLANE_GRANT, str(plane), epoch=await _epoch(tx), organisation=str(organisation))

    async def tenants(self, call: Call[Admin, None]) -> TenantPage:
        tx = await call.tx()
        rows, following = await _page(call, tx, sql.LIST_MAPPINGS, MappedTenant, plane=call.id("plane"))
        return TenantPage(tenants=rows, next=following)

    async def map_tenant(self, call: Call[Admin, Mapping]) -> None:
        tx = await call.tx()
        tenant = _name(call.path["tenant"])
        await _granting(call, tx).tenant(UUID(call.body.organisation), call.id("plane"), tenant)

    async def unmap_tenant(self, call: Call[Admin, None]) -> None:
        tx, plane, tenant = await call.tx(), call.id("plane"), _name(call.path["tenant"])
        row = await _one(tx, sql.UNMAP_TENANT, plane, tenant)
        if row is None:
            raise Problem(Code.NOT_FOUND, "this tenant is mapped to nobody")
        details = Details(plane=str(plane), tenant=tenant)
        await _record(call, tx, row[0], Action.TENANT_UNMAPPED, Target(kind=TargetKind.TENANT, name=tenant), details)

    async def issuers(self, call: Call[Admin, None]) -> IssuerPage:
        rows, following = await _page(call, await call.tx(), sql.LIST_ISSUERS, Issuer, id=None)
        return IssuerPage(issuers=rows, next=following)

    async def put_issuer(self, call: Call[Admin, IssuerRequest]) -> Issuer:
        asked = call.body
        try:
            self.outbound.checked(asked.url)
        except Refused as refused:
            raise Problem(Code.ADDRESS_REFUSED, str(refused)) from None
        organisations = [UUID(each) for each in asked.organisations]
        async with call.transaction() as tx:
            for organisation in organisations:
                await _need_organisation(tx, organisation)
            given = await _granting(call, tx).issuer(asked.url, asked.audiences, asked.algorithms)
        for organisation in organisations:
            async with self._within(organisation) as tx:
                await _granting(call, tx).speaks_for(given.id, organisation, asked.url)
        values = {"id": given.id, "after": None, "limit": 1}
        (put,) = await _rows(await call.tx(), sql.LIST_ISSUERS, Issuer, values)
        return put

    async def disable_issuer(self, call: Call[Admin, None]) -> None:
        tx, issuer = await call.tx(), call.id("id")
        row = await _one(tx, sql.DISABLE_ISSUER, issuer)
        if row is None:
            raise Problem(Code.NOT_FOUND)
        target = Target(kind=TargetKind.ISSUER, id=str(issuer), name=row[0])
        await _record(call, tx, None, Action.ISSUER_DISABLED, target)
        # Whoever believes it again says anew for whom.
        await self._end_bindings(tx, issuer)
        await self.keep(Revoked.ISSUER, str(issuer), epoch=await _epoch(tx))

    async def unbind_issuer(self, call: Call[Admin, None]) -> None:
        tx, issuer, organisation = await call.tx(), call.id("id"), call.id("organisation")
        if not await self._end_bindings(tx, issuer, organisation):
            raise Problem(Code.NOT_FOUND, "the issuer may not speak for this organisation")
        target = Target(kind=TargetKind.ISSUER, id=str(issuer))
        await _record(call, tx, organisation, Action.ISSUER_CHANGED, target, Details(reason="unbound"))

    async def _end_bindings(self, tx: Tx, issuer: UUID, only: UUID | None = None) -> int:
        """Have an issuer speak for `only` no more, or for nobody. Returns for how many it did."""
        values = {"issuer": issuer, "organisation": only}
        ended = await (await tx.execute(sql.END_BINDINGS, values)).fetchall()
        epoch = await _epoch(tx)
        for (organisation,) in ended:
            await self.keep(Revoked.ISSUER_ORGANISATION, str(issuer), epoch=epoch, organisation=organisation)
        return len(ended)

    async def members(self, call: Call[Admin, None]) -> MemberPage:
        organisation = call.id("organisation")
        async with self._within(organisation) as tx:
            rows, following = await _page(call, tx, sql.LIST_MEMBERS, Member, organisation=organisation, id=None)
        return MemberPage(members=rows, next=following)

    async def put_member(self, call: Call[Admin, MemberRequest]) -> Member:
        asked, organisation = call.body, call.id("organisation")
        async with self._within(organisation) as tx:
            await _need_organisation(tx, organisation)
            granting = _granting(call, tx)
            issuer = await granting.issuer_named(asked.issuer)
            given = await granting.member(organisation, issuer, asked.subject, asked.abilities, name=asked.name)
            values = {"organisation": organisation, "id": given.id, "after": None, "limit": 1}
            (member,) = await _rows(tx, sql.LIST_MEMBERS, Member, values)
        return member

    async def end_member(self, call: Call[Admin, None]) -> None:
        organisation, member = call.id("organisation"), call.id("id")
        async with self._within(organisation) as tx:
            row = await _one(tx, sql.END_MEMBER, member, organisation)
            if row is None:
                raise Problem(Code.NOT_FOUND)
            target = Target(kind=TargetKind.MEMBER, id=str(member), name=row[0])
            await _record(call, tx, organisation, Action.MEMBER_ENDED, target)
            await self.keep(Revoked.MEMBERSHIP, str(member), epoch=await _epoch(tx))

    def _within(self, organisation: UUID) -> AbstractAsyncContextManager[Tx]:
        """Members are rows of their organisation alone: a transaction that sees them, beside what admins see."""
        return transaction(self.pool, Scope(organisation=organisation, platform_admin=True))


def _granting(call: Call[Admin, Any], tx: Tx) -> Granting:
    return Granting(tx, actor(call.caller, call.source))


async def _need_organisation(tx: Tx, organisation: UUID) -> None:
    if await _one(tx, sql.ORGANISATION_EXISTS, organisation) is None:
        raise Problem(Code.NOT_FOUND, "there is no such organisation")


async def _one(tx: Tx, statement: Any, *values: Any) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = await (await tx.execute(statement, values)).fetchone()
    return row


async def _rows(tx: Tx, statement: Any, kind: type[T], values: Any) -> tuple[T, ...]:
    async with tx.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement, values)
        found = await cursor.fetchall()
    return tuple(kind(**{name: _frozen(value) for name, value in row.items()}) for row in found)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


async def _page(
    call: Call[Admin, None], tx: Tx, statement: Any, kind: type[T], **values: Any
) -> tuple[tuple[T, ...], str | None]:
    """The rows after the one that the query names by its first field, and what names the next page; None: the last."""
    query: Page | TenantPageQuery = call.query
    rows = await _rows(tx, statement, kind, {**values, "after": query.after, "limit": query.limit + 1})
    shown = rows[: query.limit]
    return shown, getattr(shown[-1], kind.__struct_fields__[0]) if len(rows) > query.limit else None


async def _record(
    call: Call[Admin, Any],
    tx: Tx,
    organisation: UUID | None,
    action: Action,
    target: Target,
    details: Details | None = None,
) -> None:
    await record(tx, organisation, actor(call.caller, call.source), action, target, details or Details())


async def _epoch(tx: Tx) -> int:
    row = await _one(tx, sql.EPOCH)
    if row is None:
        raise RuntimeError("the platform has no state: its database was never migrated")
    return int(row[0])


def _name(text: str) -> str:
    try:
        return msgspec.convert(text, Name)
    except msgspec.ValidationError:
        raise Problem(Code.NOT_FOUND, "this is no name of a Tenant") from None
