"""What two tenants can do to each other on a real MinIO, where the name of one is the beginning of the other's."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

import pytest
import pytest_asyncio
from minio import Minio
from minio.commonconfig import ENABLED, CopySource, Filter, Tags
from minio.credentials.providers import StaticProvider
from minio.datatypes import PostPolicy
from minio.deleteobjects import DeleteObject
from minio.lifecycleconfig import Expiration, LifecycleConfig, Rule
from minio.minioadmin import MinioAdmin
from minio.notificationconfig import NotificationConfig
from minio.select import CSVInputSerialization, CSVOutputSerialization, SelectRequest
from minio.time import to_amz_date, to_signer_date, utcnow
from minio.versioningconfig import VersioningConfig

from bulkhead.engines.contract import Request
from bulkhead.engines.minio.policy import UNSIGNED_TRAILER
from hack.plane.minio import Minio as Server
from tests.integration.engines.minio_server import (
    Driver,
    admin,
    answer_to,
    begin_upload,
    client_of,
    engine_of,
    get,
    list_uploads,
    pool,
    put,
    root,
    running_server,
    sts_client,
)

EVERYTHING = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}],
}
PUBLIC = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:*"], "Resource": ["arn:aws:s3:::a-data/*"]}
    ],
}


@dataclass(frozen=True)
class Tenants:
    """Two tenants with one object each."""

    server: Server
    a: Request
    ab: Request

    def named(self, slug: str) -> Request:
        return self.a if slug == "a" else self.ab

    def other(self, slug: str) -> Request:
        return self.ab if slug == "a" else self.a


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def tenants() -> AsyncIterator[Tenants]:
    async with running_server() as server:
        driver = await Driver.of(engine_of(server))
        both = Tenants(server, *[await driver.converge(driver.request(slug, size="1Gi")) for slug in ("a", "ab")])
        for tenant in (both.a, both.ab):
            put(client_of(server, tenant), tenant.names.bucket, "own", text=tenant.names.bucket.encode())
        yield both
        await driver.engine.close()


@pytest.fixture(autouse=True)
def _both_keep_what_they_have(tenants: Tenants) -> Iterator[None]:
    yield
    for tenant in (tenants.a, tenants.ab):
        bucket = tenant.names.bucket
        assert [item.object_name for item in root(tenants.server).list_objects(bucket, recursive=True)] == ["own"]
        assert get(root(tenants.server), bucket, "own") == bucket.encode()


def sts_for_everything(server: Server, request: Request) -> Minio:
    return sts_client(server, request, policy=json.dumps(EVERYTHING))


KeysOf = Callable[[Server, Request], Minio]
KEYS: Sequence[KeysOf] = (client_of, sts_client, sts_for_everything)


@pytest.mark.parametrize("keys", [client_of, sts_client])
@pytest.mark.parametrize("slug", ["a", "ab"])
def test_a_tenant_uses_its_own_bucket(tenants: Tenants, slug: str, keys: KeysOf) -> None:
    bucket = tenants.named(slug).names.bucket
    client = keys(tenants.server, tenants.named(slug))
    put(client, bucket, "k", text=b"1" * 10)
    client.copy_object(bucket, "copy", CopySource(bucket, "k"))
    assert get(client, bucket, "copy") == b"1" * 10
    assert {item.object_name for item in client.list_objects(bucket)} == {"own", "k", "copy"}
    client.remove_object(bucket, "k")
    assert list(client.remove_objects(bucket, [DeleteObject("copy")])) == []


def test_a_tenant_uploads_in_parts_and_reads_by_a_link(tenants: Tenants) -> None:
    client = client_of(tenants.server, tenants.a)
    text = b"p" * (5 * 1024 * 1024 + 1)
    client.put_object("a-data", "large", io.BytesIO(text), -1, part_size=5 * 1024 * 1024)
    link = client.presigned_get_object("a-data", "large")
    assert pool(tenants.server.ca_pem).request("GET", link).data == text
    client.remove_object("a-data", "large")


@pytest.mark.parametrize("slug", ["a", "ab"])
def test_a_tenant_sees_no_bucket_but_its_own(tenants: Tenants, slug: str) -> None:
    request = tenants.named(slug)
    assert [bucket.name for bucket in client_of(tenants.server, request).list_buckets()] == [request.names.bucket]
    account = json.loads(admin(tenants.server, keys_of(request)).account_info())
    assert [bucket["name"] for bucket in account["Buckets"]] == [request.names.bucket]


Try = Callable[[Minio, str, str], object]
"""Client, the bucket that is tried, the client's own bucket."""


