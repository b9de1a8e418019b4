"""The object store as an engine: what is looked at and done, in the order in which that happens."""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import ClassVar

from bulkhead.api.data_plane import ObjectStoreEndpoint
from bulkhead.api.names import PhysicalNames
from bulkhead.api.ownership import Stamp
from bulkhead.api.record import Credential, EngineName, Holding
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.contract import (
    Access,
    Conflict,
    Decision,
    Do,
    EngineChanged,
    Request,
    Server,
    ServerRequest,
    engine_changed,
)
from bulkhead.engines.errors import Refused
from bulkhead.engines.http import address_of, tls_context
from bulkhead.engines.minio import release
from bulkhead.engines.minio.act import perform
from bulkhead.engines.minio.api import Api
from bulkhead.engines.minio.binding import binding
from bulkhead.engines.minio.decide import decide, decide_removal, uploads_matter
from bulkhead.engines.minio.lane import Lane
from bulkhead.engines.minio.state import Bucket, Seen, ServerSeen, User
from bulkhead.engines.minio.steps import MinioStep
from bulkhead.engines.minio.survey import digest_wanted, digests_seen

THREADS = 2
SEALED_THREADS = 1
"""For calls whose answers come encrypted: each takes 64 MiB (Argon2id) while it lasts."""

SECRET_BYTES = 30
"""Makes 40 characters of URL-safe Base64, as many as MinIO makes itself."""

MOST_UPLOADS = 10_000
"""Unfinished uploads that one look takes: a key has up to a kilobyte, so some 15 MB. The next look takes others."""

MOST_UNKNOWN = 100
"""Users that one look finds beyond the newest one of the record."""

_KEY = re.compile(r"[!-~]+")


