"""The server as a whole: health, version, figures, features, backups, exports."""

from typing import Any, Final

from starlette.responses import PlainTextResponse

from hack.plane.emulators.meilisearch import settings, shapes
from hack.plane.emulators.meilisearch.http import Answer, Call, Route, answer, enqueued
from hack.plane.emulators.meilisearch.indexes import stats
from hack.plane.emulators.meilisearch.routes.indexes import STATS
from hack.plane.emulators.meilisearch.shapes import Field, Json, Object, Shape
from hack.plane.emulators.meilisearch.tasks import NewTask
from hack.plane.emulators.meilisearch.times import show


async def _running(_call: Call) -> Answer:
    return answer({"status": "Meilisearch is running"})


async def _health(call: Call) -> Answer:
    if call.engine.scheduler.frozen:
        return answer({"status": "mustRestart"}, 500)
    return answer({"status": "available"})


async def _version(call: Call) -> Answer:
    return answer({"commitSha": "unknown", "commitDate": "unknown", "pkgVersion": call.engine.options.version})


async def _stats(call: Call) -> Answer:
    call.parameters(STATS)
    size, used = call.engine.store.size()
    seen = [index for index in call.engine.catalog if call.access.allows(index.uid)]
    figures: Object = {
        index.uid: stats(index, is_indexing=call.engine.scheduler.is_indexing(index.uid)) for index in seen
    }
    # The sizes are those of the whole instance, whoever asks: a leak of the server, kept.
    return answer(
        {
            "databaseSize": size,
            "usedDatabaseSize": used,
            "lastUpdate": show(max(index.updated_at for index in seen)) if seen else None,
            "indexes": figures,
        }
    )


async def _metrics(call: Call) -> Answer:
    call.engine.features.require("metrics", "Getting metrics")
    size, used = call.engine.store.size()
    lines = [
        f"meilisearch_db_size_bytes {size}",
        f"meilisearch_used_db_size_bytes {used}",
        f"meilisearch_index_count {len(list(call.engine.catalog))}",
        *(
            f'meilisearch_index_docs_count{{index="{index.uid}"}} {index.document_count}'
            for index in call.engine.catalog
        ),
        *(
            f'meilisearch_nb_tasks{{kind="{kind}",value="{value}"}} {count}'
            for kind, value, count in call.engine.tasks.counts()
        ),
    ]
    return PlainTextResponse("\n".join(lines) + "\n")


async def _features(call: Call) -> Answer:
    return answer(call.engine.features.view())


async def _set_features(call: Call) -> Answer:
    call.engine.features.patch(call.json())
    return answer(call.engine.features.view())


async def _dump(call: Call) -> Answer:
    return await enqueued(call, NewTask("dumpCreation", details={"dumpUid": None}))


async def _snapshot(call: Call) -> Answer:
    return await enqueued(call, NewTask("snapshotCreation"))


_EXPORT: Final = Shape((
    Field("url", shapes.string, "invalid_export_url", default=""),
    Field("apiKey", shapes.nullable(shapes.string), "invalid_export_api_key", default=None),
    Field("payloadSize", shapes.anything, "invalid_export_payload_size", default=None),
    Field("indexes", shapes.nullable(shapes.mapping(shapes.anything)), default=None),
))  # fmt: skip


async def _export(call: Call) -> Answer:
    asked: dict[str, Any] = call.read(_EXPORT)
    secret: Object = {} if asked["apiKey"] is None else {"apiKey": settings.hide(asked["apiKey"])}
    indexes: Json = asked["indexes"] or {"*": {"filter": None, "overrideSettings": False}}
    details: Object = {"url": asked["url"], **secret, "indexes": indexes}
    return await enqueued(call, NewTask("export", request={"url": asked["url"]}, details=details), 200)


ROUTES: Final = (
    Route("GET", "/", (), _running),
    Route("GET", "/health", (), _health),
    Route("GET", "/version", ("version",), _version),
    Route("GET", "/stats", ("stats.get",), _stats),
    Route("GET", "/metrics", ("metrics.get",), _metrics),
    Route("GET", "/experimental-features", ("experimental.get",), _features),
    Route("PATCH", "/experimental-features", ("experimental.update",), _set_features),
    Route("POST", "/dumps", ("dumps.create",), _dump),
    Route("POST", "/snapshots", ("snapshots.create",), _snapshot),
    Route("POST", "/export", ("export",), _export),
)
