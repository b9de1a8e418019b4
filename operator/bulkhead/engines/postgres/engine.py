"""The Postgres engine: looks, does one step at a time, and reads back what it did. The rules are in `decide`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from bulkhead.api.data_plane import PostgresEndpoint
from bulkhead.api.names import EXTENSIONS_SCHEMA, PhysicalNames
from bulkhead.api.ownership import Stamp
from bulkhead.api.record import Credential, EngineName, Holding
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.contract import Access, Conflict, Decision, Do, EngineChanged, Request, Server, ServerRequest
from bulkhead.engines.postgres import queries
from bulkhead.engines.postgres.binding import binding_of
from bulkhead.engines.postgres.databases import CreateDatabase
from bulkhead.engines.postgres.decide import decide, decide_removal, roles_to_drop
from bulkhead.engines.postgres.errors import during
from bulkhead.engines.postgres.interiors import Interiors
from bulkhead.engines.postgres.perform import answer, perform, rights_of
from bulkhead.engines.postgres.portrait import Survey, digests, wanted_digest
from bulkhead.engines.postgres.scram import new_password, scram_verifier
from bulkhead.engines.postgres.seen import Footprint, Inside, Seen
from bulkhead.engines.postgres.server import (
    SeenServer,
    advisories_of,
    decide_server,
    missing_warm,
    problem_of,
    warm_prefix,
)
from bulkhead.engines.postgres.sessions import Sessions
from bulkhead.engines.postgres.statement import MAINTENANCE, Place, Statement
from bulkhead.engines.postgres.wanted import Wanted, wanted_of
from bulkhead.engines.postgres.warm import Reservations

CREATIONS = 2
"""CREATE DATABASE at a time: more of them add latency and no throughput."""
_WARM_RANDOM_BYTES = 8


class PostgresEngine:
    """One Postgres server, opened with the plane's admin credential."""

    name: ClassVar[EngineName] = EngineName.POSTGRES

    def __init__(
        self,
        endpoint: PostgresEndpoint,
        username: Sensitive,
        password: Sensitive,
        ca_pem: str | None,
        *,
        installation: str,
        randomness: Callable[[int], bytes],
        clock: Callable[[], datetime],
    ) -> None:
        self._endpoint = endpoint
        self._ca_pem = ca_pem
        self._installation = installation
        self._randomness = randomness
        self._sessions = Sessions(endpoint, username.reveal(), password, ca_pem)
        self._reservations = Reservations(clock)
        self._interiors = Interiors(clock)
        self._creations = asyncio.Semaphore(CREATIONS)

    async def close(self) -> None:
        """Give connections back; the object is not used afterwards."""
        await self._sessions.close()

    async def ping(self) -> None:
        """One cheap authenticated call, for the breaker. Raises EngineError."""
        with during("calling the server"):
            async with self._sessions.at() as session:
                await session.execute("SELECT 1")

    async def observe_server(self, request: ServerRequest) -> SeenServer:  # noqa: ARG002 - our own marks need no name
        """Identity, rights, openness, warm databases. Raises Insecure or Refused where no tenant may be put on it."""
        with during("looking at the server"):
            async with self._sessions.at() as session:
                seen = await answer(session, queries.SERVER, {"warm": self._warm_prefix}, SeenServer)
        if problem := problem_of(seen):
            raise problem
        free = tuple(found for found in seen.warm if found.name not in self._reservations.promised())
        count = missing_warm(free, self._endpoint.warm_databases)
        fresh = tuple(self._warm_prefix + self._randomness(_WARM_RANDOM_BYTES).hex() for _ in range(count))
        return msgspec.structs.replace(seen, warm=free, fresh=fresh)

    def server_of(self, seen: SeenServer) -> Server:
        """Identity, version and advisories in what was seen."""
        return Server(identity=seen.identity, version=seen.version.split()[0], advisories=advisories_of(seen))

    def decide_server(self, request: ServerRequest, seen: SeenServer) -> Decision:
        """Steps that shut what the server leaves open, and that keep warm databases ready."""
        return decide_server(request, seen, self._endpoint.warm_databases)

    def credentials(
        self,
        names: PhysicalNames,
        stamp: Stamp,  # noqa: ARG002 - part of the contract
        holding: Holding,
        now: datetime,  # noqa: ARG002 - passwords do not expire by themselves
    ) -> tuple[Credential, ...]:
        """Those that are held, or a first one. Nothing of the server's hangs in them, so they are never renewed."""
        if holding.credentials:
            return holding.credentials
        password = new_password(self._randomness)
        verifier = scram_verifier(password, self._randomness)
        return (Credential(generation=1, identity=names.login(1), value=password, verifier=verifier),)

    async def observe(self, request: Request) -> Seen:
        """What has our names or bears our stamp, and what is or lately was inside our database while access is open;
        closely, also which logins do not open with their passwords any more."""
        wanted = wanted_of(request)
        with during(f'looking at database "{wanted.database}"'):
            seen = await self._look(wanted)
            if _worth_entering(wanted, seen):
                inside = self._interiors.recall(wanted.database) or await self._look_inside(wanted)
                estranged = await self._estranged(request, seen) if request.closely else frozenset()
                return msgspec.structs.replace(seen, inside=inside, estranged=estranged)
        begun = seen.databases or seen.roles or wanted.provisioned
        if begun or wanted.access is Access.CUT:
            return msgspec.structs.replace(seen, warm=())
        return msgspec.structs.replace(seen, warm=self._reservations.choose(request.stamp.uid, seen.warm))

    def decide(self, request: Request, seen: Seen) -> Decision:
        """How `seen` becomes what is wanted, for `request.access`."""
        return decide(wanted_of(request), seen, self._endpoint.allowed_extensions)

    def decide_removal(self, request: Request, seen: Seen) -> Do | Conflict | EngineChanged:
        """Steps that erase what bears our stamp; none when nothing is left."""
        return decide_removal(wanted_of(request), seen)

    async def act(self, step: Any) -> None:
        """One step, read back. Raises EngineError."""
        if not isinstance(step, Statement):
            raise TypeError(f"{type(step).__name__} is no step of Postgres")
        async with self._creations if isinstance(step, CreateDatabase) else nullcontext():
            await perform(self._sessions, step)
        self._interiors.note(step)

    def binding(self, request: Request) -> Mapping[str, str]:
        """Content of the Service Binding Secret; needs `holding.published`."""
        return binding_of(self._endpoint, request.names.database, request.published, self._ca_pem)

    def fingerprint(self, request: Request) -> str:
        """Digest of what `survey` should show for this tenant."""
        return wanted_digest(wanted_of(request))

    async def survey(self) -> Mapping[str, str]:
        """Digest by UID of the DataCluster, for all that bear our installation's stamp; one call."""
        with during("looking at all databases and roles"):
            async with self._sessions.at() as session:
                query = queries.survey(rights_of(session))
                found = await answer(session, query, {"installation": self._stamp_prefix}, Survey)
        return digests(found, self._warm_prefix)

    @property
    def _warm_prefix(self) -> str:
        return warm_prefix(self._installation)

    @property
    def _stamp_prefix(self) -> str:
        return str(Stamp(self._installation, ""))

    async def _look(self, wanted: Wanted) -> Seen:
        parameters = {
            "databases": [wanted.database, wanted.draft],
            "roles": [wanted.database, *(login.name for login in wanted.logins)],
            "stamp": str(wanted.stamp),
            "installation": self._stamp_prefix,
            "warm": self._warm_prefix,
        }
        async with self._sessions.at() as session:
            seen = await answer(session, queries.tenant(rights_of(session)), parameters, Seen)
            leaving = [role.name for role in roles_to_drop(wanted, seen)]
            if not leaving:
                return seen
            parameters = {"roles": leaving, "stamp": str(wanted.stamp), "maintenance": MAINTENANCE}
            footprints = await answer(session, queries.FOOTPRINTS, parameters, tuple[Footprint, ...])
            return msgspec.structs.replace(seen, footprints=footprints)

    async def _look_inside(self, wanted: Wanted) -> Inside:
        parameters = {
            "schemas": ["public", *wanted.schemas],
            "group": wanted.database,
            "extensions_schema": EXTENSIONS_SCHEMA,
        }
        async with self._sessions.at(Place(wanted.database)) as session:
            return self._interiors.remember(wanted.database, await answer(session, queries.INSIDE, parameters, Inside))

    async def _estranged(self, request: Request, seen: Seen) -> frozenset[str]:
        """Logins that do not open with what the record holds, found by trying those that nothing else tells of."""
        tried = [held for held in request.holding.credentials if _only_trying_tells(held.identity, request, seen)]
        database = request.names.database
        refused = [held for held in tried if await self._sessions.refuses(held.identity, held.value, database)]
        return frozenset(held.identity for held in refused)


def _worth_entering(wanted: Wanted, seen: Seen) -> bool:
    """Whether our database can be looked at from within, and its inside is anything to us."""
    database = seen.database(wanted.database)
    ours = database is not None and database.open and database.stamp == str(wanted.stamp)
    return wanted.access is Access.OPEN and ours and seen.role(wanted.database) is not None


def _only_trying_tells(login: str, request: Request, seen: Seen) -> bool:
    """Whether this login of ours may have another password, and its verifier can not be read: only a superuser can.
    Nothing is tried on another server than the one that we gave the password to."""
    role = seen.role(login)
    if role is None or not role.login or role.stamp != str(request.stamp):
        return False
    return role.verifier_digest is None and seen.identity == request.holding.server
