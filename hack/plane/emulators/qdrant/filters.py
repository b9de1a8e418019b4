"""What strict mode and rate limits want to know of a filter: its size, and the indexes that it would use."""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from hack.plane.emulators.qdrant.payloads import Json

CLAUSES = ("should", "must", "must_not")

# Which conditions an index of a type serves.
SERVES = {
    "keyword": {"keyword match"},
    "integer": {"integer match", "integer range"},
    "uuid": {"uuid match", "uuid range"},
    "bool": {"bool match"},
    "float": {"float range"},
    "geo": {"geo"},
    "text": {"text"},
    "datetime": {"datetime range"},
}
EVERY_CONDITION = sorted(set().union(*SERVES.values(), {"text phrase"}))
INDEX_TYPE_OF = {"text phrase": "text"} | {served: kind for kind, all_served in SERVES.items() for served in all_served}


def conditions(filter_: Json) -> Iterator[Json]:
    """The conditions of a filter, not those of filters inside it."""
    for clause in CLAUSES:
        given = filter_.get(clause) or []
        yield from given if isinstance(given, list) else [given]
    yield from (filter_.get("min_should") or {}).get("conditions", [])


def count(filter_: Json | None) -> int:
    """All conditions, those of inner filters too."""
    return sum(_count(condition) for condition in conditions(filter_ or {}))


def size(filter_: Json) -> int:
    """The number of values in the largest condition."""
    return max((_size(condition) for condition in conditions(filter_)), default=0)


def unindexed(filter_: Json, schema: Mapping[str, Any], prefix: str = "") -> tuple[str, list[str]] | None:
    """The first field that a condition needs an index of, and the types that would do; None when all are there."""
    for condition in conditions(filter_):
        if found := _unindexed(condition, schema, prefix):
            return found
    return None


def schema_type(schema: Any) -> str:
    """The type of a payload index, given as its name or as parameters with a `type`."""
    return str(schema["type"] if isinstance(schema, dict) else schema)


def serves(schema: Any) -> set[str]:
    """The conditions that a payload index serves."""
    parameters = schema if isinstance(schema, dict) else {}
    served = set(SERVES[schema_type(schema)])
    if parameters.get("lookup") is False:
        served.discard("integer match")
    if parameters.get("range") is False:
        served.discard("integer range")
    if parameters.get("phrase_matching"):
        served.add("text phrase")
    return served


def _inner(condition: Json) -> tuple[Json | None, str]:
    """The filter inside a condition, and what its keys stand under."""
    if "nested" in condition:
        return condition["nested"]["filter"], f"{condition['nested']['key'].removesuffix('[]')}[]."
    if any(clause in condition for clause in (*CLAUSES, "min_should")):
        return condition, ""
    return None, ""


def _count(condition: Json) -> int:
    inner, _ = _inner(condition)
    return 1 if inner is None else count(inner)


def _size(condition: Json) -> int:
    inner, _ = _inner(condition)
    if inner is not None:
        return size(inner)
    if "has_id" in condition:
        return len(condition["has_id"])
    match = condition.get("match") or {}
    return len(match.get("any") or match.get("except") or [])


def _unindexed(condition: Json, schema: Mapping[str, Any], prefix: str) -> tuple[str, list[str]] | None:
    inner, deeper = _inner(condition)
    if inner is not None:
        return unindexed(inner, schema, prefix + deeper)
    key, needed = _needed(condition)
    full_key = prefix + key
    if not needed or (full_key in schema and serves(schema[full_key]) & set(needed)):
        return None
    return full_key, sorted({INDEX_TYPE_OF[condition_type] for condition_type in needed})


def _needed(condition: Json) -> tuple[str, list[str]]:
    """The key of a condition, and the kinds of condition of which an index should serve one."""
    for presence in ("is_empty", "is_null"):
        if isinstance(condition.get(presence), dict):
            return condition[presence]["key"], EVERY_CONDITION
    if "key" not in condition:
        return "", []
    return condition["key"], _needed_by_field(condition)


def _needed_by_field(condition: Json) -> list[str]:
    needed = _needed_by_match(condition.get("match") or {}) + _needed_by_range(condition.get("range") or {})
    if any(condition.get(shape) for shape in ("geo_bounding_box", "geo_radius", "geo_polygon")):
        needed.append("geo")
    if any(condition.get(presence) is not None for presence in ("values_count", "is_empty", "is_null")):
        needed += EVERY_CONDITION
    return needed


def _needed_by_match(match: Json) -> list[str]:
    if "text" in match or "text_any" in match:
        return ["text"]
    if "phrase" in match:
        return ["text phrase"]
    values = match.get("any") or match.get("except") or ([match["value"]] if "value" in match else [])
    if not values:
        return []
    if isinstance(values[0], bool):
        return ["bool match"]
    if isinstance(values[0], int):
        return ["integer match"]
    return ["uuid match", "keyword match"] if all(_is_uuid(value) for value in values) else ["keyword match"]


def _needed_by_range(bounds: Json) -> list[str]:
    if not bounds:
        return []
    textual = any(isinstance(bound, str) for bound in bounds.values())
    return ["datetime range"] if textual else ["float range", "integer range"]


def _is_uuid(value: object) -> bool:
    try:
        uuid.UUID(str(value))
    except ValueError:
        return False
    return True
