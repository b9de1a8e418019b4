"""All parts of the server, put together."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from hack.plane.emulators.meilisearch.auth import Gate
from hack.plane.emulators.meilisearch.batches import Batches
from hack.plane.emulators.meilisearch.features import Features
from hack.plane.emulators.meilisearch.federation import Desk
from hack.plane.emulators.meilisearch.indexes import Catalog
from hack.plane.emulators.meilisearch.keys import KeyRing
from hack.plane.emulators.meilisearch.logs import LogStream
from hack.plane.emulators.meilisearch.operations import World
from hack.plane.emulators.meilisearch.scheduler import Scheduler
from hack.plane.emulators.meilisearch.search import Searcher
from hack.plane.emulators.meilisearch.store import Store
from hack.plane.emulators.meilisearch.tasks import Tasks
from hack.plane.emulators.meilisearch.times import Clock


@dataclass(frozen=True, slots=True)
class Options:
    """How the server is started. Without a master key everything but `/keys` is open."""

    directory: Path
    master_key: str | None = field(repr=False)
    version: str = "1.50.0"
    payload_limit: int = 100 * 1024 * 1024
    hold_seconds: float = 240.0


@dataclass(frozen=True, slots=True)
class Engine:
    """The parts that routes use."""

    options: Options
    clock: Clock
    new_uid: Callable[[], UUID]
    store: Store
    keys: KeyRing
    gate: Gate
    features: Features
    catalog: Catalog
    tasks: Tasks
    batches: Batches
    scheduler: Scheduler
    desk: Desk
    logs: LogStream


def build(options: Options, clock: Clock, new_uid: Callable[[], UUID]) -> Engine:
    """Open the data directory and read what is in it."""
    store = Store(options.directory)
    keys = KeyRing(store, options.master_key, clock, new_uid)
    features = Features(store)
    catalog = Catalog(store, clock)
    tasks = Tasks(store)
    batches = Batches(store, tasks)
    world = World(store, catalog, tasks, features, clock, options.directory)
    return Engine(
        options=options,
        clock=clock,
        new_uid=new_uid,
        store=store,
        keys=keys,
        gate=Gate(keys, clock),
        features=features,
        catalog=catalog,
        tasks=tasks,
        batches=batches,
        scheduler=Scheduler(world, batches, options.hold_seconds),
        desk=Desk(catalog, features, Searcher(features), clock, new_uid),
        logs=LogStream(),
    )
