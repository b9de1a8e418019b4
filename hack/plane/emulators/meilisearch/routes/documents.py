"""`/indexes/{index_uid}/documents`."""

from typing import Any, Final

import msgspec

from hack.plane.emulators.meilisearch import filters, settings, shapes
from hack.plane.emulators.meilisearch.documents import Format, ident_of, pick, read_payload
from hack.plane.emulators.meilisearch.errors import ApiError
from hack.plane.emulators.meilisearch.http import Answer, Call, Handler, Route, answer, enqueued
from hack.plane.emulators.meilisearch.indexes import Index
from hack.plane.emulators.meilisearch.ranking import read_sort, sort_key
from hack.plane.emulators.meilisearch.search import check_sortable, json_or_text
from hack.plane.emulators.meilisearch.shapes import Field, Json, Object, Place, Shape, Star
from hack.plane.emulators.meilisearch.tasks import on_index

_PATH: Final = "/indexes/{index_uid}/documents"
_FORMATS: Final[dict[str, Format]] = {
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "text/csv": "csv",
}


def _delimiter(value: Json, place: Place) -> str:
    text = shapes.string(value, place)
    if len(text) != 1:
        raise place.wrong_value(
            f"expected a string of one character, but found the following string of {len(text)} characters: `{text}`"
        )
    if not text.isascii():
        raise ApiError(place.code, f"csv delimiter must be an ascii character. Found: `{text}`")
    return text


def _skip_creation(value: Json, place: Place) -> bool:
    text = shapes.string(value, place)
    if text.lower() not in ("true", "false"):
        raise ApiError(place.code, f"skipCreation must be either `true` or `false`. Found: `{text}`")
    return text.lower() == "true"


_METADATA: Final = Field("customMetadata", shapes.string, "invalid_index_custom_metadata", default=None)
_METADATA_ONLY: Final = Shape((_METADATA,))
_ADD: Final = Shape((
    Field("primaryKey", shapes.string, "invalid_index_primary_key", default=None),
    Field("csvDelimiter", _delimiter, "invalid_document_csv_delimiter", default=None),
    _METADATA,
    Field("skipCreation", _skip_creation, "invalid_skip_creation", default=False),
))  # fmt: skip
_FIELDS_PARAMETER: Final = Field(
    "fields", shapes.star_or_list(shapes.string), "invalid_document_fields", default=shapes.STAR
)
_VECTORS_PARAMETER: Final = Field(
    "retrieveVectors", shapes.boolean_parameter, "invalid_document_retrieve_vectors", default=False
)
_NETWORK: Final = Field("useNetwork", shapes.anything, "invalid_document_use_network", default=None)
_GET_ONE: Final = Shape((_FIELDS_PARAMETER, _VECTORS_PARAMETER, _NETWORK))
_BROWSE: Final = Shape((
    Field("offset", shapes.unsigned_parameter, "invalid_document_offset", default=0),
    Field("limit", shapes.unsigned_parameter, "invalid_document_limit", default=20),
    _FIELDS_PARAMETER,
    _VECTORS_PARAMETER,
    Field("ids", shapes.comma_separated(), "invalid_document_ids", default=None),
    Field("filter", shapes.string, "invalid_document_filter", default=None),
    Field("sort", shapes.string, "invalid_document_sort", default=None),
    _NETWORK,
))  # fmt: skip
_FETCH: Final = Shape((
    Field("offset", shapes.unsigned, "invalid_document_offset", default=0),
    Field("limit", shapes.unsigned, "invalid_document_limit", default=20),
    Field("fields", shapes.nullable(shapes.strings), "invalid_document_fields", default=None),
    Field("retrieveVectors", shapes.boolean, "invalid_document_retrieve_vectors", default=False),
    Field("ids", shapes.nullable(shapes.array(shapes.anything)), "invalid_document_ids", default=None),
    Field("filter", shapes.anything, "invalid_document_filter", default=None),
    Field("sort", shapes.nullable(shapes.strings), "invalid_document_sort", default=None),
    _NETWORK,
))  # fmt: skip
_BY_FILTER: Final = Shape((
    Field(
        "filter", shapes.anything, "invalid_document_filter", required=True, missing_code="missing_document_filter"
    ),
))  # fmt: skip
_EDIT: Final = Shape((
    Field("filter", shapes.anything, "invalid_document_filter", default=None),
    Field("context", shapes.anything, "invalid_document_edition_context", default=None),
    Field(
        "function",
        shapes.string,
        "invalid_document_edition_function_filter",
        required=True,
        missing_code="missing_document_edition_function",
    ),
))  # fmt: skip


