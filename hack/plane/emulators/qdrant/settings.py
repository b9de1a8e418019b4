"""The configuration of a collection: what a request may say about it, and what becomes of that.

Unknown fields are ignored, as on the real server: a limit with a typing error in its name is no limit.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from hack.plane.emulators.qdrant.bodies import BODY, Body
from hack.plane.emulators.qdrant.errors import bad_input, invalid
from hack.plane.emulators.qdrant.names import require_vector_name
from hack.plane.emulators.qdrant.payloads import Json

DISTANCES = {"Cosine", "Euclid", "Dot", "Manhattan"}
MODIFIERS = {"none", "idf"}
DIMENSIONS = (1, 65536)


@dataclass(frozen=True, slots=True)
class Field:
    """One member: what the server calls its type, and the range of its values, both ends included."""

    expects: str = "usize"
    low: float | None = None
    high: float | None = None

    def fits(self, value: object) -> bool:
        match self.expects:
            case "a boolean":
                return isinstance(value, bool)
            case "a map":
                return isinstance(value, dict)
            case "a string":
                return isinstance(value, str)
            case "f64":
                return isinstance(value, int | float) and not isinstance(value, bool)
            case "threads":
                return value == "auto" or _is_count(value)
            case _:
                return _is_count(value)

    def complaint(self, value: Any) -> str | None:
        low, high = self.low, self.high
        if (low is None or value >= low) and (high is None or value <= high):
            return None
        bounds = f"must be {low} or larger" if high is None else f"must be from {low} to {high}"
        return f"value {value} invalid, {bounds}"


COUNT, BOOLEAN, MAP, STRING = Field(), Field("a boolean"), Field("a map"), Field("a string")
AT_LEAST_ONE = Field(low=1)
PERCENT = Field(low=1, high=100)

HNSW = {
    "m": COUNT,
    "ef_construct": Field(low=4),
    "full_scan_threshold": Field(low=10),
    "max_indexing_threads": COUNT,
    "on_disk": BOOLEAN,
    "payload_m": COUNT,
    "inline_storage": BOOLEAN,
}
WAL = {"wal_capacity_mb": AT_LEAST_ONE, "wal_segments_ahead": COUNT, "wal_retain_closed": COUNT}
OPTIMIZERS = {
    "deleted_threshold": Field("f64", low=0.0, high=1.0),
    "vacuum_min_vector_number": Field(low=100),
    "default_segment_number": COUNT,
    "max_segment_size": AT_LEAST_ONE,
    "memmap_threshold": COUNT,
    "indexing_threshold": COUNT,
    "flush_interval_sec": COUNT,
    "max_optimization_threads": Field("threads"),
    "prevent_unoptimized": BOOLEAN,
}
STRICT_MODE = {
    "enabled": BOOLEAN,
    "max_query_limit": AT_LEAST_ONE,
    "max_timeout": AT_LEAST_ONE,
    "unindexed_filtering_retrieve": BOOLEAN,
    "unindexed_filtering_update": BOOLEAN,
    "search_max_hnsw_ef": COUNT,
    "search_allow_exact": BOOLEAN,
    "search_max_oversampling": Field("f64"),
    "upsert_max_batchsize": COUNT,
    "search_max_batchsize": COUNT,
    "max_collection_vector_size_bytes": COUNT,
    "read_rate_limit": AT_LEAST_ONE,
    "write_rate_limit": AT_LEAST_ONE,
    "max_collection_payload_size_bytes": COUNT,
    "max_points_count": AT_LEAST_ONE,
    "filter_max_conditions": COUNT,
    "condition_max_size": COUNT,
    "multivector_config": MAP,
    "sparse_config": MAP,
    "max_payload_index_count": COUNT,
    "max_resident_memory_percent": PERCENT,
    "max_disk_usage_percent": PERCENT,
}
SECTIONS = {"hnsw_config": HNSW, "wal_config": WAL, "optimizers_config": OPTIMIZERS, "strict_mode_config": STRICT_MODE}
OTHER_NAMES = {
    "optimizer_config": "optimizers_config",
    "quantization": "quantization_config",
    "full_scan_threshold_kb": "full_scan_threshold",
    "max_segment_size_kb": "max_segment_size",
    "memmap_threshold_kb": "memmap_threshold",
    "indexing_threshold_kb": "indexing_threshold",
}
REPLICATION = {
    "shard_number": AT_LEAST_ONE,
    "replication_factor": AT_LEAST_ONE,
    "write_consistency_factor": AT_LEAST_ONE,
    "read_fan_out_factor": COUNT,
    "read_fan_out_delay_ms": COUNT,
    "on_disk_payload": BOOLEAN,
    "sharding_method": STRING,
}
UPDATABLE_PARAMS = {
    name: field for name, field in REPLICATION.items() if name not in {"shard_number", "sharding_method"}
}
VECTOR = {
    "size": Field(low=DIMENSIONS[0], high=DIMENSIONS[1]),
    "distance": STRING,
    "quantization_config": MAP,
    "on_disk": BOOLEAN,
    "datatype": STRING,
    "multivector_config": MAP,
}
UPDATABLE_VECTOR = {"hnsw_config": MAP, "quantization_config": MAP, "on_disk": BOOLEAN}
SPARSE = {"index": MAP, "modifier": STRING}

DEFAULTS: Mapping[str, Any] = {
    "params": {
        "vectors": {},
        "shard_number": 1,
        "replication_factor": 1,
        "write_consistency_factor": 1,
        "on_disk_payload": True,
    },
    "hnsw_config": {
        "m": 16,
        "ef_construct": 100,
        "full_scan_threshold": 10000,
        "max_indexing_threads": 0,
        "on_disk": False,
    },
    "optimizer_config": {
        "deleted_threshold": 0.2,
        "vacuum_min_vector_number": 1000,
        "default_segment_number": 0,
        "max_segment_size": None,
        "memmap_threshold": None,
        "indexing_threshold": 10000,
        "flush_interval_sec": 5,
        "max_optimization_threads": None,
        "prevent_unoptimized": None,
    },
    "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1},
    "quantization_config": None,
}


def created(body: Body) -> Json:
    """The configuration of a new collection from the body of its creation; raises what is wrong with that."""
    asked = _sections(body)
    params = _picked(body, body.fields, REPLICATION)
    params["vectors"] = _vectors(body)
    sparse = _sparse_vectors(body)
    _require_ranges(asked, params)
    _require_vector_names(params["vectors"], sparse)
    config = deepcopy(dict(DEFAULTS))
    config["params"] |= params | ({"sparse_vectors": sparse} if sparse else {})
    _merge_sections(config, asked)
    if "metadata" in asked:
        config["metadata"] = asked["metadata"]
    return config


def patched(config: Json, body: Body) -> Json:
    """A collection's configuration after the update that a body asks for; raises what is wrong with it."""
    asked = _sections(body)
    params = _patched_params(body)
    _require_ranges(asked, params)
    config = deepcopy(config)
    config["params"] |= params
    _merge_sections(config, asked)
    dense, sparse = _vector_changes(body)
    _patch_vectors(named_vectors(config["params"]), dense)
    _patch_vectors(config["params"].get("sparse_vectors", {}), sparse)
    if "metadata" in asked:
        config["metadata"] = _merged_metadata(config.get("metadata"), asked["metadata"])
    return config


