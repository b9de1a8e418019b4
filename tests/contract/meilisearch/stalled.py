"""Stalling the queue: a remote embedder that does not answer holds it for everyone."""

from typing import Any

from tests.contract.meilisearch.server import Api, eventually
from tests.contract.meilisearch.world import OWN

HELD_FOR_EVER = ("--unreachable-host-seconds", "3600")
HELD_SHORTLY = ("--unreachable-host-seconds", "0.5")

_EMBEDDER = {
    "default": {
        "source": "rest",
        "url": "http://127.0.0.1:9/v",
        "request": {"in": "{{text}}"},
        "response": {"data": "{{embedding}}"},
    }
}


def status_of(api: Api, uid: int) -> Any:
    """Where a task stands."""
    return api.master("GET", f"/tasks/{uid}")["status"]


def hold(api: Api) -> int:
    """Stall the queue with the index `OWN`, which has to be there; returns the uid of the task that does it."""
    uid: int = api.master("PATCH", f"/indexes/{OWN}/settings/embedders", _EMBEDDER)["taskUid"]
    # Not "processing": one that is held shortly may be over before anybody looks.
    eventually(lambda: bool(status_of(api, uid) != "enqueued"), "the queue is held")
    return uid
