"""Routes of experimental features, kept mainly for their authorisation: rules, templates, logs, network."""

import re
from typing import Any, Final

from starlette.responses import StreamingResponse

from hack.plane.emulators.meilisearch import shapes
from hack.plane.emulators.meilisearch.attributes import scalar_text, values_at
from hack.plane.emulators.meilisearch.auth import invalid_key
from hack.plane.emulators.meilisearch.errors import ApiError, not_emulated
from hack.plane.emulators.meilisearch.http import Answer, Call, Route, answer, enqueued, nothing
from hack.plane.emulators.meilisearch.indexes import page
from hack.plane.emulators.meilisearch.shapes import ABSENT, Field, Json, Object, Shape
from hack.plane.emulators.meilisearch.tasks import on_index

_RULES_INDEX: Final = ".meili_dsr"
_LIST_RULES: Final = Shape((
    Field("offset", shapes.unsigned, "invalid_dynamic_search_rule_offset", default=0),
    Field("limit", shapes.unsigned, "invalid_dynamic_search_rule_limit", default=20),
    Field("filter", shapes.anything, "invalid_dynamic_search_rule_filter", default=None),
))  # fmt: skip
_RULE: Final = Shape((
    Field("description", shapes.anything, "invalid_dynamic_search_rule_description", default=ABSENT),
    Field("precedence", shapes.anything, "invalid_dynamic_search_rule_priority", default=ABSENT),
    Field("active", shapes.anything, "invalid_dynamic_search_rule_active", default=ABSENT),
    Field("conditions", shapes.anything, "invalid_dynamic_search_rule_conditions", default=ABSENT),
    Field("actions", shapes.anything, "invalid_dynamic_search_rule_actions", default=ABSENT),
))  # fmt: skip


def _rules(call: Call) -> Object:
    return call.engine.store.get("facts", "rules", dict[str, Json]) or {}


async def _list_rules(call: Call) -> Answer:
    asked = call.read(_LIST_RULES)
    call.engine.features.require("dynamicSearchRules", "Calling the `POST /dynamic-search-rules` route")
    return answer(page((rule for _, rule in sorted(_rules(call).items())), asked["offset"], asked["limit"]))


async def _get_rule(call: Call) -> Answer:
    call.engine.features.require("dynamicSearchRules", "Calling the `GET /dynamic-search-rules/{:ruleUid}` route")
    uid = call.path["rule"]
    if uid not in _rules(call):
        raise ApiError("dynamic_search_rule_not_found", f"Dynamic search rule `{uid}` not found.")
    return answer(_rules(call)[uid])


def _require_rules(call: Call) -> None:
    call.engine.features.require("dynamicSearchRules", "Using the `/dynamic-search-rules` routes")


async def _update_rule(call: Call) -> Answer:
    asked: dict[str, Any] = call.read(_RULE)
    _require_rules(call)
    if any(value is not ABSENT for value in asked.values()):
        raise not_emulated("dynamic search rules that do anything")
    request: Object = {"rule": call.path["rule"], "update": {}}
    return await enqueued(call, on_index("dsrUpdate", _RULES_INDEX, {"rule": {}, "updatedRules": 1}, request=request))


async def _delete_rule(call: Call) -> Answer:
    _require_rules(call)
    request: Object = {"rule": call.path["rule"]}
    return await enqueued(call, on_index("dsrUpdate", _RULES_INDEX, {"updatedRules": 1}, request=request))


async def _clear_rules(call: Call) -> Answer:
    _require_rules(call)
    return await enqueued(call, on_index("dsrClear", _RULES_INDEX, {"deletedDocuments": None}))


_TEMPLATE_KINDS: Final = (
    "documentTemplate", "indexingFragment", "searchFragment", "inlineDocumentTemplate", "inlineFragment",
)  # fmt: skip
_INPUT_KINDS: Final = ("indexDocument", "inlineDocument", "inlineSearch")
_RENDER: Final = Shape((
    Field(
        "template",
        Shape(
            (
                Field("kind", shapes.one_of(*_TEMPLATE_KINDS), required=True),
                Field("indexUid", shapes.nullable(shapes.string), default=None),
                Field("embedder", shapes.nullable(shapes.string), default=None),
                Field("fragment", shapes.nullable(shapes.string), default=None),
                Field("inline", shapes.anything, default=None),
                Field("documentTemplateMaxBytes", shapes.nullable(shapes.unsigned), default=None),
            ),
            code="invalid_render_template",
        ),
        "invalid_render_template",
        required=True,
    ),
    Field(
        "input",
        shapes.nullable(
            Shape(
                (
                    Field("kind", shapes.one_of(*_INPUT_KINDS), required=True),
                    Field("indexUid", shapes.nullable(shapes.string), default=None),
                    Field("id", shapes.nullable(shapes.string), default=None),
                    Field("inline", shapes.anything, default=None),
                ),
                code="invalid_render_input",
            )
        ),
        "invalid_render_input",
        default=None,
    ),
))  # fmt: skip
_PLACEHOLDER: Final = re.compile(r"{{\s*doc\.([^\s{}|]+)\s*}}")