def checked_update(body: Body) -> None:
    """Raises what is wrong with an update whatever collection it is for: before anybody asks who may update it."""
    _require_ranges(_sections(body), _patched_params(body))
    _vector_changes(body)


def vector_config(body: Body) -> tuple[str, Json]:
    """The kind of a new named vector, "dense" or "sparse", and its parameters."""
    dense, sparse = body.fields.get("dense"), body.fields.get("sparse")
    if isinstance(dense, dict) and _is_vector(dense):
        params = _vector(body, dense)
        _require_ranges({}, {"vectors": params})
        return "dense", params
    if not isinstance(sparse, dict):
        raise body.unfit("data did not match any variant of untagged enum VectorNameConfig")
    return "sparse", _sparse_vector(body, sparse)


def with_vector(params: Json, name: str, kind: str, wanted: Json) -> Json:
    """`params` of a collection with one more named vector. The same vector twice is no change."""
    dense = dict(named_vectors(params))
    sparse = dict(params.get("sparse_vectors") or {})
    existing, others = (dense, sparse) if kind == "dense" else (sparse, dense)
    if name in existing:
        return _unchanged(params, name, kind, existing[name], wanted)
    if name in others:
        other = "sparse" if kind == "dense" else "dense"
        raise bad_input(f"Vector `{name}` already exists as a {other} vector")
    existing[name] = wanted
    return params | {"vectors": dense} | ({"sparse_vectors": sparse} if sparse else {})


