"""`/indexes` and what is below it, documents, settings and searching aside; `/swap-indexes`."""

from typing import Any, Final

from hack.plane.emulators.meilisearch import settings, shapes
from hack.plane.emulators.meilisearch.attributes import (
    FilterRule,
    Match,
    filter_rules,
    is_visible,
    match_name,
    match_pattern,
    paths_of,
    rule_for,
)
from hack.plane.emulators.meilisearch.auth import invalid_key
from hack.plane.emulators.meilisearch.errors import ApiError
from hack.plane.emulators.meilisearch.http import Answer, Call, Route, answer, enqueued
from hack.plane.emulators.meilisearch.indexes import Index, check_uid, page, stats, uid_of_path
from hack.plane.emulators.meilisearch.shapes import Field, Json, Object, Shape
from hack.plane.emulators.meilisearch.tasks import NewTask, on_index

PAGE: Final = Shape((
    Field("offset", shapes.unsigned_parameter, "invalid_index_offset", default=0),
    Field("limit", shapes.unsigned_parameter, "invalid_index_limit", default=20),
))  # fmt: skip
_UID: Final = Field(
    "uid", shapes.parsed(check_uid), "invalid_index_uid", required=True, missing_code="missing_index_uid"
)
_PRIMARY_KEY: Final = Field("primaryKey", shapes.nullable(shapes.string), "invalid_index_primary_key", default=None)
_CREATE: Final = Shape((_UID, _PRIMARY_KEY))
_UPDATE: Final = Shape(
    (_PRIMARY_KEY, Field("uid", shapes.nullable(shapes.string), "invalid_index_uid", default=None)),
    immutable={"createdAt": "immutable_index_created_at", "updatedAt": "immutable_index_updated_at"},
)
STATS: Final = Shape((
    Field(
        "showInternalDatabaseSizes",
        shapes.boolean_parameter,
        "invalid_stats_show_internal_database_sizes",
        default=False,
    ),
    Field("sizeFormat", shapes.one_of("human", "raw"), "invalid_stats_size_format", default="raw"),
))  # fmt: skip
_SWAPS: Final = shapes.array(
    Shape((
        Field(
            "indexes",
            shapes.array(shapes.parsed(check_uid)),
            "invalid_swap_indexes",
            required=True,
            missing_code="missing_swap_indexes",
        ),
        Field("rename", shapes.boolean, "invalid_swap_rename", default=False),
    ))
)  # fmt: skip


async def _list(call: Call) -> Answer:
    wanted = call.parameters(PAGE)
    seen = (index.view() for index in call.engine.catalog if call.access.allows(index.uid))
    return answer(page(seen, wanted["offset"], wanted["limit"]))


async def _create(call: Call) -> Answer:
    asked = call.read(_CREATE)
    uid, primary_key = asked["uid"], asked["primaryKey"]
    if not call.access.may_create_index(uid):
        raise invalid_key()
    request: Object = {"primaryKey": primary_key}
    return await enqueued(call, on_index("indexCreation", uid, {"primaryKey": primary_key}, request=request))


async def _get(call: Call) -> Answer:
    return answer(call.engine.catalog.get(call.index_uid).view())


async def _update(call: Call) -> Answer:
    asked = call.read(_UPDATE)
    uid, new_uid = call.index_uid, asked["uid"]
    details: Object = {"primaryKey": asked["primaryKey"]}
    if new_uid is not None:
        # Only the form of the new name is checked, not whether the key lists it: a leak of the server, kept.
        uid_of_path(new_uid)
        details |= {"oldIndexUid": uid, "newIndexUid": new_uid}
    return await enqueued(call, on_index("indexUpdate", uid, details, request=asked))


async def _delete(call: Call) -> Answer:
    return await enqueued(call, on_index("indexDeletion", call.index_uid, {"deletedDocuments": None}))


async def _stats(call: Call) -> Answer:
    call.parameters(STATS)
    index = call.engine.catalog.get(call.index_uid)
    return answer(stats(index, is_indexing=call.engine.scheduler.is_indexing(index.uid)))


async def _compact(call: Call) -> Answer:
    return await enqueued(call, on_index("indexCompaction", call.index_uid, {}))


async def _swap(call: Call) -> Answer:
    swaps: list[dict[str, Any]] = call.read(_SWAPS)
    for swap in swaps:
        if len(swap["indexes"]) != 2:
            listed = ", ".join(f'"{uid}"' for uid in swap["indexes"])
            count = len(swap["indexes"])
            raise ApiError(
                "invalid_swap_indexes",
                f"Two indexes must be given for each swap. The list `[{listed}]` contains {count} indexes.",
            )
        if not all(call.access.allows(uid) for uid in swap["indexes"]):
            raise invalid_key()
    uids = [uid for swap in swaps for uid in swap["indexes"]]
    _refuse_repeated(uids)
    request: Object = {"swaps": [[*swap["indexes"], swap["rename"]] for swap in swaps]}
    shown: list[Json] = [{"indexes": list(swap["indexes"]), "rename": swap["rename"]} for swap in swaps]
    return await enqueued(call, NewTask("indexSwap", request=request, details={"swaps": shown}, indexes=uids))


