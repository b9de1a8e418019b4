"""The OpenAPI 3.1 document of a table: what exists, who may call it, what it takes, what it answers, and every code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from bulkhead.platform.http.codes import of_row
from bulkhead.platform.http.route import (
    METHODS,
    BoundKey,
    Caller,
    PlatformAdmin,
    RegistrationToken,
    Route,
    ServiceKey,
    Unauthenticated,
    UserOrPlane,
    UserWith,
)
from bulkhead.protocol import documents
from bulkhead.protocol.problems import CONTENT_TYPE, Code, ProblemDocument

Json = dict[str, Any]

_REFERENCE = "#/components/schemas/{name}"
_TEMPLATE = re.compile(r"\{([a-z_]+):[a-z]+\}")
_WORD = re.compile(r"[A-Za-z0-9]+")

_SCHEMES: Mapping[str, Json] = {
    "apiToken": {"type": "http", "scheme": "bearer", "bearerFormat": "oat_…", "description": "An API token of a user."},
    "oidc": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token of an identity provider that the platform trusts.",
    },
    "registrationToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "bht_…",
        "description": "A one-time token; the body proves possession of a key.",
    },
    "serviceKey": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "bhk_…",
        "description": "The key of a plane or of a data cluster that has joined.",
    },
}


def document(rows: Sequence[Route], *, version: str) -> Json:
    """The whole document; the same table gives the same document."""
    schemas = _Schemas(rows)
    paths: Json = {}
    for row in sorted(rows, key=lambda each: (each.path, METHODS.index(_documented(each)[0]))):
        for method in _documented(row):
            paths.setdefault(_template(row.path), {})[method.lower()] = _operation(row, method, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Bulkhead platform",
            "version": version,
            "description": "What data planes and data clusters join, and what users reach them through. "
            "Errors are problem documents (RFC 9457) with a stable `code`; act on codes alone.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": _described(schemas.components),
            "responses": {"Problem": _problem(schemas)},
            "securitySchemes": dict(_SCHEMES),
        },
    }


def text(rows: Sequence[Route], *, version: str) -> str:
    """The document as the file that is checked in."""
    return msgspec.json.format(msgspec.json.encode(document(rows, version=version)), indent=2).decode() + "\n"


class _Schemas:
    """Schemas of all types of a table, each under one name."""

    def __init__(self, rows: Iterable[Route]) -> None:
        kinds = {kind for row in rows for kind in (row.body, row.answer, row.query) if kind is not None}
        ordered = sorted({*kinds, ProblemDocument}, key=lambda kind: (kind.__name__, kind.__module__))
        schemas, components = msgspec.json.schema_components(
            ordered, schema_hook=documents.schema_hook, ref_template=_REFERENCE
        )
        self.components: Json = dict(sorted(_in_ecma(components).items()))
        self._of = dict(zip(ordered, schemas, strict=True))

    def of(self, kind: Any) -> Json:
        """A reference to the schema of a type of the table."""
        return self._of[kind]

    def fields(self, kind: type[msgspec.Struct]) -> tuple[Json, frozenset[str]]:
        """Schemas of a struct's fields by name, and those that it can not do without."""
        schema = self.components[self._of[kind]["$ref"].rpartition("/")[2]]
        return schema["properties"], frozenset(schema.get("required", ()))


def _operation(row: Route, method: str, schemas: _Schemas) -> Json:
    operation: Json = {
        "operationId": _operation_id(row, method),
        "summary": row.summary,
        "description": _description(row),
        "security": _security(row.caller),
    }
    if parameters := [*_path_parameters(row), *_query_parameters(row, schemas)]:
        operation["parameters"] = parameters
    if row.body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schemas.of(row.body)}}}
    elif row.raw and method not in {"GET", "HEAD", "DELETE"}:
        operation["requestBody"] = {"content": {"*/*": {}}}
    operation["responses"] = {**_success(row, schemas), **_problems(of_row(row))}
    return operation


def _description(row: Route) -> str:
    lines = [_who(row.caller)]
    if row.body is not None or row.raw:
        lines.append(f"The body has at most {row.most_body} bytes.")
    return " ".join(lines)


