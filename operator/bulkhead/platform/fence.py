"""`bulkhead platform fence`: begins a new life of the platform after its database was restored, in one transaction.

What was issued before the restore carries an older epoch from then on: registration tokens die, keys re-join by
themselves, streams begin anew. What the export knows as revoked is revoked again, whatever the backup says; API tokens,
which nobody could renew by himself, are carried over if an export vouches for them, and revoked if there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection

from bulkhead.platform.audit import standing
from bulkhead.platform.audit.entry import Action, Actor, ActorKind, Details, Target, TargetKind
from bulkhead.platform.audit.export import Damaged, Export, RevocationLine, Revoked, Unwritable
from bulkhead.platform.audit.look import look
from bulkhead.platform.audit.record import record
from bulkhead.platform.audit.standing import Exported
from bulkhead.platform.clusters.liveness import LEASE_SECONDS
from bulkhead.platform.database.migrate import shortfall
from bulkhead.platform.database.pools import SCHEMA, refuse_power

CONNECT_SECONDS = 5

REVERSIBLE = frozenset({Revoked.PLANE_GRANT, Revoked.ISSUER})
"""What may have been given again after it was revoked, of which the export says nothing."""

Tx = AsyncConnection[Any]


class Unfenced(Exception):
    """Nothing was changed. The message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Again:
    """Revocations of one kind. exported: how many there are; known: to this database; ended: ids that it had as live"""

    what: Revoked
    exported: int
    known: int
    ended: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was done.

    begun: False: this life was begun by a fence already, and nothing was served in it
    export: whether there is one
    tokens, keys, streams: registration tokens, service keys and sync streams that end with the former epoch
    api_tokens: living ones; carried over where there is an export, revoked where there is none
    torn: files of the export whose last line a crash has cut
    """

    epoch: int
    export: bool
    begun: bool = True
    again: tuple[Again, ...] = ()
    tokens: int = 0
    keys: int = 0
    streams: int = 0
    api_tokens: int = 0
    torn: tuple[str, ...] = ()


async def fence(dsn: str, directory: Path | None, export: Export | None, *, while_serving: bool = False) -> Outcome:
    """Fence the database that `dsn` reaches, by a log-in of bulkhead_platform_maintenance.

    directory, export: to read from and to write to; None: there is none

    Raises:
        Unfenced: see there.
        TooPowerful: the log-in is another one.
    """
    try:
        async with await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name="bulkhead fence"
        ) as connection:
            await connection.execute(f"SET search_path = {SCHEMA}, pg_temp")
            if lacking := await shortfall(connection):
                raise Unfenced(lacking)
            await refuse_power(connection, "maintenance")
            async with connection.transaction():
                return await _fence(connection, directory, export, while_serving=while_serving)
    except (psycopg.Error, Damaged, Unwritable, OSError) as error:
        raise Unfenced(str(error).strip()) from error
    finally:
        if export is not None:
            await export.close()


async def _fence(tx: Tx, directory: Path | None, export: Export | None, *, while_serving: bool) -> Outcome:
    old = await _one(tx, "SELECT epoch FROM platform_state FOR UPDATE")
    # Under the lock: of two fences the second reads what the first has written.
    exported = await asyncio.to_thread(_read, directory) if directory else Exported()
    if exported.fenced == exported.epoch == old > exported.lived:
        return Outcome(epoch=old, export=True, begun=False, torn=exported.torn)
    live = await _one(tx, LIVE, LEASE_SECONDS)
    if live and not while_serving:
        raise Unfenced(
            f"{live} replicas are serving, as the database says: end them, and try again {LEASE_SECONDS} s later "
            "(one that crashed, or that the backup holds, counts until then); or say --while-serving"
        )
    new = 1 + max(old, exported.epoch)
    last = (await look(tx, None)).sequence
    await tx.execute("UPDATE platform_state SET epoch = %s", (new,))
    again = tuple([await _again(tx, what, exported.revocations) for what in Revoked])
    outcome = Outcome(
        epoch=new,
        export=directory is not None,
        again=tuple(each for each in again if each.exported),
        tokens=await _one(tx, OPEN_TOKENS, old),
        keys=await _one(tx, LIVE_KEYS, old),
        streams=await _one(tx, "SELECT count(*) FROM streams"),
        api_tokens=await _changed(tx, *((CARRY_API_TOKENS_OVER, new, old) if directory else (REVOKE_API_TOKENS,))),
        torn=exported.torn,
    )
    await record(
        tx,
        None,
        Actor(kind=ActorKind.COMMAND_LINE, id=await _one(tx, "SELECT session_user::text")),
        Action.PLATFORM_FENCED,
        Target(kind=TargetKind.PLATFORM),
        Details(epoch=new, count=sum(len(each.ended) for each in again) + (0 if directory else outcome.api_tokens)),
    )
    # Before the commit: an epoch that the export alone knows is fenced once more, one that it lacks would look served.
    if export is not None:
        await export.epoch(new, after=last)
    return outcome


def _read(directory: Path) -> Exported:
    exported = standing.read(directory)
    if not exported.epoch:
        raise Unfenced(f"the export in {directory} is empty: is it the right one? (--without-export: there is none)")
    return exported


async def _again(tx: Tx, what: Revoked, revocations: frozenset[RevocationLine]) -> Again:
    """Revoke anew, and make sure that it is so: a log-in that sees no rows would change none, without a word."""
    given = sorted(_distinct(what, revocations))
    if not given:
        return Again(what, 0, 0, ())
    table, column, matches, is_open = _ENDS[what]
    joined = f"{table} t JOIN {_GIVEN} ON {matches}"
    ids, organisations, subjects, rotations = (list(each) for each in zip(*given, strict=True))
    values = {
        "ids": ids,
        "organisations": [each or None for each in organisations],
        "subjects": subjects,
        "rotations": rotations,
    }
    update = f"UPDATE {table} t SET {column} = now() FROM {_GIVEN} WHERE {matches} AND {is_open} RETURNING g.id"  # noqa: S608 - of constants
    ended = await (await tx.execute(update, values)).fetchall()
    known = await _one(tx, f"SELECT count(*) FROM {joined}", values)  # noqa: S608 - of constants
    left = await _one(tx, f"SELECT count(*) FROM {joined} WHERE {is_open}", values)  # noqa: S608 - of constants
    if left:
        raise Unfenced(f"{left} of {len(given)} revocations of the kind {what} could not be applied")
    return Again(what, len(given), known, tuple(sorted(id_ for (id_,) in ended)))


def _distinct(what: Revoked, revocations: frozenset[RevocationLine]) -> set[tuple[str, str, str, int]]:
    """One for each thing, with its last rotation."""
    last: dict[tuple[str, str, str], int] = {}
    for line in revocations:
        if line.what is what:
            place = (line.id, line.organisation or "", line.subject)
            last[place] = max(last.get(place, 0), line.rotation)
    return {(*place, rotation) for place, rotation in last.items()}


def lines_for_people(outcome: Outcome) -> Iterator[str]:
    """The outcome, with the verdict last."""
    for each in outcome.again:
        yield (
            f"revoked     {each.what}: {len(each.ended)} that lived here, of {each.exported} in the export"
            + (f" ({each.exported - each.known} are not in this database)" if each.known < each.exported else "")
        )
        for id_ in each.ended if each.what in REVERSIBLE else ():
            yield f"            {id_}: if it was given again since, give it again now"
    if outcome.begun:
        yield f"ended       {outcome.tokens} registration tokens that nobody redeemed"
        yield f"re-join     {outcome.keys} service keys: planes and clusters do that by themselves, within minutes"
        yield f"snapshot    {outcome.streams} streams of metadata begin anew, by themselves"
        yield from _api_tokens(outcome)
        yield "look at     abilities, targets and webhooks: what was changed since the backup is as the backup has it"
    for name in outcome.torn:
        yield f"torn        the last line of {name}: its writer crashed, and nothing was answered as done by it"
    if outcome.begun:
        yield f"verdict     fenced: epoch {outcome.epoch}"
    else:
        yield f"verdict     fenced already: epoch {outcome.epoch}, and nothing was served in it"


def _api_tokens(outcome: Outcome) -> Iterator[str]:
    if outcome.export:
        yield f"kept        {outcome.api_tokens} API tokens: the export says which were revoked"
        return
    yield (
        f"revoked     {outcome.api_tokens} API tokens, all that lived: without an export nobody knows which ones still "
        "should. `bulkhead platform grant token` makes new ones"
    )
    yield (
        "NOT ended   planes, clusters, members, grants and issuers that were ended since the backup: they live again, "
        "and the former two re-join. End them again"
    )


async def _changed(tx: Tx, statement: str, *values: Any) -> int:
    """How many rows it changes."""
    return (await tx.execute(statement, values)).rowcount


async def _one(tx: Tx, statement: str, *values: Any) -> Any:
    given = values[0] if values and isinstance(values[0], dict) else values
    row = await (await tx.execute(statement, given or None)).fetchone()
    return row[0] if row else None


LIVE = "SELECT count(*) FROM replicas WHERE flushed_at > now() - make_interval(secs => %s)"
OPEN_TOKENS = """
    SELECT count(*) FROM registration_tokens
    WHERE used_at IS NULL AND revoked_at IS NULL AND expires_at > now() AND epoch = %s
