"""`/webhooks`: kept, never called."""

from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from hack.plane.emulators.meilisearch import settings, shapes
from hack.plane.emulators.meilisearch.errors import ApiError
from hack.plane.emulators.meilisearch.http import Answer, Call, Route, answer, nothing
from hack.plane.emulators.meilisearch.keys import read_uuid
from hack.plane.emulators.meilisearch.shapes import ABSENT, Field, Json, Object, Shape

_MOST: Final = 20
_MOST_HEADERS: Final = 200
_BODY: Final = Shape(
    (
        Field("url", shapes.nullable(shapes.string), "invalid_webhook_url", default=ABSENT),
        Field(
            "headers",
            shapes.nullable(shapes.mapping(shapes.nullable(shapes.string))),
            "invalid_webhook_headers",
            default=ABSENT,
        ),
    ),
    immutable={"uuid": "immutable_webhook_uuid", "isEditable": "immutable_webhook_is_editable"},
)

Webhook = dict[str, Any]


def _kept(call: Call) -> dict[str, Webhook]:
    return call.engine.store.get("facts", "webhooks", dict[str, Webhook]) or {}


def _keep(call: Call, webhooks: dict[str, Webhook]) -> None:
    call.engine.store.put("facts", "webhooks", webhooks)


def _view(uuid: str, webhook: Webhook) -> Object:
    headers: Object = {
        name: _redacted(value) if name.lower() == "authorization" else value
        for name, value in webhook["headers"].items()
    }
    return {"uuid": uuid, "isEditable": True, "url": webhook["url"], "headers": headers}


def _redacted(value: str) -> str:
    return (
        "Bearer " + settings.hide(value.removeprefix("Bearer "))
        if value.startswith("Bearer ")
        else settings.hide(value)
    )


def _named(call: Call) -> str:
    try:
        uuid = str(read_uuid(call.path["uuid"]))
    except ValueError as error:
        raise ApiError("invalid_webhook_uuid", f"Invalid UUID: {error}") from error
    if uuid not in _kept(call):
        raise ApiError("webhook_not_found", f"Webhook `{uuid}` not found.")
    return uuid


def _checked(uuid: str, webhook: Webhook) -> Webhook:
    if not webhook["url"]:
        raise ApiError("invalid_webhook_url", f"The URL for the webhook `{uuid}` is missing.")
    if len(webhook["headers"]) > _MOST_HEADERS:
        raise ApiError(
            "invalid_webhook_headers",
            f"Too many headers for the webhook `{uuid}`. Please limit the number of headers to 200. Hint: To remove "
            "an already defined header set its value to `null`",
        )
    if cause := _flaw(webhook["url"]):
        raise ApiError("invalid_webhook_url", f"Invalid URL `{webhook['url']}`: {cause}")
    return webhook


def _flaw(url: str) -> str | None:
    try:
        return None if urlsplit(url).scheme else "relative URL without a base"
    except ValueError:
        return "invalid IPv6 address"


def _changed(webhook: Webhook, asked: dict[str, Any]) -> Webhook:
    url = webhook["url"] if asked["url"] is ABSENT else asked["url"]
    if asked["headers"] is ABSENT:
        return {"url": url, "headers": webhook["headers"]}
    headers = {**webhook["headers"], **asked["headers"]} if asked["headers"] is not None else {}
    return {"url": url, "headers": {name: value for name, value in headers.items() if value is not None}}


async def _list(call: Call) -> Answer:
    found: list[Json] = [_view(uuid, webhook) for uuid, webhook in sorted(_kept(call).items())]
    return answer({"results": found})


async def _create(call: Call) -> Answer:
    asked = call.read(_BODY)
    uuid = str(UUID(int=call.engine.new_uid().int))
    webhooks = _kept(call)
    if len(webhooks) >= _MOST:
        raise ApiError(
            "invalid_webhooks",
            "Defining too many webhooks would crush the server. Please limit the number of webhooks to 20. You may "
            "use a third-party proxy server to dispatch events to more than 20 endpoints.",
        )
    webhooks[uuid] = _checked(uuid, _changed({"url": None, "headers": {}}, asked))
    _keep(call, webhooks)
    return answer(_view(uuid, webhooks[uuid]), 201)


async def _get(call: Call) -> Answer:
    uuid = _named(call)
    return answer(_view(uuid, _kept(call)[uuid]))


async def _update(call: Call) -> Answer:
    asked = call.read(_BODY)
    uuid = _named(call)
    webhooks = _kept(call)
    webhooks[uuid] = _checked(uuid, _changed(webhooks[uuid], asked))
    _keep(call, webhooks)
    return answer(_view(uuid, webhooks[uuid]))


async def _delete(call: Call) -> Answer:
    uuid = _named(call)
    _keep(call, {name: webhook for name, webhook in _kept(call).items() if name != uuid})
    return nothing()


ROUTES: Final = (
    Route("GET", "/webhooks", ("webhooks.get",), _list),
    Route("POST", "/webhooks", ("webhooks.create",), _create),
    Route("GET", "/webhooks/{uuid}", ("webhooks.get",), _get),
    Route("PATCH", "/webhooks/{uuid}", ("webhooks.update",), _update),
    Route("DELETE", "/webhooks/{uuid}", ("webhooks.delete",), _delete),
)
