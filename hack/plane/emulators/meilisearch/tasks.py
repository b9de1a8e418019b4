"""Tasks: what was asked for, how it stands, and finding them again."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from hack.plane.emulators.meilisearch.auth import Access
from hack.plane.emulators.meilisearch.errors import ErrorBody
from hack.plane.emulators.meilisearch.shapes import Json, Object
from hack.plane.emulators.meilisearch.store import Store
from hack.plane.emulators.meilisearch.times import show, show_duration

Status = Literal["enqueued", "processing", "succeeded", "failed", "canceled"]

STATUSES: Final[tuple[Status, ...]] = ("enqueued", "processing", "succeeded", "failed", "canceled")
KINDS: Final = (
    "documentAdditionOrUpdate", "documentEdition", "documentDeletion", "settingsUpdate", "indexCreation",
    "indexDeletion", "indexUpdate", "indexSwap", "taskCancelation", "taskDeletion", "dumpCreation", "snapshotCreation",
    "export", "upgradeDatabase", "indexCompaction", "networkTopologyChange", "dsrUpdate", "dsrClear",
)  # fmt: skip
GLOBAL_KINDS: Final = frozenset({
    "indexSwap", "taskCancelation", "taskDeletion", "dumpCreation", "snapshotCreation", "export", "upgradeDatabase",
    "networkTopologyChange",
})  # fmt: skip
"""Kinds that belong to no single index; a scoped key never sees their tasks."""


@dataclass(slots=True)
class Task:
    """One task. `request` is what processing needs; `indexes` are the names it touches."""

    uid: int
    kind: str
    request: Object
    enqueued_at: int
    index_uid: str | None = None
    indexes: list[str] = field(default_factory=list)
    status: Status = "enqueued"
    details: Object | None = None
    error: ErrorBody | None = None
    batch_uid: int | None = None
    canceled_by: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    custom_metadata: str | None = None

    @property
    def is_finished(self) -> bool:
        """True once nothing more happens to it."""
        return self.status not in ("enqueued", "processing")


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """Which tasks; None restricts nothing. Times are exclusive bounds in nanoseconds."""

    uids: frozenset[int] | None = None
    batch_uids: frozenset[int] | None = None
    statuses: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    index_uids: frozenset[str] | None = None
    canceled_by: frozenset[int] | None = None
    after: tuple[int | None, int | None, int | None] = (None, None, None)
    before: tuple[int | None, int | None, int | None] = (None, None, None)
    start: int | None = None
    limit: int | None = None
    oldest_first: bool = False

    def is_within_times(self, moments: tuple[int | None, int | None, int | None]) -> bool:
        """True if enqueued, started and finished lie between the bounds; what has not happened lies between none."""
        for moment, after, before in zip(moments, self.after, self.before, strict=True):
            if after is not None and (moment is None or moment <= after):
                return False
            if before is not None and (moment is None or moment >= before):
                return False
        return True

    def cut(self, uids: Iterable[int]) -> list[int]:
        """The uids in the order asked for, no more than the limit."""
        ordered = sorted(uids, reverse=not self.oldest_first)
        return ordered if self.limit is None else ordered[: self.limit]

    def is_after_start(self, uid: int) -> bool:
        """True if paging has not passed the uid yet."""
        if self.start is None:
            return True
        return uid >= self.start if self.oldest_first else uid <= self.start


class Waiting:
    """Unfinished tasks, oldest first, also by kind and by index: the next one costs the same however many wait."""

    def __init__(self) -> None:
        self._tasks: dict[int, Task] = {}
        self._by_kind: dict[str, dict[int, Task]] = {}
        self._by_index: dict[str, dict[int, Task]] = {}

    def add(self, task: Task) -> None:
        """A task is to be done."""
        for group in self._groups(task):
            group[task.uid] = task

    def remove(self, task: Task) -> None:
        """It is done."""
        for group in self._groups(task):
            group.pop(task.uid, None)

    def _groups(self, task: Task) -> Iterator[dict[int, Task]]:
        yield self._tasks
        yield self._by_kind.setdefault(task.kind, {})
        for index in task.indexes:
            yield self._by_index.setdefault(index, {})

    def oldest(self) -> Task | None:
        """What has waited longest."""
        return next(iter(self._tasks.values()), None)

    def of_kind(self, kind: str) -> list[Task]:
        """Those of one kind."""
        return list(self._by_kind.get(kind, {}).values())

    def on_index(self, uid: str) -> list[Task]:
        """Those that touch one index."""
        return list(self._by_index.get(uid, {}).values())


class Tasks:
    """Every task by uid, with the sets that queries need."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tasks: dict[int, Task] = {}
        self._by_index: dict[str, set[int]] = {}
        self._by_kind: dict[str, set[int]] = {}
        self._next_uid = 0
        self.waiting = Waiting()
        for task in store.bodies("tasks", Task):
            self._remember(task)

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, uid: int) -> Task:
        return self._tasks[uid]

    def find(self, uid: int) -> Task | None:
        """The task, if there is one."""
        return self._tasks.get(uid)

    def _remember(self, task: Task) -> None:
        self._tasks[task.uid] = task
        self._next_uid = max(self._next_uid, task.uid + 1)
        self._by_kind.setdefault(task.kind, set()).add(task.uid)
        for index in task.indexes:
            self._by_index.setdefault(index, set()).add(task.uid)
        if not task.is_finished:
            self.waiting.add(task)

    def _forget_indexes(self, task: Task) -> None:
        self.waiting.remove(task)
        for index in task.indexes:
            uids = self._by_index[index]
            uids.discard(task.uid)
            if not uids:
                del self._by_index[index]

    def add(self, task_of: "NewTask", now: int) -> Task:
        """Enqueue; the task is durable when this returns."""
        task = Task(
            uid=self._next_uid,
            kind=task_of.kind,
            request=task_of.request,
            enqueued_at=now,
            index_uid=task_of.index_uid,
            indexes=task_of.indexes,
            details=task_of.details,
            custom_metadata=task_of.custom_metadata,
        )
        with self._store.transaction():
            self._store.put("tasks", task.uid, task)
            if task_of.payload is not None:
                self._store.put_raw("payloads", task.uid, task_of.payload)
        self._remember(task)
        return task

    def save(self, task: Task) -> None:
        """Keep what became of a task."""
        self._store.put("tasks", task.uid, task)
        if task.is_finished:
            self._store.delete("payloads", task.uid)
            self.waiting.remove(task)

    def payload(self, task: Task) -> bytes | None:
        """The documents that came with an unfinished task."""
        return self._store.get_raw("payloads", task.uid)

    def delete(self, uid: int) -> None:
        """Forget a finished task."""
        task = self._tasks.pop(uid)
        self._forget_indexes(task)
        self._by_kind[task.kind].discard(uid)
        self._store.delete("tasks", uid)

    def swap_indexes(self, left: str, right: str, before: int) -> None:
        """Let older tasks follow two indexes that change names."""
        other = {left: right, right: left}
        for uid in self._by_index.get(left, set()) | self._by_index.get(right, set()):
            if uid >= before:
                continue
            task = self._tasks[uid]
            self._forget_indexes(task)
            task.indexes = [other.get(index, index) for index in task.indexes]
            task.index_uid = other.get(task.index_uid, task.index_uid) if task.index_uid else None
            self._remember(task)
            self._store.put("tasks", uid, task)

    def matching(self, query: TaskQuery) -> list[int]:
        """The uids that the query finds, its limit aside."""
        return [uid for uid in self._candidates(query) if self._fits(self._tasks[uid], query)]

    def _candidates(self, query: TaskQuery) -> Iterable[int]:
        if query.uids is not None:
            return [uid for uid in query.uids if uid in self._tasks]
        if query.index_uids is not None:
            return set().union(*(self._by_index.get(index, set()) for index in query.index_uids))
        if query.kinds is not None:
            return set().union(*(self._by_kind.get(kind, set()) for kind in query.kinds))
        return self._tasks

    def _fits(self, task: Task, query: TaskQuery) -> bool:
        restrictions = (
            (query.batch_uids, task.batch_uid),
            (query.statuses, task.status),
            (query.kinds, task.kind),
            (query.canceled_by, task.canceled_by),
        )
        if any(allowed is not None and value not in allowed for allowed, value in restrictions):
            return False
        if query.index_uids is not None and query.index_uids.isdisjoint(task.indexes):
            return False
        moments = (task.enqueued_at, task.started_at, task.finished_at)
        return query.is_after_start(task.uid) and query.is_within_times(moments)

    def visible(self, uids: Iterable[int], query: TaskQuery, access: Access) -> list[int]:
        """Those of the uids that the caller may see."""
        found = list(uids)
        if query.index_uids is None and access.sees_all:
            return found
        return [uid for uid in found if self._is_visible(self._tasks[uid], access)]

    def _is_visible(self, task: Task, access: Access) -> bool:
        return task.kind not in GLOBAL_KINDS and all(access.allows(index) for index in task.indexes)

    def of_global_kinds(self) -> set[int]:
        """The uids of tasks that belong to no single index."""
        return set().union(*(self._by_kind.get(kind, set()) for kind in GLOBAL_KINDS))

    def page(self, query: TaskQuery, access: Access) -> tuple[list[Task], int]:
        """The visible tasks of one page, and how many there are.

        The total counts what the caller may not see, and the limit is applied before hiding: leaks of the server, kept.
        """
        uids = self.matching(query)
        return [self._tasks[uid] for uid in self.visible(query.cut(uids), query, access)], len(uids)

    def counts(self) -> Iterator[tuple[str, str, int]]:
        """How many tasks there are by status, type and index, for the metrics."""
        for status in STATUSES:
            yield "statuses", status, sum(task.status == status for task in self._tasks.values())
        for kind in KINDS:
            yield "types", kind, len(self._by_kind.get(kind, ()))
        for index, uids in sorted(self._by_index.items()):
            yield "indexes", index, len(uids)


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task that is being asked for."""

    kind: str
    index_uid: str | None = None
    request: Object = field(default_factory=dict)
    details: Object | None = None
    indexes: list[str] = field(default_factory=list)
    payload: bytes | None = None
    custom_metadata: str | None = None


def on_index(
    kind: str,
    uid: str,
    details: Object | None = None,
    *,
    request: Object | None = None,
    payload: bytes | None = None,
    custom_metadata: str | None = None,
) -> NewTask:
    """A task that touches one index."""
    return NewTask(kind, uid, request or {}, details, [uid], payload, custom_metadata)


def summary(task: Task) -> Object:
    """What a client gets when its task is enqueued."""
    metadata: Object = {} if task.custom_metadata is None else {"customMetadata": task.custom_metadata}
    return {
        "taskUid": task.uid,
        "indexUid": task.index_uid,
        "status": "enqueued",
        "type": task.kind,
        "enqueuedAt": show(task.enqueued_at),
        **metadata,
    }


def _moment(nanos: int | None) -> Json:
    return None if nanos is None else show(nanos)


def view(task: Task) -> Object:
    """The task as the API shows it; without details where the kind has none."""
    duration = None
    if task.started_at is not None and task.finished_at is not None:
        duration = show_duration(task.finished_at - task.started_at)
    details: Object = {} if task.details is None else {"details": task.details}
    metadata: Object = {} if task.custom_metadata is None else {"customMetadata": task.custom_metadata}
    error: Json = None if task.error is None else dict(task.error)  # type: ignore[arg-type]  # a TypedDict is a dict of str
    return {
        "uid": task.uid,
        "batchUid": task.batch_uid,
        "indexUid": task.index_uid,
        "status": task.status,
        "type": task.kind,
        "canceledBy": task.canceled_by,
        **details,
        "error": error,
        "duration": duration,
        "enqueuedAt": show(task.enqueued_at),
        "startedAt": _moment(task.started_at),
        "finishedAt": _moment(task.finished_at),
        **metadata,
    }
