"""A real MinIO for the tests of its engine, and the tenant's side of it: an ordinary S3 client."""

from __future__ import annotations

import io
import json
import secrets
import ssl
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import cast

import urllib3
from minio import Minio, MinioAdmin
from minio.credentials.providers import AssumeRoleProvider, Provider, StaticProvider
from minio.crypto import decrypt, encrypt
from minio.error import MinioAdminException, S3Error
from minio.minioadmin import _COMMAND

from bulkhead.api.data_plane import ObjectStoreEndpoint
from bulkhead.api.meta import LocalRef
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.contract import Do, Request
from bulkhead.engines.minio.engine import MinioEngine
from bulkhead.engines.minio.errors import code_of
from bulkhead.engines.minio.steps import MinioStep
from hack.plane.minio import Minio as Server
from hack.plane.plane import Part, Plane, PlaneOptions
from tests.unit.engines.minio import gen

BUILT_IN = frozenset({"consoleAdmin", "diagnostics", "readonly", "readwrite", "writeonly"})


@asynccontextmanager
async def running_server() -> AsyncIterator[Server]:
    """A server of our own, for the time of the block."""
    async with Plane.start(PlaneOptions(parts=frozenset({Part.MINIO}), fsync=False)) as plane:
        yield plane.minio


def endpoint(server: Server) -> ObjectStoreEndpoint:
    return ObjectStoreEndpoint(endpoint=server.url, admin_secret_ref=LocalRef(name="minio-admin"))


def engine_of(server: Server, **changes: str) -> MinioEngine:
    """The engine as its administrator opens it. `changes`: other keys, CA or address."""
    declared = endpoint(server)
    return MinioEngine(
        ObjectStoreEndpoint(
            endpoint=changes.get("url", declared.endpoint),
            admin_secret_ref=declared.admin_secret_ref,
            region=changes.get("region", declared.region),
        ),
        Sensitive(changes.get("access_key", server.access_key)),
        Sensitive(changes.get("secret_key", server.secret_key)),
        changes.get("ca_pem", server.ca_pem),
        installation=gen.INSTALLATION,
        randomness=secrets.token_bytes,
    )


def pool(ca_pem: str) -> urllib3.PoolManager:
    context = ssl.create_default_context(cadata=ca_pem)
    return urllib3.PoolManager(ssl_context=context, retries=False, timeout=urllib3.Timeout(connect=5, read=30))


def client(server: Server, provider: Provider) -> Minio:
    """What any S3 client is to the server."""
    return Minio(server.endpoint, credentials=provider, region="us-east-1", http_client=pool(server.ca_pem))


def client_of(server: Server, request: Request, generation: int = -1) -> Minio:
    """A client with the tenant's own keys."""
    held = request.holding.credentials[generation]
    return client(server, StaticProvider(held.identity, held.value.reveal()))


def sts_client(server: Server, request: Request, policy: str | None = None) -> Minio:
    """A client with temporary keys that the tenant made for itself, asking for these rights."""
    held = request.holding.credentials[-1]
    role = AssumeRoleProvider(
        sts_endpoint=server.url,
        access_key=held.identity,
        secret_key=held.value.reveal(),
        duration_seconds=3600,
        policy=policy,
        http_client=pool(server.ca_pem),
    )
    keys = role.retrieve()
    return client(server, StaticProvider(keys.access_key, keys.secret_key, keys.session_token))


def root(server: Server) -> Minio:
    return client(server, StaticProvider(server.access_key, server.secret_key))


def admin(server: Server, keys: Provider | None = None) -> MinioAdmin:
    """The admin API as the server's administrator, or as whoever has these keys."""
    provider = keys or StaticProvider(server.access_key, server.secret_key)
    return MinioAdmin(
        endpoint=server.endpoint, credentials=provider, region="us-east-1", http_client=pool(server.ca_pem)
    )


def derived_client(server: Server, request: Request) -> Minio:
    """A client with a service account that an administrator made for the tenant's user."""
    wish = {"targetUser": request.holding.credentials[-1].identity}
    response = admin(server)._url_open(  # the library makes them only for the account that calls
        method="PUT",
        command=_COMMAND.SERVICE_ACCOUNT_ADD,
        body=encrypt(json.dumps(wish).encode(), server.secret_key),
        preload_content=False,
    )
    keys = json.loads(decrypt(response, server.secret_key))["credentials"]
    return client(server, StaticProvider(keys["accessKey"], keys["secretKey"]))


def put(client: Minio, bucket: str, key: str = "k", text: bytes = b"x") -> None:
    client.put_object(bucket, key, io.BytesIO(text), len(text))


def get(client: Minio, bucket: str, key: str = "k") -> bytes:
    response = client.get_object(bucket, key)
    try:
        return bytes(response.data)
    finally:
        response.close()
        response.release_conn()


# The library has multipart uploads only as a whole; the tests stop in the middle of one.


