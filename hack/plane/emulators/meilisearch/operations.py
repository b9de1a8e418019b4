"""What processing a task does to the indexes. Each function returns the details to show; an ApiError fails the task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from hack.plane.emulators.meilisearch import documents, filters, settings
from hack.plane.emulators.meilisearch.errors import ApiError, index_not_found, within_index
from hack.plane.emulators.meilisearch.features import Features
from hack.plane.emulators.meilisearch.indexes import Catalog, Index
from hack.plane.emulators.meilisearch.shapes import Json, Object
from hack.plane.emulators.meilisearch.store import Store
from hack.plane.emulators.meilisearch.tasks import Task, Tasks
from hack.plane.emulators.meilisearch.times import Clock, show


@dataclass(frozen=True, slots=True)
class World:
    """Everything that a task may touch."""

    store: Store
    catalog: Catalog
    tasks: Tasks
    features: Features
    clock: Clock
    directory: Path


def _text(task: Task, name: str) -> str | None:
    value = task.request.get(name)
    return None if value is None else str(value)


def _uid(task: Task) -> str:
    if task.index_uid is None:
        raise ValueError(f"task {task.uid} of type {task.kind} names no index")
    return task.index_uid


def _index(world: World, task: Task) -> Index:
    """The index of the task, made if the one who asked may make it."""
    uid = _uid(task)
    if uid not in world.catalog and task.request.get("mayCreate"):
        return world.catalog.create(uid)
    return world.catalog.get(uid)


def create_index(world: World, task: Task) -> Object:
    """A new index, with its primary key if one was given."""
    index = world.catalog.create(_uid(task))
    primary_key = _text(task, "primaryKey")
    if primary_key is not None:
        index.set_primary_key(primary_key)
        index.save(world.clock())
    return {"primaryKey": primary_key}


def update_index(world: World, task: Task) -> Object:
    """Another name or primary key."""
    index = world.catalog.get(_uid(task))
    primary_key, new_uid = _text(task, "primaryKey"), _text(task, "uid")
    details: Object = {"primaryKey": primary_key}
    if new_uid is not None:
        details |= {"oldIndexUid": index.uid, "newIndexUid": new_uid}
    if new_uid is not None and new_uid != index.uid:
        world.tasks.swap_indexes(index.uid, new_uid, before=task.uid)
        world.catalog.rename(index.uid, new_uid)
    if primary_key is not None:
        try:
            index.set_primary_key(primary_key)
        except ApiError as error:
            raise within_index(index.uid, error) from error
        index.save(world.clock())
    return details


def delete_index(world: World, task: Task) -> Object:
    """The index and its documents go."""
    return {"deletedDocuments": world.catalog.delete(_uid(task))}


def swap_indexes(world: World, task: Task) -> Object:
    """Indexes change names, or take free ones; all or none."""
    swaps = [(left, right, rename) for left, right, rename in _swaps(task)]
    _check_swaps(world.catalog, swaps)
    for left, right, rename in swaps:
        world.tasks.swap_indexes(left, right, before=task.uid)
        if rename:
            world.catalog.rename(left, right)
        else:
            world.catalog.swap(left, right)
    return task.details or {}


def _swaps(task: Task) -> list[tuple[str, str, bool]]:
    found = task.request["swaps"]
    return [(left, right, rename) for left, right, rename in msgspec.convert(found, list[tuple[str, str, bool]])]


def _check_swaps(catalog: Catalog, swaps: list[tuple[str, str, bool]]) -> None:
    missing = sorted(
        {left for left, _, _ in swaps if left not in catalog}
        | {right for _, right, rename in swaps if not rename and right not in catalog}
    )
    if len(missing) == 1:
        raise index_not_found(missing[0])
    if missing:
        raise ApiError("index_not_found", f"Indexes {', '.join(f'`{uid}`' for uid in missing)} not found.")
    taken = [(left, right) for left, right, rename in swaps if rename and right in catalog]
    if len(taken) == 1:
        left, right = taken[0]
        raise ApiError(
            "index_already_exists",
            f"Cannot rename `{left}` to `{right}` as the index already exists. Hint: You can remove `{right}` first "
            "and then do your remove.",
        )
    if taken:
        raise ApiError(
            "index_already_exists",
            "The following indexes are being renamed but cannot because their new name conflicts with an already "
            f"existing index: {', '.join(f'`{right}`' for _, right in taken)}. Renaming doesn't overwrite the other "
            "index name.",
        )


def add_documents(world: World, task: Task) -> Object:
    """New documents, or new versions of them."""
    index = _index(world, task)
    payload = world.tasks.payload(task)
    arriving = msgspec.json.decode(payload or b"[]", type=list[dict[str, Json]])
    count = documents.add(
        index,
        arriving,
        primary_key=_text(task, "primaryKey"),
        partial=task.request["method"] == "update",
        only_existing=bool(task.request.get("skipCreation")),
    )
    index.save(world.clock())
    return {"receivedDocuments": len(arriving), "indexedDocuments": count}


def delete_documents(world: World, task: Task) -> Object:
    """Documents by id, by filter, or all of them."""
    index = world.catalog.get(_uid(task))
    details = dict(task.details or {})
    ids = task.request.get("ids")
    if isinstance(ids, list):
        deleted = sum(index.remove(str(ident)) for ident in ids)
    elif "filter" in task.request:
        deleted = sum(index.remove(ident) for ident in _found(world, index, task.request["filter"]))
    else:
        deleted = index.clear()
    index.save(world.clock())
    return {**details, "deletedDocuments": deleted}


def _found(world: World, index: Index, expression: Json) -> list[str]:
    condition = filters.parse(expression, "invalid_document_filter", world.features)
    rules = settings.value_of(index.settings, "filterableAttributes")
    try:
        fits = filters.predicate(condition, rules, "invalid_document_filter")
    except ApiError as error:
        raise within_index(index.uid, error) from error
    return [ident for ident, document in index.documents.items() if fits(document.fields)]


def edit_documents(world: World, task: Task) -> Object:
    """Functions are not run, so this succeeds only where no document is to be edited."""
    index = world.catalog.get(_uid(task))
    expression = task.request.get("filter")
    if (expression is None and index.document_count) or (expression is not None and _found(world, index, expression)):
        raise ApiError("edit_documents_by_function_error", "The emulator does not run functions on documents.")
    return {**(task.details or {}), "deletedDocuments": 0, "editedDocuments": 0}


def update_settings(world: World, task: Task) -> Object:
    """Changed or reset settings."""
    index = _index(world, task)
    changes = task.request["settings"]
    try:
        index.set_settings(settings.apply(index.settings, changes if isinstance(changes, dict) else {}))
    except ApiError as error:
        raise within_index(index.uid, error) from error
    index.save(world.clock())
    return task.details or {}


def compact_index(world: World, task: Task) -> Object:
    """Nothing to gain here; the index has to be there all the same."""
    size = f"{max(world.catalog.get(_uid(task)).document_bytes, 1)} B"
    return {"preCompactionSize": size, "postCompactionSize": size}


def create_dump(world: World, _task: Task) -> Object:
    """A copy of everything, in the emulator's own format."""
    uid = "".join(digit for digit in show(world.clock()) if digit.isdigit())[:17]
    world.store.copy_to(world.directory / "dumps" / f"{uid[:8]}-{uid[8:]}.sqlite")
    return {"dumpUid": f"{uid[:8]}-{uid[8:]}"}


