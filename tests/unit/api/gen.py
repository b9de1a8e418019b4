"""Strategies and builders for the API's tests."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml
from hypothesis import strategies as st

from bulkhead.api.names import SLUG_PATTERN, slug_problem
from hack.generate.definitions import KINDS, Kind, definition

Schema = Mapping[str, Any]

slugs = st.from_regex(re.compile(SLUG_PATTERN), fullmatch=True).filter(lambda slug: slug_problem(slug) is None)
uids = st.uuids(version=4).map(str)

PLAIN = (
    "203.0.113.0/24", "198.51.100.0/24", "2001:db8::/32", "https://minio.data.svc:9000", "http://127.0.0.1:80",
    "https://[2001:db8::1]:6333", "https://xn--a.data.svc", "postgres.data.svc", "192.0.2.1", "2001:db8::1", "24h",
    "12h", "1h30m", "2h", "10Gi", "50Gi", "256Mi", "1T", "2", "20", "100m", "pg_trgm", "acme", "globex", "entries",
    "requests.cpu", "pods", "example.com/app", "ghcr.io/example/api:1.0", "ghcr.io/example/*", "Acme & Söhne",
)  # fmt: skip
"""Ordinary values, and a host that looks like Punycode and is none; where one fits a pattern, it mostly fits the other
rules of that field too."""

_MATCHES = re.compile(r'self\.matches\(("(?:[^"\\]|\\.)*")\)')


def kind(name: str) -> Kind:
    """The kind of that name, such as `Tenant`."""
    return next(each for each in KINDS if each.name == name)


@cache
def schema_of(name: str) -> Schema:
    """What the API server is told of the kind `name`, read back from its YAML form."""
    crd = yaml.safe_load(yaml.safe_dump(definition(kind(name))))
    found: Schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


@cache
def specs_of(name: str) -> st.SearchStrategy[Any]:
    """Specs of the kind `name`, see `accepted`."""
    return accepted(schema_of(name)["properties"]["spec"])


def accepted(schema: Schema) -> st.SearchStrategy[Any]:
    """Whatever has the types, bounds and patterns of `schema`; other rules are not looked at, so it is a superset of
    what the API server accepts."""
    match schema["type"]:
        case "object" if "properties" in schema:
            return _object(schema)
        case "object":
            return st.dictionaries(_keys(schema), accepted(schema["additionalProperties"]), max_size=3)
        case "array":
            return st.lists(accepted(schema["items"]), min_size=schema.get("minItems", 0), max_size=3)
        case "string":
            return _string(schema)
        case "integer":
            return st.integers(schema.get("minimum"), schema.get("maximum"))
        case "boolean":
            return st.booleans()
        case other:
            raise AssertionError(f"no strategy for {other}")


def _object(schema: Schema) -> st.SearchStrategy[Any]:
    required = schema.get("required", ())
    properties = {name: accepted(each) for name, each in schema["properties"].items()}
    return st.fixed_dictionaries(
        {name: each for name, each in properties.items() if name in required},
        optional={name: each for name, each in properties.items() if name not in required},
    )


def _string(schema: Schema) -> st.SearchStrategy[str]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if pattern := _pattern(schema):
        shortest, longest = schema.get("minLength", 0), schema["maxLength"]
        return matching(pattern).filter(lambda text: shortest <= len(text) <= longest)
    return st.text(max_size=schema["maxLength"])


def _keys(schema: Schema) -> st.SearchStrategy[str]:
    rules = " ".join(each["rule"] for each in schema.get("x-kubernetes-validations", ()))
    found = re.fullmatch(r"self\.all\(key, key\.matches\((.*)\)\)", rules)
    return matching(_as_python(found[1])) if found else st.text(max_size=20)


def matching(pattern: re.Pattern[str]) -> st.SearchStrategy[str]:
    """Strings that match: ordinary ones most of the time, so that whole specs are accepted now and then."""
    anything = st.from_regex(pattern, fullmatch=True)
    plain = [each for each in PLAIN if pattern.fullmatch(each)]
    if not plain:
        return anything
    return st.integers(0, 19).flatmap(lambda dice: st.sampled_from(plain) if dice else anything)


def _pattern(schema: Schema) -> re.Pattern[str] | None:
    for rule in schema.get("x-kubernetes-validations", ()):
        if found := _MATCHES.fullmatch(rule["rule"]):
            return _as_python(found[1])
    return None


def _as_python(literal: str) -> re.Pattern[str]:
    return re.compile(str(json.loads(literal)).replace("$", r"\Z"), re.ASCII)
