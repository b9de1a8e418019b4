"""The flows of the operator over a real API server, without queue, watch and engines."""

from __future__ import annotations

import asyncio
import random
import time
import uuid

from bulkhead.kube.client import KubeClient
from bulkhead.reconcile.deps import Deps
from bulkhead.reconcile.dispatch import Dispatcher, Reconciler
from bulkhead.reconcile.planes import Planes
from bulkhead.reconcile.records import Records
from bulkhead.reconcile.view import View
from bulkhead.registration.beats import Beats
from bulkhead.runtime.mutations import Mutations
from hack.plane.installation import NAMESPACE
from tests.unit.reconcile import gen
from tests.unit.reconcile.desk import no_engine


def reconciler(kube: KubeClient, mutations: Mutations, view: View) -> Reconciler:
    """Every flow, for one that sees nothing but what is in `view`."""
    dispatcher = Dispatcher(view, NAMESPACE, lambda _: None, lambda _: None)
    return Reconciler(
        Deps(
            installation=gen.INSTALLATION,
            namespace=NAMESPACE,
            view=view,
            kube=kube,
            records=Records(
                kube, NAMESPACE, on_write=lambda _: None, on_remove=lambda _: None, newest=view.secret_version
            ),
            planes=Planes(no_engine),
            mutations=mutations,
            beats=Beats(
                describe=lambda _: None,
                look=lambda *_: None,
                clock=time.monotonic,
                wall=time.time,
                jitter=random.random,
            ),
            joining=asyncio.Semaphore(1),
            clock=lambda: gen.NOW,
            new_id=lambda: uuid.uuid4().hex,
            enqueue=lambda _: None,
            answered=dispatcher.answered,
            repaired=lambda *_: None,
        )
    )
