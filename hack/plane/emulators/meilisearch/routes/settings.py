"""`/indexes/{index_uid}/settings` and one route for each setting."""

from collections.abc import Iterator
from typing import Final

from hack.plane.emulators.meilisearch import settings
from hack.plane.emulators.meilisearch.http import Answer, Call, Handler, Route, answer, enqueued
from hack.plane.emulators.meilisearch.settings import Changes, Group
from hack.plane.emulators.meilisearch.shapes import Object
from hack.plane.emulators.meilisearch.tasks import on_index

_PATH: Final = "/indexes/{index_uid}/settings"


async def _change(call: Call, changes: Changes, *, may_create: bool) -> Answer:
    uid = call.index_uid
    request: Object = {"settings": changes, "mayCreate": may_create and call.access.may_create_index(uid)}
    return await enqueued(call, on_index("settingsUpdate", uid, settings.shown(changes), request=request))


async def _get_all(call: Call) -> Answer:
    index = call.engine.catalog.get(call.index_uid)
    return answer(settings.view(index.settings, call.engine.features))


async def _update_all(call: Call) -> Answer:
    return await _change(call, settings.read_all(call.json(), call.engine.features), may_create=True)


async def _reset_all(call: Call) -> Answer:
    return await _change(call, settings.RESET_ALL, may_create=False)


def _get_one(group: Group) -> Handler:
    async def handle(call: Call) -> Answer:
        return answer(settings.value_of(call.engine.catalog.get(call.index_uid).settings, group.name))

    return handle


def _update_one(group: Group) -> Handler:
    async def handle(call: Call) -> Answer:
        return await _change(call, settings.read_one(group, call.json(), call.engine.features), may_create=True)

    return handle


def _reset_one(group: Group) -> Handler:
    async def handle(call: Call) -> Answer:
        return await _change(call, {group.name: None}, may_create=False)

    return handle


def _routes() -> Iterator[Route]:
    yield Route("GET", _PATH, ("settings.get",), _get_all)
    yield Route("PATCH", _PATH, ("settings.update",), _update_all)
    yield Route("DELETE", _PATH, ("settings.update",), _reset_all)
    for group in settings.GROUPS:
        path = f"{_PATH}/{group.route}"
        yield Route("GET", path, ("settings.get",), _get_one(group))
        yield Route(group.verb, path, ("settings.update",), _update_one(group))
        yield Route("DELETE", path, ("settings.update",), _reset_one(group))


ROUTES: Final = tuple(_routes())
