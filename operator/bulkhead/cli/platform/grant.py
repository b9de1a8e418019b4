"""`bulkhead platform grant`: the first organisation, its people, and the first token, from a host of the platform."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from bulkhead.cli.terminal import fail, say
from bulkhead.platform.audit.entry import Actor, ActorKind
from bulkhead.platform.database import pools
from bulkhead.platform.database.migrate import shortfall
from bulkhead.platform.database.pools import Bounds, TooPowerful
from bulkhead.platform.database.scope import Scope, Unavailable, transaction
from bulkhead.platform.destinations import Refused
from bulkhead.platform.destinations import url as checked_url
from bulkhead.platform.keys import scrypt
from bulkhead.platform.settings import Environment, Wrong
from bulkhead.platform.users import sql
from bulkhead.platform.users.granting import ALGORITHMS, LOCAL_ISSUER, USUAL_ALGORITHMS, Granting, NewToken
from bulkhead.protocol.assertions import Ability, Source
from bulkhead.protocol.credentials import ApiToken
from bulkhead.protocol.problems import Code, Problem

MOST_DAYS: Final = 366

FIRST_RUN: Final = """
To begin with nothing but a migrated database:

  bulkhead platform grant organisation acme
  bulkhead platform grant member ada --organisation acme --ability CLUSTER_READ --ability CLUSTER_WRITE
  bulkhead platform grant admin ada
  bulkhead platform grant token ada --name laptop --platform-admin

The last one prints an API token, once. Show it as `Authorization: Bearer oat_...`.
With it, mint a token for a data plane (POST /v1/data-planes/tokens). Once the plane has joined:

  bulkhead platform grant plane PLANE_ID --organisation acme
  bulkhead platform grant tenant TENANT --plane PLANE_ID --organisation acme    (where a plane serves several)

People who log in by OIDC are named by their provider and the `sub` of its tokens:

  bulkhead platform grant issuer https://login.example.com --audience bulkhead --organisation acme
  bulkhead platform grant member SUB --issuer https://login.example.com --organisation acme --ability CLUSTER_READ

To say something twice changes nothing the second time. Every change is in the audit.
"""

Act = Callable[[Granting, argparse.Namespace], Awaitable[Iterable[str]]]
"""Does it, and says what it did, line by line."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes, and set `run` in its options: what does it, and gives the exit status."""
    parser.description = (
        "Give what only people of the platform may: organisations, planes for them, members, platform admins, and API "
        "tokens. Asks the database of BULKHEAD_PLATFORM_MAINTENANCE_DSN, not the service."
    )
    parser.epilog = FIRST_RUN
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    what = parser.add_subparsers(required=True, metavar="WHAT")
    _organisation(what.add_parser("organisation", help="make an organisation"))
    _plane(what.add_parser("plane", help="let a data plane that has joined act for an organisation"))
    _tenant(what.add_parser("tenant", help="say whose a tenant is, where its plane serves several organisations"))
    _issuer(what.add_parser("issuer", help="let people log in by an OIDC provider"))
    _member(what.add_parser("member", help="make a person a member, or change what a member may do"))
    _admin(what.add_parser("admin", help="let a person administer the platform itself"))
    _token(what.add_parser("token", help="make an API token for a member; it is shown once"))


def _organisation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", type=_text(200), help="that people know it by; unique")
    _does(parser, _give_organisation)


async def _give_organisation(granting: Granting, options: argparse.Namespace) -> Iterable[str]:
    given = await granting.organisation(options.name)
    return (_said(f"organisation {options.name}", changed=given.changed), f"  id {given.id}")


