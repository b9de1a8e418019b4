"""What a flow is given, in memory, and what it gave back."""

from __future__ import annotations

import asyncio
from typing import Any

from bulkhead.api.record import EngineName, Record
from bulkhead.kube.resources import SECRETS, Resource
from bulkhead.reconcile import registered
from bulkhead.reconcile.deps import Deps
from bulkhead.reconcile.key import Key
from bulkhead.reconcile.planes import EngineFactory, Planes
from bulkhead.reconcile.records import Records
from bulkhead.reconcile.view import View
from bulkhead.registration.beats import Beats
from bulkhead.registration.silence import Subject
from bulkhead.runtime.mutations import Mutations
from tests.unit.reconcile import gen
from tests.unit.reconcile.memory_kube import MemoryKube


def no_engine(*_: Any) -> Any:
    """Factory of engines for tests in which none is opened."""
    raise AssertionError("an engine was opened")


class Desk:
    """The dependencies of the flows over one view and one API server."""

    def __init__(self, view: View, kube: MemoryKube, open_engine: EngineFactory = no_engine) -> None:
        self.view = view
        self.kube = kube
        self.enqueued: list[Key] = []
        self.answers: list[tuple[str, str]] = []
        """Kind and name of every answer that was taken over."""
        self.repairs: list[tuple[str, EngineName]] = []
        """UID and engine of every repair that was told."""
        self.now = 1000.0
        """Monotonic seconds."""
        self.looks: list[tuple[Subject, float]] = []
        """Whom the loop of heartbeats had looked at, and in how many seconds."""
        self.beats = Beats(
            describe=lambda member: registered.describe(member, view, "0.1.0"),
            look=lambda subject, seconds: self.looks.append((subject, seconds)),
            clock=lambda: self.now,
            wall=gen.NOW.timestamp,
            jitter=lambda: 0.5,
        )
        self.deps = Deps(
            installation=gen.INSTALLATION,
            namespace=gen.NAMESPACE,
            view=view,
            kube=kube,
            records=Records(
                kube,
                gen.NAMESPACE,
                on_write=lambda secret: view.put_child(SECRETS, secret),
                on_remove=lambda _: None,
                newest=view.secret_version,
            ),
            planes=Planes(open_engine),
            mutations=Mutations(lambda *_: None, lambda: True),
            beats=self.beats,
            joining=asyncio.Semaphore(1),
            clock=lambda: gen.NOW,
            new_id=lambda: "id-1",
            enqueue=self.enqueued.append,
            answered=self._note,
            repaired=self._note_repair,
        )

    @classmethod
    def of(
        cls,
        *objects: gen.AnyObject,
        more: tuple[tuple[Resource, dict[str, Any]], ...] = (),
        open_engine: EngineFactory = no_engine,
    ) -> Desk:
        """One whose view has seen everything that the API server holds; of `more` it knows nothing."""
        seen = [(gen.resource_of(each), gen.raw(each)) for each in objects]
        return cls(gen.view(*objects), MemoryKube(*seen, *more), open_engine)

    def _note(self, resource: Resource, answer: dict[str, Any]) -> None:
        self.answers.append((resource.kind, answer["metadata"]["name"]))
        self.view.store_of(resource).put(answer)

    def _note_repair(self, record: Record, engine: EngineName) -> None:
        self.repairs.append((record.uid, engine))
