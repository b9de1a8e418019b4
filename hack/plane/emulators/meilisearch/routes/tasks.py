"""`/tasks` and `/batches`."""

from typing import Any, Final

import msgspec
from starlette.responses import Response

from hack.plane.emulators.meilisearch import batches, shapes, tasks
from hack.plane.emulators.meilisearch.errors import ApiError
from hack.plane.emulators.meilisearch.http import Answer, Call, Route, answer, enqueued
from hack.plane.emulators.meilisearch.indexes import check_uid
from hack.plane.emulators.meilisearch.shapes import ABSENT, Absent, Field, Json, Object, Place, Reader, Shape, Star
from hack.plane.emulators.meilisearch.tasks import KINDS, STATUSES, NewTask, Task, TaskQuery
from hack.plane.emulators.meilisearch.times import SECOND, parse_day, parse_rfc3339

_DAY: Final = 86_400 * SECOND
_MOMENTS: Final = ("EnqueuedAt", "StartedAt", "FinishedAt")


def _named(known: tuple[str, ...], noun: str, nouns: str) -> Reader:
    by_lower = {name.lower(): name for name in known}

    def read(value: Json, place: Place) -> str:
        text = shapes.string(value, place)
        if text.lower() not in by_lower:
            raise place.wrong_value(
                f"`{text}` is not a valid task {noun}. Available {nouns} are {shapes.quoted(known)}."
            )
        return by_lower[text.lower()]

    return read


def _date(*, is_after: bool) -> Reader:
    def read(value: Json, place: Place) -> int:
        text = shapes.string(value, place)
        try:
            return parse_rfc3339(text).nanos
        except ValueError:
            pass
        try:
            return parse_day(text) + (_DAY if is_after else 0)
        except ValueError as error:
            raise place.wrong_value(
                f"`{text}` is an invalid date-time. It should follow the YYYY-MM-DD or RFC 3339 date-time format."
            ) from error

    return read


def _list(name: str, reader: Reader, code: str) -> Field:
    return Field(name, shapes.star_or_list(reader), code, default=ABSENT)


def _bound(side: str, moment: str) -> Field:
    code = f"invalid_task_{side}_{moment[:-2].lower()}_at"
    return Field(f"{side}{moment}", shapes.star_or(_date(is_after=side == "after")), code, default=ABSENT)


_BOUNDS: Final = tuple(_bound(side, moment) for moment in _MOMENTS for side in ("after", "before"))
_UIDS: Final = _list("uids", shapes.unsigned_parameter, "invalid_task_uids")
_BATCH_UIDS: Final = _list("batchUids", shapes.unsigned_parameter, "invalid_batch_uids")
_OTHERS: Final = (
    _list("canceledBy", shapes.unsigned_parameter, "invalid_task_canceled_by"),
    _list("types", _named(KINDS, "type", "types"), "invalid_task_types"),
    _list("statuses", _named(STATUSES, "status", "statuses"), "invalid_task_statuses"),
    _list("indexUids", shapes.parsed(check_uid), "invalid_index_uid"),
    *_BOUNDS,
)
_LIST: Final = Shape((
    Field("limit", shapes.unsigned_parameter, "invalid_task_limit", default=20),
    Field("from", shapes.unsigned_parameter, "invalid_task_from", default=None),
    Field("reverse", shapes.boolean_parameter, "invalid_task_reverse", default=False),
    _BATCH_UIDS,
    _UIDS,
    *_OTHERS,
))  # fmt: skip
_SELECTION: Final = Shape((_UIDS, _BATCH_UIDS, *_OTHERS))


def _query(values: dict[str, Any], limit: int | None = None) -> TaskQuery:
    return TaskQuery(
        uids=_set(values["uids"]),
        batch_uids=_set(values["batchUids"]),
        statuses=_set(values["statuses"]),
        kinds=_set(values["types"]),
        index_uids=_set(values["indexUids"]),
        canceled_by=_set(values["canceledBy"]),
        after=_bounds(values, "after"),
        before=_bounds(values, "before"),
        start=values.get("from"),
        limit=limit,
        oldest_first=values.get("reverse", False),
    )


def _set(value: list[Any] | Star | Absent) -> frozenset[Any] | None:
    return frozenset(value) if isinstance(value, list) else None


def _bounds(values: dict[str, Any], side: str) -> tuple[int | None, int | None, int | None]:
    found = [values[f"{side}{moment}"] for moment in _MOMENTS]
    enqueued_at, started_at, finished_at = (value if isinstance(value, int) else None for value in found)
    return enqueued_at, started_at, finished_at


def _page(shown: list[Json], uids: list[int], total: int, limit: int) -> Object:
    """A page of tasks or batches; one more than asked for was fetched, to know whether there is a next page."""
    following = uids[limit] if len(uids) == limit + 1 else None
    return {
        "results": shown[:limit] if following is not None else shown,
        "total": total,
        "limit": limit,
        "from": uids[0] if uids and limit else None,
        "next": following,
    }


