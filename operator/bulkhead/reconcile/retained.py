"""Data that is kept of a DataCluster which is gone: its access is cut, and is cut again wherever it came open.

A server that is restored to the days before, or a hand on it, opens again what was shut, and no DataCluster is there
any more whose reconcile would find out. Surveys do, and the rolling sweep: they call this. The record still has all
that it takes, names and generations.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
import structlog

from bulkhead.api.conditions import Reason
from bulkhead.api.data_cluster import DataClusterSpec
from bulkhead.api.meta import LocalRef
from bulkhead.api.record import EngineName, Record
from bulkhead.reconcile import key, suspension
from bulkhead.reconcile.converge import Result, TenantSubject
from bulkhead.reconcile.deps import DONE, RETRY, Deps, Outcome
from bulkhead.reconcile.records import RecordUnreadable

log = structlog.get_logger(__name__)

NOT_CUT = "not cut"
"""In place of a fingerprint where nobody could cut access: no survey shows that, so an engine that comes back is looked
at."""


async def reconcile(uid: str, deps: Deps) -> Outcome:
    """Cut again what is open of the retained data of the DataCluster that had this UID."""
    try:
        record = await deps.records.load(Record, uid)
    except RecordUnreadable as error:
        log.warning("retained_data_unknown", uid=uid, error=str(error))
        return RETRY
    if record is None or not record.record.retained_at:
        return DONE
    subjects = suspension.reachable(_spec(record.record), record.record, deps)
    results = await suspension.cut(key.retained_data(uid), subjects, deps)
    _tell(record.record, results, deps)
    cut = {name: subjects[name] for name, result in results.items() if result.verdict.good}
    record.record = expecting(record.record, cut, of=cut)
    record.outline = record.record.outline(settled="", children="", status="")
    await record.save()
    return RETRY if any(_may_come_to_be(result, subjects[name]) for name, result in results.items()) else DONE


def expecting(record: Record, cut: Mapping[EngineName, TenantSubject], of: Collection[EngineName]) -> Record:
    """The record with what surveys should show of these engines from now on. `cut`: where access was found shut."""
    for name in of:
        held = record.holding(name)
        shown = cut[name].opened.engine.fingerprint(cut[name].request) if name in cut else NOT_CUT
        expected = shown if held.provisioned else ""
        record = record.with_holding(name, msgspec.structs.replace(held, fingerprint=expected))
    return record


def _may_come_to_be(result: Result, subject: TenantSubject) -> bool:
    """Whether trying again could shut what is not shut. One that is down calls back when it answers; on a server that
    is another one by now there is nothing of it; of what lost its stamp the sweep tells again."""
    for_a_person = result.verdict.reason in (Reason.ENGINE_CHANGED, Reason.CONFLICT)
    return not (result.verdict.good or subject.opened.gate.is_open or for_a_person)


def _spec(record: Record) -> DataClusterSpec:
    """What it asked for is gone with it, and to cut access nothing of that is needed."""
    return DataClusterSpec(tenant_ref=LocalRef(name=record.tenant), data_plane_ref=LocalRef(name=record.plane))


def _tell(record: Record, results: Mapping[EngineName, Result], deps: Deps) -> None:
    for name, result in results.items():
        found = {"data_cluster": record.slug, "uid": record.uid, "engine": name.value}
        if result.repaired:
            deps.repaired(record, name)
            log.warning("retained_access_cut_again", **found)
        elif not result.verdict.good:
            log.warning("retained_access_not_cut", **found, reason=result.verdict.reason, why=result.verdict.message)