class MinioEngine:
    """One MinIO deployment. Calls that can fail raise EngineError; so does the first one where the endpoint, the CA or
    the keys can not be used at all."""

    name: ClassVar[EngineName] = EngineName.OBJECT_STORE

    def __init__(
        self,
        endpoint: ObjectStoreEndpoint,
        access_key: Sensitive,
        secret_key: Sensitive,
        ca_pem: str | None,
        *,
        installation: str,
        randomness: Callable[[int], bytes],
    ) -> None:
        """`ca_pem`: the only CA that is believed; None: those of the system. `installation`: whose stamps a survey
        counts. `randomness`: so many random bytes."""
        self._endpoint = endpoint
        self._access_key = access_key
        self._secret_key = secret_key
        self._ca_pem = ca_pem
        self._installation = installation
        self._randomness = randomness
        self._plain = Lane(THREADS, "minio")
        self._sealed = Lane(SEALED_THREADS, "minio-sealed")
        self._opened: Api | None = None

    async def close(self) -> None:
        self._plain.close()
        self._sealed.close()
        if self._opened is not None:
            self._opened.close()

    async def ping(self) -> None:
        doing = "asking the object store for a sign of life"
        await self._plain.call(doing, self._api(doing).info)

    async def observe_server(self, request: ServerRequest) -> ServerSeen:  # noqa: ARG002 - nothing of ours is on it
        doing = "looking at the object store"
        api = self._api(doing)
        info = await self._plain.call(doing, api.info)
        version = release.oldest_version(node.version for node in info.servers)
        advisories = release.advisories_of(version)
        if await self._plain.call(doing, api.knows, release.DEFAULT_ADMINISTRATOR):
            raise release.refuse_default_administrator()
        return ServerSeen(info.deployment_id, version, advisories)

    def server_of(self, seen: ServerSeen) -> Server:
        return Server(identity=seen.identity, version=seen.version, advisories=seen.advisories)

    def decide_server(self, request: ServerRequest, seen: ServerSeen) -> Decision:
        return engine_changed(request.holding.server, seen.identity) or Do()

    def credentials(
        self,
        names: PhysicalNames,
        stamp: Stamp,  # noqa: ARG002 - names hold what is needed of it
        holding: Holding,
        now: datetime,  # noqa: ARG002 - they do not expire
    ) -> tuple[Credential, ...]:
        if holding.credentials:
            return holding.credentials
        secret_key = base64.urlsafe_b64encode(self._randomness(SECRET_BYTES)).decode()
        return (Credential(generation=1, identity=names.access_key(1), value=Sensitive(secret_key)),)

    async def observe(self, request: Request) -> Seen:
        names = request.names
        doing = f'looking at bucket "{names.bucket}"'
        api = self._api(doing)
        info = await self._plain.call(doing, api.info)
        bucket = await self._bucket(api, names.bucket)
        found = await self._plain.call(f'looking at policy "{names.policy}"', api.policy, names.policy)
        users = await self._users(api, request)
        seen = Seen(info.deployment_id, bucket, found, users)
        if not uploads_matter(request, seen):
            return seen
        uploads = await self._plain.call(f"{doing} for uploads", api.uploads, names.bucket, MOST_UPLOADS)
        return replace(seen, uploads=uploads)

    def decide(self, request: Request, seen: Seen) -> Decision:
        return decide(request, seen)

    def decide_removal(self, request: Request, seen: Seen) -> Do | Conflict | EngineChanged:
        """As in the contract; `request` and `seen` are those of `Access.CUT`.

        An upload begun before the server's last restart is not seen. It stays until the server drops it (`api
        stale_uploads_expiry`, a day unless set otherwise) and opens to nobody meanwhile: see `policy.py`.
        """
        return decide_removal(request, seen)

    async def act(self, step: MinioStep) -> None:
        doing = f"trying to {step}"
        await self._plain.call(doing, perform, self._api(doing), step)

    def binding(self, request: Request) -> Mapping[str, str]:
        return binding(self._endpoint, request.names.bucket, request.published, self._ca_pem)

    def fingerprint(self, request: Request) -> str:
        return digest_wanted(request)

    async def survey(self) -> Mapping[str, str]:
        doing = "looking at all tenants of the object store"
        api = self._api(doing)
        policies = await self._plain.call(doing, api.policies)
        buckets = await self._plain.call(doing, api.buckets)
        users = await self._sealed.call(doing, api.users)
        return digests_seen(self._installation, policies, buckets, users)

    async def _bucket(self, api: Api, name: str) -> Bucket | None:
        doing = f'looking at bucket "{name}"'
        quota = await self._plain.call(doing, api.quota, name)
        if quota is None:
            return None
        stamp = await self._plain.call(doing, api.bucket_stamp, name)
        public = await self._plain.call(doing, api.is_public, name)
        empty = stamp is None and await self._plain.call(doing, api.is_empty, name)
        return Bucket(stamp, quota, public, empty)

    async def _users(self, api: Api, request: Request) -> dict[str, User]:
        """The users in force and all that adjoin them: retired ones below, and above those that the record does not
        know of because it was restored from an older copy. The farthest come first and so are removed first: what a
        crash leaves still adjoins."""
        held = {credential.generation: credential for credential in request.holding.credentials}
        oldest, newest = min(held, default=1), max(held, default=0)
        below = await self._adjoining(api, request.names, range(oldest - 1, 0, -1))
        above = await self._adjoining(api, request.names, range(newest + 1, newest + 1 + MOST_UNKNOWN))
        users = dict((*reversed(below), *reversed(above)))
        for credential in held.values():
            user = await self._user(api, credential.identity)
            if user is not None:
                tried = user.enabled and request.access is Access.OPEN
                differs = tried and not await self._opens(api, credential, request.names.bucket)
                users[credential.identity] = replace(user, secret_differs=differs)
        return users

    async def _adjoining(self, api: Api, names: PhysicalNames, generations: Iterable[int]) -> list[tuple[str, User]]:
        """Users of these generations, until one is missing."""
        found: list[tuple[str, User]] = []
        for access_key in map(names.access_key, generations):
            user = await self._user(api, access_key)
            if user is None:
                break
            found.append((access_key, user))
        return found

    async def _user(self, api: Api, access_key: str) -> User | None:
        return await self._plain.call(f'looking at user "{access_key}"', api.user, access_key)

    async def _opens(self, api: Api, credential: Credential, bucket: str) -> bool:
        doing = f'logging in as user "{credential.identity}"'
        return await self._plain.call(doing, api.opens, credential.identity, credential.value, bucket)

    def _api(self, doing: str) -> Api:
        if self._opened is None:
            address = address_of(self._endpoint.endpoint, doing)
            tls = tls_context(address, self._ca_pem, doing) if address.scheme == "https" else None
            self._opened = self._open(address.host_port_subcomponent or "", tls, doing)
        return self._opened

    def _open(self, authority: str, tls: ssl.SSLContext | None, doing: str) -> Api:
        if not all(_KEY.fullmatch(key.reveal()) for key in (self._access_key, self._secret_key)):
            raise Refused(
                f"while {doing}: access-key or secret-key in the Secret that spec.objectStore.adminSecretRef of the "
                "DataPlane names is empty or holds characters, such as a line break, that no key of the store has"
            )
        try:
            return Api(authority, self._endpoint.region, tls, self._access_key, self._secret_key, self._randomness)
        except ValueError:
            raise Refused(
                f"while {doing}: spec.objectStore.endpoint or region of the DataPlane is not one that S3 clients accept"
            ) from None