def _select(client: Minio, bucket: str, _: str) -> None:
    query = SelectRequest("select * from S3Object", CSVInputSerialization(), CSVOutputSerialization())
    client.select_object_content(bucket, "own", query)


OBJECT_TRIES: Mapping[str, Try] = {
    "list": lambda c, b, _: list(c.list_objects(b)),
    "list versions": lambda c, b, _: list(c.list_objects(b, include_version=True)),
    "locate": lambda c, b, _: c._execute("GET", b, query_params={"location": ""}),
    "get": lambda c, b, _: c.get_object(b, "own"),
    "attributes": lambda c, b, _: c._execute(
        "GET", b, "own", query_params={"attributes": ""}, headers={"x-amz-object-attributes": "ETag"}
    ),
    "put": lambda c, b, _: put(c, b, "planted"),
    "put over": lambda c, b, _: put(c, b, "own"),
    "delete": lambda c, b, _: c.remove_object(b, "own"),
    "force delete": lambda c, b, _: c._execute("DELETE", b, "own", headers={"x-minio-force-delete": "true"}),
    "copy out": lambda c, b, own: c.copy_object(own, "copy", CopySource(b, "own")),
    "copy in": lambda c, b, own: c.copy_object(b, "copy", CopySource(own, "own")),
    "upload in parts": lambda c, b, _: begin_upload(c, b, "parts"),
    "object tags": lambda c, b, _: c.get_object_tags(b, "own"),
    "retention": lambda c, b, _: c.get_object_retention(b, "own"),
    "select": _select,
}

BUCKET_TRIES: Mapping[str, Try] = {
    "list uploads": lambda c, b, _: list_uploads(c, b, ""),
    "list uploads of a key": lambda c, b, _: list_uploads(c, b, "own"),
    "remove bucket": lambda c, b, _: c.remove_bucket(b),
    "erase bucket": lambda c, b, _: c._execute("DELETE", b, headers={"x-minio-force-delete": "true"}),
    "make public": lambda c, b, _: c.set_bucket_policy(b, json.dumps(PUBLIC)),
    "read policy": lambda c, b, _: c.get_bucket_policy(b),
    "read versioning": lambda c, b, _: c.get_bucket_versioning(b),
    "set versioning": lambda c, b, _: c.set_bucket_versioning(b, VersioningConfig(ENABLED)),
    "read lifecycle": lambda c, b, _: c._execute("GET", b, query_params={"lifecycle": ""}),
    "set lifecycle": lambda c, b, _: c.set_bucket_lifecycle(
        b, LifecycleConfig([Rule(ENABLED, Filter(prefix=""), expiration=Expiration(days=1))])
    ),
    "read notification": lambda c, b, _: c.get_bucket_notification(b),
    "set notification": lambda c, b, _: c.set_bucket_notification(b, NotificationConfig()),
    "replication": lambda c, b, _: c._execute("GET", b, query_params={"replication": ""}),
    "read stamp": lambda c, b, _: c._execute("GET", b, query_params={"tagging": ""}),
    "set stamp": lambda c, b, _: c.set_bucket_tags(b, Tags.new_bucket_tags()),
    "encryption": lambda c, b, _: c._execute("GET", b, query_params={"encryption": ""}),
    "object lock": lambda c, b, _: c.get_object_lock_config(b),
}


@pytest.mark.parametrize("keys", KEYS)
@pytest.mark.parametrize("trial", [*OBJECT_TRIES, *BUCKET_TRIES])
@pytest.mark.parametrize("slug", ["a", "ab"])
def test_nothing_in_the_bucket_of_the_other_opens(tenants: Tenants, slug: str, trial: str, keys: KeysOf) -> None:
    client = keys(tenants.server, tenants.named(slug))
    own, other = tenants.named(slug).names.bucket, tenants.other(slug).names.bucket
    attempt = {**OBJECT_TRIES, **BUCKET_TRIES}[trial]
    assert answer_to(lambda: attempt(client, other, own)) == "AccessDenied"