def _plane(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("plane", type=_uuid, metavar="PLANE_ID", help="as it was given when the plane joined")
    _of_organisation(parser)
    _does(parser, _give_plane)


async def _give_plane(granting: Granting, options: argparse.Namespace) -> Iterable[str]:
    organisation = await granting.organisation_named(options.organisation)
    given = await granting.plane(organisation, options.plane)
    return (_said(f"plane {options.plane} for {options.organisation}", changed=given.changed),)


def _tenant(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tenant", type=_text(253), help="name of the Tenant object on the plane")
    parser.add_argument("--plane", type=_uuid, required=True, metavar="PLANE_ID")
    _of_organisation(parser)
    _does(parser, _give_tenant)


async def _give_tenant(granting: Granting, options: argparse.Namespace) -> Iterable[str]:
    organisation = await granting.organisation_named(options.organisation)
    given = await granting.tenant(organisation, options.plane, options.tenant)
    return (_said(f"tenant {options.tenant} of {options.plane} for {options.organisation}", changed=given.changed),)


def _issuer(parser: argparse.ArgumentParser) -> None:
    parser.description = "Believe what a provider signs, for the organisations that are named and no others."
    parser.add_argument("url", type=_issuer_url, help="as in `iss` of its tokens, to the letter")
    parser.add_argument(
        "--audience", action="append", required=True, type=_text(255), help="that its tokens must be for; repeatable"
    )
    parser.add_argument("--organisation", action="append", required=True, help="that it may speak for; repeatable")
    parser.add_argument(
        "--algorithm", action="append", choices=ALGORITHMS, help=f"repeatable; default: {', '.join(USUAL_ALGORITHMS)}"
    )
    _does(parser, _give_issuer)


async def _give_issuer(granting: Granting, options: argparse.Namespace) -> Iterable[str]:
    given = await granting.issuer(options.url, options.audience, options.algorithm or USUAL_ALGORITHMS)
    lines = [_said(f"issuer {options.url}", changed=given.changed)]
    for name in options.organisation:
        bound = await granting.speaks_for(given.id, await granting.organisation_named(name), options.url)
        lines.append("  " + _said(f"for {name}", changed=bound.changed))
    return lines


def _member(parser: argparse.ArgumentParser) -> None:
    parser.description = "A person is a member of one organisation at a time. Abilities are set, not added."
    _person(parser)
    _of_organisation(parser)
    _abilities(parser, required=True)
    parser.add_argument("--name", type=_text(200), help="for people who read lists")
    _does(parser, _give_member)


async def _give_member(granting: Granting, options: argparse.Namespace) -> Iterable[str]:
    organisation = await granting.organisation_named(options.organisation)
    issuer = await _issuer_of(granting, options)
    if options.issuer == LOCAL_ISSUER:
        await granting.speaks_for(issuer, organisation, LOCAL_ISSUER)
    given = await granting.member(organisation, issuer, options.subject, options.ability, name=options.name or "")
    may = ", ".join(sorted({each.value for each in options.ability}))
    return (_said(f"member {options.subject} of {options.organisation}", changed=given.changed), f"  may {may}")


def _admin(parser: argparse.ArgumentParser) -> None:
    _person(parser)
    parser.add_argument("--end", action="store_true", help="no more, from the next call on")
    _does(parser, _give_admin)


async def _give_admin(granting: Granting, options: argparse.Namespace) -> Iterable[str]:
    issuer, who = await _issuer_of(granting, options), f"platform admin {options.subject}"
    if options.end:
        ended = await granting.end_platform_admin(issuer, options.subject)
        return (f"{who}: ended" if ended.changed else f"{who}: is none",)
    return (_said(who, changed=(await granting.platform_admin(issuer, options.subject)).changed),)


def _token(parser: argparse.ArgumentParser) -> None:
    parser.description = "The token can never do more than its member, and ends with the membership."
    _person(parser)
    parser.add_argument("--name", type=_text(200), required=True, help="what it is for, such as laptop")
    _abilities(parser, required=False)
    parser.add_argument("--days", type=_days, default=90, help=f"until it ends; at most {MOST_DAYS}; default: 90")
    parser.add_argument(
        "--source", type=Source, choices=list(Source), default=Source.HUMAN, help="who uses it; default: human"
    )
    parser.add_argument(
        "--platform-admin", action="store_true", help="good for administering the platform, if its owner may"
    )
    _does(parser, _give_token)


async def _give_token(granting: Granting, options: argparse.Namespace) -> Iterable[str]:
    issuer = await _issuer_of(granting, options)
    member = await granting.member_named(issuer, options.subject)
    if member is None:
        raise Problem(Code.NOT_FOUND, f"{options.subject!r} is no member: `grant member` comes first")
    asked = {each.value for each in options.ability} if options.ability else set(member.abilities)
    if beyond := sorted(asked - set(member.abilities)):
        raise Problem(Code.CONFLICT, f"{options.subject!r} lacks {', '.join(beyond)}")
    if not asked:
        raise Problem(Code.CONFLICT, f"{options.subject!r} may do nothing")
    if options.platform_admin and not await granting.is_platform_admin(issuer, options.subject):
        raise Problem(Code.CONFLICT, f"{options.subject!r} is no platform admin: `grant admin` comes first")
    token = ApiToken.generate(os.urandom)
    new = NewToken(
        token=token,
        hashed=await asyncio.to_thread(scrypt.hashed, token.digest, os.urandom(scrypt.SALT_BYTES)),
        name=options.name,
        abilities=tuple(sorted(asked)),
        source=options.source,
        seconds=options.days * 86400,
        platform_admin=options.platform_admin,
    )
    ends = datetime.fromtimestamp(await granting.token(member.organisation_id, member.id, new), UTC)
    return (
        f"API token {options.name} of {options.subject}, good until {ends:%Y-%m-%d %H:%M} UTC",
        f"  may {', '.join((*new.abilities, *(('administer the platform',) if new.platform_admin else ())))}",
        "  Keep it: it is shown this once.",
        "",
        token.reveal(),
    )


def _person(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("subject", type=_text(255), help="`sub` at the issuer; without an issuer, any name")
    parser.add_argument(
        "--issuer", default=LOCAL_ISSUER, help="the OIDC provider that vouches; default: none, API tokens alone"
    )


def _of_organisation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--organisation", required=True, help="its name")


def _abilities(parser: argparse.ArgumentParser, *, required: bool) -> None:
    hint = "repeatable" if required else "repeatable; default: all that its member has"
    parser.add_argument(
        "--ability", action="append", required=required, type=Ability, choices=list(Ability), default=None, help=hint
    )


async def _issuer_of(granting: Granting, options: argparse.Namespace) -> UUID:
    if options.issuer == LOCAL_ISSUER:
        return await granting.local_issuer()
    return await granting.issuer_named(options.issuer)


def _text(most: int) -> Callable[[str], str]:
    def text(value: str) -> str:
        if not 1 <= len(value) <= most or not value.isprintable():
            raise argparse.ArgumentTypeError(f"has to have 1 to {most} printable characters")
        return value

    return text


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError("is no UUID") from None


def _days(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= MOST_DAYS:
        raise argparse.ArgumentTypeError(f"has to be a whole number from 1 to {MOST_DAYS}")
    return int(text)


def _issuer_url(text: str) -> str:
    # Whether its host may be connected to is for `serve` to say, which has the networks that are allowed.
    try:
        return text if text.startswith("http://") else checked_url(text)
    except Refused as refused:
        raise argparse.ArgumentTypeError(str(refused)) from None


def _does(parser: argparse.ArgumentParser, act: Act) -> None:
    parser.set_defaults(run=lambda options: _run(act, options))


def _run(act: Act, options: argparse.Namespace) -> int:
    try:
        dsn = Environment(os.environ).maintenance().text
        lines = asyncio.run(_done(dsn, act, options))
    except (Wrong, TooPowerful) as error:
        return fail(error, 2)
    except Unavailable:
        return fail("the database does not answer", 1)
    except Problem as problem:
        return fail(problem.detail or problem.code.happened, 1)
    for line in lines:
        say(line)
    return 0


async def _done(dsn: str, act: Act, options: argparse.Namespace) -> Iterable[str]:
    """All of it or nothing: one transaction."""
    async with pools.pool(dsn, "maintenance", Bounds(fewest=1, most=1)) as pool, transaction(pool, Scope()) as tx:
        if missing := await shortfall(tx):
            raise Problem(Code.UNAVAILABLE, missing)
        await pools.refuse_power(tx, "maintenance")
        row = await (await tx.execute(sql.WHO)).fetchone()
        by = Actor(kind=ActorKind.COMMAND_LINE, id=row[0] if row else "")
        return await act(Granting(tx, by), options)


def _said(what: str, *, changed: bool) -> str:
    return f"{what}: granted" if changed else f"{what}: was so already"
