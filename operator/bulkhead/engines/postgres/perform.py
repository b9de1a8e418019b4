"""Doing one step: run its statement, read its effect back, and tell what is worth doing again at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any, TypeVar

import msgspec
import psycopg
from psycopg import sql

from bulkhead.engines.errors import Refused
from bulkhead.engines.postgres import queries
from bulkhead.engines.postgres.errors import TRANSIENT, during
from bulkhead.engines.postgres.sessions import Session, Sessions
from bulkhead.engines.postgres.statement import ANY_STAMP, Rights, Statement

PAUSES = (0.05, 0.2, 0.5)
"""Seconds before each repetition."""

BLOCKED_SECONDS = 0.5
"""How long a tenant's session may hold up a step that overrides it."""

DONE_BEFORE = frozenset(
    {
        "42710",  # duplicate_object
        "42P04",  # duplicate_database
        "42P06",  # duplicate_schema
        "23505",  # unique_violation: two of the same CREATE at once
        "42704",  # undefined_object
        "3D000",  # invalid_catalog_name
        "3F000",  # invalid_schema_name
    }
)
"""What the server says where somebody has done the step before us, or it was ours and its answer was lost."""

T = TypeVar("T")


class WithoutEffect(Refused):
    """The server acknowledged a statement that changed nothing: it does so for a REVOKE by who may not revoke."""


async def perform(sessions: Sessions, step: Statement) -> None:
    """Bring about the effect of `step`; doing it twice is doing it once. Raises EngineError."""
    with suppress(*((Refused,) if step.optional else ())):
        await _perform(sessions, step)


async def _perform(sessions: Sessions, step: Statement) -> None:
    with during(str(step)):
        for pause in PAUSES:
            try:
                return await _once(sessions, step)
            except (psycopg.Error, WithoutEffect) as error:
                if _is_held(error) and step.forced:
                    step = step.forced
                elif not _worth_repeating(error, step):
                    raise
            await asyncio.sleep(pause)
        return await _once(sessions, step)


def rights_of(session: Session) -> Rights:
    """Known from the log-in, without asking."""
    return Rights(session.pgconn.parameter_status(b"is_superuser") == b"on", session.info.server_version // 10_000)


async def answer(session: Session, query: sql.SQL | sql.Composed, parameters: Mapping[str, Any], kind: type[T]) -> T:
    """The one JSON text that `query` answers, as `kind`."""
    row = await (await session.execute(query, parameters)).fetchone()
    try:
        return msgspec.json.decode(row[0] if row else "", type=kind)
    except msgspec.DecodeError as error:
        raise Refused(f"the server's answer is not what was expected: {error}") from None


async def _once(sessions: Sessions, step: Statement) -> None:
    warnings: list[str] = []
    try:
        async with sessions.at(step.place) as session:
            async with _way_cleared(sessions, session) if step.overriding else nullcontext():
                await _execute(session, step, warnings)
            holds = await _holds(session, step) if step.place == step.proof_place else None
    except (psycopg.Error, OSError) as error:
        if not _may_be_done(error):
            raise
        holds = await _holds_elsewhere(sessions, step)
        if not holds:
            raise
    if holds is None:
        holds = await _holds_elsewhere(sessions, step)
    if not holds:
        said = f": {'; '.join(warnings)}" if warnings else ""
        raise WithoutEffect(f"while {step}: the server acknowledged it, and it has no effect{said}")


@asynccontextmanager
async def _way_cleared(sessions: Sessions, session: Session) -> AsyncIterator[None]:
    """While `session` works, end tenants' sessions that hold a lock it has waited for."""
    clearing = asyncio.create_task(_end_blockers(sessions, session.info.backend_pid))
    try:
        yield
    finally:
        clearing.cancel()
        # What it met with is of no account: the statement itself says whether it came through.
        await asyncio.wait([clearing])


async def _end_blockers(sessions: Sessions, pid: int) -> None:
    while True:
        await asyncio.sleep(BLOCKED_SECONDS)
        with suppress(psycopg.Error, OSError):
            async with sessions.aside() as session:
                await session.execute(queries.END_BLOCKERS, {"pid": pid, "stamps": ANY_STAMP})


async def _execute(session: Session, step: Statement, warnings: list[str]) -> None:
    def note(diagnostic: psycopg.errors.Diagnostic) -> None:
        warnings.append(diagnostic.message_primary or "")

    session.add_notice_handler(note)
    try:
        await session.execute(step.text(rights_of(session)))
    finally:
        session.remove_notice_handler(note)


async def _holds_elsewhere(sessions: Sessions, step: Statement) -> bool:
    async with sessions.at(step.proof_place) as session:
        return await _holds(session, step)


async def _holds(session: Session, step: Statement) -> bool:
    row = await (await session.execute(step.proof())).fetchone()
    return row is not None and row[0] is True


def _may_be_done(error: BaseException) -> bool:
    if isinstance(error, TimeoutError):
        return False  # nothing answers: asking once more would only take twice the time
    state = getattr(error, "sqlstate", None)
    # Without a state, or of one of these classes: the connection was lost, perhaps after the server had done its part.
    return state is None or state[:2] in ("08", "57") or state in DONE_BEFORE


def _is_held(error: BaseException) -> bool:
    """Whether somebody holds on to what is to go, or has taken hold of it anew."""
    return isinstance(error, WithoutEffect | psycopg.errors.DependentObjectsStillExist)


def _worth_repeating(error: BaseException, step: Statement) -> bool:
    return step.stubborn if isinstance(error, WithoutEffect) else getattr(error, "sqlstate", None) in TRANSIENT