async def _render(call: Call) -> Answer:
    asked: dict[str, Any] = call.read(_RENDER)
    call.engine.features.require("renderRoute", "calling the /render-template route")
    template, given = asked["template"], asked["input"]
    uids = {uid for uid in (template["indexUid"], given and given["indexUid"]) if uid is not None}
    if not all(call.access.allows(uid) for uid in uids):
        raise invalid_key()
    text = template["inline"]
    if template["kind"] != "inlineDocumentTemplate" or not isinstance(text, str) or "{%" in text or "|" in text:
        raise not_emulated("templates other than an inline text with `{{doc.attribute}}`")
    document = None if given is None else _input(call, given)
    rendered = None if document is None else _PLACEHOLDER.sub(lambda found: _shown(document, found[1]), text)
    return answer({"template": text, "rendered": rendered})


def _input(call: Call, given: dict[str, Any]) -> Object:
    uid = given["indexUid"]
    if given["kind"] == "inlineDocument" and isinstance(given["inline"], dict):
        return given["inline"]
    if given["kind"] != "indexDocument" or uid is None:
        raise not_emulated("rendering inputs other than documents")
    try:
        index = call.engine.catalog.get(uid)
    except ApiError as error:
        raise ApiError(error.code, f"Cannot open index `{uid}`: {error.message}") from error
    document = index.documents.get(given["id"] or "")
    if document is None:
        raise ApiError(
            "render_document_not_found",
            f"error while fetching input: document `{given['id']}` not found in `{uid}`",
        )
    return document.fields


def _shown(document: Object, attribute: str) -> str:
    return "".join(scalar_text(value) or "" for value in values_at(document, attribute))


_LOGS: Final = Shape((
    Field("target", shapes.string, default="info"),
    Field("mode", shapes.one_of("human", "json", "profile"), default="human"),
    Field("profileMemory", shapes.boolean, default=False),
))  # fmt: skip
_STDERR: Final = Shape((Field("target", shapes.string, default="info"),))
_LOGS_ROUTES: Final = "Modifying logs through the `/logs/*` routes"


async def _stream_logs(call: Call) -> Answer:
    """A stream of what is logged, which is nothing, until the caller or `DELETE` ends it."""
    call.read(_LOGS)
    call.engine.features.require("logsRoute", _LOGS_ROUTES)
    logs = call.engine.logs
    if logs.is_open:
        raise ApiError("bad_request", "The `/logs/stream` route is currently in use by someone else.")
    return StreamingResponse(logs.open(), media_type="application/octet-stream")


async def _stop_logs(call: Call) -> Answer:
    call.engine.features.require("logsRoute", _LOGS_ROUTES)
    call.engine.logs.end()
    return nothing()


async def _set_stderr(call: Call) -> Answer:
    call.read(_STDERR)
    call.engine.features.require("logsRoute", _LOGS_ROUTES)
    return nothing()


async def _get_network(call: Call) -> Answer:
    call.engine.features.require("network", "Using the /network route")
    return answer(_NO_NETWORK)


_NO_NETWORK: Final[Object] = {
    "self": None,
    "remotes": {},
    "shards": {},
    "leader": None,
    "version": "00000000-0000-0000-0000-000000000000",
}


async def _set_network(call: Call) -> Answer:
    body = call.json()
    call.engine.features.require("network", "Using the /network route")
    if body != {}:
        raise not_emulated("networks of several servers")
    return answer(_NO_NETWORK)


async def _control_network(call: Call) -> Answer:
    body = call.json()
    if not isinstance(body, dict) or "origin" not in body:
        cause = f"missing field `origin` at line 1 column {len(call.body)}"
        raise ApiError("bad_request", f"Json deserialize error: {cause}")
    raise not_emulated("networks of several servers")


_RULES_PATH: Final = "/dynamic-search-rules"
ROUTES: Final = (
    Route("POST", _RULES_PATH, ("dynamicSearchRules.get",), _list_rules),
    Route("DELETE", _RULES_PATH, ("dynamicSearchRules.delete",), _clear_rules),
    Route("GET", _RULES_PATH + "/{rule}", ("dynamicSearchRules.get",), _get_rule),
    Route("PATCH", _RULES_PATH + "/{rule}", ("dynamicSearchRules.update",), _update_rule),
    Route("DELETE", _RULES_PATH + "/{rule}", ("dynamicSearchRules.delete",), _delete_rule),
    Route("POST", "/render-template", ("settings.get", "documents.get"), _render),
    Route("POST", "/logs/stream", ("metrics.get",), _stream_logs),
    Route("DELETE", "/logs/stream", ("metrics.get",), _stop_logs),
    Route("POST", "/logs/stderr", ("metrics.get",), _set_stderr),
    Route("GET", "/network", ("network.get",), _get_network),
    Route("PATCH", "/network", ("network.update",), _set_network),
    Route("POST", "/network/control", ("network.update",), _control_network),
)
