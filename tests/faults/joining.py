"""A DataPlane and a Tenant that join the platform and leave it, and what is asserted of them wherever it was that the
operator was killed.

The platform is the service that ships, on a real database: what counts is what its rows say. Every crash has a
DataPlane and a Tenant of its own, so that one running service sees each of them join for the first time. One engine is
enough of a plane for that: crashes between what is made in engines are a matter of their own.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from psycopg import sql

from bulkhead.api import labels
from bulkhead.kube.errors import NotFound
from bulkhead.kube.resources import DATA_CLUSTERS, DATA_PLANES, SECRETS, TENANTS
from bulkhead.protocol.credentials import RegistrationToken
from bulkhead.protocol.registration import cluster_id, plane_id
from hack.plane import installation
from hack.plane.installation import NAMESPACE
from tests.faults.end_state import differences, kubernetes_state
from tests.integration.platform.rows import Rows
from tests.integration.platform.server import Client, PlatformServer, rows
from tests.integration.platform.service import Service, settings
from tests.world import World, eventually

LIVING = """
SELECT k.id FROM service_keys k LEFT JOIN clusters c ON c.id = k.identity_id
WHERE k.identity_id = %s AND k.revoked_at IS NULL AND (k.retires_at IS NULL OR k.retires_at > now())
      AND c.deleted_at IS NULL AND c.identity_revoked_at IS NULL