def without_vector(params: Json, name: str) -> Json:
    """`params` of a collection without a named vector; one that is not there is no change."""
    dense = params["vectors"]
    if "size" not in dense:
        dense = {kept: value for kept, value in dense.items() if kept != name}
    sparse = {kept: value for kept, value in (params.get("sparse_vectors") or {}).items() if kept != name}
    return params | {"vectors": dense} | ({"sparse_vectors": sparse} if "sparse_vectors" in params else {})


def named_vectors(params: Json) -> Json:
    """The dense vectors of `params` by name; "" is the unnamed one."""
    vectors: Json = params["vectors"]
    return {"": vectors} if "size" in vectors else vectors


def _unchanged(params: Json, name: str, kind: str, existing: Json, wanted: Json) -> Json:
    compared = ("size", "distance", "multivector_config", "datatype") if kind == "dense" else ("modifier",)
    if any(existing.get(member) != wanted.get(member) for member in compared):
        label = "Vector" if kind == "dense" else "Sparse vector"
        raise bad_input(f"{label} `{name}` already exists with a different configuration")
    return params


def _sections(body: Body) -> Json:
    """The well-typed sections of a body under their proper names, and its metadata."""
    asked: Json = {}
    for given, value in body.fields.items():
        name = OTHER_NAMES.get(given, given)
        if value is None:
            continue
        if name == "quantization_config" and value == "Disabled":
            asked[name] = None
            continue
        if name in {*SECTIONS, "metadata", "quantization_config"} and not isinstance(value, dict):
            raise body.wrong_type(given, value, "a map" if name == "metadata" else f"struct {name}")
        if name in SECTIONS:
            asked[name] = _picked(body, value, SECTIONS[name], where=given)
        elif name in {"metadata", "quantization_config"}:
            asked[name] = value
    return asked


def _picked(body: Body, given: Json, known: Mapping[str, Field], *, where: str = "") -> Json:
    """The members of `given` that are known and set. `where` is the member of the body that they stand in."""
    picked = {}
    for member, value in given.items():
        name = OTHER_NAMES.get(member, member)
        if name not in known or value is None:
            continue
        if not known[name].fits(value):
            raise body.wrong_type(where or member, value, known[name].expects)
        picked[name] = value
    return picked


def _patched_params(body: Body) -> Json:
    given = body.fields.get("params")
    return _picked(body, given, UPDATABLE_PARAMS, where="params") if isinstance(given, dict) else {}


def _vectors(body: Body) -> Json:
    given = body.fields.get("vectors")
    if given is None:
        return {}
    if _is_vector(given):
        return _vector(body, given)
    if isinstance(given, dict) and all(_is_vector(params) for params in given.values()):
        return {name: _vector(body, params) for name, params in given.items()}
    raise body.no_variant("vectors", "VectorsConfig")


def _is_vector(given: object) -> bool:
    if not isinstance(given, dict) or not isinstance(given.get("multivector_config"), dict | None):
        return False
    size, distance = given.get("size"), given.get("distance")
    several = given.get("multivector_config")
    return (
        (_is_count(size) and size != 0)
        and (isinstance(distance, str) and distance in DISTANCES)
        and (several is None or several.get("comparator") == "max_sim")
    )


