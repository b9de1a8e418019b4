"""Ways into a neighbour's bucket."""

from __future__ import annotations

import asyncio
import io
import json
import ssl
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.commonconfig import CopySource
from minio.credentials.providers import AssumeRoleProvider, StaticProvider
from minio.error import MinioAdminException, S3Error
from minio.minioadmin import MinioAdmin

from hack.isolation.attempt import Attempt, Refused, Tenant

OBJECT = "isolation-probe.txt"
REFUSAL = "AccessDenied"
"""Both APIs say it of what a key may not. That they do not know the key, or its signature, or the time, is no proof."""
REASON = "x-minio-error-code"
"""Header of an answer to HEAD, which has no body: the client takes each 403 for a refusal there."""


def attempts(attacker: Tenant, victim: Tenant) -> Iterator[Attempt]:
    """Everything that an access key may try on a neighbour, or on its own bucket where they are the same."""
    own, bucket = _client(attacker), victim.object_store["bucket"]
    mine = attacker.object_store["bucket"]
    if attacker.slug == victim.slug:
        yield _own("write and read an object", lambda: _write_and_read(own, mine))
        yield _own("list my bucket", lambda: list(own.list_objects(mine)))
        yield _own("see my bucket among all", lambda: _sees(own, mine, mine))
        yield _shut("make my bucket public", lambda: own.set_bucket_policy(mine, _public(mine)))
        yield _own("list my bucket by a role of my own", lambda: list(_assumed(attacker, mine).list_objects(mine)))
        yield _shut("read all policies", lambda: _admin(attacker).policy_list())
        yield _shut("change my own policy", lambda: _admin(attacker).policy_add(attacker.slug, policy=_everything()))
        yield _shut("make a service account", lambda: _admin(attacker).add_service_account())
        yield _shut("change the stamp of my bucket", lambda: own.delete_bucket_tags(mine))
        return
    yield _shut("list its bucket", lambda: list(own.list_objects(bucket)))
    yield _shut("read its object", lambda: own.get_object(bucket, OBJECT).read())
    yield _shut("see that its object exists", lambda: own.stat_object(bucket, OBJECT))
    yield _shut("write into its bucket", lambda: _write(own, bucket, "planted.txt"))
    yield _shut("overwrite its object", lambda: _write(own, bucket, OBJECT))
    yield _shut("delete its object", lambda: own.remove_object(bucket, OBJECT))
    yield _shut("copy from its bucket", lambda: own.copy_object(mine, "stolen.txt", CopySource(bucket, OBJECT)))
    yield _shut("copy into its bucket", lambda: own.copy_object(bucket, "planted.txt", CopySource(mine, OBJECT)))
    yield _shut("start an upload into its bucket", lambda: _start_upload(own, bucket))
    yield _shut("list its unfinished uploads", lambda: _list_uploads(own, bucket))
    yield _shut("read its policy", lambda: own.get_bucket_policy(bucket))
    yield _shut("make its bucket public", lambda: own.set_bucket_policy(bucket, _public(bucket)))
    yield _shut("read its tags", lambda: own.get_bucket_tags(bucket))
    yield _shut("remove its bucket", lambda: own.remove_bucket(bucket))
    yield _shut("make a bucket", lambda: own.make_bucket(f"{mine}-second"))
    yield _shut("see it among all buckets", lambda: _sees(own, mine, bucket))
    yield _shut("list its bucket unsigned", lambda: list(_anonymous(victim).list_objects(bucket)))
    yield _shut("read its object unsigned", lambda: _anonymous(victim).get_object(bucket, OBJECT).read())
    yield _shut("write into its bucket unsigned", lambda: _write(_anonymous(victim), bucket, "planted.txt"))
    yield _shut("reach it by a role of my own", lambda: list(_assumed(attacker, bucket).list_objects(bucket)))
    yield _shut("ask the admin API for users", lambda: _admin(attacker).user_list())
    yield _shut(
        "change its key by the admin API",
        lambda: _admin(attacker).user_add(victim.object_store["access-key"], "x" * 20),
    )


def _own(kind: str, call: Callable[[], Any]) -> Attempt:
    return Attempt("objectStore", kind, allowed=True, run=_in_thread(call))


