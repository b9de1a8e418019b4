"""The state that the observed cases ran on: two tenants with two indexes each, and everyone who asked.

All of it is made by requests that work on the real server too.
"""

import base64
import hashlib
import hmac
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tests.contract.meilisearch.server import Api, eventually

OWN, OWN2, OTHER, OTHER2 = "acme_entries", "acme_datasets", "globex_entries", "globex_datasets"
MISSING = "nowhere_entries"
INDEXES = (OWN, OWN2, OTHER, OTHER2)

_TENANT_ACTIONS = ["search", "documents.*", "indexes.get", "settings.*", "stats.get", "tasks.get"]
_FULL_ACTIONS = ["search", "documents.*", "indexes.*", "settings.*", "stats.*", "tasks.*", "fields.post"]
_SCOPED: Mapping[str, tuple[list[str], list[str]]] = {
    "key_own": (_TENANT_ACTIONS, [OWN, OWN2]),
    "key_own_search": (["search"], [OWN, OWN2]),
    "key_own_full": (_FULL_ACTIONS, [OWN, OWN2]),
    "key_own_star": (["*"], [OWN, OWN2]),
    "key_prefix": (_TENANT_ACTIONS, ["acme*"]),
}
_DEFAULTS = {
    "default_admin": "Default Admin API Key",
    "default_readonly": "Default Read-Only Admin API Key",
    "default_search": "Default Search API Key",
    "default_chat": "Default Chat API Key",
}


def documents_of(uid: str) -> list[dict[str, Any]]:
    """Two documents, one of which names its index, so that an answer that has it can be told."""
    return [
        {"id": 1, "title": "alpha", "genre": "x"},
        {"id": 2, "title": f"alpha of {uid}", "genre": "y"},
    ]


def token(secret: str, claims: object, algorithm: str = "HS256") -> str:
    """A tenant token; claims are signed in the order given."""
    header = _part(msgspec.json.encode({"alg": algorithm, "typ": "JWT"}))
    message = f"{header}.{_part(msgspec.json.encode(claims))}"
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[algorithm]
    return f"{message}.{_part(hmac.new(secret.encode(), message.encode(), digest).digest())}"


def unsigned_token(claims: object) -> str:
    """A token that says it needs no signature."""
    header = _part(msgspec.json.encode({"alg": "none", "typ": "JWT"}))
    return f"{header}.{_part(msgspec.json.encode(claims))}."


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def value_of(master_key: str, uid: str) -> str:
    """A key's value, computed."""
    return hmac.new(master_key.encode(), uid.encode(), hashlib.sha256).hexdigest()


