"""The tenant's Secrets, rendered from bindings."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkhead.api.record import EngineName
from bulkhead.kube.resources import SECRETS
from bulkhead.reconcile import projections
from bulkhead.reconcile.children import Child
from tests.unit.reconcile import gen

POSTGRES = {"type": "postgresql", "uri": f"postgresql://acme:{gen.PASSWORD}@host/acme", "password": gen.PASSWORD}
SEARCH = {"type": "meilisearch", "url": "https://search", "api-key": "key-of-acme"}
BOTH = {EngineName.POSTGRES: POSTGRES, EngineName.SEARCH: SEARCH}


def rendered(bindings: Mapping[EngineName, Mapping[str, str]], *, complete: bool = True) -> dict[str, Child]:
    return {each.name: each for each in projections.secrets(gen.owner(), bindings, complete=complete)}


def values(secret: Child) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in secret.body["data"].items()}


def test_each_engine_has_its_binding() -> None:
    assert rendered(BOTH).keys() == {"postgres-binding", "search-binding", "data-api-secrets"}


@pytest.mark.parametrize("engine", EngineName)
def test_no_engine_is_without_a_name_for_its_binding(engine: EngineName) -> None:
    assert projections.BINDING_SECRETS[engine] in rendered({engine: {"type": "any"}})


def test_a_binding_holds_what_the_engine_says() -> None:
    assert values(rendered(BOTH)["postgres-binding"]) == POSTGRES


def test_a_bindings_type_is_that_of_the_service_binding_format() -> None:
    assert rendered(BOTH)["postgres-binding"].body["type"] == "servicebinding.io/postgresql"


def test_the_data_apis_secret_holds_every_engine_as_environment_variables() -> None:
    assert values(rendered(BOTH)["data-api-secrets"]) == {
        "POSTGRES_TYPE": "postgresql",
        "POSTGRES_URI": POSTGRES["uri"],
        "POSTGRES_PASSWORD": gen.PASSWORD,
        "SEARCH_TYPE": "meilisearch",
        "SEARCH_URL": "https://search",
        "SEARCH_API_KEY": "key-of-acme",
    }


def test_an_engine_of_two_words_is_spelt_with_an_underscore() -> None:
    found = rendered({EngineName.OBJECT_STORE: {"type": "s3", "access-key": "k"}})["data-api-secrets"]
    assert values(found) == {"OBJECT_STORE_TYPE": "s3", "OBJECT_STORE_ACCESS_KEY": "k"}


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9.-]{0,12}", fullmatch=True), st.text(max_size=5), max_size=4))
def test_every_key_becomes_a_name_that_a_shell_takes(binding: dict[str, str]) -> None:
    found = rendered({EngineName.POSTGRES: {**binding, "type": "any"}})["data-api-secrets"]
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", key) for key in found.body["data"])


def test_while_an_engines_binding_can_not_be_told_the_data_api_keeps_its_secret() -> None:
    assert rendered(BOTH, complete=False).keys() == {"postgres-binding", "search-binding"}


def test_without_bindings_there_is_nothing_to_publish() -> None:
    assert rendered({}) == {}


@pytest.mark.parametrize("name", ["postgres-binding", "data-api-secrets"])
def test_no_secret_stands_outside_data(name: str) -> None:
    body = dict(rendered(BOTH)[name].body)
    del body["data"]
    shown = msgspec.json.encode(body)
    assert gen.PASSWORD.encode() not in shown
    assert base64.b64encode(gen.PASSWORD.encode()) not in shown


def test_a_new_password_changes_the_digest() -> None:
    after = rendered({EngineName.POSTGRES: {**POSTGRES, "password": "another"}})
    assert after["postgres-binding"].digest != rendered(BOTH)["postgres-binding"].digest


def test_another_engines_new_key_leaves_a_binding_alone() -> None:
    after = rendered({**BOTH, EngineName.SEARCH: {**SEARCH, "api-key": "another"}})
    assert after["postgres-binding"] == rendered(BOTH)["postgres-binding"]


def test_every_secret_lies_in_the_namespace_of_the_data_cluster() -> None:
    assert {(each.resource, each.namespace) for each in rendered(BOTH).values()} == {(SECRETS, "tenant-acme")}
