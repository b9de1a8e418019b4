"""Batches: what was processed together, summed up."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from hack.plane.emulators.meilisearch.auth import Access
from hack.plane.emulators.meilisearch.shapes import Json, Object
from hack.plane.emulators.meilisearch.store import Store
from hack.plane.emulators.meilisearch.tasks import Task, TaskQuery, Tasks
from hack.plane.emulators.meilisearch.times import show, show_duration


@dataclass(slots=True)
class Batch:
    """Tasks that were processed together. `tasks` shrinks when tasks are deleted; the sums stay."""

    uid: int
    tasks: list[int]
    strategy: str
    enqueued_at: int
    started_at: int
    finished_at: int | None = None
    details: Object = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)
    indexes: dict[str, int] = field(default_factory=dict)
    touched: list[str] = field(default_factory=list)
    progress: dict[str, str] = field(default_factory=dict)

    def sum_up(self, tasks: Iterable[Task]) -> None:
        """Take over what became of the tasks."""
        members = list(tasks)
        self.tasks = sorted(task.uid for task in members)
        self.statuses = dict(Counter(task.status for task in members))
        self.kinds = dict(Counter(task.kind for task in members))
        self.indexes = dict(Counter(task.index_uid for task in members if task.index_uid is not None))
        self.touched = sorted({index for task in members for index in task.indexes})
        self.details = {}
        for task in members:
            self.details = _add_up(self.details, task.details or {})


def _concatenated(left: Json, right: Json) -> Json:
    return [*left, *right] if isinstance(left, list) and isinstance(right, list) else right


def _summed(left: Json, right: Json) -> Json:
    if isinstance(left, int) and isinstance(right, int):
        return left + right
    return left if right is None else right


def _first(left: Json, right: Json) -> Json:
    return right if left is None else left


def _newer(_left: Json, right: Json) -> Json:
    return right


def _both_filters(left: Json, right: Json) -> Json:
    return f"{left}&{right}" if left is not None and right is not None else _first(left, right)


_SUMS: Final[dict[str, Callable[[Json, Json], Json]]] = {
    **dict.fromkeys(
        (
            "receivedDocuments", "indexedDocuments", "editedDocuments", "providedIds", "deletedDocuments",
            "matchedTasks", "canceledTasks", "deletedTasks", "updatedRules",
        ),
        _summed,
    ),
    **dict.fromkeys(("primaryKey", "dumpUid", "context", "function", "oldIndexUid", "newIndexUid"), _first),
    "originalFilter": _both_filters,
    "swaps": _concatenated,
}  # fmt: skip


def _add_up(left: Object, right: Object) -> Object:
    result = dict(left)
    for name, value in right.items():
        combine = _SUMS.get(name, _newer)
        result[name] = combine(result[name], value) if name in result else value
    return result


class Batches:
    """Every batch by uid."""

    def __init__(self, store: Store, tasks: Tasks) -> None:
        self._store = store
        self._tasks = tasks
        self._batches = {batch.uid: batch for batch in store.bodies("batches", Batch)}
        self._next_uid = max(self._batches, default=-1) + 1

    def begin(self, tasks: list[Task], strategy: str, now: int) -> Batch:
        """A batch in progress; kept only once it is finished."""
        batch = Batch(self._next_uid, [], strategy, min(task.enqueued_at for task in tasks), now)
        batch.sum_up(tasks)
        self._batches[batch.uid] = batch
        return batch

    def finish(self, batch: Batch, tasks: Iterable[Task], now: int) -> None:
        """Keep the batch with what became of its tasks."""
        batch.finished_at = now
        batch.sum_up(tasks)
        self._next_uid = batch.uid + 1
        self._store.put("batches", batch.uid, batch)

    def abandon(self, batch: Batch) -> None:
        """Forget a batch that was stopped; its tasks go back to the queue."""
        del self._batches[batch.uid]

    def drop_tasks(self, uids: set[int]) -> None:
        """Let go of deleted tasks; a batch without tasks goes too."""
        for batch in list(self._batches.values()):
            if batch.finished_at is None or uids.isdisjoint(batch.tasks):
                continue
            batch.tasks = [uid for uid in batch.tasks if uid not in uids]
            if batch.tasks:
                self._store.put("batches", batch.uid, batch)
            else:
                del self._batches[batch.uid]
                self._store.delete("batches", batch.uid)

    def page(self, query: TaskQuery, access: Access) -> tuple[list[Batch], int]:
        """The visible batches of one page, and how many there are, with the leaks of the server."""
        uids = [batch.uid for batch in self._batches.values() if self._fits(batch, query)]
        shown = self._visible(query.cut(uids), query, access)
        return [self._batches[uid] for uid in shown], len(uids)

    def _fits(self, batch: Batch, query: TaskQuery) -> bool:
        restrictions = (
            (query.statuses, batch.statuses),
            (query.kinds, batch.kinds),
            (query.index_uids, batch.touched),
            (query.uids, batch.tasks),
        )
        if any(allowed is not None and allowed.isdisjoint(values) for allowed, values in restrictions):
            return False
        if query.batch_uids is not None and batch.uid not in query.batch_uids:
            return False
        if query.canceled_by is not None and not self._canceled_by(batch, query.canceled_by):
            return False
        moments = (batch.enqueued_at, batch.started_at, batch.finished_at)
        return query.is_after_start(batch.uid) and query.is_within_times(moments)

    def _canceled_by(self, batch: Batch, cancellations: frozenset[int]) -> bool:
        return not cancellations.isdisjoint(batch.tasks) and "taskCancelation" in batch.kinds

    def _visible(self, uids: list[int], query: TaskQuery, access: Access) -> list[int]:
        if query.index_uids is None and access.sees_all:
            return uids
        # The server takes the uids of global *tasks* for those of batches. So a scoped key misses a batch whose uid
        # happens to be that of a global task, and sees the batches of global tasks, with their neighbours' index names.
        taken = self._tasks.of_global_kinds()
        return [uid for uid in uids if uid not in taken and self._is_open(self._batches[uid], access)]

    def _is_open(self, batch: Batch, access: Access) -> bool:
        return not batch.touched or any(access.allows(index) for index in batch.touched)


def view(batch: Batch) -> Object:
    """The batch as the API shows it."""
    finished: Json = None if batch.finished_at is None else show(batch.finished_at)
    duration = None if batch.finished_at is None else show_duration(batch.finished_at - batch.started_at)
    progress: Object = {"progressTrace": dict(batch.progress)} if batch.progress else {}
    return {
        "uid": batch.uid,
        "progress": {"steps": [], "percentage": 0.0} if batch.finished_at is None else None,
        "details": batch.details,
        "stats": {
            "totalNbTasks": sum(batch.statuses.values()),
            "status": dict(batch.statuses),
            "types": dict(batch.kinds),
            "indexUids": dict(batch.indexes),
            **progress,
        },
        "duration": duration,
        "startedAt": show(batch.started_at),
        "finishedAt": finished,
        "batchStrategy": batch.strategy,
    }