def _who(caller: Caller) -> str:
    match caller:
        case ServiceKey(kinds=kinds, scope=scope):
            return f"For a {' or '.join(kinds)}, by a service key with the scope `{scope}`."
        case UserWith(ability=ability):
            return f"For users with the ability `{ability}`."
        case UserOrPlane(ability=ability, scope=scope):
            return (
                f"For users with the ability `{ability}`, and for a plane, by a service key with the scope `{scope}`."
            )
        case PlatformAdmin():
            return "For those who administer the platform."
        case RegistrationToken():
            return "For who presents a registration token and proves possession of a key."
        case BoundKey():
            return "For a plane or a cluster that proves, in the body, possession of the key that it joined with."
        case Unauthenticated(reason=reason):
            return f"For anybody: {reason}."


def _security(caller: Caller) -> list[Json]:
    match caller:
        case ServiceKey(scope=scope):
            return [{"serviceKey": [scope]}]
        case UserWith(ability=ability):
            return [{"oidc": [ability]}, {"apiToken": [ability]}]
        case UserOrPlane(ability=ability, scope=scope):
            return [{"oidc": [ability]}, {"apiToken": [ability]}, {"serviceKey": [scope]}]
        case PlatformAdmin():
            return [{"oidc": []}, {"apiToken": []}]
        case RegistrationToken():
            return [{"registrationToken": []}]
        case BoundKey() | Unauthenticated():
            return []


def _path_parameters(row: Route) -> Iterable[Json]:
    for name, form in row.parameters:
        schema = {"type": "string", "format": "uuid"} if form == "uuid" else {"type": "string"}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(row: Route, schemas: _Schemas) -> Iterable[Json]:
    if row.query is None:
        return
    fields, required = schemas.fields(row.query)
    for name, schema in fields.items():
        yield {"name": name, "in": "query", "required": name in required, "schema": schema}


def _success(row: Route, schemas: _Schemas) -> Json:
    if row.raw:
        return {"2XX": {"description": "The answer.", "content": {"*/*": {}}}}
    if row.answer is None:
        return {str(row.status): {"description": "Done."}}
    content = {"application/json": {"schema": schemas.of(row.answer)}}
    return {str(row.status): {"description": "Done.", "content": content}}


def _problems(codes: Iterable[Code]) -> Json:
    """By status. In OpenAPI 3.1 a description beside a reference takes the place of its own."""
    by_status = groupby(sorted(codes, key=lambda code: (code.status, code.value)), lambda code: code.status)
    return {
        str(status): {
            "$ref": "#/components/responses/Problem",
            "description": ", ".join(f"`{code.value}`" for code in each),
        }
        for status, each in by_status
    }


def _problem(schemas: _Schemas) -> Json:
    return {
        "description": "Why not, and what to do.",
        "headers": {
            "Retry-After": {"description": "Seconds, where it helps to try again.", "schema": {"type": "integer"}}
        },
        "content": {CONTENT_TYPE: {"schema": schemas.of(ProblemDocument)}},
    }


def _in_ecma(schema: Any) -> Any:
    """Patterns as JSON Schema reads them: there the end of a text is `$`, in Python it is `\\Z`."""
    if isinstance(schema, dict):
        return {
            key: value.removesuffix(r"\Z") + "$" if key == "pattern" and isinstance(value, str) else _in_ecma(value)
            for key, value in schema.items()
        }
    return [_in_ecma(each) for each in schema] if isinstance(schema, list) else schema


def _described(components: Json) -> Json:
    """The schema of all codes, with what each means."""
    meanings = "\n".join(f"- `{code.value}` ({code.status}): {code.happened} {code.remedy}" for code in Code)
    return {**components, Code.__name__: {**components[Code.__name__], "description": meanings}}


def _documented(row: Route) -> tuple[str, ...]:
    """HEAD is GET without the body, which nobody has to be told."""
    return tuple(method for method in row.methods if method != "HEAD")


def _template(path: str) -> str:
    return _TEMPLATE.sub(r"{\1}", path)


def _operation_id(row: Route, method: str) -> str:
    words = _WORD.findall(_template(row.path))
    return method.lower() + "".join(word[0].upper() + word[1:] for word in words)