@dataclass(slots=True)
class World:
    """Credentials by name, and the uids that cases mention."""

    api: Api
    credentials: dict[str, str] = field(default_factory=dict, repr=False)
    names: dict[str, str] = field(default_factory=dict, repr=False)
    _untouched: dict[str, Any] | None = None
    _restored: int = -1

    def build(self) -> None:
        """Make everything that cases need."""
        for uid in INDEXES:
            self._make_index(uid)
        self._note_task("global", self.api.done("POST", "/snapshots"))
        self._make_credentials()

    def make_tasks(self) -> None:
        """New tasks for the cases that are about one; renamed indexes take older tasks with them."""
        for name, uid in (("own", OWN), ("other", OTHER)):
            task = self._settings_task(uid)
            # A scoped key does not see a batch whose uid is, by chance, that of a global task.
            while task["batchUid"] in self.global_task_uids():
                task = self._settings_task(uid)
            self._note_task(name, task)

    def _settings_task(self, uid: str) -> dict[str, Any]:
        return self.api.done("PATCH", f"/indexes/{uid}/settings", {"stopWords": []})

    def global_task_uids(self) -> set[int]:
        """Tasks that belong to no single index."""
        kinds = "indexSwap,taskCancelation,taskDeletion,dumpCreation,snapshotCreation,export"
        return {task["uid"] for task in self.api.master("GET", f"/tasks?types={kinds}&limit=100000")["results"]}

    def _note_task(self, name: str, task: Mapping[str, Any]) -> None:
        self.names[f"{name}_task"] = str(task["uid"])
        self.names[f"{name}_batch"] = str(task["batchUid"])

    def _make_index(self, uid: str) -> None:
        self.api.done("POST", "/indexes", {"uid": uid, "primaryKey": "id"})
        self.api.done("POST", f"/indexes/{uid}/documents", documents_of(uid))
        self.api.done("PUT", f"/indexes/{uid}/settings/filterable-attributes", ["genre"])

    def make_key(self, actions: list[str], indexes: list[str], **more: object) -> dict[str, Any]:
        """A new key."""
        body = {"actions": actions, "indexes": indexes, "expiresAt": None, **more}
        made: dict[str, Any] = self.api.master("POST", "/keys", body)
        return made

    def _make_credentials(self) -> None:
        known = {key["name"]: key["key"] for key in self.api.master("GET", "/keys?limit=100")["results"]}
        self.credentials = {name: known[title] for name, title in _DEFAULTS.items()}
        self.credentials |= {"bad": "not-a-key", "master": self.api.master_key}
        for name, (actions, indexes) in _SCOPED.items():
            key = self.make_key(actions, indexes, name=name)
            self.credentials[name] = key["key"]
            self.names[f"{name}_uid"] = key["uid"]
        self.names |= {"own_key_uid": self.names["key_own_uid"], "own_key_value": self.credentials["key_own"]}
        self._make_tokens()
        self._make_expired_key()
        deleted = self.make_key(["*"], ["*"])
        self.api.master("DELETE", f"/keys/{deleted['uid']}")
        self.credentials["deleted_key"] = deleted["key"]

    def _make_tokens(self) -> None:
        secret, uid = self.credentials["key_own_search"], self.names["key_own_search_uid"]
        own = {"searchRules": {OWN: {}, OWN2: {}}, "apiKeyUid": uid}
        self.credentials["tenant_token_own"] = token(secret, own)
        self.credentials["tenant_token_other_rule"] = token(secret, {"searchRules": [OTHER], "apiKeyUid": uid})

    def _make_expired_key(self) -> None:
        soon = datetime.now(UTC) + timedelta(seconds=1)
        body = {"actions": ["*"], "indexes": ["*"], "expiresAt": soon.isoformat(timespec="milliseconds")}
        value = self.api.master("POST", "/keys", body)["key"]
        eventually(lambda: self.api.call("GET", "/stats", token=value).status == 403, "the key expires")
        self.credentials["key_expired"] = value

    def restore(self) -> None:
        """Undo what a case did to indexes, keys and webhooks."""
        # Whatever changes an index is a task.
        if self._newest_task() != self._restored:
            self._restore_indexes()
            self._restored = self._newest_task()
        for webhook in self.api.master("GET", "/webhooks")["results"]:
            self.api.master("DELETE", f"/webhooks/{webhook['uuid']}")
        kept = {*self.credentials.values()}
        for key in self.api.master("GET", "/keys?limit=1000")["results"]:
            if key["key"] not in kept:
                self.api.master("DELETE", f"/keys/{key['uid']}")

    def _newest_task(self) -> int:
        newest: int = self.api.master("GET", "/tasks?limit=1")["results"][0]["uid"]
        return newest

    def _restore_indexes(self) -> None:
        present = {index["uid"] for index in self.api.master("GET", "/indexes?limit=1000")["results"]}
        for uid in present - {*INDEXES}:
            self.api.done("DELETE", f"/indexes/{uid}")
        for uid in INDEXES:
            self._restore_index(uid, is_there=uid in present)

    def _restore_index(self, uid: str, *, is_there: bool) -> None:
        if not is_there:
            self._make_index(uid)
            return
        if self._settings_of(uid) != self._untouched_settings():
            self._reset_settings(uid)
        if self.api.master("GET", f"/indexes/{uid}/documents")["results"] != documents_of(uid):
            self.api.done("DELETE", f"/indexes/{uid}/documents")
            self.api.done("POST", f"/indexes/{uid}/documents", documents_of(uid))

    def _reset_settings(self, uid: str) -> None:
        self.api.done("DELETE", f"/indexes/{uid}/settings")
        self.api.done("PUT", f"/indexes/{uid}/settings/filterable-attributes", ["genre"])

    def _settings_of(self, uid: str) -> dict[str, Any]:
        settings = self.api.master("GET", f"/indexes/{uid}/settings")
        # These two are shown only while their feature is on.
        return {name: value for name, value in settings.items() if name not in ("chat", "foreignKeys")}

    def _untouched_settings(self) -> dict[str, Any]:
        if self._untouched is None:
            self._reset_settings(OTHER2)
            self._untouched = self._settings_of(OTHER2)
        return self._untouched

    def set_features(self, *, on: bool) -> None:
        """Turn every experimental feature."""
        features = self.api.master("GET", "/experimental-features")
        if any(value is not on for value in features.values()):
            self.api.master("PATCH", "/experimental-features", dict.fromkeys(features, on))

    def search_token(self, claims: dict[str, object], algorithm: str = "HS256") -> str:
        """A tenant token of the tenant's search key."""
        full = {"apiKeyUid": self.names["key_own_search_uid"], **claims}
        ordered = {name: full[name] for name in ("searchRules", "apiKeyUid", *full) if name in full}
        return token(self.credentials["key_own_search"], ordered, algorithm)


def new_uuid() -> str:
    """A random uid for a key."""
    return str(uuid.uuid4())


def in_seconds(seconds: int) -> int:
    """Seconds since the epoch, some from now."""
    return int(time.time()) + seconds
