"""What the API server is told of our kinds, and what we make of what it then accepts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bulkhead.api.data_cluster import DataClusterSpec
from bulkhead.api.data_plane import DataPlaneSpec
from bulkhead.api.meta import Struct
from bulkhead.api.plan import PlanSpec
from bulkhead.api.tenant import TenantSpec
from hack.generate.definitions import files
from tests.unit.api import gen

SPECS: dict[str, type[Struct]] = {
    "DataPlane": DataPlaneSpec,
    "Plan": PlanSpec,
    "Tenant": TenantSpec,
    "DataCluster": DataClusterSpec,
}
# Without shrinking: whole specs shrink for minutes, and the failing field is in the message anyway.
PATIENT = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    deadline=None,
    max_examples=50,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
CRDS = Path(__file__).parents[3] / "crds"


def parts(schema: gen.Schema, path: str = "") -> Iterator[tuple[str, gen.Schema]]:
    """Every schema inside `schema` with its path, but metadata, which is Kubernetes'."""
    yield path, schema
    for name, each in schema.get("properties", {}).items():
        if (path, name) != ("", "metadata"):
            yield from parts(each, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            yield from parts(schema[inner], f"{path}[]")


def defaulted(schema: gen.Schema, value: Any) -> Any:
    """`value` as the API server fills it up."""
    if schema["type"] == "array":
        return [defaulted(schema["items"], each) for each in value]
    if "properties" not in schema:
        return value
    full = dict(value)
    for name, each in schema["properties"].items():
        if name not in full and "default" in each:
            full[name] = each["default"]
        if name in full:
            full[name] = defaulted(each, full[name])
    return full


@pytest.mark.parametrize("name", SPECS)
@PATIENT
@given(data=st.data())
def test_a_spec_that_the_schema_accepts_decodes(name: str, data: st.DataObject) -> None:
    spec = data.draw(gen.specs_of(name))
    assert isinstance(msgspec.convert(spec, SPECS[name]), SPECS[name])


@pytest.mark.parametrize("name", SPECS)
@PATIENT
@given(data=st.data())
def test_the_defaults_of_the_schema_are_those_of_the_struct(name: str, data: st.DataObject) -> None:
    schema, spec = gen.schema_of(name)["properties"]["spec"], data.draw(gen.specs_of(name))
    assert msgspec.convert(defaulted(schema, spec), SPECS[name]) == msgspec.convert(spec, SPECS[name])


@pytest.mark.parametrize("name", ["Plan", "Tenant"])
def test_the_smallest_object_is_a_name(name: str) -> None:
    schema = gen.schema_of(name)
    assert "required" not in schema
    assert msgspec.convert(schema["properties"]["spec"]["default"], SPECS[name]) == SPECS[name]()


@pytest.mark.parametrize("name", SPECS)
def test_everything_is_bounded(name: str) -> None:
    unbounded = [path for path, each in parts(gen.schema_of(name)) if not bounded(each)]
    assert unbounded == [".apiVersion", ".kind"]


def bounded(schema: gen.Schema) -> bool:
    if "additionalProperties" in schema:
        return int(schema.get("maxProperties", 10_000)) <= 64
    longest = {"string": ("maxLength", 32768), "array": ("maxItems", 1000)}.get(schema["type"])
    return longest is None or "enum" in schema or int(schema.get(longest[0], 100_000)) <= longest[1]


@pytest.mark.parametrize("name", SPECS)
def test_every_field_says_what_it_is(name: str) -> None:
    schema = gen.schema_of(name)
    fields = [path for path, each in parts(schema) if "description" not in each and not path.endswith("[]")]
    assert fields == []


@pytest.mark.parametrize("name", SPECS)
def test_every_rule_answers_with_one_sentence(name: str) -> None:
    rules = [rule for _, each in parts(gen.schema_of(name)) for rule in each.get("x-kubernetes-validations", ())]
    assert rules
    assert [rule for rule in rules if len(rule["message"]) < 20 or "\n" in rule["message"]] == []


@pytest.mark.parametrize("name", SPECS)
def test_status_is_never_filled_in_by_the_api_server(name: str) -> None:
    status = gen.schema_of(name)["properties"]["status"]
    assert [path for path, each in parts(status) if "default" in each] == []


@pytest.mark.parametrize("name", SPECS)
def test_conditions_are_told_apart_by_type(name: str) -> None:
    conditions = gen.schema_of(name)["properties"]["status"]["properties"]["conditions"]
    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])


def test_the_files_are_what_the_structs_say() -> None:
    assert {path.name: path.read_text() for path in CRDS.iterdir()} == files()
