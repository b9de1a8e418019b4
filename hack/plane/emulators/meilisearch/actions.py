"""The actions of API keys: what each expands to, and whether an index-scoped key may hold or use it."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

ACTIONS: Final = (
    "*", "search",
    "documents.*", "documents.add", "documents.get", "documents.delete",
    "indexes.*", "indexes.create", "indexes.get", "indexes.update", "indexes.delete", "indexes.swap",
    "tasks.*", "tasks.cancel", "tasks.delete", "tasks.get",
    "settings.*", "settings.get", "settings.update",
    "stats.*", "stats.get", "metrics.*", "metrics.get",
    "dumps.*", "dumps.create", "snapshots.*", "snapshots.create", "version",
    "keys.create", "keys.get", "keys.update", "keys.delete",
    "experimental.get", "experimental.update", "export", "network.get", "network.update",
    "chatCompletions", "chats.*", "chats.get", "chats.delete",
    "chatsSettings.*", "chatsSettings.get", "chatsSettings.update", "*.get",
    "webhooks.get", "webhooks.update", "webhooks.delete", "webhooks.create", "webhooks.*",
    "indexes.compact", "fields.post", "tasks.compact",
    "dynamicSearchRules.get", "dynamicSearchRules.create", "dynamicSearchRules.update", "dynamicSearchRules.delete",
    "dynamicSearchRules.*",
)  # fmt: skip
"""In the order in which errors list them."""

_GROUPS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({
    "documents.*": ("documents.add", "documents.get", "documents.delete"),
    "indexes.*": (
        "indexes.create", "indexes.get", "indexes.update", "indexes.delete", "indexes.swap", "indexes.compact",
    ),
    "tasks.*": ("tasks.cancel", "tasks.delete", "tasks.get", "tasks.compact"),
    "settings.*": ("settings.get", "settings.update"),
    "stats.*": ("stats.get",),
    "metrics.*": ("metrics.get",),
    "dumps.*": ("dumps.create",),
    "snapshots.*": ("snapshots.create",),
    "chats.*": ("chats.get", "chats.delete"),
    "chatsSettings.*": ("chatsSettings.get", "chatsSettings.update"),
    "webhooks.*": ("webhooks.get", "webhooks.update", "webhooks.delete", "webhooks.create"),
    "dynamicSearchRules.*": (
        "dynamicSearchRules.get", "dynamicSearchRules.create", "dynamicSearchRules.update", "dynamicSearchRules.delete",
    ),
})  # fmt: skip

# `keys.get` is left out of `*.get` by the server, lest a reader of keys become their holder.
_READS: Final = frozenset({
    "search", "documents.get", "export", "indexes.get", "tasks.get", "settings.get", "stats.get", "metrics.get",
    "version", "experimental.get", "network.get", "chats.get", "chatsSettings.get", "webhooks.get", "fields.post",
    "dynamicSearchRules.get",
})  # fmt: skip

# Routes without an index in their path that look at the key's indexes themselves, so a scoped key may call them.
_CHECKED_BY_ROUTE: Final = frozenset({
    "search", "documents.get", "indexes.create", "indexes.get", "indexes.swap", "tasks.cancel", "tasks.delete",
    "tasks.get", "settings.get", "stats.*", "stats.get", "chatCompletions",
})  # fmt: skip

_GLOBAL_FAMILIES: Final = (
    "metrics.", "dumps.", "snapshots.", "version", "keys.", "experimental.", "export", "network.", "chats.",
    "chatsSettings.", "webhooks.", "dynamicSearchRules.", "tasks.compact",
)  # fmt: skip


def is_global(action: str) -> bool:
    """True if a key that lists indexes is refused this action."""
    return action.startswith(_GLOBAL_FAMILIES)


def checked_by_route(action: str) -> bool:
    """True if a scoped key may use the action on a route that names no index."""
    return action in _CHECKED_BY_ROUTE


def expand(actions: Iterable[str]) -> frozenset[str]:
    """Every action that these allow.

    A group holds its members and not itself, so what needs `documents.*` (editing by function) is open to `*` alone.
    """
    held: set[str] = set()
    for action in actions:
        if action == "*":
            held |= {*ACTIONS} - {"*.get"}
        elif action == "*.get":
            held |= _READS
        else:
            held |= {*_GROUPS.get(action, (action,))}
    return frozenset(held)