"""
TAKEN_OVER_SECONDS = 60.0
"""For which a test waits where the Lease of another operator has to run out first."""
SERVICE_SECONDS = 3600
"""For which a token of a plane is good: longer than all crashes take."""


@dataclass(frozen=True, slots=True)
class Platform:
    """The service, with an administrator who grants every plane at once: nothing in a run waits for a person."""

    url: str
    session: Client

    @classmethod
    @contextlib.asynccontextmanager
    async def serving(cls, port: int) -> AsyncIterator[Platform]:
        async with (
            PlatformServer.running("18") as server,
            server.migrated_database() as database,
            database.superuser() as session,
        ):
            platform = cls(f"http://127.0.0.1:{port}", session)
            await platform._grant_whoever_joins()
            environment = settings(database, URL=platform.url, LISTEN=f"127.0.0.1:{port}")
            async with Service.started(environment) as service:
                await service.port()
                yield platform

    async def plane_token(self, name: str) -> str:
        token, until = RegistrationToken.generate(os.urandom), datetime.now(UTC) + timedelta(seconds=SERVICE_SECONDS)
        await Rows(self.session).plane_token(digest=token.digest, name=name, self_confirming=True, expires_at=until)
        return token.reveal()

    async def living(self, identity: str) -> list[str]:
        """Ids of the service keys that it takes of this identity."""
        return [key for (key,) in await rows(self.session, LIVING, (identity,))]

    async def clusters(self, name: str) -> list[tuple[str, bool]]:
        """Every identity of a cluster that ever had this name, and whether it was told of its deletion."""
        found = await rows(self.session, "SELECT id, deleted_at IS NOT NULL FROM clusters WHERE name = %s", (name,))
        return [(str(id_), deleted) for id_, deleted in found]

    async def _grant_whoever_joins(self) -> None:
        organisation = await Rows(self.session).organisation()
        function = sql.SQL(
            """CREATE FUNCTION granted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
               INSERT INTO bulkhead.plane_grants (organisation_id, plane_id, granted_by) VALUES ({}, NEW.id, 'admin');
               RETURN NULL; END $$"""
        )
        await self.session.execute(function.format(sql.Literal(organisation)))
        await self.session.execute(
            "CREATE TRIGGER granted AFTER INSERT ON planes FOR EACH ROW EXECUTE FUNCTION granted()"
        )


@dataclass(frozen=True, slots=True)
class Reference:
    """Changes that an operator makes for one DataPlane and one Tenant while both join and while both leave, and the
    state between."""

    joining: int
    leaving: int
    state: Any


@dataclass(slots=True)
class Joining:
    """A world with a platform; `secrets`: every one that anybody was given or made."""

    world: World
    platform: Platform
    secrets: set[str] = field(default_factory=set)

    async def begin(self, name: str) -> None:
        """Apply a DataPlane that joins the platform, and a Tenant on it."""
        await self.begin_plane(name)
        await self.world.tenant(name, dataPlaneRef={"name": name})

    async def begin_plane(self, name: str) -> None:
        token = await self.platform.plane_token(name)
        self.secrets.add(token)
        await installation.apply(self.world.plane, installation.secret(f"{name}-token", {"token": token}))
        joins = {"url": self.platform.url, "registrationTokenSecretRef": {"name": f"{name}-token"}}
        whole = installation.data_plane(self.world.plane)["spec"]
        spec = {field: whole[field] for field in ("objectStore", "defaultPlanRef")} | {"platform": joins}
        await self.world.apply("DataPlane", name, spec)

    async def is_joined(self, name: str) -> bool:
        """Whether DataPlane and DataCluster are ready and connected."""
        for resource in (DATA_PLANES, DATA_CLUSTERS):
            for kind in ("Ready", "Registered", "Connected"):
                found = await self.world.condition(resource, name, kind)
                if (found.get("status"), found.get("reason")) != ("True", "Ready"):
                    raise AssertionError(f"{resource.kind} {kind}: {found}")
        return True

    async def joined(self, name: str, wanted: Any, said: str) -> None:
        """Wait until that is so and everything is as `wanted`; then platform and records name one key each, and no
        secret of it is anywhere else."""

        async def alike() -> str:
            await self.is_joined(name)
            uid = str((await self.world.data_cluster(name))["metadata"]["uid"])
            found = differences(await kubernetes_state(self.world, name, uid), wanted)
            assert not found, "\n".join((said, *found))
            return uid

        uid = await eventually(alike, seconds=TAKEN_OVER_SECONDS)
        plane_uid = (await self.world.kube.get(DATA_PLANES, name))["metadata"]["uid"]
        identities = {f"plane-{plane_uid}": plane_id(plane_uid), f"record-{uid}": cluster_id(plane_id(plane_uid), uid)}
        for record, identity in identities.items():
            held = json.loads((await self.world.secret(record, NAMESPACE))["record"])["registration"]
            assert held["identity"] == identity, said
            assert await self.platform.living(identity) == [held["key_id"]], said
            assert not any(held.get(each) for each in ("token", "next_secret", "challenge")), said
            self.secrets |= {held["private_key"], held["secret"]}
        assert await self.platform.clusters(name) == [(identities[f"record-{uid}"], False)], said
        await self.look_for_secrets(name, said)

    async def leave(self, name: str) -> None:
        """Delete the Tenant and its DataPlane, at once."""
        await self.world.delete(TENANTS, name)
        await self.world.delete(DATA_PLANES, name)

    async def is_gone(self, name: str) -> bool:
        for resource in (TENANTS, DATA_PLANES):
            with contextlib.suppress(NotFound):
                await self.world.kube.get_metadata(resource, name)
                return False
        return True

    async def gone(self, name: str, said: str) -> None:
        """Wait until both are gone; then no record is left, and the platform was told and takes no key."""
        await eventually(partial(self.is_gone, name))
        selector = f"{labels.DATA_CLUSTER}={name}"
        left = [each async for each in self.world.kube.list_metadata(SECRETS, NAMESPACE, label_selector=selector)]
        assert left == [], said
        identities = await self.platform.clusters(name)
        assert [id_ for id_, deleted in identities if not deleted or await self.platform.living(id_)] == [], said

    async def look_for_secrets(self, name: str, said: str) -> None:
        """In what a tenant can see, and who reads logs."""
        namespace = f"tenant-{name}"
        texts = [await self.world.plane.kubectl("get", "configmaps,events", f"-n={namespace}", "--output=json")]
        texts += [json.dumps(await self.world.kube.get(each, name)) for each in (TENANTS, DATA_CLUSTERS, DATA_PLANES)]
        texts += [
            json.dumps(await self.world.secret(each["metadata"]["name"], namespace))
            async for each in self.world.kube.list_metadata(SECRETS, namespace)
        ]
        texts += [log.read_text() for log in self.world.plane.root.glob("operator*/operator.log")]
        assert [secret for secret in self.secrets for text in texts if secret in text] == [], said