async def _list_tasks(call: Call) -> Answer:
    values = call.parameters(_LIST)
    found, total = call.engine.tasks.page(_query(values, values["limit"] + 1), call.access)
    return answer(_page([tasks.view(task) for task in found], [task.uid for task in found], total, values["limit"]))


async def _list_batches(call: Call) -> Answer:
    values = call.parameters(_LIST)
    found, total = call.engine.batches.page(_query(values, values["limit"] + 1), call.access)
    return answer(_page([batches.view(each) for each in found], [each.uid for each in found], total, values["limit"]))


def _number(text: str, noun: str, code: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ApiError(code, f"{noun} uid `{text}` is invalid. It should only contain numeric characters.")
    return int(text)


def _visible_task(call: Call) -> Task:
    uid = _number(call.path["task_uid"], "Task", "invalid_task_uids")
    found, _ = call.engine.tasks.page(TaskQuery(uids=frozenset({uid})), call.access)
    if not found:
        raise ApiError("task_not_found", f"Task `{uid}` not found.")
    return found[0]


async def _get_task(call: Call) -> Answer:
    return answer(tasks.view(_visible_task(call)))


async def _get_documents(call: Call) -> Answer:
    call.engine.features.require("getTaskDocumentsRoute", "Getting the documents of an enqueued task")
    task = _visible_task(call)
    payload = call.engine.tasks.payload(task)
    if payload is None:
        raise ApiError(
            "task_file_not_found",
            f"Task `{task.uid}` does not contain any documents. Only `documentAdditionOrUpdate` tasks with the "
            "statuses `enqueued` or `processing` contain documents",
        )
    documents: list[msgspec.Raw] = msgspec.json.decode(payload, type=list[msgspec.Raw])
    return Response(b"\n".join(bytes(each) for each in documents), media_type="application/x-ndjson")


async def _get_batch(call: Call) -> Answer:
    uid = _number(call.path["batch_uid"], "Batch", "invalid_batch_uid")
    found, _ = call.engine.batches.page(TaskQuery(batch_uids=frozenset({uid})), call.access)
    if not found:
        raise ApiError("batch_not_found", f"Batch `{uid}` not found.")
    return answer(batches.view(found[0]))


def _selection(call: Call, verb: str) -> Object:
    """The request of a cancellation or deletion: the visible tasks that its filters find now."""
    values = call.parameters(_SELECTION)
    if all(isinstance(value, Absent) for value in values.values()):
        raise ApiError(
            "missing_task_filters",
            f"Query parameters to filter the tasks to {verb} are missing. Available query parameters are: `uids`, "
            "`indexUids`, `statuses`, `types`, `canceledBy`, `beforeEnqueuedAt`, `afterEnqueuedAt`, "
            "`beforeStartedAt`, `afterStartedAt`, `beforeFinishedAt`, `afterFinishedAt`.",
        )
    query = _query(values)
    found = call.engine.tasks.visible(call.engine.tasks.matching(query), query, call.access)
    listed: list[Json] = [*found]
    return {"tasks": listed, "query": f"?{call.query}"}


def _details(request: Object, counter: str) -> Object:
    found = request["tasks"]
    count = len(found) if isinstance(found, list) else 0
    return {"matchedTasks": count, counter: None, "originalFilter": request["query"]}


async def _cancel(call: Call) -> Answer:
    request = _selection(call, "cancel")
    task = NewTask("taskCancelation", request=request, details=_details(request, "canceledTasks"))
    return await enqueued(call, task, 200)


async def _delete(call: Call) -> Answer:
    request = _selection(call, "delete")
    task = NewTask("taskDeletion", request=request, details=_details(request, "deletedTasks"))
    return await enqueued(call, task, 200)


async def _compact(call: Call) -> Answer:
    call.engine.features.require("taskQueueCompactionRoute", "Using the /tasks/compact route")
    size, _ = call.engine.store.size()
    call.engine.scheduler.frozen = True
    return answer(
        {
            "preSize": size,
            "postSize": size,
            "status": "succeeded",
            "actionRequired": "you must restart your instance",
        }
    )


ROUTES: Final = (
    Route("GET", "/tasks", ("tasks.get",), _list_tasks),
    Route("DELETE", "/tasks", ("tasks.delete",), _delete),
    Route("POST", "/tasks/cancel", ("tasks.cancel",), _cancel),
    Route("POST", "/tasks/compact", ("tasks.compact",), _compact),
    Route("GET", "/tasks/{task_uid}", ("tasks.get",), _get_task),
    Route("GET", "/tasks/{task_uid}/documents", ("tasks.get",), _get_documents),
    Route("GET", "/batches", ("tasks.get",), _list_batches),
    Route("GET", "/batches/{batch_uid}", ("tasks.get",), _get_batch),
)