def _refuse_repeated(uids: list[str]) -> None:
    repeated = sorted({uid for uid in uids if uids.count(uid) > 1})
    if not repeated:
        return
    verb = "was" if len(repeated) == 1 else "were"
    raise ApiError(
        "invalid_swap_duplicate_index_found",
        f"Indexes must be declared only once during a swap. {shapes.quoted(repeated)} {verb} specified several times.",
    )


def _flag(name: str) -> Field:
    code = "invalid_index_fields_filter_" + "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
    return Field(name, shapes.nullable(shapes.boolean), code, default=None)


_FLAGS: Final = ("displayed", "searchable", "sortable", "distinct", "rankingRule", "filterable")
_FIELDS: Final = Shape((
    Field("offset", shapes.unsigned, "invalid_index_offset", default=0),
    Field("limit", shapes.unsigned, "invalid_index_limit", default=20),
    Field(
        "filter",
        shapes.nullable(
            Shape(
                (
                    Field(
                        "attributePatterns",
                        shapes.nullable(shapes.strings),
                        "invalid_index_fields_filter_attribute_patterns",
                        default=None,
                    ),
                    *(_flag(name) for name in _FLAGS),
                ),
                code="invalid_index_fields_filter",
            )
        ),
        "invalid_index_fields_filter",
        default=None,
    ),
))  # fmt: skip


async def _fields(call: Call) -> Answer:
    asked = call.read(_FIELDS)
    index = call.engine.catalog.get(call.path["index_uid"])
    names = {path for document in index.documents.values() for path, _ in paths_of(document.fields)}
    found = [_field(index, name) for name in sorted(names)]
    wanted = [each for each in found if _is_wanted(each, asked["filter"])]
    return answer(page(wanted, asked["offset"], asked["limit"]))


def _field(index: Index, name: str) -> Object:
    found = rule_for(name, filter_rules(settings.value_of(index.settings, "filterableAttributes")))
    rule = (
        found[1] if found else FilterRule((), is_plain_name=False, facet_search=False, equality=False, comparison=False)
    )
    sortable = settings.names(index.settings, "sortableAttributes") or []
    rules = settings.names(index.settings, "rankingRules") or []
    order = next((r.rpartition(":")[2] for r in rules if r.rpartition(":")[0] == name), None)
    return {
        "name": name,
        "displayed": {"enabled": is_visible(name, index.settings.get("displayedAttributes"))},
        "searchable": {"enabled": is_visible(name, index.settings.get("searchableAttributes"))},
        "sortable": {"enabled": any(match_name(known, name) is Match.MATCH for known in sortable)},
        "distinct": {"enabled": index.settings.get("distinctAttribute") == name},
        "rankingRule": {"enabled": order is not None, **({"order": order} if order else {})},
        "filterable": {
            "enabled": rule.filterable or rule.facet_search,
            "sortBy": "alpha",
            "facetSearch": rule.facet_search,
            "equality": rule.equality,
            "comparison": rule.comparison,
        },
        "localized": {"locales": []},
    }


def _is_wanted(found: Object, wanted: dict[str, Any] | None) -> bool:
    if wanted is None:
        return True
    patterns = wanted["attributePatterns"]
    if patterns is not None and not any(match_pattern(each, str(found["name"])) is Match.MATCH for each in patterns):
        return False
    return all(wanted[name] is None or _enabled(found[name]) == wanted[name] for name in _FLAGS)


def _enabled(state: Json) -> bool:
    return isinstance(state, dict) and bool(state["enabled"])


ROUTES: Final = (
    Route("GET", "/indexes", ("indexes.get",), _list),
    Route("POST", "/indexes", ("indexes.create",), _create),
    Route("GET", "/indexes/{index_uid}", ("indexes.get",), _get),
    Route("PATCH", "/indexes/{index_uid}", ("indexes.update",), _update),
    Route("DELETE", "/indexes/{index_uid}", ("indexes.delete",), _delete),
    Route("GET", "/indexes/{index_uid}/stats", ("stats.get",), _stats),
    Route("POST", "/indexes/{index_uid}/fields", ("fields.post",), _fields),
    Route("POST", "/indexes/{index_uid}/compact", ("indexes.compact",), _compact),
    Route("POST", "/swap-indexes", ("indexes.swap",), _swap),
)
