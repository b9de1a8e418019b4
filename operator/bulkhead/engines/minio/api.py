"""The requests of this engine, one function each; they block. The official libraries sign, and encrypt admin bodies."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Mapping
from enum import Enum
from itertools import islice
from typing import Any

import msgspec
import urllib3
from minio import Minio, MinioAdmin
from minio.commonconfig import Tags
from minio.credentials.providers import StaticProvider
from minio.error import S3Error

from bulkhead.api.ownership import Stamp
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.minio import listing, policy
from bulkhead.engines.minio.decide import INSTALLATION_TAG, UID_TAG
from bulkhead.engines.minio.envelope import sealed
from bulkhead.engines.minio.errors import Tolerated, code_of
from bulkhead.engines.minio.state import Policy, Uploads, User

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
POOL_SIZE = 3
"""As many as there are threads that call."""

LOCKS_READ = 100

UPLOADS_ASKED_FOR = 1000
"""What S3 allows at most. MinIO does not heed it."""

_FORCE = {"x-minio-force-delete": "true"}
"""Makes DELETE of a bucket take everything in it along, versions and delete markers too, in one call."""


class _AdminPath(Enum):
    ADD_USER = "add-user"
    REVOKE_TOKENS = "revoke-tokens/builtin"


class ServerNode(msgspec.Struct, frozen=True):
    """One server process of the deployment."""

    version: str = ""


class ServerInfo(msgspec.Struct, frozen=True, rename={"deployment_id": "deploymentID"}):
    """Who answers."""

    deployment_id: str
    servers: tuple[ServerNode, ...] = ()


class _User(msgspec.Struct, frozen=True, rename="camel"):
    status: str = ""
    policy_name: str = ""
    member_of: tuple[str, ...] = ()

    def seen(self) -> User:
        policies = frozenset(self.policy_name.split(",")) - {""}
        return User(enabled=self.status == "enabled", policies=policies, groups=frozenset(self.member_of))


class _Quota(msgspec.Struct, frozen=True):
    quota: int = 0


class _Admin(MinioAdmin):
    """The admin client, with the one call that it lacks, and one without a new key each time."""

    def __del__(self) -> None:
        """The library would clear the pool here, which other clients use."""

    def add_user(self, access_key: str, sealed: bytes) -> None:
        self._url_open(
            method="PUT",
            command=_AdminPath.ADD_USER,  # type: ignore[arg-type]  # only its value is used
            query_params={"accessKey": access_key},
            body=sealed,
        )

    def revoke_sessions(self, access_key: str) -> None:
        self._url_open(
            method="POST",
            command=_AdminPath.REVOKE_TOKENS,  # type: ignore[arg-type]  # only its value is used
            query_params={"user": access_key, "fullRevoke": "true"},
        )


class _Objects(Minio):
    """The S3 client, with the calls that it keeps to itself."""

    def __del__(self) -> None:
        """The library would clear the pool here, which other clients use."""

    def erase_bucket(self, bucket: str) -> None:
        self._execute("DELETE", bucket, headers=dict(_FORCE))

    def locate_bucket(self, bucket: str) -> None:
        self._execute("GET", bucket, query_params={"location": ""})

    def uploads(self, bucket: str, most: int) -> Uploads:
        query: dict[str, Any] = {"uploads": "", "encoding-type": "url", "max-uploads": str(UPLOADS_ASKED_FOR)}
        response = self._execute("GET", bucket, query_params=query, preload_content=False)
        try:
            return listing.read(response, most)
        finally:
            response.close()  # not given back: what was left unread would be taken for the next answer

    def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        self._abort_multipart_upload(bucket, key, upload_id)


class Api:
    """One server, spoken to as its administrator."""

    def __init__(
        self,
        authority: str,
        region: str,
        tls: ssl.SSLContext | None,
        access_key: Sensitive,
        secret_key: Sensitive,
        randomness: Callable[[int], bytes],
    ) -> None:
        """`authority`: host and port; `tls`: None for an unencrypted connection; `randomness`: so many random bytes.
        Raises ValueError where the libraries can not use one of these."""
        timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
        # No retries: the library's own wait up to a minute, and the caller knows better when to try again.
        self._pool = urllib3.PoolManager(maxsize=POOL_SIZE, timeout=timeout, retries=False, ssl_context=tls)
        self._authority, self._region, self._secure = authority, region, tls is not None
        self._objects = self._client(access_key.reveal(), secret_key.reveal())
        self._secret_key, self._randomness = secret_key, randomness
        self._admin = _Admin(
            endpoint=authority,
            credentials=StaticProvider(access_key.reveal(), secret_key.reveal()),
            region=region,
            secure=self._secure,
            http_client=self._pool,
        )

    def close(self) -> None:
        self._pool.clear()

    def _client(self, access_key: str, secret_key: str) -> _Objects:
        return _Objects(
            self._authority,
            credentials=StaticProvider(access_key, secret_key),
            region=self._region,
            secure=self._secure,
            http_client=self._pool,
        )

    def info(self) -> ServerInfo:
        return msgspec.json.decode(self._admin.info(), type=ServerInfo)

    def knows(self, access_key: str) -> bool:
        """Whether there is an account of this name, whatever its secret."""
        return self._refusal(access_key, "no such secret", "") != "InvalidAccessKeyId"

    def opens(self, access_key: str, secret_key: Sensitive, bucket: str) -> bool:
        """False where the account has another secret; what it may do does not matter."""
        return self._refusal(access_key, secret_key.reveal(), bucket) != "SignatureDoesNotMatch"

    def _refusal(self, access_key: str, secret_key: str, bucket: str) -> str:
        client = self._client(access_key, secret_key)
        try:
            client.locate_bucket(bucket) if bucket else client.list_buckets()
        except S3Error as error:
            if error.response.status != 403 and code_of(error) != "NoSuchBucket":
                raise
            return code_of(error)
        return ""

    def quota(self, bucket: str) -> int | None:
        """Bytes, 0 for no quota; None where there is no such bucket."""
        with Tolerated("NoSuchBucket"):
            return msgspec.json.decode(self._admin.bucket_quota_get(bucket), type=_Quota).quota
        return None

    def bucket_stamp(self, bucket: str) -> Stamp | None:
        tags: Mapping[str, str] = self._objects.get_bucket_tags(bucket) or {}
        installation, uid = tags.get(INSTALLATION_TAG), tags.get(UID_TAG)
        return Stamp(installation, uid) if installation and uid else None

    def is_public(self, bucket: str) -> bool:
        with Tolerated("NoSuchBucketPolicy", "NoSuchBucket"):
            return bool(self._objects.get_bucket_policy(bucket))
        return False

    def is_empty(self, bucket: str) -> bool:
        """Neither objects, versions, delete markers nor unfinished uploads."""
        objects = self._objects.list_objects(bucket, recursive=True, include_version=True)
        return next(iter(objects), None) is None and not self._objects.uploads(bucket, 1).found

    def uploads(self, bucket: str, most: int) -> Uploads:
        """At most so many unfinished uploads, of those that were begun since this server process was started; it knows
        no others."""
        with Tolerated("NoSuchBucket"):
            return self._objects.uploads(bucket, most)
        return Uploads()

    def locked_until(self, bucket: str) -> str:
        """The latest day until which one of the bucket's first objects is locked; empty: none is."""
        days = []
        for item in islice(self._objects.list_objects(bucket, recursive=True, include_version=True), LOCKS_READ):
            with Tolerated("NoSuchObjectLockConfiguration", "MethodNotAllowed", "NoSuchKey"):
                held = self._objects.get_object_retention(bucket, str(item.object_name), item.version_id)
                days.append(f"{held.retain_until_date:%Y-%m-%d}" if held else "")
        return max(days, default="")

    def policy(self, name: str) -> Policy | None:
        with Tolerated("XMinioAdminNoSuchPolicy"):
            return _policy_seen(json.loads(self._admin.policy_info(name)))
        return None

    def policies(self) -> Mapping[str, Mapping[str, Any]]:
        """All policies by name."""
        return msgspec.json.decode(self._admin.policy_list(), type=dict[str, dict[str, Any]])

    def user(self, access_key: str) -> User | None:
        with Tolerated("XMinioAdminNoSuchUser"):
            return msgspec.json.decode(self._admin.user_info(access_key), type=_User).seen()
        return None

    def users(self) -> Mapping[str, User]:
        """All users by access key. Decrypts the answer, which takes 64 MiB for a moment."""
        found = msgspec.json.decode(self._admin.user_list(), type=dict[str, _User])
        return {access_key: user.seen() for access_key, user in found.items()}

    def buckets(self) -> frozenset[str]:
        """Names of all buckets. `account_info` would show their quotas too, but from a cache that is as old as the call
        before."""
        return frozenset(bucket.name for bucket in self._objects.list_buckets())

    def create_bucket(self, bucket: str) -> bool:
        """Whether it was made; False where there is one already, whoever made it."""
        with Tolerated("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
            self._objects.make_bucket(bucket)
            return True
        return False

    def stamp_bucket(self, bucket: str, stamp: Stamp) -> None:
        tags = Tags.new_bucket_tags()
        tags.update({INSTALLATION_TAG: stamp.installation, UID_TAG: stamp.uid})
        self._objects.set_bucket_tags(bucket, tags)

    def close_public_access(self, bucket: str) -> None:
        self._objects.delete_bucket_policy(bucket)

    def set_quota(self, bucket: str, size: int) -> None:
        self._admin.bucket_quota_set(bucket, size)

    def put_policy(self, name: str, document: str) -> None:
        self._admin.policy_add(name, policy=json.loads(document))

    def create_user(self, access_key: str, secret_key: Sensitive) -> None:
        body = msgspec.json.encode({"status": "enabled", "secretKey": secret_key.reveal()})
        self._admin.add_user(access_key, sealed(body, self._secret_key, self._randomness))

    def enable_user(self, access_key: str) -> None:
        self._admin.user_enable(access_key)

    def disable_user(self, access_key: str) -> None:
        with Tolerated("XMinioAdminNoSuchUser"):
            self._admin.user_disable(access_key)

    def attach_policy(self, access_key: str, name: str) -> None:
        self._admin.policy_set(name, user=access_key)

    def detach_policies(self, access_key: str) -> None:
        # The server says the same of a user who is disabled. Either opens nothing.
        with Tolerated("XMinioAdminNoSuchUser"):
            self._admin.policy_set("", user=access_key)

    def leave_group(self, access_key: str, group: str) -> None:
        with Tolerated("XMinioAdminNoSuchGroup", "XMinioAdminNoSuchUser"):
            members: Any = [access_key]  # declared as a string, sent as the list that the server wants
            self._admin.group_remove(group, members)

    def revoke_sessions(self, access_key: str) -> None:
        self._admin.revoke_sessions(access_key)

    def remove_user(self, access_key: str) -> None:
        with Tolerated("XMinioAdminNoSuchUser"):
            self._admin.user_remove(access_key)

    def abort_upload(self, bucket: str, key: str, upload_id: str) -> None:
        with Tolerated("NoSuchUpload", "NoSuchBucket"):
            self._objects.abort_upload(bucket, key, upload_id)

    def erase_bucket(self, bucket: str) -> bool:
        """Whether it is gone; False where an object lock forbids it."""
        with Tolerated("MethodNotAllowed"):
            self._objects.erase_bucket(bucket)
            return True
        return False

    def remove_empty_bucket(self, bucket: str) -> bool:
        """Whether it is gone; False where something is in it."""
        with Tolerated("BucketNotEmpty"):
            with Tolerated("NoSuchBucket"):
                self._objects.remove_bucket(bucket)
            return True
        return False

    def remove_policy(self, name: str) -> None:
        with Tolerated("XMinioAdminNoSuchPolicy"):
            self._admin.policy_remove(name)


def _policy_seen(found: Mapping[str, Any]) -> Policy:
    return Policy(policy.stamp_of(found), policy.canonical(found))
