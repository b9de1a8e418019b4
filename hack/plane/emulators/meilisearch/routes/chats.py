"""`/chats`: workspaces and their settings. There is no language model to talk to."""

from typing import Any, Final

from hack.plane.emulators.meilisearch import settings, shapes
from hack.plane.emulators.meilisearch.errors import ApiError, not_emulated
from hack.plane.emulators.meilisearch.http import Answer, Call, Route, answer, nothing
from hack.plane.emulators.meilisearch.indexes import page, uid_of_path
from hack.plane.emulators.meilisearch.routes.indexes import PAGE
from hack.plane.emulators.meilisearch.shapes import ABSENT, Field, Object, Shape

_FEATURE: Final = "chatCompletions"
_SETTINGS_ROUTE: Final = "using the /chats/settings route"
_PROMPTS: Final = ("system", "searchDescription", "searchQParam", "searchFilterParam", "searchIndexUidParam")
_DEFAULT: Final[Object] = {
    "source": "openAi",
    "orgId": None,
    "projectId": None,
    "apiVersion": None,
    "deploymentId": None,
    "baseUrl": None,
    "apiKey": None,
    "prompts": dict.fromkeys(_PROMPTS, ""),
}


def _text(name: str, code: str) -> Field:
    return Field(name, shapes.nullable(shapes.string), code, default=ABSENT)


_BODY: Final = Shape((
    Field("source", shapes.nullable(shapes.one_of("openAi", "mistral", "azureOpenAi", "vLlm")), default=ABSENT),
    _text("orgId", "invalid_chat_completion_org_id"),
    _text("projectId", "invalid_chat_completion_project_id"),
    _text("apiVersion", "invalid_chat_completion_api_version"),
    _text("deploymentId", "invalid_chat_completion_deployment_id"),
    _text("baseUrl", "invalid_chat_completion_base_api"),
    _text("apiKey", "invalid_chat_completion_api_key"),
    Field(
        "prompts",
        shapes.nullable(Shape(tuple(_text(name, "invalid_chat_completion_prompts") for name in _PROMPTS))),
        default=ABSENT,
    ),
))  # fmt: skip


def _kept(call: Call) -> dict[str, Object]:
    return call.engine.store.get("facts", "chats", dict[str, Object]) or {}


def _keep(call: Call, chats: dict[str, Object]) -> None:
    call.engine.store.put("facts", "chats", chats)


def _view(chat: Object) -> Object:
    secret = chat["apiKey"]
    return {**chat, "apiKey": settings.hide(secret) if isinstance(secret, str) else None}


async def _list(call: Call) -> Answer:
    call.engine.features.require(_FEATURE, "listing the chats")
    wanted = call.parameters(PAGE)
    return answer(page(({"uid": uid} for uid in sorted(_kept(call))), wanted["offset"], wanted["limit"]))


async def _get(call: Call) -> Answer:
    call.engine.features.require(_FEATURE, "displaying a chat")
    uid = uid_of_path(call.path["workspace"])
    if uid not in _kept(call):
        raise ApiError("chat_not_found", f"chat {uid} not found")
    return answer({"uid": uid})


async def _delete(call: Call) -> Answer:
    call.engine.features.require(_FEATURE, "deleting a chat")
    chats = _kept(call)
    if chats.pop(call.path["workspace"], None) is None:
        raise ApiError("chat_not_found", f"chat {call.path['workspace']} not found")
    _keep(call, chats)
    return nothing()


def _settings_of(call: Call, chats: dict[str, Object]) -> Object:
    uid = call.path["workspace"]
    if uid not in chats:
        raise ApiError("chat_not_found", f"Chat `{uid}` not found")
    return chats[uid]


async def _get_settings(call: Call) -> Answer:
    call.engine.features.require(_FEATURE, _SETTINGS_ROUTE)
    return answer(_view(_settings_of(call, _kept(call))))


async def _update_settings(call: Call) -> Answer:
    asked: dict[str, Any] = call.read(_BODY)
    call.engine.features.require(_FEATURE, _SETTINGS_ROUTE)
    chats = _kept(call)
    chat = _changed(chats.get(call.path["workspace"], _DEFAULT), _DEFAULT, asked)
    _keep(call, {**chats, call.path["workspace"]: chat})
    return answer(_view(chat))


def _changed(current: Object, default: Object, asked: dict[str, Any]) -> Object:
    result = dict(current)
    for name, value in asked.items():
        known, usual = result[name], default[name]
        if value is None:
            result[name] = usual
        elif isinstance(value, dict) and isinstance(known, dict) and isinstance(usual, dict):
            result[name] = _changed(known, usual, value)
        elif value is not ABSENT:
            result[name] = value
    return result


async def _reset_settings(call: Call) -> Answer:
    call.engine.features.require(_FEATURE, _SETTINGS_ROUTE)
    chats = _kept(call)
    _settings_of(call, chats)
    _keep(call, {**chats, call.path["workspace"]: _DEFAULT})
    return answer(_DEFAULT)


async def _complete(call: Call) -> Answer:
    call.json()
    call.engine.features.require(_FEATURE, "using the /chats chat completions route")
    _settings_of(call, _kept(call))
    raise not_emulated("chat completions")


_PATH: Final = "/chats/{workspace}"
ROUTES: Final = (
    Route("GET", "/chats", ("chats.get",), _list),
    Route("GET", _PATH, ("chats.get",), _get),
    Route("DELETE", _PATH, ("chats.delete",), _delete),
    Route("GET", f"{_PATH}/settings", ("chatsSettings.get",), _get_settings),
    Route("PATCH", f"{_PATH}/settings", ("chatsSettings.update",), _update_settings),
    Route("DELETE", f"{_PATH}/settings", ("chatsSettings.update",), _reset_settings),
    Route("POST", f"{_PATH}/chat/completions", ("chatCompletions",), _complete),
)
