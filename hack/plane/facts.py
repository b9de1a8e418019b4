"""What a plane that runs tells of itself."""

from hack.plane.gateway import Gateway
from hack.plane.kubernetes import ApiServer
from hack.plane.minio import Minio
from hack.plane.plane import Plane
from hack.plane.platform import Replica
from hack.plane.postgres import Postgres
from hack.plane.search import Meilisearch
from hack.plane.state import (
    GatewayFacts,
    KubernetesFacts,
    MeilisearchFacts,
    MinioFacts,
    PlaneFacts,
    PlatformFacts,
    PostgresFacts,
    QdrantFacts,
    ServerFacts,
)
from hack.plane.vectors import Qdrant


def facts_of(plane: Plane) -> PlaneFacts:
    return PlaneFacts(
        root=str(plane.root),
        ca_pem=plane.ca_pem,
        servers=[ServerFacts(server.name, server.pid, str(server.log_file)) for server in plane.servers],
        kubernetes=kubernetes_facts(plane.find(ApiServer), plane),
        postgres=postgres_facts(plane.find(Postgres)),
        minio=minio_facts(plane.find(Minio)),
        qdrant=qdrant_facts(plane.find(Qdrant)),
        meilisearch=meilisearch_facts(plane.find(Meilisearch)),
        platform=platform_facts(plane.find(Replica)),
        gateway=gateway_facts(plane.find(Gateway)),
    )


def kubernetes_facts(api: ApiServer | None, plane: Plane) -> KubernetesFacts | None:
    if api is None:
        return None
    return KubernetesFacts(api.url, str(plane.kubeconfig), str(api.audit_log), str(plane.kubectl_program))


def postgres_facts(postgres: Postgres | None) -> PostgresFacts | None:
    if postgres is None:
        return None
    return PostgresFacts(
        host=postgres.host,
        port=postgres.port,
        superuser=postgres.superuser,
        version=postgres.version,
        ca_file=None if postgres.ca_file is None else str(postgres.ca_file),
        password=postgres.password,
    )


def minio_facts(minio: Minio | None) -> MinioFacts | None:
    return None if minio is None else MinioFacts(minio.url, minio.access_key, minio.secret_key)


def qdrant_facts(qdrant: Qdrant | None) -> QdrantFacts | None:
    return None if qdrant is None else QdrantFacts(qdrant.url, qdrant.emulated, qdrant.api_key)


def meilisearch_facts(search: Meilisearch | None) -> MeilisearchFacts | None:
    return None if search is None else MeilisearchFacts(search.url, search.emulated, search.master_key)


def platform_facts(replica: Replica | None) -> PlatformFacts | None:
    if replica is None:
        return None
    platform = replica.platform
    return PlatformFacts(platform.url, platform.ca_pem, str(platform.program))


def gateway_facts(gateway: Gateway | None) -> GatewayFacts | None:
    if gateway is None:
        return None
    return GatewayFacts(gateway.address, gateway.ca_pem, gateway.client.certificate, gateway.client.key)
