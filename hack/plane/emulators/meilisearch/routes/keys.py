"""`/keys`."""

from typing import Final

from hack.plane.emulators.meilisearch import shapes
from hack.plane.emulators.meilisearch.http import Answer, Call, Route, answer, nothing
from hack.plane.emulators.meilisearch.indexes import page
from hack.plane.emulators.meilisearch.shapes import Field, Shape

_PAGE: Final = Shape((
    Field("offset", shapes.unsigned_parameter, "invalid_api_key_offset", default=0),
    Field("limit", shapes.unsigned_parameter, "invalid_api_key_limit", default=20),
))  # fmt: skip


async def _list(call: Call) -> Answer:
    wanted = call.parameters(_PAGE)
    keys = call.engine.keys
    return answer(page((keys.view(key) for key in keys.newest_first()), wanted["offset"], wanted["limit"]))


async def _create(call: Call) -> Answer:
    keys = call.engine.keys
    return answer(keys.view(keys.create(call.json())), 201)


async def _get(call: Call) -> Answer:
    keys = call.engine.keys
    return answer(keys.view(keys.named(call.path["key"])))


async def _update(call: Call) -> Answer:
    keys = call.engine.keys
    changes = keys.read_changes(call.json())
    return answer(keys.view(keys.update(keys.named(call.path["key"]), changes)))


async def _delete(call: Call) -> Answer:
    keys = call.engine.keys
    keys.delete(keys.named(call.path["key"]))
    return nothing()


ROUTES: Final = (
    Route("GET", "/keys", ("keys.get",), _list),
    Route("POST", "/keys", ("keys.create",), _create),
    Route("GET", "/keys/{key}", ("keys.get",), _get),
    Route("PATCH", "/keys/{key}", ("keys.update",), _update),
    Route("DELETE", "/keys/{key}", ("keys.delete",), _delete),
)