def _names(fields: list[str] | Star) -> list[str] | None:
    return None if isinstance(fields, Star) else fields


async def _get(call: Call) -> Answer:
    wanted = call.parameters(_GET_ONE)
    index = call.engine.catalog.get(call.index_uid)
    ident = call.path["document_id"]
    document = index.documents.get(ident)
    if document is None:
        raise ApiError("document_not_found", f"Document `{ident}` not found.")
    return answer(pick(document.fields, _names(wanted["fields"])))


async def _browse(call: Call) -> Answer:
    wanted = call.parameters(_BROWSE)
    sort = wanted["sort"]
    return _selected(
        call,
        {
            **wanted,
            "fields": _names(wanted["fields"]),
            "filter": json_or_text(wanted["filter"]),
            "sort": None if sort is None else [part.strip() for part in sort.strip('"').split(",")],
        },
    )


async def _fetch(call: Call) -> Answer:
    return _selected(call, call.read(_FETCH))


def _selected(call: Call, wanted: dict[str, Any]) -> Answer:
    uid = call.index_uid
    ids = None if wanted["ids"] is None else _idents(wanted["ids"])
    orders = read_sort(wanted["sort"] or (), "invalid_document_sort")
    index = call.engine.catalog.get(uid)
    fits = _predicate(call, index, wanted["filter"])
    known = index.documents.items()
    found = [document for ident, document in known if (ids is None or ident in ids) and fits(document.fields)]
    for order in orders:
        check_sortable(index, order.attribute)
    if orders:
        found.sort(key=lambda document: (sort_key(document.fields, orders), document.number))
    offset, limit = wanted["offset"], wanted["limit"]
    shown: list[Json] = [pick(document.fields, wanted["fields"]) for document in found[offset : offset + limit]]
    return answer({"results": shown, "offset": offset, "limit": limit, "total": len(found)})


def _idents(values: list[Json]) -> set[str]:
    idents = set()
    for position, value in enumerate(values):
        try:
            idents.add(ident_of(value))
        except ApiError as error:
            raise ApiError("invalid_document_ids", f"In `.ids[{position}]`: {error.message}") from error
    return idents


def _predicate(call: Call, index: Index, expression: Json) -> filters.Predicate:
    code = "invalid_document_filter"
    condition = None if expression is None else filters.parse(expression, code, call.engine.features)
    return filters.predicate(condition, settings.value_of(index.settings, "filterableAttributes"), code)


def _add(method: str) -> Handler:
    async def handle(call: Call) -> Answer:
        uid = call.index_uid
        asked = call.parameters(_ADD)
        kind = _format(call, asked["csvDelimiter"])
        _check_size(call)
        arriving = read_payload(kind, call.body, asked["csvDelimiter"] or ",")
        request: Object = {
            "method": method,
            "primaryKey": asked["primaryKey"],
            "skipCreation": asked["skipCreation"],
            "mayCreate": call.access.may_create_index(uid),
        }
        task = on_index(
            "documentAdditionOrUpdate",
            uid,
            {"receivedDocuments": len(arriving), "indexedDocuments": None},
            request=request,
            payload=msgspec.json.encode(arriving),
            custom_metadata=asked["customMetadata"],
        )
        return await enqueued(call, task)

    return handle


def _format(call: Call, delimiter: str | None) -> Format:
    media_type = call.media_type(*_FORMATS)
    if delimiter is not None and media_type != "text/csv":
        raise ApiError(
            "invalid_content_type",
            f"The Content-Type `{media_type}` does not support the use of a csv delimiter. The csv delimiter can only "
            "be used with the Content-Type `text/csv`.",
        )
    return _FORMATS[media_type]