def _shut(kind: str, call: Callable[[], Any]) -> Attempt:
    return Attempt("objectStore", kind, allowed=False, run=_in_thread(call))


def _in_thread(call: Callable[[], Any]) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        await asyncio.to_thread(_mapped, call)

    return run


def _mapped(call: Callable[[], Any]) -> None:
    """The library's errors, told apart: a refusal is what we look for, anything else is none."""
    try:
        call()
    except S3Error as error:
        if error.response.headers.get(REASON, error.code) == REFUSAL:
            raise Refused(REFUSAL) from None
        raise
    except MinioAdminException as error:
        if f'"Code":"{REFUSAL}"' in str(error):
            raise Refused(REFUSAL) from None
        raise


def _http(tenant: Tenant) -> urllib3.PoolManager:
    context = ssl.create_default_context(cadata=tenant.object_store.get("ca.crt"))
    return urllib3.PoolManager(ssl_context=context, timeout=10, retries=False)


def _client(tenant: Tenant) -> Minio:
    binding = tenant.object_store
    url = urlsplit(binding["endpoint"])
    return Minio(
        url.netloc,
        access_key=binding["access-key"],
        secret_key=binding["secret-key"],
        secure=url.scheme == "https",
        region=binding["region"],
        http_client=_http(tenant),
    )


def _anonymous(tenant: Tenant) -> Minio:
    """Whoever has the address and no key at all."""
    url = urlsplit(tenant.object_store["endpoint"])
    region = tenant.object_store["region"]
    return Minio(url.netloc, secure=url.scheme == "https", region=region, http_client=_http(tenant))


def _admin(tenant: Tenant) -> MinioAdmin:
    binding = tenant.object_store
    credentials = StaticProvider(binding["access-key"], binding["secret-key"])
    url = urlsplit(binding["endpoint"])
    return MinioAdmin(
        endpoint=url.netloc, credentials=credentials, secure=url.scheme == "https", http_client=_http(tenant)
    )


def _assumed(tenant: Tenant, bucket: str) -> Minio:
    """A session token with a policy that asks for the neighbour's bucket: it can only narrow, never widen."""
    binding = tenant.object_store
    url = urlsplit(binding["endpoint"])
    arn = f"arn:aws:s3:::{bucket}"
    policy = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": [arn, f"{arn}/*"]}],
    }
    provider = AssumeRoleProvider(
        sts_endpoint=binding["endpoint"],
        access_key=binding["access-key"],
        secret_key=binding["secret-key"],
        duration_seconds=int(timedelta(hours=1).total_seconds()),
        policy=json.dumps(policy),
        region=binding["region"],
        http_client=_http(tenant),
    )
    return Minio(
        url.netloc,
        credentials=provider,
        secure=url.scheme == "https",
        region=binding["region"],
        http_client=_http(tenant),
    )


def _start_upload(client: Minio, bucket: str) -> None:
    client._create_multipart_upload(bucket, "planted.bin", {})  # noqa: SLF001 - the library has no public call for it


def _list_uploads(client: Minio, bucket: str) -> None:
    client._list_multipart_uploads(bucket)  # noqa: SLF001 - the library has no public call for it


def _write(client: Minio, bucket: str, name: str, body: bytes = b"probe") -> None:
    client.put_object(bucket, name, io.BytesIO(body), len(body))


def _write_and_read(client: Minio, bucket: str) -> None:
    body = bucket.encode()
    _write(client, bucket, OBJECT, body)
    response = client.get_object(bucket, OBJECT)
    try:
        if response.read() != body:
            raise Refused("read something else than what was written")
    finally:
        response.close()
        response.release_conn()


def _sees(client: Minio, mine: str, wanted: str) -> None:
    seen = {bucket.name for bucket in client.list_buckets()}
    if mine not in seen:
        raise AssertionError(f"sees not even its own bucket, only {sorted(seen)}")
    if wanted not in seen:
        raise Refused(f"sees only {sorted(seen)}")


def _public(bucket: str) -> str:
    """A bucket policy that lets everybody read."""
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _everything() -> dict[str, Any]:
    """A policy that opens every bucket."""
    statement = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}
    return {"Version": "2012-10-17", "Statement": [statement]}
