"""Objects that the API server holds and our structs do not fit: said in their status, never raised."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from bulkhead.api.conditions import ConditionType, Reason, Status, condition, kstatus, merge
from bulkhead.api.meta import Condition
from bulkhead.kube.resources import OWN_KINDS
from bulkhead.kube.store import Undecodable
from bulkhead.reconcile.deps import DONE, Deps, Outcome
from bulkhead.reconcile.key import Key
from bulkhead.reconcile.report import patch


async def report(wanted: Key, deps: Deps) -> Outcome | None:
    """Write `InvalidSpec` into the status of an object that can not be read; None where it can."""
    resource = next(each for each in OWN_KINDS if each.kind == wanted.kind)
    found = deps.view.store_of(resource).get(wanted.name)
    if not isinstance(found, Undecodable):
        return None
    before = (await deps.kube.get(resource, wanted.name)).get("status", {})
    changes = patch(before, {**before, **_status(found, before, deps.clock())})
    if changes is not None:
        await deps.kube.patch_status(resource, wanted.name, changes)
    return DONE


def _status(found: Undecodable, before: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    message = f"this object does not fit the schema of this release ({found.error}): apply the CRDs that belong to it"
    overall = condition(ConditionType.READY, Status.FALSE, Reason.INVALID_SPEC, message)
    old = msgspec.convert(before.get("conditions", []), tuple[Condition, ...])
    conditions = merge(old, [overall, *kstatus(overall)], generation=found.metadata.generation, now=now)
    return {"conditions": msgspec.to_builtins(list(conditions)), "observedGeneration": found.metadata.generation}
