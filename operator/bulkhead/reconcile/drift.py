"""What became different inside engines without telling anybody: found by bulk surveys, O(1) calls for all tenants.

A survey only makes a key suspect; the full reconcile that follows finds out whether it is repair, loss or conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import structlog

from bulkhead.api.record import EngineName, Outline
from bulkhead.engines.errors import EngineError
from bulkhead.reconcile import key
from bulkhead.reconcile.key import Key
from bulkhead.reconcile.planes import OpenEngine, Planes
from bulkhead.reconcile.view import View
from bulkhead.runtime.gate import BreakerOpen

log = structlog.get_logger(__name__)


def differing(outlines: Iterable[Outline], engine: EngineName, surveyed: Mapping[str, str]) -> Iterator[Outline]:
    """Records whose engine shows something else than when it was last in order. Pure.

    Retained data has no fingerprint worth comparing: its access is cut and stays so until it is restored.
    """
    for outline in outlines:
        expected = outline.fingerprints.get(engine)
        if expected and not outline.retained_at and surveyed.get(outline.uid) != expected:
            yield outline


class DriftScan:
    """One cycle looks at every engine of every plane in bulk, and at a few DataClusters in depth."""

    def __init__(self, view: View, planes: Planes, suspect: Callable[[Key], None], *, cycles_per_sweep: int) -> None:
        self._view = view
        self._planes = planes
        self._suspect = suspect
        self._cycles_per_sweep = cycles_per_sweep
        self._deep: Iterator[str] = iter(())

    async def cycle(self) -> None:
        """Survey every engine, and take the next few keys of the rolling sweep."""
        for plane, opened in self._planes.all():
            for engine in opened.engines.values():
                if isinstance(engine, OpenEngine) and not engine.gate.is_open:
                    await self._survey(plane, engine)
        self._sweep()

    async def _survey(self, plane: str, opened: OpenEngine) -> None:
        outlines = [outline for outline in self._view.outlines() if outline.plane == plane]
        try:
            surveyed = await opened.gate.call(opened.engine.survey)
        except (EngineError, BreakerOpen) as error:
            log.warning("survey_failed", plane=plane, engine=opened.engine.name.value, error=str(error))
            return
        for outline in filter(self._lives, differing(outlines, opened.engine.name, surveyed)):
            log.info("drift", data_cluster=outline.slug, engine=opened.engine.name.value)
            self._suspect(key.data_cluster(outline.slug))

    def _lives(self, outline: Outline) -> bool:
        """Whether it is looked after. Of one that is being deleted, everything differs for a while."""
        cluster = self._view.data_cluster(outline.slug)
        return cluster is not None and cluster.metadata.uid == outline.uid and not cluster.metadata.deletion_timestamp

    def _sweep(self) -> None:
        """Deep checks see what no survey can (privileges inside a database, settings of an index)."""
        total = len(self._view.clusters)
        for _ in range(-(-total // self._cycles_per_sweep)):
            name = next(self._deep, None)
            if name is None:
                self._deep = iter([each.metadata.name for each in self._view.clusters])
                name = next(self._deep, None)
            if name is not None:
                self._suspect(key.data_cluster(name))
