"""Everything that exists of one DataCluster, in Kubernetes and in every engine, with what differs by nature masked.

Two DataClusters that went through different troubles must look the same here.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from typing import Any

import aiohttp
import psycopg
import urllib3
from minio import Minio
from minio.credentials.providers import StaticProvider
from minio.minioadmin import MinioAdmin

from bulkhead.kube.errors import NotFound
from bulkhead.kube.resources import (
    DATA_CLUSTERS,
    LIMIT_RANGES,
    NAMESPACES,
    NETWORK_POLICIES,
    RESOURCE_QUOTAS,
    ROLE_BINDINGS,
    SECRETS,
    TENANTS,
)
from tests.integration.engines.minio_server import users
from tests.world import World

INSIDE = (SECRETS, NETWORK_POLICIES, RESOURCE_QUOTAS, LIMIT_RANGES, ROLE_BINDINGS)

_DATABASES = """
SELECT datname, pg_get_userbyid(datdba), datacl::text, datconnlimit, datallowconn, shobj_description(oid, 'pg_database')
FROM pg_database WHERE datname = %(slug)s OR shobj_description(oid, 'pg_database') LIKE %(uid)s ORDER BY 1
"""
_ROLES = """
SELECT rolname, rolcanlogin, rolconnlimit, rolsuper, rolcreaterole, rolcreatedb, rolinherit,
       shobj_description(oid, 'pg_authid'), rolconfig::text,
       ARRAY(SELECT pg_get_userbyid(roleid) FROM pg_auth_members WHERE member = oid ORDER BY 1)::text
FROM pg_roles WHERE rolname ~ ('^' || %(slug)s || '(_[0-9]+)?$') OR shobj_description(oid, 'pg_authid') LIKE %(uid)s
ORDER BY 1
"""


async def end_state(world: World, slug: str, uid: str) -> dict[str, Any]:
    """All that there is of the DataCluster `slug` with that UID, comparable with that of another one."""
    found = {
        "kubernetes": await _kubernetes(world, slug),
        "postgres": await _postgres(world, slug, uid),
        "minio": await asyncio.to_thread(_minio, world, slug),
        "qdrant": await _qdrant(world, slug, uid),
        "meilisearch": await _meilisearch(world, slug, uid),
    }
    return _masked(found, slug, uid)


async def kubernetes_state(world: World, slug: str, uid: str) -> dict[str, Any]:
    """The part of it that Kubernetes holds, for a plane without engines."""
    return _masked(await _kubernetes(world, slug), slug, uid)


def differences(found: Any, wanted: Any, path: str = "") -> list[str]:
    """Where two states differ, a line each."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted({*found, *wanted})
        return [line for key in keys for line in differences(found.get(key), wanted.get(key), f"{path}/{key}")]
    return [] if found == wanted else [f"{path}: {found!r} instead of {wanted!r}"]


def _masked(found: dict[str, Any], slug: str, uid: str) -> dict[str, Any]:
    """Without names, UIDs, times, digests and passwords: all that two equal DataClusters differ in."""
    text = json.dumps(found, sort_keys=True, default=str).replace(uid, "UID")
    text = re.sub(rf"\b{re.escape(slug)}-[0-9a-f]{{6}}-", "SLUG-UID6-", text)
    text = re.sub(rf"\b{re.escape(slug)}(?![a-z0-9])", "SLUG", text)
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "SOME-UUID", text)
    return json.loads(text)  # type: ignore[no-any-return]