def _check_size(call: Call) -> None:
    limit = call.engine.options.payload_limit
    if len(call.body) > limit:
        raise ApiError(
            "payload_too_large",
            f"The provided payload reached the size limit. The maximum accepted payload size is {show_size(limit)}.",
        )


def show_size(size: int) -> str:
    """A number of bytes in its largest fitting unit."""
    base, units = (1024, ("B", "KiB", "MiB", "GiB")) if size % 1024 == 0 else (1000, ("B", "kB", "MB", "GB"))
    power = max(n for n in range(len(units)) if n == 0 or size >= base**n)
    return f"{size / base**power:g} {units[power]}"


async def _delete_one(call: Call) -> Answer:
    asked = call.parameters(_METADATA_ONLY)
    return await _delete_ids(call, [call.path["document_id"]], asked["customMetadata"])


async def _delete_several(call: Call) -> Answer:
    asked = call.parameters(_METADATA_ONLY)
    values: list[Json] = call.read(shapes.array(shapes.anything))
    ids = [value if isinstance(value, str) else shapes.compact(value) for value in values]
    return await _delete_ids(call, ids, asked["customMetadata"])


async def _delete_ids(call: Call, ids: list[str], metadata: str | None) -> Answer:
    listed: list[Json] = [*ids]
    details: Object = {"providedIds": len(ids), "deletedDocuments": None, "originalFilter": None}
    request: Object = {"ids": listed}
    task = on_index("documentDeletion", call.index_uid, details, request=request, custom_metadata=metadata)
    return await enqueued(call, task)


async def _delete_by_filter(call: Call) -> Answer:
    asked = call.parameters(_METADATA_ONLY)
    expression: Json = call.read(_BY_FILTER)["filter"]
    _refuse_empty(call, expression)
    details: Object = {
        "providedIds": 0,
        "deletedDocuments": None,
        "originalFilter": shapes.compact(expression),
    }
    request: Object = {"filter": expression}
    task = on_index(
        "documentDeletion", call.index_uid, details, request=request, custom_metadata=asked["customMetadata"]
    )
    return await enqueued(call, task)


def _refuse_empty(call: Call, expression: Json) -> None:
    if filters.parse(expression, "invalid_document_filter", call.engine.features) is None:
        raise ApiError("invalid_document_filter", "Sending an empty filter is forbidden.")


async def _clear(call: Call) -> Answer:
    asked = call.parameters(_METADATA_ONLY)
    details: Object = {"deletedDocuments": None}
    task = on_index("documentDeletion", call.index_uid, details, custom_metadata=asked["customMetadata"])
    return await enqueued(call, task)


async def _edit(call: Call) -> Answer:
    asked = call.read(_EDIT)
    call.engine.features.require("editDocumentsByFunction", "Using the documents edit route")
    if asked["filter"] is not None:
        _refuse_empty(call, asked["filter"])
    if not isinstance(asked["context"], dict | None):
        raise ApiError("invalid_document_edition_context", "The context must be an object")
    details: Object = {
        "editedDocuments": None,
        "deletedDocuments": None,
        "originalFilter": None if asked["filter"] is None else shapes.compact(asked["filter"]),
        "context": asked["context"],
        "function": asked["function"],
    }
    return await enqueued(call, on_index("documentEdition", call.index_uid, details, request=asked))


ROUTES: Final = (
    Route("GET", _PATH, ("documents.get",), _browse),
    Route("POST", _PATH, ("documents.add",), _add("replace")),
    Route("PUT", _PATH, ("documents.add",), _add("update")),
    Route("DELETE", _PATH, ("documents.delete",), _clear),
    Route("POST", f"{_PATH}/fetch", ("documents.get",), _fetch),
    Route("POST", f"{_PATH}/delete-batch", ("documents.delete",), _delete_several),
    Route("POST", f"{_PATH}/delete", ("documents.delete",), _delete_by_filter),
    Route("POST", f"{_PATH}/edit", ("documents.*",), _edit),
    Route("GET", _PATH + "/{document_id}", ("documents.get",), _get),
    Route("DELETE", _PATH + "/{document_id}", ("documents.delete",), _delete_one),
)
