"""The one queue: what is processed next, together with what, and what becomes of it."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final

from hack.plane.emulators.meilisearch import operations, settings
from hack.plane.emulators.meilisearch.batches import Batch, Batches
from hack.plane.emulators.meilisearch.errors import ApiError
from hack.plane.emulators.meilisearch.operations import World
from hack.plane.emulators.meilisearch.tasks import NewTask, Task, Waiting

_log = logging.getLogger(__name__)

# Between two batches the server commits for about this long, and takes what arrives meanwhile into the next one.
_GATHERING_SECONDS: Final = 0.001
_DOCUMENTS: Final = frozenset({"documentAdditionOrUpdate", "documentDeletion"})
_FIRST: Final = ("indexCompaction", "export", "snapshotCreation", "dumpCreation")


class Stopped(Exception):
    """A cancellation asked for the batch in progress."""


@dataclass(slots=True)
class Scheduler:
    """Processes tasks one batch at a time. `hold_seconds` is how long an unreachable remote host blocks the queue."""

    world: World
    batches: Batches
    hold_seconds: float
    frozen: bool = False
    """After a compaction of the queue every write hangs until the restart."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _stop: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _processing: set[int] = field(default_factory=set, init=False)

    async def enqueue(self, asked: NewTask) -> Task:
        """Take a task; it is durable when this returns."""
        if self.frozen:
            await asyncio.Event().wait()
        task = self.world.tasks.add(asked, self.world.clock())
        if task.kind == "taskCancelation" and self._processing & _matched(task):
            self._stop.set()
        self._wake.set()
        return task

    def is_indexing(self, uid: str) -> bool:
        """True while a batch changes the index."""
        return any(uid in self.world.tasks[task].indexes for task in self._processing)

    async def run(self) -> None:
        """Process what is left from before, then what comes, until cancelled."""
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(_GATHERING_SECONDS)
            while await self.tick():
                pass

    async def tick(self) -> bool:
        """Process one batch; False if there is none."""
        tasks, strategy = _next(self.world.tasks.waiting)
        if not tasks:
            return False
        started_at = self.world.clock()
        batch = self.batches.begin(tasks, strategy, started_at)
        self._processing = {task.uid for task in tasks}
        for task in tasks:
            task.status, task.batch_uid, task.started_at = "processing", batch.uid, started_at
        try:
            await self._hold(tasks)
        except Stopped:
            self._put_back(batch, tasks)
        else:
            self._process(batch, tasks)
        self._processing = set()
        # Requests get their turn between two batches.
        await asyncio.sleep(0)
        return True

    async def _hold(self, tasks: Iterable[Task]) -> None:
        """Wait as the server waits for a remote host that does not answer: for every tenant."""
        if not any(_calls_out(task) for task in tasks):
            return
        self._stop.clear()
        try:
            await asyncio.wait_for(self._stop.wait(), self.hold_seconds)
        except TimeoutError:
            return
        raise Stopped

    def _put_back(self, batch: Batch, tasks: Iterable[Task]) -> None:
        self.batches.abandon(batch)
        for task in tasks:
            task.status, task.batch_uid, task.started_at = "enqueued", None, None

    def _process(self, batch: Batch, tasks: list[Task]) -> None:
        try:
            with self.world.store.transaction():
                self._finish(batch, [done for task in tasks for done in self._perform(task)])
        except Exception as error:  # noqa: BLE001 - a defect here must fail the task, not stop the queue
            # The transaction is undone; memory has to follow, and the tasks fail instead of coming back for ever.
            _log.exception("batch %d could not be processed", batch.uid)
            self.world.catalog.reload()
            crash = ApiError(
                "internal", f"An unexpected crash occurred when processing the task: {type(error).__name__}"
            )
            with self.world.store.transaction():
                self._finish(batch, [_failed(task, crash) for task in tasks])

    def _finish(self, batch: Batch, tasks: list[Task]) -> None:
        now = self.world.clock()
        for task in tasks:
            task.batch_uid, task.started_at, task.finished_at = batch.uid, batch.started_at, now
            self.world.tasks.save(task)
        deleted = {uid for task in tasks if task.kind == "taskDeletion" for uid in _deletable(self.world, task)}
        for uid in deleted:
            self.world.tasks.delete(uid)
        self.batches.drop_tasks(deleted)
        self.batches.finish(batch, tasks, now)

    def _perform(self, task: Task) -> list[Task]:
        """The task, and those that it cancels, each with its outcome."""
        if task.kind == "taskCancelation":
            return self._cancel(task)
        if task.kind == "taskDeletion":
            return [_succeeded(task, deletedTasks=len(_deletable(self.world, task)))]
        if _calls_out(task):
            return [_failed(task, _unreachable(task))]
        try:
            details = operations.PERFORM[task.kind](self.world, task)
        except ApiError as error:
            return [_failed(task, error)]
        task.status = "succeeded"
        task.details = details or None
        return [task]

    def _cancel(self, task: Task) -> list[Task]:
        canceled = [
            found for uid in _matched(task) if (found := self.world.tasks.find(uid)) and found.status == "enqueued"
        ]
        for each in canceled:
            each.status, each.canceled_by = "canceled", task.uid
            each.details = operations.without_effect(each.details)
        return [_succeeded(task, canceledTasks=len(canceled)), *canceled]


