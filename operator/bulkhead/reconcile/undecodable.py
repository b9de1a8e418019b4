"""Objects that the API server holds and our structs do not fit: said in their status, never raised."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from bulkhead.api.conditions import ConditionType, Reason, Status, condition, kstatus, merge
from bulkhead.kube.resources import OWN_KINDS
from bulkhead.kube.store import Undecodable
from bulkhead.reconcile import status
from bulkhead.reconcile.deps import DONE, Deps, Outcome
from bulkhead.reconcile.key import Key


async def report(wanted: Key, deps: Deps) -> Outcome | None:
    """Write `InvalidSpec` into the status of an object that can not be read; None where it can."""
    resource = next(each for each in OWN_KINDS if each.kind == wanted.kind)
    found = deps.view.store_of(resource).get(wanted.name)
    if not isinstance(found, Undecodable):
        return None
    await status.put(resource, found.metadata, _status(found), deps)
    return DONE


def _status(found: Undecodable) -> dict[str, Any]:
    """The same for the same object, so that writing it again changes nothing and wakes nobody."""
    message = f"this object does not fit the schema of this release ({found.error}): apply the CRDs that belong to it"
    overall = condition(ConditionType.READY, Status.FALSE, Reason.INVALID_SPEC, message)
    since = datetime.fromisoformat(found.metadata.creation_timestamp)
    conditions = merge((), [overall, *kstatus(overall)], generation=found.metadata.generation, now=since)
    return {"conditions": msgspec.to_builtins(list(conditions)), "observedGeneration": found.metadata.generation}
