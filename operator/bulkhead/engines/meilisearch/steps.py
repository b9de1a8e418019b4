"""What can be done on a Meilisearch server: each step is one idempotent request, and the end of the task it queues."""

from __future__ import annotations

from dataclasses import dataclass

from bulkhead.api.ownership import Stamp
from bulkhead.engines.meilisearch.keys import Key


@dataclass(frozen=True, slots=True)
class WriteIdentity:
    stamp: Stamp
    identity: str

    def __str__(self) -> str:
        return "write the server's identity into the operator's register"


@dataclass(frozen=True, slots=True)
class CreateIndex:
    name: str

    def __str__(self) -> str:
        return f'create index "{self.name}"'


@dataclass(frozen=True, slots=True)
class StampIndexes:
    stamp: Stamp
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"stamp indexes {_listed(self.names)}"


@dataclass(frozen=True, slots=True)
class ConfigureIndex:
    name: str

    def __str__(self) -> str:
        return f'configure index "{self.name}"'


@dataclass(frozen=True, slots=True)
class CreateKey:
    key: Key

    def __str__(self) -> str:
        return f"create key {self.key.uid}"


@dataclass(frozen=True, slots=True)
class DeleteKey:
    uid: str

    def __str__(self) -> str:
        return f"delete key {self.uid}"


@dataclass(frozen=True, slots=True)
class CancelTasks:
    indexes: tuple[str, ...]

    def __str__(self) -> str:
        return f"cancel waiting tasks of indexes {_listed(self.indexes)}"


@dataclass(frozen=True, slots=True)
class DeleteIndex:
    name: str

    def __str__(self) -> str:
        return f'delete index "{self.name}"'


@dataclass(frozen=True, slots=True)
class DeleteTasks:
    indexes: tuple[str, ...]

    def __str__(self) -> str:
        return f"delete the task history of indexes {_listed(self.indexes)}"


@dataclass(frozen=True, slots=True)
class ReleaseIndexes:
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"remove the stamps of indexes {_listed(self.names)}"


MeilisearchStep = (
    WriteIdentity
    | CreateIndex
    | StampIndexes
    | ConfigureIndex
    | CreateKey
    | DeleteKey
    | CancelTasks
    | DeleteIndex
    | DeleteTasks
    | ReleaseIndexes
)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)