@pytest.mark.parametrize("trial", list(BUCKET_TRIES))
@pytest.mark.parametrize("keys", KEYS)
def test_the_settings_of_its_own_bucket_are_closed_to_a_tenant_too(tenants: Tenants, trial: str, keys: KeysOf) -> None:
    client = keys(tenants.server, tenants.a)
    assert answer_to(lambda: BUCKET_TRIES[trial](client, "a-data", "a-data")) == "AccessDenied"


def test_a_batch_deletion_in_the_bucket_of_the_other_is_refused_object_by_object(tenants: Tenants) -> None:
    client = client_of(tenants.server, tenants.a)
    assert [error.code for error in client.remove_objects("ab-data", [DeleteObject("own")])] == ["AccessDenied"]


@pytest.mark.parametrize("name", ["a", "a-", "a-dat", "a-data-", "abc-data", "b-data", "new-bucket"])
def test_a_tenant_makes_no_bucket_whatever_its_name(tenants: Tenants, name: str) -> None:
    client = client_of(tenants.server, tenants.a)
    assert answer_to(lambda: client._url_open("PUT", "us-east-1", bucket_name=name)) in (
        "AccessDenied",
        "InvalidBucketName",
    )


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_link_made_with_its_own_keys_does_not_open_the_bucket_of_the_other(tenants: Tenants, method: str) -> None:
    link = client_of(tenants.server, tenants.a).get_presigned_url(method, "ab-data", "own")
    assert pool(tenants.server.ca_pem).request(method, link).status == 403


def test_a_form_made_with_its_own_keys_puts_nothing_into_the_bucket_of_the_other(tenants: Tenants) -> None:
    policy = PostPolicy("ab-data", utcnow() + timedelta(minutes=5))
    policy.add_equals_condition("key", "planted")
    signed = client_of(tenants.server, tenants.a).presigned_post_policy(policy)
    fields: dict[str, str | bytes | tuple[str, str | bytes]] = {**signed, "key": "planted", "file": ("f", b"x")}
    response = pool(tenants.server.ca_pem).request("POST", f"{tenants.server.url}/ab-data", fields=fields)
    assert response.status == 403


@pytest.mark.parametrize("trial", [*OBJECT_TRIES, *BUCKET_TRIES])
def test_nobody_opens_anything_without_keys(tenants: Tenants, trial: str) -> None:
    anonymous = Minio(tenants.server.endpoint, region="us-east-1", http_client=pool(tenants.server.ca_pem))
    attempt = {**OBJECT_TRIES, **BUCKET_TRIES}[trial]
    assert answer_to(lambda: attempt(anonymous, "ab-data", "a-data")) == "AccessDenied"


def keys_of(request: Request) -> StaticProvider:
    held = request.holding.credentials[0]
    return StaticProvider(held.identity, held.value.reveal())


ADMIN_TRIES: Mapping[str, Callable[[MinioAdmin, str, str], object]] = {
    "server": lambda c, _, __: c.info(),
    "users": lambda c, _, __: c.user_list(),
    "itself": lambda c, me, _: c.user_info(me),
    "the other": lambda c, _, other: c.user_info(other),
    "own secret": lambda c, me, _: c.user_add(me, "another-secret-key"),
    "secret of the other": lambda c, _, other: c.user_add(other, "another-secret-key"),
    "remove the other": lambda c, _, other: c.user_remove(other),
    "disable the other": lambda c, _, other: c.user_disable(other),
    "own service account": lambda c, _, __: c.add_service_account(),
    "service accounts of the other": lambda c, _, other: c.list_service_account(other),
    "policies": lambda c, _, __: c.policy_list(),
    "read policy": lambda c, _, __: c.policy_info("a"),
    "widen policy": lambda c, _, __: c.policy_add("a", policy=EVERYTHING),
    "take policy": lambda c, me, _: c.policy_set("consoleAdmin", user=me),
    "groups": lambda c, _, __: c.group_list(),
    "quota": lambda c, _, __: c.bucket_quota_set("a-data", 1 << 50),
    "restart": lambda c, _, __: c.service_restart(),
}