"""
LIVE_KEYS = """
    SELECT count(*)
    FROM service_keys k
        LEFT JOIN clusters c ON c.id = k.of_cluster
        JOIN planes p ON p.id IN (k.of_plane, c.plane_id)
    WHERE k.revoked_at IS NULL AND (k.retires_at IS NULL OR k.retires_at > now())
      AND (k.expires_at IS NULL OR k.expires_at > now()) AND k.epoch = %s
      AND c.deleted_at IS NULL AND c.identity_revoked_at IS NULL AND p.identity_revoked_at IS NULL
"""
# Those of lives before the former one stay dead.
CARRY_API_TOKENS_OVER = (
    "UPDATE api_tokens SET epoch = %s WHERE epoch = %s AND revoked_at IS NULL AND expires_at > now()"
)
REVOKE_API_TOKENS = "UPDATE api_tokens SET revoked_at = now() WHERE revoked_at IS NULL AND expires_at > now()"

_GIVEN = """
    unnest(%(ids)s::text[], %(organisations)s::uuid[], %(subjects)s::text[], %(rotations)s::int[])
    AS g (id, organisation, subject, rotation)
"""
_BY_ID = "t.id = g.id::uuid"
# Table; what is set; which row is meant; whether it is live.
_ENDS = {
    Revoked.SERVICE_KEY: ("service_keys", "revoked_at", "t.id = g.id", "t.revoked_at IS NULL"),
    Revoked.REGISTRATION_TOKEN: (
        "registration_tokens",
        "revoked_at",
        _BY_ID,
        "t.revoked_at IS NULL AND t.used_at IS NULL",
    ),
    Revoked.PLANE_IDENTITY: ("planes", "identity_revoked_at", _BY_ID, "t.identity_revoked_at IS NULL"),
    Revoked.CLUSTER_IDENTITY: ("clusters", "identity_revoked_at", _BY_ID, "t.identity_revoked_at IS NULL"),
    Revoked.CLUSTER: ("clusters", "deleted_at", _BY_ID, "t.deleted_at IS NULL"),
    Revoked.PLANE_GRANT: (
        "plane_grants",
        "revoked_at",
        "t.plane_id = g.id::uuid AND t.organisation_id = g.organisation",
        "t.revoked_at IS NULL",
    ),
    Revoked.API_TOKEN: ("api_tokens", "revoked_at", "t.id = g.id", "t.revoked_at IS NULL"),
    Revoked.API_TOKEN_VALUE: (
        "api_tokens",
        "revoked_at",
        "t.id = g.id AND t.rotation < g.rotation",
        "t.revoked_at IS NULL",
    ),
    Revoked.MEMBERSHIP: ("memberships", "ended_at", _BY_ID, "t.ended_at IS NULL"),
    Revoked.ISSUER: ("issuers", "disabled_at", _BY_ID, "t.disabled_at IS NULL"),
    Revoked.ISSUER_ORGANISATION: (
        "issuer_organisations",
        "ended_at",
        "t.issuer_id = g.id::uuid AND t.organisation_id = g.organisation",
        "t.ended_at IS NULL",
    ),
    Revoked.PLATFORM_ADMIN: (
        "platform_admins",
        "ended_at",
        "t.issuer_id = g.id::uuid AND t.subject = g.subject",
        "t.ended_at IS NULL",
    ),
}
