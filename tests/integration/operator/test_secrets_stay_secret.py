"""What is secret stands in Secrets, and in nothing else that anybody reads."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from bulkhead.kube.resources import DATA_CLUSTERS
from hack.plane import installation
from tests.world import World, metrics_of

SLUG = "whispering"
SHORTEST = 12
"""Whatever is secret is longer; a shorter text would be found anywhere by chance."""
LOOKED_AT = "tenants,dataclusters,dataplanes,plans,namespaces,networkpolicies,rolebindings,resourcequotas,limitranges"


@pytest.fixture(scope="module")
async def secrets(world: World) -> AsyncIterator[dict[str, str]]:
    """Every secret there is, by where it comes from, after a life with errors: they are what quotes."""
    await world.ready_tenants(SLUG)
    await world.plane.postgres.stop()
    await world.plane.qdrant.stop()
    await world.reason(DATA_CLUSTERS, SLUG, "PostgresReady", "EngineUnavailable")
    await world.plane.postgres.start()
    await world.plane.qdrant.start()
    await world.ready(SLUG)
    false = {"username": "postgres", "password": "a-password-that-is-wrong"}
    await installation.apply(world.plane, installation.secret("postgres-admin", false))
    await world.reason(DATA_CLUSTERS, SLUG, "PostgresReady", "EngineRefused")
    await installation.apply(world.plane, *installation.secrets(world.plane))
    await world.ready(SLUG)
    yield {"a wrong password": false["password"], **dict(await found_secrets(world))}
    await world.remove_tenants(SLUG)


async def found_secrets(world: World) -> list[tuple[str, str]]:
    plane = world.plane
    found = [
        ("Postgres' administrator", plane.postgres.password),
        ("MinIO's administrator", plane.minio.secret_key),
        ("Qdrant's API key", plane.qdrant.api_key),
        ("Meilisearch's master key", plane.meilisearch.master_key),
    ]
    for name, binding in (await world.bindings(SLUG)).items():
        found += [(f"{name} {key}", value) for key, value in binding.items() if key in ("password", "api-key")]
    uid = (await world.data_cluster(SLUG))["metadata"]["uid"]
    record = json.loads((await world.secret(f"record-{uid}", installation.NAMESPACE))["record"])
    for engine, holding in record["holdings"].items():
        found += [(f"record of {engine}", credential["value"]) for credential in holding["credentials"]]
    return found


def forms(secret: str) -> Iterator[str]:
    """As it is, as a Secret would hold it, and the signature alone of a token."""
    yield secret
    yield base64.b64encode(secret.encode()).decode()
    if secret.count(".") == 2:
        yield secret.rsplit(".", 1)[1]


def quoted(secrets: dict[str, str], text: str) -> list[str]:
    return [origin for origin, secret in secrets.items() if any(form in text for form in forms(secret))]


def test_there_are_secrets_to_look_for(secrets: dict[str, str]) -> None:
    assert len(secrets) == 5 + 4 + 4
    assert all(len(secret) > SHORTEST for secret in secrets.values())


async def test_the_operators_log_quotes_none(world: World, secrets: dict[str, str]) -> None:
    text = world.log()
    assert SLUG in text
    assert quoted(secrets, text) == []


async def test_events_status_annotations_and_specs_quote_none(world: World, secrets: dict[str, str]) -> None:
    objects = await world.plane.kubectl("get", LOOKED_AT, "--all-namespaces", "--output=json", "--show-managed-fields")
    events = await world.plane.kubectl("get", "events", "--all-namespaces", "--output=json")
    assert SLUG in objects
    assert quoted(secrets, objects + events) == []


async def test_the_metadata_of_secrets_quotes_none(world: World, secrets: dict[str, str]) -> None:
    listed = json.loads(await world.plane.kubectl("get", "secrets", "--all-namespaces", "--output=json"))
    without_values: list[Any] = [each["metadata"] for each in listed["items"]]
    text = json.dumps(without_values)
    assert "bulkhead.dev/outline" in text
    assert quoted(secrets, text) == []


async def test_postgres_log_of_all_statements_quotes_none(world: World, secrets: dict[str, str]) -> None:
    text = world.plane.postgres.log_file.read_text(errors="replace")
    assert f'CREATE ROLE "{SLUG}_1"' in text
    assert quoted(secrets, text) == []


async def test_the_logs_of_the_other_engines_and_of_the_api_server_quote_none(
    world: World, secrets: dict[str, str]
) -> None:
    plane = world.plane
    logs = [server.log_file for server in (plane.minio, plane.qdrant, plane.meilisearch, plane.api)]
    texts = [path.read_text(errors="replace") for path in (*logs, plane.audit_log)]
    assert SLUG in texts[-1]
    assert [quoted(secrets, text) for text in texts] == [[]] * len(texts)


async def test_metrics_quote_none(world: World, secrets: dict[str, str]) -> None:
    text = await metrics_of(world.operator)
    assert "bulkhead_mutations_total" in text
    assert quoted(secrets, text) == []
    assert SLUG not in text, "names of tenants are not for labels of metrics"
