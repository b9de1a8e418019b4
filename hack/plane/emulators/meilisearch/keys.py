"""API keys: what they may do, and their values, which are computed and never kept."""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from uuid import UUID

from hack.plane.emulators.meilisearch import shapes
from hack.plane.emulators.meilisearch.actions import ACTIONS, expand, is_global
from hack.plane.emulators.meilisearch.errors import ApiError
from hack.plane.emulators.meilisearch.indexes import is_uid
from hack.plane.emulators.meilisearch.shapes import ABSENT, Field, Json, Object, Reader, Shape
from hack.plane.emulators.meilisearch.store import Store
from hack.plane.emulators.meilisearch.times import Clock, Instant, parse_lenient, show

_DEFAULT_KEYS = (
    ("Default Chat API Key", "Use it to chat and search from the frontend", ("chatCompletions", "search")),
    (
        "Default Read-Only Admin API Key",
        "Use it to read information across the whole database. Caution! Do not expose this key on a public frontend",
        ("*.get", "keys.get"),
    ),
    (
        "Default Admin API Key",
        "Use it for anything that is not a search operation. Caution! Do not expose it on a public frontend",
        ("*",),
    ),
    ("Default Search API Key", "Use it to search from the frontend", ("search",)),
)


def read_uuid(text: str) -> UUID:
    """A UUID as the server reads it: hyphenated, bare, in braces or as a URN, of any version; raises ValueError."""
    bare = text.removeprefix("urn:uuid:")
    if bare.startswith("{") and bare.endswith("}"):
        bare = bare[1:-1]
    for position, character in enumerate(bare):
        if character not in "0123456789abcdefABCDEF-":
            raise ValueError(f"invalid character: found `{character}` at {position}")
    if len(bare) not in (32, 36):
        raise ValueError(f"invalid length: found {len(bare)}")
    groups = [len(group) for group in bare.split("-")]
    if groups not in ([32], [8, 4, 4, 4, 12]):
        raise ValueError(f"invalid group count: expected 5, found {len(groups)}")
    return UUID(bare)


def _pattern(text: str) -> str:
    if text == "*" or is_uid(text.removesuffix("*")):
        return text
    raise ValueError(
        f"`{text}` is not a valid index uid pattern. Index uid patterns can be an integer or a string containing only "
        "alphanumeric characters, hyphens (-), underscores (_), and optionally end with a star (*)."
    )


def _expiry(now: int) -> Reader:
    def convert(text: str) -> str:
        try:
            moment = parse_lenient(text)
        except ValueError:
            moment = Instant(0)
        if moment.nanos <= now:
            # The line break at the end is the server's.
            raise ValueError(
                f"`{text}` is not a valid date. It should follow the RFC 3339 format to represents a date or datetime "
                "in the future or specified as a null value. e.g. 'YYYY-MM-DD' or 'YYYY-MM-DD HH:MM:SS'.\n"
            )
        return str(moment)

    return shapes.nullable(shapes.parsed(convert))


_NAME = Field("name", shapes.nullable(shapes.string), "invalid_api_key_name", default=ABSENT)
_DESCRIPTION = Field("description", shapes.nullable(shapes.string), "invalid_api_key_description", default=ABSENT)

_ACTIONS = Field(
    "actions",
    shapes.array(shapes.one_of(*ACTIONS)),
    "invalid_api_key_actions",
    required=True,
    missing_code="missing_api_key_actions",
)
_INDEXES = Field(
    "indexes",
    shapes.array(shapes.parsed(_pattern)),
    "invalid_api_key_indexes",
    required=True,
    missing_code="missing_api_key_indexes",
)


def creation(now: int) -> Shape:
    """The body of a new key; one that has expired by `now` is refused."""
    expires_at = Field(
        "expiresAt",
        _expiry(now),
        "invalid_api_key_expires_at",
        required=True,
        missing_code="missing_api_key_expires_at",
    )
    uid = Field("uid", shapes.parsed(read_uuid), "invalid_api_key_uid", default=None)
    return Shape((_DESCRIPTION, _NAME, uid, _ACTIONS, _INDEXES, expires_at))


PATCH = Shape(
    (_DESCRIPTION, _NAME),
    immutable={
        "uid": "immutable_api_key_uid",
        "actions": "immutable_api_key_actions",
        "indexes": "immutable_api_key_indexes",
        "expiresAt": "immutable_api_key_expires_at",
        "createdAt": "immutable_api_key_created_at",
        "updatedAt": "immutable_api_key_updated_at",
    },
)


@dataclass(frozen=True)
class Key:
    """One API key, without its value."""

    uid: UUID
    name: str | None
    description: str | None
    actions: tuple[str, ...]
    indexes: tuple[str, ...]
    expires_at: str | None
    created_at: int
    updated_at: int

    @cached_property
    def allowed(self) -> frozenset[str]:
        """The actions, expanded."""
        return expand(self.actions)

    @cached_property
    def expires_nanos(self) -> int | None:
        """When it stops working, in nanoseconds since the epoch."""
        return None if self.expires_at is None else parse_lenient(self.expires_at).nanos