def _matched(task: Task) -> set[int]:
    """The tasks that a cancellation or deletion found when it was asked for."""
    found = task.request["tasks"]
    return {int(uid) for uid in found if isinstance(uid, int)} if isinstance(found, list) else set()


def _deletable(world: World, task: Task) -> set[int]:
    return {uid for uid in _matched(task) if (found := world.tasks.find(uid)) and found.is_finished}


def _succeeded(task: Task, **counts: int) -> Task:
    task.status = "succeeded"
    task.details = {**(task.details or {}), **counts}
    return task


def _failed(task: Task, error: ApiError) -> Task:
    task.status = "failed"
    task.error = error.body()
    task.details = operations.without_effect(task.details)
    return task


def _calls_out(task: Task) -> bool:
    if task.kind == "export":
        return True
    changes = task.request.get("settings")
    return task.kind == "settingsUpdate" and isinstance(changes, dict) and settings.needs_remote_embedder(changes)


def _unreachable(task: Task) -> ApiError:
    if task.kind == "export":
        return ApiError("remote_could_not_send_request", f"could not reach `{task.request['url']}`")
    return ApiError(
        "vector_embedding_error",
        f"Index `{task.index_uid}`: Error while generating embeddings: runtime error: could not determine model "
        "dimensions:\n"
        "  - test embedding failed with runtime error: could not reach embedding server:\n  - bad uri: Rejected URI",
    )


def _next(waiting: Waiting) -> tuple[list[Task], str]:
    """The tasks of the next batch, and why it has these."""
    if cancellations := waiting.of_kind("taskCancelation"):
        return [cancellations[-1]], _alone(cancellations[-1])
    if deletions := waiting.of_kind("taskDeletion"):
        return deletions, _only("taskDeletion")
    for kind in _FIRST:
        if found := waiting.of_kind(kind):
            return (found, _only(kind)) if kind == "snapshotCreation" else ([found[0]], _alone(found[0]))
    first = waiting.oldest()
    return _together(first, waiting) if first else ([], "")


def _together(first: Task, waiting: Waiting) -> tuple[list[Task], str]:
    """A task, with those that follow it on the same index as long as they are of its family."""
    family = _family(first)
    if family is None or first.index_uid is None:
        return [first], _alone(first)
    followers = takewhile(lambda task: _family(task) == family, waiting.on_index(first.index_uid))
    return list(followers), f"batched all enqueued tasks for index `{first.index_uid}`"


def _family(task: Task) -> str | None:
    """What a task can be batched with; None is nothing."""
    if task.kind in _DOCUMENTS:
        return "documents"
    return "settings" if task.kind == "settingsUpdate" and not _calls_out(task) else None


def _alone(task: Task) -> str:
    return (
        f"created batch containing only task with id {task.uid} of type `{task.kind}` that cannot be batched with any "
        "other task."
    )


def _only(kind: str) -> str:
    return f"stopped after the last task of type `{kind}` because they cannot be batched with tasks of any other type."
