"""The vector engine on Qdrant: looks, decides by the rules of `decide`, acts one request at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import ClassVar

from bulkhead.api.data_plane import VectorsEndpoint
from bulkhead.api.duration import seconds
from bulkhead.api.names import PhysicalNames
from bulkhead.api.ownership import Stamp
from bulkhead.api.record import Credential, EngineName, Holding
from bulkhead.api.sensitive import Sensitive
from bulkhead.api.timestamp import rfc3339
from bulkhead.engines.binding import reached_by
from bulkhead.engines.contract import Access, Conflict, Decision, Do, EngineChanged, Request, Server, ServerRequest
from bulkhead.engines.errors import Refused, Unavailable
from bulkhead.engines.http import HttpClient
from bulkhead.engines.qdrant import decide as rules
from bulkhead.engines.qdrant import probe
from bulkhead.engines.qdrant.api import Collection, QdrantApi
from bulkhead.engines.qdrant.decide import Seen, SeenCollection, SeenRegister, SeenServer
from bulkhead.engines.qdrant.steps import (
    CreateCollection,
    CreateRegister,
    DeleteCollection,
    DeleteSnapshot,
    IndexField,
    LimitCollection,
    QdrantStep,
    Register,
    Snapshot,
    StampCollection,
    Stranger,
    Unregister,
)
from bulkhead.engines.qdrant.tokens import REGISTER, bounded, holds, issue


class QdrantEngine:
    """One Qdrant server. Implements `Engine[Seen, SeenServer]`."""

    name: ClassVar[EngineName] = EngineName.VECTORS

    def __init__(
        self,
        endpoint: VectorsEndpoint,
        api_key: Sensitive,
        ca_pem: str | None,
        *,
        installation: str,
        clock: Callable[[], datetime],
    ) -> None:
        """`api_key`: the server's own, which also signs tokens. `ca_pem`: None for the system's CAs."""
        self._url = endpoint.url
        self._lifetime = bounded(seconds(endpoint.token_lifetime))
        self._api_key = api_key
        self._ca_pem = ca_pem
        self._installation = installation
        self._clock = clock
        self._client = HttpClient(endpoint.url, ca_pem=ca_pem, headers={"api-key": api_key})
        self._api = QdrantApi(self._client)

    async def close(self) -> None:
        await self._client.close()

    async def ping(self) -> None:
        await self._api.ping()

    async def observe_server(self, request: ServerRequest) -> SeenServer:
        api, key, stamp, now = self._api, self._api_key, request.stamp, self._clock()
        version = await api.version()
        probe.require_release(version)
        await probe.require_locked(api, key)
        await probe.require_tokens_end(api, key, stamp, now)
        register, entry = await asyncio.gather(api.collection(REGISTER), api.entry(stamp))
        if register is None or entry != rules.own_entry(stamp):
            return SeenServer(version=version, register=_register_seen(register), entry=entry)
        await probe.require_tokens_work(api, key, stamp, now)
        advisories = await probe.leaks(api, key, stamp, now)
        return SeenServer(version=version, register=_register_seen(register), entry=entry, advisories=advisories)

    def server_of(self, seen: SeenServer) -> Server:
        return Server(identity=seen.identity, version=seen.version, advisories=seen.advisories)

    def decide_server(self, request: ServerRequest, seen: SeenServer) -> Decision:
        return rules.decide_server(request, seen)

    def credentials(
        self, names: PhysicalNames, stamp: Stamp, holding: Holding, now: datetime
    ) -> tuple[Credential, ...]:
        """Raises Insecure for an API key too weak to sign with."""

        def fresh(generation: int) -> Credential:
            return issue(
                self._api_key,
                uid=stamp.uid,
                collection=names.collection,
                generation=generation,
                now=now,
                lifetime=self._lifetime,
            )

        kept = holding.credentials
        renewed = tuple(c if holds(c, self._api_key, now, self._lifetime) else fresh(c.generation) for c in kept)
        return renewed or (fresh(1),)

    async def observe(self, request: Request) -> Seen:
        register, found, entry, stranger = await asyncio.gather(
            self._api.collection(REGISTER),
            self._api.collection(request.names.collection),
            self._api.entry(request.stamp),
            self._stranger(request),
        )
        server = register.identity if register else ""
        if not (server or request.holding.server) and request.access is Access.OPEN:
            raise Unavailable(
                "while looking at Qdrant: it is not prepared yet; that is done when its DataPlane is ready"
            )
        if found is None:
            return Seen(server=server, collection=None, entry=entry, stranger=stranger)
        seen = await self._collection_seen(request.names.collection, found)
        snapshots = await self._snapshots(request.names.collection) if request.access is Access.CUT else ()
        return Seen(server=server, collection=seen, entry=entry, snapshots=snapshots, stranger=stranger)

    def decide(self, request: Request, seen: Seen) -> Decision:
        return rules.decide(rules.wanted_of(request), seen)

    def decide_removal(self, request: Request, seen: Seen) -> Do | Conflict | EngineChanged:
        return rules.decide_removal(rules.wanted_of(request), seen)

    async def act(self, step: QdrantStep) -> None:
        match step:
            case CreateRegister(stamp, identity):
                await self._create_register(stamp, identity)
            case CreateCollection():
                await self._create_collection(step)
            case StampCollection(name, stamp):
                await self._api.stamp_collection(name, stamp)
            case LimitCollection(name, limits):
                await self._api.limit_collection(name, limits)
            case IndexField(name, field):
                await self._api.index_field(name, field)
            case Register(entry):
                await self._api.register(entry)
            case Unregister(stamp):
                await self._api.unregister(stamp)
            case DeleteSnapshot(name, snapshot):
                await self._api.delete_snapshot(name, snapshot)
            case DeleteCollection(name):
                await self._api.delete_collection(name)

    def binding(self, request: Request) -> Mapping[str, str]:
        token = request.published
        return {
            **reached_by(self._url, "qdrant", "qdrant", self._ca_pem),
            "api-key": token.value.reveal(),
            "expires-at": rfc3339(datetime.fromtimestamp(token.expires_at, UTC)),
            "collection": request.names.collection,
            "dimensions": str(request.spec.embedding.dimensions),
            "distance": request.spec.embedding.distance.value,
        }

    def fingerprint(self, request: Request) -> str:
        wanted = rules.wanted_of(request)
        return rules.digest(wanted.collection, wanted.tokens)

    async def survey(self) -> Mapping[str, str]:
        existing = await self._api.collections()
        return rules.surveyed(self._installation, [entry async for entry in self._api.entries()], existing)

    async def _stranger(self, request: Request) -> Stranger | None:
        if request.access is not Access.OPEN:
            return None
        return await self._api.stranger(request.stamp, request.names.collection)

    async def _collection_seen(self, name: str, found: Collection) -> SeenCollection:
        strict, vector = found.config.strict_mode_config, found.config.params.vector
        return SeenCollection(
            mark=found.mark,
            # Counted exactly, and only where it decides whose the collection is: the count in its info is an estimate.
            empty=found.mark is None and await self._api.is_empty(name),
            dimensions=vector.size,
            distance=vector.distance,
            limits=strict.limits if strict else None,
            indexes=found.keyword_indexes,
        )

    async def _snapshots(self, name: str) -> tuple[Snapshot, ...]:
        whole, shard = await asyncio.gather(self._api.snapshots(name), self._api.snapshots(name, shard=0))
        return (*whole, *shard)

    async def _create_collection(self, step: CreateCollection) -> None:
        if await self._api.create_collection(step):
            return
        taken = await self._api.collection(step.name)
        if taken is None or taken.mark != str(step.stamp):
            raise Refused(f'while creating collection "{step.name}": somebody else made it in the same moment')

    async def _create_register(self, stamp: Stamp, identity: str) -> None:
        if await self._api.create_register(stamp, identity):
            return
        taken = await self._api.collection(REGISTER)
        if taken is None or not rules.same_installation(taken.mark, stamp):
            raise Refused(f'while creating collection "{REGISTER}": somebody else made it in the same moment')


def _register_seen(found: Collection | None) -> SeenRegister | None:
    if found is None:
        return None
    return SeenRegister(mark=found.mark, identity=found.identity, indexes=found.keyword_indexes)