@dataclass(frozen=True, slots=True)
class KeyChanges:
    """The new name and description; ABSENT leaves one as it is."""

    name: str | shapes.Absent | None
    description: str | shapes.Absent | None


@dataclass(slots=True)
class KeyRing:
    """All keys. A key's value is HMAC-SHA256 of its uid under the master key, so it comes back when the uid does."""

    store: Store
    master_key: str | None = field(repr=False)
    clock: Clock
    new_uid: Callable[[], UUID]
    _keys: dict[UUID, Key] = field(default_factory=dict, init=False)
    _by_value: dict[str, UUID] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for row in self.store.bodies("keys", Key):
            self._remember(row)
        if not self._keys:
            self._make_defaults()

    def _make_defaults(self) -> None:
        for name, description, actions in _DEFAULT_KEYS:
            now = self.clock()
            self._put(Key(self.new_uid(), name, description, actions, ("*",), None, now, now))

    def _remember(self, key: Key) -> None:
        self._keys[key.uid] = key
        if self.master_key is not None:
            self._by_value[self.value_of(key.uid)] = key.uid

    def _put(self, key: Key) -> Key:
        self.store.put("keys", str(key.uid), key)
        self._remember(key)
        return key

    def value_of(self, uid: UUID) -> str:
        """The secret that opens what the key may do; empty without a master key."""
        if self.master_key is None:
            return ""
        return hmac.new(self.master_key.encode(), str(uid).encode(), hashlib.sha256).hexdigest()

    def find(self, uid: UUID) -> Key | None:
        """The key with this uid."""
        return self._keys.get(uid)

    def by_value(self, value: str) -> Key | None:
        """The key with this value; hexadecimal digits of either case."""
        uid = self._by_value.get(value.lower())
        return None if uid is None else self._keys[uid]

    def named(self, uid_or_value: str) -> Key:
        """The key that a path names; raises `api_key_not_found`."""
        try:
            uid = read_uuid(uid_or_value)
        except ValueError:
            key = self.by_value(uid_or_value)
            shown = uid_or_value
        else:
            key = self.find(uid)
            shown = str(uid)
        if key is None:
            raise ApiError("api_key_not_found", f"API key `{shown}` not found.")
        return key

    def newest_first(self) -> list[Key]:
        """Every key."""
        return sorted(self._keys.values(), key=lambda key: key.created_at, reverse=True)

    def create(self, body: Json) -> Key:
        """A new key; raises ApiError for a body that is none, and for a uid that exists."""
        now = self.clock()
        values = shapes.read_json(creation(now), body)
        _refuse_scoped_globals(values["actions"], values["indexes"])
        uid: UUID = values["uid"] or self.new_uid()
        if uid in self._keys:
            raise ApiError("api_key_already_exists", f"`uid` field value `{uid}` is already an existing API key.")
        return self._put(
            Key(
                uid=uid,
                name=_given(values["name"]),
                description=_given(values["description"]),
                actions=tuple(values["actions"]),
                indexes=tuple(values["indexes"]),
                expires_at=values["expiresAt"],
                created_at=now,
                updated_at=now,
            )
        )

    def read_changes(self, body: Json) -> KeyChanges:
        """What a PATCH asks for; raises ApiError for all but name and description."""
        values = shapes.read_json(PATCH, body)
        return KeyChanges(values["name"], values["description"])

    def update(self, key: Key, changes: KeyChanges) -> Key:
        """Name and description are all that can change."""
        name, description = changes.name, changes.description
        return self._put(
            replace(
                key,
                name=key.name if isinstance(name, shapes.Absent) else name,
                description=key.description if isinstance(description, shapes.Absent) else description,
                updated_at=self.clock(),
            )
        )

    def delete(self, key: Key) -> None:
        """From now on its value and its tenant tokens open nothing."""
        self.store.delete("keys", str(key.uid))
        del self._keys[key.uid]
        self._by_value.pop(self.value_of(key.uid), None)

    def view(self, key: Key) -> Object:
        """The key as the API shows it, value included."""
        return {
            "name": key.name,
            "description": key.description,
            "key": self.value_of(key.uid),
            "uid": str(key.uid),
            "actions": list(key.actions),
            "indexes": list(key.indexes),
            "expiresAt": key.expires_at,
            "createdAt": show(key.created_at),
            "updatedAt": show(key.updated_at),
        }


def _given(value: str | shapes.Absent | None) -> str | None:
    return None if isinstance(value, shapes.Absent) else value


def _refuse_scoped_globals(actions: list[str], indexes: list[str]) -> None:
    if not indexes or "*" in indexes:
        return
    action = next(filter(is_global, actions), None)
    if action is not None:
        raise ApiError(
            "index_scoped_api_key_with_global_action",
            f'cannot create index-scoped API key with global action `"{action}"`\n'
            f'  - Hint: remove action `"{action}"` from the action list, or remove `indexes` to make the key global',
        )
