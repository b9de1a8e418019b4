"""Documents: reading payloads, finding ids, adding, and picking fields."""

import csv
import io
from collections.abc import Iterable
from typing import Final, Literal

from hack.plane.emulators.meilisearch import json_text
from hack.plane.emulators.meilisearch.errors import ApiError
from hack.plane.emulators.meilisearch.indexes import Index
from hack.plane.emulators.meilisearch.json_text import JsonSyntaxError
from hack.plane.emulators.meilisearch.shapes import Json, Object, compact

Format = Literal["json", "ndjson", "csv"]

_ID_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
_LONGEST_ID: Final = 511
_LONGEST_CAUSE: Final = (50, 85)


def _malformed(kind: Format, cause: str) -> ApiError:
    head, tail = _LONGEST_CAUSE
    if len(cause) > head + tail + len("..."):
        cause = f"{cause[:head]}...{cause[-tail:]}"
    return ApiError(
        "malformed_payload",
        f"The `{kind}` payload provided is malformed. `Couldn't serialize document value: {cause}`.",
    )


def _objects(kind: Format, values: Json) -> list[Object]:
    found = values if isinstance(values, list) else [values]
    if not all(isinstance(value, dict) for value in found):
        raise _malformed(kind, "data are neither an object nor a list of objects")
    return [value for value in found if isinstance(value, dict)]


def read_payload(kind: Format, body: bytes, delimiter: str = ",") -> list[Object]:
    """The documents of a request; raises `missing_payload` or `malformed_payload`."""
    if not body:
        raise ApiError("missing_payload", f"A {kind} payload is missing.")
    if kind == "csv":
        return _read_csv(body, delimiter)
    if kind == "ndjson":
        return _read_lines(body)
    try:
        return _objects("json", json_text.decode(body))
    except JsonSyntaxError as error:
        raise _malformed("json", str(error)) from error


def _read_lines(body: bytes) -> list[Object]:
    try:
        return _objects("ndjson", json_text.decode_lines(body))
    except JsonSyntaxError as error:
        raise _malformed("ndjson", str(error)) from error


def _read_csv(body: bytes, delimiter: str) -> list[Object]:
    rows = csv.reader(io.StringIO(body.decode(errors="replace")), delimiter=delimiter, strict=True)
    try:
        header = next(rows)
        return [
            {_csv_name(column): _csv_value(column, cell, line) for column, cell in zip(header, row, strict=True)}
            for line, row in enumerate(rows, 1)
        ]
    except (csv.Error, ValueError) as error:
        raise ApiError("malformed_payload", f"The `csv` payload provided is malformed: `{error}`.") from error


def _csv_name(column: str) -> str:
    name, _, kind = column.rpartition(":")
    return name if kind in ("string", "number", "boolean") and name else column


def _csv_value(column: str, cell: str, line: int) -> Json:
    kind = column.rpartition(":")[2]
    text = cell.strip()
    if not (cell if kind not in ("number", "boolean") else text):
        return None
    if kind == "boolean":
        if text not in ("true", "false"):
            raise ValueError(
                f'Error parsing boolean "{cell}" at line {line}: provided string was not `true` or `false`'
            )
        return text == "true"
    if kind != "number":
        return cell
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f'Error parsing number "{cell}" at line {line}: invalid float literal') from error


def ident_of(value: Json) -> str:
    """A document's id as text; raises `invalid_document_id`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and _ID_CHARACTERS.issuperset(value):
        return value
    raise ApiError(
        "invalid_document_id",
        f"Document identifier `{compact(value)}` is invalid. A document identifier can be of type integer or string, "
        "only composed of alphanumeric characters (a-z A-Z 0-9), hyphens (-) and underscores (_), and can not be "
        "more than 511 bytes.",
    )


def _ident(document: Object, primary_key: str) -> str:
    value: Json = document
    for part in primary_key.split(".") if primary_key not in document else [primary_key]:
        if not isinstance(value, dict) or part not in value:
            raise ApiError(
                "missing_document_id", f"Document doesn't have a `{primary_key}` attribute: `{compact(document)}`."
            )
        value = value[part]
    return ident_of(value)


def _guess_primary_key(first: Object) -> str:
    candidates = sorted(name for name in first if name.lower().endswith("id"))
    if not candidates:
        raise ApiError(
            "index_primary_key_no_candidate_found",
            "The primary key inference failed as the engine did not find any field ending with `id` in its name. "
            "Please specify the primary key manually using the `primaryKey` query parameter.",
        )
    if len(candidates) > 1:
        raise ApiError(
            "index_primary_key_multiple_candidates_found",
            f"The primary key inference failed as the engine found {len(candidates)} fields ending with `id` in their "
            f"names: '{candidates[0]}' and '{candidates[1]}'. Please specify the primary key manually using the "
            "`primaryKey` query parameter.",
        )
    return candidates[0]


def _key_for(index: Index, documents: list[Object], wanted: str | None) -> str:
    if index.primary_key is None:
        return wanted or _guess_primary_key(documents[0])
    if wanted is not None and wanted != index.primary_key:
        raise ApiError("index_primary_key_already_exists", f"Index already has a primary key: `{index.primary_key}`.")
    return index.primary_key


def add(index: Index, documents: list[Object], *, primary_key: str | None, partial: bool, only_existing: bool) -> int:
    """Add documents, or change those with the same ids; returns how many. All or none: ids are checked first.

    `partial` keeps the fields that a new version does not have; `only_existing` skips documents that are not there yet.
    """
    if not documents:
        return 0
    key = _key_for(index, documents, primary_key)
    arriving = [(_ident(document, key), document) for document in documents]
    index.set_primary_key(key)
    for ident, document in arriving:
        before = index.documents.get(ident)
        if before is None and only_existing:
            continue
        index.put(ident, {**before.fields, **document} if before and partial else document)
    return len(arriving)


def pick(fields: Object, wanted: Iterable[str] | None) -> Object:
    """The wanted fields of a document, in its own order; dots reach into objects. Vectors are never shown unasked."""
    if wanted is None:
        return {name: value for name, value in fields.items() if name != "_vectors"}
    paths = list(wanted)
    result: Object = {}
    for name, value in fields.items():
        if name in paths:
            result[name] = value
        elif below := [path.removeprefix(f"{name}.") for path in paths if path.startswith(f"{name}.")]:
            result |= {name: inner} if (inner := _pick_within(value, below)) else {}
    return result


def _pick_within(value: Json, paths: list[str]) -> Json:
    if isinstance(value, dict):
        return pick(value, paths)
    if isinstance(value, list):
        return [inner for item in value if (inner := _pick_within(item, paths))]
    return None