def create_snapshot(world: World, _task: Task) -> Object:
    """A copy of everything, in the place of the last one."""
    world.store.copy_to(world.directory / "snapshots" / "data.sqlite")
    return {}


def update_rules(world: World, task: Task) -> Object:
    """An empty dynamic rule is kept or dropped; others are refused when asked for."""
    rules = world.store.get("facts", "rules", dict[str, Json]) or {}
    uid = str(task.request["rule"])
    if "update" in task.request:
        rules[uid] = {"uid": uid, "precedence": None, "active": True, "conditions": {}, "actions": []}
    else:
        rules.pop(uid, None)
    world.store.put("facts", "rules", rules)
    return task.details or {}


def clear_rules(world: World, _task: Task) -> Object:
    """No dynamic rule is left."""
    world.store.put("facts", "rules", {})
    return {"deletedDocuments": 0}


PERFORM: Final[Mapping[str, Callable[[World, Task], Object]]] = MappingProxyType(
    {
        "indexCreation": create_index,
        "indexUpdate": update_index,
        "indexDeletion": delete_index,
        "indexSwap": swap_indexes,
        "documentAdditionOrUpdate": add_documents,
        "documentDeletion": delete_documents,
        "documentEdition": edit_documents,
        "settingsUpdate": update_settings,
        "indexCompaction": compact_index,
        "dumpCreation": create_dump,
        "snapshotCreation": create_snapshot,
        "dsrUpdate": update_rules,
        "dsrClear": clear_rules,
    }
)
"""By kind; cancellations, deletions of tasks and what has to wait for a remote host are the scheduler's own."""

_COUNTS: Final = ("indexedDocuments", "deletedDocuments", "editedDocuments", "canceledTasks", "deletedTasks")


def without_effect(details: Object | None) -> Object | None:
    """The details of a task that failed or was canceled: it did nothing."""
    if details is None:
        return None
    return {name: 0 if name in _COUNTS else value for name, value in details.items()}
