"""The open engines of each DataPlane: opened once per endpoint and credential."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.api.conditions import Reason
from bulkhead.api.data_plane import PostgresTls, Tls
from bulkhead.api.meta import LocalRef
from bulkhead.api.record import EngineName
from bulkhead.api.sensitive import Sensitive
from bulkhead.engines.errors import Unavailable
from bulkhead.reconcile import planes
from bulkhead.reconcile.planes import AdminAccess, OpenEngine, OpenPlane, Planes, access_of
from bulkhead.reconcile.report import Verdict
from tests.unit.reconcile import gen
from tests.unit.reconcile.memory_engine import Gated, MemoryEngine

ENDPOINT = gen.ENGINES["postgres"]
WITH_CA = msgspec.structs.replace(ENDPOINT, tls=PostgresTls(ca_secret_ref=LocalRef(name="engines-ca")))
ADMIN = {"username": "root", "password": gen.PASSWORD}
SECRETS: Mapping[str, Mapping[str, str] | None] = {"postgres-admin": ADMIN, "engines-ca": {"ca.crt": "PEM"}}


def access(endpoint: Any = ENDPOINT, secrets: Mapping[str, Mapping[str, str] | None] = SECRETS) -> AdminAccess:
    found = access_of(EngineName.POSTGRES, endpoint, secrets)
    assert isinstance(found, AdminAccess)
    return found


def refused(endpoint: Any = ENDPOINT, **secrets: Mapping[str, str] | None) -> Verdict:
    given = {name.replace("_", "-"): values for name, values in secrets.items()}
    found = access_of(EngineName.POSTGRES, endpoint, {**SECRETS, **given})
    assert isinstance(found, Verdict)
    return found


def test_credentials_are_taken_out_of_the_named_secret() -> None:
    assert access().admin == {"username": Sensitive("root"), "password": Sensitive(gen.PASSWORD)}


def test_keys_that_nobody_asked_for_stay_where_they_are() -> None:
    found = access(secrets={"postgres-admin": {**ADMIN, "note": "x"}})
    assert found.admin.keys() == {"username", "password"}


def test_a_missing_secret_is_named_with_the_field_that_names_it() -> None:
    found = refused(postgres_admin=None)
    assert (found.reason, '"postgres-admin"' in found.message) == (Reason.SECRET_MISSING, True)
    assert "spec.postgres.adminSecretRef" in found.message


@pytest.mark.parametrize("values", [{"username": "root"}, {"username": "root", "password": ""}], ids=["none", "empty"])
def test_a_missing_key_is_named(values: dict[str, str]) -> None:
    found = refused(postgres_admin=values)
    assert (found.reason, '"password"' in found.message) == (Reason.SECRET_INCOMPLETE, True)


def test_what_is_there_is_not_said_to_be_missing() -> None:
    assert '"username"' not in refused(postgres_admin={"username": "root"}).message


def test_no_value_enters_the_message() -> None:
    assert gen.PASSWORD not in refused(postgres_admin={"password": gen.PASSWORD}).message


UNSENDABLE = ("a-key-in-a-file\r\nof-two-lines", "a-key\nof-two-lines", "a-key\0", "ключ")


@pytest.mark.parametrize(
    ("engine", "endpoint", "keys"),
    [
        (EngineName.OBJECT_STORE, "object_store", ("access-key", "secret-key")),
        (EngineName.VECTORS, "vectors", ("api-key",)),
        (EngineName.SEARCH, "search", ("master-key",)),
    ],
)
@pytest.mark.parametrize("value", UNSENDABLE)
def test_a_key_that_no_header_can_carry_is_refused_by_name_and_without_its_value(
    engine: EngineName, endpoint: str, keys: tuple[str, ...], value: str
) -> None:
    declared = gen.ENGINES[endpoint]
    found = access_of(engine, declared, {declared.admin_secret_ref.name: dict.fromkeys(keys, value)})
    assert isinstance(found, Verdict)
    assert found.reason is Reason.ENGINE_REFUSED
    for part in (declared.admin_secret_ref.name, f"spec.{engine.value}.adminSecretRef", *keys):
        assert part in found.message
    assert value not in found.message


def test_a_password_of_postgres_may_hold_what_no_header_can() -> None:
    assert access(secrets={"postgres-admin": {**ADMIN, "password": "ключ\rof two lines"}}).admin["password"]


def test_a_password_that_no_client_can_send_is_refused() -> None:
    assert '"password" of the Secret "postgres-admin"' in refused(postgres_admin={**ADMIN, "password": "a\0b"}).message


def test_without_a_ca_the_systems_trust_store_is_used() -> None:
    assert access().ca_pem is None


def test_the_ca_is_taken_out_of_its_secret() -> None:
    assert access(WITH_CA).ca_pem == "PEM"


def test_a_missing_ca_is_named_with_its_field() -> None:
    found = refused(WITH_CA, engines_ca=None)
    assert (found.reason, "spec.postgres.tls.caSecretRef" in found.message) == (Reason.SECRET_MISSING, True)


def test_a_secret_without_a_ca_is_incomplete() -> None:
    found = refused(WITH_CA, engines_ca={"tls.crt": "PEM"})
    assert (found.reason, '"ca.crt"' in found.message) == (Reason.SECRET_INCOMPLETE, True)


@pytest.mark.parametrize("engine", EngineName)
def test_the_keys_of_every_engine_are_known(engine: EngineName) -> None:
    assert planes.ADMIN_KEYS[engine]


def test_only_offered_engines_have_an_endpoint() -> None:
    offered = planes.offered(gen.plane(vectors=None, search=None).spec)
    assert offered.keys() == {EngineName.POSTGRES, EngineName.OBJECT_STORE}


def test_the_secrets_of_a_plane_are_those_of_admins_and_cas() -> None:
    search = msgspec.structs.replace(gen.ENGINES["search"], tls=Tls(ca_secret_ref=LocalRef(name="engines-ca")))
    spec = gen.plane(postgres=WITH_CA, search=search, object_store=None, vectors=None).spec
    assert planes.secret_names(spec) == {"postgres-admin", "search-admin", "engines-ca"}


@pytest.mark.parametrize(
    "changed",
    [
        access(secrets={"postgres-admin": {**ADMIN, "username": "roof"}}),
        access(secrets={"postgres-admin": {**ADMIN, "password": gen.PASSWORD[:-1]}}),
        access(WITH_CA),
        access(WITH_CA, {**SECRETS, "engines-ca": {"ca.crt": "PEN"}}),
        access(msgspec.structs.replace(ENDPOINT, host="other.data.svc")),
        access(msgspec.structs.replace(ENDPOINT, port=5433)),
    ],
    ids=["user", "password", "a CA", "another CA", "host", "port"],
)
def test_whatever_an_engine_is_opened_with_changes_the_fingerprint(changed: AdminAccess) -> None:
    before = access(WITH_CA) if changed.ca_pem == "PEN" else access()
    assert changed.fingerprint() != before.fingerprint()


def test_the_same_access_has_the_same_fingerprint() -> None:
    assert access().fingerprint() == access().fingerprint()


SENDABLE = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=3)


@given(SENDABLE, SENDABLE)
def test_no_credential_stands_in_a_fingerprint(user: str, password: str) -> None:
    found = access(secrets={"postgres-admin": {"username": user + "-u", "password": password + "-p"}})
    assert user + "-u" not in found.fingerprint()
    assert password + "-p" not in found.fingerprint()


def test_no_credential_stands_in_the_repr_of_an_access() -> None:
    assert gen.PASSWORD not in repr(access())


class Works:
    """A factory that counts what it opened."""

    def __init__(self) -> None:
        self.made: list[Gated] = []
        self.planes = Planes(self._open)

    def _open(self, *_: Any) -> Any:
        gated = Gated(MemoryEngine())
        self.made.append(gated)
        return gated.engine, gated.gate

    def engine(self, found: AdminAccess | None = None, **metadata: Any) -> OpenEngine:
        return self.planes.engine(gen.plane(metadata=metadata), EngineName.POSTGRES, found or access())

    async def publish(self, opened: OpenEngine, version: str = "v-1", uid: str = "u-default") -> bool:
        engines = {EngineName.POSTGRES: opened}
        return await self.planes.publish("default", OpenPlane(uid, version, engines, engines))


OTHER = access(secrets={"postgres-admin": {**ADMIN, "password": "other"}})


async def test_an_engine_is_opened_once_for_the_same_access() -> None:
    works = Works()
    await works.publish(works.engine())
    works.engine()
    assert len(works.made) == 1


async def test_a_changed_credential_opens_another_engine() -> None:
    works = Works()
    await works.publish(works.engine())
    works.engine(OTHER)
    assert len(works.made) == 2


async def test_a_plane_made_anew_opens_its_own_engines() -> None:
    works = Works()
    await works.publish(works.engine())
    works.engine(uid="u-later")
    assert len(works.made) == 2


async def test_what_is_no_longer_used_is_closed() -> None:
    works = Works()
    await works.publish(works.engine())
    await works.publish(works.engine(OTHER))
    assert [gated.engine.closed for gated in works.made] == [True, False]


async def test_what_is_still_used_stays_open() -> None:
    works = Works()
    await works.publish(works.engine())
    await works.publish(works.engine(), "v-2")
    assert not works.made[0].engine.closed


async def test_closing_a_plane_closes_its_engines() -> None:
    works = Works()
    await works.publish(works.engine())
    await works.planes.close("default")
    assert (works.made[0].engine.closed, works.planes.open_plane(gen.plane())) == (True, None)


@pytest.mark.parametrize(("version", "again"), [("v-1", False), ("v-2", True)])
async def test_tenants_look_again_only_if_the_result_could_differ(version: str, *, again: bool) -> None:
    works = Works()
    await works.publish(works.engine())
    assert await works.publish(works.engine(), version) is again


async def test_tenants_look_when_a_plane_is_published_first() -> None:
    works = Works()
    assert await works.publish(works.engine())


async def test_a_plane_that_was_made_anew_is_not_open_yet() -> None:
    works = Works()
    await works.publish(works.engine())
    assert works.planes.open_plane(gen.plane(metadata={"uid": "u-later"})) is None


@pytest.mark.parametrize("end", ["another access", "the end of the plane"])
async def test_an_engine_is_down_until_it_answers_or_is_closed(end: str) -> None:
    works = Works()
    await works.publish(works.engine())
    assert not works.planes.is_down("default", EngineName.POSTGRES)
    (gated,) = works.made
    gated.engine.fails = Unavailable("no answer")
    with pytest.raises(Unavailable):
        await gated.gate.call(gated.engine.ping)
    assert works.planes.is_down("default", EngineName.POSTGRES)
    assert not works.planes.is_down("west", EngineName.POSTGRES)
    if end == "another access":
        await works.publish(works.engine(OTHER))
    else:
        await works.planes.close("default")
    assert not works.planes.is_down("default", EngineName.POSTGRES)