async def _kubernetes(world: World, slug: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for resource, name in ((TENANTS, slug), (DATA_CLUSTERS, slug), (NAMESPACES, f"tenant-{slug}")):
        try:
            found[resource.plural] = _content(await world.kube.get(resource, name))
        except NotFound:
            found[resource.plural] = None
    for resource in INSIDE:
        found[f"{resource.plural} inside"] = {
            item["metadata"]["name"]: _content(item)
            async for item in world.kube.list(resource, f"tenant-{slug}")
            if item["metadata"]["name"] != "kube-root-ca.crt"
        }
    return found


def _content(item: dict[str, Any]) -> dict[str, Any]:
    """Spec, labels, kinds of secret values and states of conditions."""
    metadata = item["metadata"]
    return {
        "labels": metadata.get("labels"),
        "finalizers": metadata.get("finalizers"),
        "spec": item.get("spec"),
        "data": sorted(item.get("data", {})),
        "conditions": [(c["type"], c["status"], c["reason"]) for c in item.get("status", {}).get("conditions", ())],
        "phase": item.get("status", {}).get("phase"),
        "identity": item.get("status", {}).get("identity"),
    }


async def _postgres(world: World, slug: str, uid: str) -> dict[str, Any]:
    parameters = {"slug": slug, "uid": f"%{uid}%"}
    async with await psycopg.AsyncConnection.connect(world.plane.postgres.dsn()) as connection:
        databases = await (await connection.execute(_DATABASES, parameters)).fetchall()
        roles = await (await connection.execute(_ROLES, parameters)).fetchall()
    return {"databases": databases, "roles": roles}


def _minio(world: World, slug: str) -> dict[str, Any]:
    minio = world.plane.minio
    http = urllib3.PoolManager(ca_cert_data=minio.ca_pem, retries=False, timeout=10)
    client = Minio(minio.endpoint, minio.access_key, minio.secret_key, http_client=http)
    credentials = StaticProvider(minio.access_key, minio.secret_key)
    admin = MinioAdmin(endpoint=minio.endpoint, credentials=credentials, http_client=http)
    buckets = [bucket.name for bucket in client.list_buckets() if bucket.name.startswith(f"{slug}-")]
    return {
        "buckets": {name: dict(client.get_bucket_tags(name) or {}) for name in buckets},
        "users": {key: value for key, value in users(admin).items() if key.startswith(f"{slug}-")},
        "policies": {key: _ordered(value) for key, value in json.loads(admin.policy_list()).items() if key == slug},
    }


def _ordered(value: Any) -> Any:
    """MinIO gives the actions of a policy back in any order."""
    if isinstance(value, dict):
        return {key: _ordered(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted((_ordered(item) for item in value), key=json.dumps)
    return value


async def _qdrant(world: World, slug: str, uid: str) -> dict[str, Any]:
    qdrant = world.plane.qdrant
    async with _session(qdrant.ca_pem, {"api-key": qdrant.api_key}) as session:
        listed = await _json(session, "GET", f"{qdrant.url}/collections")
        names = [each["name"] for each in listed["result"]["collections"] if each["name"].startswith(f"{slug}_")]
        collections = {name: await _json(session, "GET", f"{qdrant.url}/collections/{name}") for name in names}
        scroll = {"limit": 10_000, "with_payload": True}
        tokens = await _json(session, "POST", f"{qdrant.url}/collections/bulkhead_tokens/points/scroll", scroll)
    points = [point["payload"] for point in tokens["result"]["points"] if uid in json.dumps(point["payload"])]
    return {
        "collections": {name: each["result"]["config"] for name, each in collections.items()},
        "tokens": points,
    }


async def _meilisearch(world: World, slug: str, uid: str) -> dict[str, Any]:
    search = world.plane.meilisearch
    async with _session(search.ca_pem, {"Authorization": f"Bearer {search.master_key}"}) as session:
        indexes = await _json(session, "GET", f"{search.url}/indexes?limit=100000")
        keys = await _json(session, "GET", f"{search.url}/keys?limit=100000")
        names = [each["uid"] for each in indexes["results"] if each["uid"].startswith(f"{slug}_")]
        settings = {name: await _json(session, "GET", f"{search.url}/indexes/{name}/settings") for name in names}
    return {
        "indexes": settings,
        "keys": [
            {field: key[field] for field in ("name", "description", "actions", "indexes", "expiresAt")}
            for key in keys["results"]
            if uid in json.dumps(key)
        ],
    }


def _session(ca_pem: str, headers: dict[str, str]) -> aiohttp.ClientSession:
    context = ssl.create_default_context(cadata=ca_pem)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), headers=headers)


async def _json(session: aiohttp.ClientSession, method: str, url: str, body: Any = None) -> Any:
    async with session.request(method, url, json=body) as response:
        assert response.ok, f"{method} {url}: {response.status} {await response.text()}"
        return await response.json()
