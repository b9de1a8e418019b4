"""Experimental features: which are on, and the refusal of what needs one that is off."""

from dataclasses import dataclass, field
from typing import Final

from hack.plane.emulators.meilisearch import shapes
from hack.plane.emulators.meilisearch.errors import ApiError
from hack.plane.emulators.meilisearch.shapes import Field, Json, Object, Shape
from hack.plane.emulators.meilisearch.store import Store

_FEATURES: Final = {
    "metrics": ("metrics", "https://github.com/meilisearch/product/discussions/625"),
    "logsRoute": ("logs route", "https://github.com/orgs/meilisearch/discussions/721"),
    "editDocumentsByFunction": ("edit documents by function", "https://github.com/orgs/meilisearch/discussions/762"),
    "containsFilter": ("contains filter", "https://github.com/orgs/meilisearch/discussions/763"),
    "dynamicSearchRules": ("dynamic search rules", "https://github.com/orgs/meilisearch/discussions/884"),
    "network": ("network", "https://github.com/orgs/meilisearch/discussions/805"),
    "getTaskDocumentsRoute": ("get task documents route", "https://github.com/orgs/meilisearch/discussions/808"),
    "taskQueueCompactionRoute": ("task queue compaction route", "https://github.com/orgs/meilisearch/discussions/883"),
    "compositeEmbedders": ("composite embedders", "https://github.com/orgs/meilisearch/discussions/816"),
    "chatCompletions": ("chat completions", "https://github.com/orgs/meilisearch/discussions/835"),
    "multimodal": ("multimodal", "https://github.com/orgs/meilisearch/discussions/846"),
    "foreignKeys": ("foreign_keys", "https://github.com/orgs/meilisearch/discussions/873"),
    "disableDocumentsFetchQueue": ("", ""),
    "legacySearch": ("", ""),
    "renderRoute": ("render_route", "https://github.com/orgs/meilisearch/discussions/888"),
}

_BODY: Final = Shape(tuple(Field(name, shapes.nullable(shapes.boolean), default=None) for name in _FEATURES))


@dataclass(slots=True)
class Features:
    """The switches; all are off until someone turns them on, and stay as they are over a restart."""

    store: Store
    _on: dict[str, bool] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        kept = self.store.get("facts", "features", dict[str, bool]) or {}
        self._on = {name: kept.get(name, False) for name in _FEATURES}

    def __contains__(self, name: str) -> bool:
        return self._on[name]

    def require(self, name: str, action: str) -> None:
        """Refuse the action while its feature is off."""
        if self._on[name]:
            return
        title, link = _FEATURES[name]
        raise ApiError(
            "feature_not_enabled", f"{action} requires enabling the `{title}` experimental feature. See {link}"
        )

    def view(self) -> Object:
        """Every switch."""
        return dict(self._on)

    def patch(self, body: Json) -> None:
        """Turn what the body names; null and absent leave a switch alone."""
        changes = shapes.read_json(_BODY, body)
        self._on |= {name: value for name, value in changes.items() if value is not None}
        self.store.put("facts", "features", self._on)