def _vector(body: Body, given: Json) -> Json:
    params = _picked(body, given, VECTOR, where="vectors")
    if "multivector_config" in params:
        params["multivector_config"] = {"comparator": "max_sim"}
    if isinstance(given.get("hnsw_config"), dict):
        params["hnsw_config"] = _picked(body, given["hnsw_config"], HNSW, where="vectors")
    return params


def _sparse_vectors(body: Body) -> Json:
    return {name: _sparse_vector(body, params) for name, params in _maps(body, "sparse_vectors").items()}


def _sparse_vector(body: Body, given: Json) -> Json:
    params = _picked(body, given, SPARSE, where="sparse_vectors")
    if params.get("modifier", "none") not in MODIFIERS:
        raise body.unfit(f"unknown variant `{params['modifier']}`, expected `none` or `idf`")
    return params


def _vector_changes(body: Body) -> tuple[Json, Json]:
    """What an update changes of dense and of sparse vectors, by name."""
    dense = {
        name: _picked(body, change, UPDATABLE_VECTOR, where="vectors")
        for name, change in _maps(body, "vectors").items()
    }
    return dense, _sparse_vectors(body)


def _maps(body: Body, name: str) -> dict[str, Json]:
    """A member that maps names to maps, for which a null may stand."""
    given = body.fields.get(name)
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise body.wrong_type(name, given, "a map")
    for value in given.values():
        if not isinstance(value, dict | None):
            raise body.wrong_type(name, value, "a map")
    return {key: value or {} for key, value in given.items()}


def _require_ranges(asked: Json, params: Json) -> None:
    for path, field, value in _ranged(asked, params):
        if complaint := field.complaint(value):
            raise invalid(BODY, path, complaint)


def _ranged(asked: Json, params: Json) -> Iterator[tuple[str, Field, Any]]:
    """Every member that has a range, with its path."""
    vectors = params.get("vectors", {})
    named = [("vectors", vectors)] if "size" in vectors else [("vectors.?", vector) for vector in vectors.values()]
    for where, vector in named:
        yield f"{where}.size", VECTOR["size"], vector["size"]
    for section, known in SECTIONS.items():
        for name, value in asked.get(section, {}).items():
            yield f"{section}.{name}", known[name], value
    for name, field in REPLICATION.items():
        if name in params:
            yield name, field, params[name]


def _require_vector_names(vectors: Json, sparse: Json) -> None:
    dense = [""] if "size" in vectors else list(vectors)
    for name in dense:
        require_vector_name(name, "dense")
    for name in sparse:
        require_vector_name(name, "sparse")
    if "" in sparse:
        raise bad_input("Sparse vector name cannot be empty")
    if both := [name for name in dense if name in sparse]:
        raise bad_input(f"Dense and sparse vector names must be unique - duplicate found with '{both[0]}'")


def _merge_sections(config: Json, asked: Json) -> None:
    config["hnsw_config"] |= asked.get("hnsw_config", {})
    config["wal_config"] |= asked.get("wal_config", {})
    config["optimizer_config"] |= asked.get("optimizers_config", {})
    config["quantization_config"] = asked.get("quantization_config", config["quantization_config"])
    if "strict_mode_config" in asked:
        config["strict_mode_config"] = config.get("strict_mode_config", {}) | asked["strict_mode_config"]


def _patch_vectors(vectors: Json, changes: Json) -> None:
    for name, change in changes.items():
        if name not in vectors:
            raise bad_input(f"Not existing vector name error: {name}")
        vectors[name] |= change


def _merged_metadata(current: Json | None, change: Json) -> Json:
    """A null removes a key, but only from metadata that were there before."""
    return change if current is None else _without_nulls(current | change)


def _without_nulls(given: Json) -> Json:
    return {key: value for key, value in given.items() if value is not None}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