def begin_upload(client: Minio, bucket: str, key: str) -> str:
    """Begin a multipart upload and send its first part; returns its id."""
    upload_id: str = client._create_multipart_upload(bucket, key, {})
    client._upload_part(bucket, key, b"half of a secret", {}, upload_id, 1)
    return upload_id


def upload_parts(client: Minio, bucket: str, key: str, upload_id: str) -> int:
    """How many parts of an upload are there."""
    return len(client._list_parts(bucket, key, upload_id).parts)


def list_uploads(client: Minio, bucket: str, prefix: str) -> list[str]:
    """Keys of unfinished uploads."""
    return [str(upload.object_name) for upload in client._list_multipart_uploads(bucket, prefix=prefix).uploads]


def answer_to(call: Callable[[], object]) -> str:
    """The code with which the server refuses the call; empty where it does not."""
    try:
        call()
    except (S3Error, MinioAdminException) as error:
        return code_of(error)
    return ""


class _Unnamed(Enum):
    """Commands of the admin API that the library has no name for."""

    EXPORT_IAM = "export-iam"


def users(administrator: MinioAdmin) -> dict[str, tuple[str, str]]:
    """Status and policy of every user by access key, as the server exports them: its own list of them is sealed with
    Argon2id, which costs either side a tenth of a second each time."""
    exported = administrator._url_open(method="GET", command=cast("_COMMAND", _Unnamed.EXPORT_IAM)).data
    with zipfile.ZipFile(io.BytesIO(exported)) as archive:
        held = json.loads(archive.read("iam-assets/users.json"))
        policies = json.loads(archive.read("iam-assets/user_mappings.json"))
    return {key: (user["status"], policies.get(key, {}).get("policy", "")) for key, user in held.items()}


def sweep(server: Server) -> None:
    """Remove all buckets, users, groups and policies."""
    objects, administrator = root(server), admin(server)
    for bucket in objects.list_buckets():
        for item in objects.list_objects(bucket.name, recursive=True, include_version=True):
            objects.remove_object(bucket.name, str(item.object_name), version_id=item.version_id)
        objects.remove_bucket(bucket.name)
    for access_key in users(administrator):
        administrator.user_remove(access_key)
    for group in json.loads(administrator.group_list()) or ():
        administrator.group_remove(group)
    for name in json.loads(administrator.policy_list()).keys() - BUILT_IN:
        administrator.policy_remove(name)


@dataclass(frozen=True)
class Driver:
    """What the reconciler does with an engine, without a reconciler."""

    engine: MinioEngine
    server: str
    """Deployment id."""

    @classmethod
    async def of(cls, engine: MinioEngine) -> Driver:
        seen = await engine.observe(gen.request("nobody"))
        return cls(engine, seen.server)

    def request(
        self,
        slug: str = "acme",
        *,
        uid: str = "",
        size: str = "64Ki",
        generations: Sequence[int] = (1,),
        provisioned: Sequence[str] = (),
    ) -> Request:
        return gen.request(
            slug, uid=uid, size=size, server=self.server, generations=generations, provisioned=tuple(provisioned)
        )

    async def steps(self, request: Request) -> Sequence[MinioStep]:
        """What is still to do."""
        decision = self.engine.decide(request, await self.engine.observe(request))
        assert isinstance(decision, Do), decision
        return cast("Sequence[MinioStep]", decision.steps)

    async def converge(self, request: Request, rounds: int = 3) -> Request:
        """Do it until nothing is left to do; returns the request."""
        for _ in range(rounds):
            steps = await self.steps(request)
            if not steps:
                return request
            for step in steps:
                await self.engine.act(step)
        raise AssertionError(f"still to do after {rounds} rounds: {await self.steps(request)}")

    async def removal(self, request: Request) -> Sequence[MinioStep]:
        """What is still to erase."""
        request = gen.cut(request)
        decision = self.engine.decide_removal(request, await self.engine.observe(request))
        assert isinstance(decision, Do), decision
        return cast("Sequence[MinioStep]", decision.steps)

    async def erase(self, request: Request, rounds: int = 3) -> None:
        for _ in range(rounds):
            steps = await self.removal(request)
            if not steps:
                return
            for step in steps:
                await self.engine.act(step)
        raise AssertionError(f"still there after {rounds} rounds: {await self.removal(request)}")


def stamp_tags(server: Server, bucket: str) -> dict[str, str]:
    tags: dict[str, str] | None = root(server).get_bucket_tags(bucket)
    return dict(tags or {})


def inventory(server: Server) -> Mapping[str, object]:
    """All that the server holds: to compare the ends of two ways."""
    administrator, objects = admin(server), root(server)
    buckets = {}
    for bucket in objects.list_buckets():
        keys = sorted(str(item.object_name) for item in objects.list_objects(bucket.name, recursive=True))
        quota = json.loads(administrator.bucket_quota_get(bucket.name))["quota"]
        buckets[bucket.name] = (stamp_tags(server, bucket.name), quota, keys)
    policies = json.loads(administrator.policy_list()).keys() - BUILT_IN
    return {"buckets": buckets, "users": users(administrator), "policies": policies}