@pytest.mark.parametrize("trial", list(ADMIN_TRIES))
@pytest.mark.parametrize("kind", ["keys", "session"])
def test_the_admin_api_is_closed_to_tenants(tenants: Tenants, trial: str, kind: str) -> None:
    mine, other = (request.holding.credentials[0].identity for request in (tenants.a, tenants.ab))
    session = sts_client(tenants.server, tenants.a)._provider
    keys = keys_of(tenants.a) if kind == "keys" or session is None else session
    answer = answer_to(lambda: ADMIN_TRIES[trial](admin(tenants.server, keys), mine, other))
    assert answer in ("AccessDenied", "XMinioInvalidIAMCredentials")  # the latter: a session and its parent's secret


TEXT = b"forged"


def forged_by_query(server: Server, access_key: str, more: str = "") -> int:
    """CVE-2026-41145: the access key in the query, no signature worth the name. The status of the answer."""
    checksum = base64.b64encode(zlib.crc32(TEXT).to_bytes(4, "big")).decode()
    body = f"{len(TEXT):x}\r\n{TEXT.decode()}\r\n0\r\nx-amz-checksum-crc32:{checksum}\r\n\r\n"
    now = utcnow()
    query = urlencode(
        {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{access_key}/{to_signer_date(now)}/us-east-1/s3/aws4_request",
            "X-Amz-Date": to_amz_date(now),
            "X-Amz-Expires": "900",
            "X-Amz-SignedHeaders": "host",
            "X-Amz-Signature": "a" * 64,
        }
    )
    headers = {
        "x-amz-content-sha256": UNSIGNED_TRAILER,
        "x-amz-decoded-content-length": str(len(TEXT)),
        "x-amz-trailer": "x-amz-checksum-crc32",
        "content-encoding": "aws-chunked",
    }
    url = f"{server.url}/ab-data/forged?{query}{more}"
    return pool(server.ca_pem).request("PUT", url, body=body.encode(), headers=headers).status


def forged_by_archive(server: Server, access_key: str) -> int:
    """CVE-2026-40344: an archive that the server unpacks, with a signature that it does not look at."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("forged")
        member.size = len(TEXT)
        tar.addfile(member, io.BytesIO(TEXT))
    now = utcnow()
    scope = f"{access_key}/{to_signer_date(now)}/us-east-1/s3/aws4_request"
    headers = {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={'b' * 64}",
        "x-amz-date": to_amz_date(now),
        "x-amz-content-sha256": UNSIGNED_TRAILER,
        "x-amz-meta-snowball-auto-extract": "true",
    }
    url = f"{server.url}/ab-data/forged.tar"
    return pool(server.ca_pem).request("PUT", url, body=archive.getvalue(), headers=headers).status


FORGERIES: Mapping[str, Callable[[Server, str], int]] = {
    "query": forged_by_query,
    "query that names another hash": lambda s, k: forged_by_query(s, k, "&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD"),
    "archive": forged_by_archive,
}


@pytest.mark.parametrize("forgery", list(FORGERIES))
def test_who_knows_only_the_access_key_of_a_tenant_writes_nothing(tenants: Tenants, forgery: str) -> None:
    access_key = tenants.ab.holding.credentials[0].identity
    assert FORGERIES[forgery](tenants.server, access_key) == 403


@pytest.mark.parametrize("forgery", list(FORGERIES))
def test_without_the_denial_in_the_policy_the_server_takes_the_same_upload(tenants: Tenants, forgery: str) -> None:
    request = tenants.ab
    administrator = admin(tenants.server)
    policy = json.loads(administrator.policy_info("ab"))
    allowed = [statement for statement in policy["Statement"] if "Condition" not in statement]
    administrator.policy_add("ab", policy={**policy, "Statement": allowed})
    try:
        assert FORGERIES[forgery](tenants.server, request.holding.credentials[0].identity) == 200
    finally:
        administrator.policy_add("ab", policy=policy)
        root(tenants.server).remove_object("ab-data", "forged")
