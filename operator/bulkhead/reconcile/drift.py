"""What became different inside engines without telling anybody: found by bulk surveys, O(1) calls for all tenants.

A survey only makes a key suspect; the full reconcile that follows finds out whether it is repair, loss or conflict.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

import structlog

from bulkhead.api.record import EngineName, Outline, Record
from bulkhead.engines.errors import EngineError
from bulkhead.kube.errors import KubeError
from bulkhead.kube.resources import DATA_CLUSTERS
from bulkhead.reconcile import key
from bulkhead.reconcile.key import Key
from bulkhead.reconcile.planes import OpenEngine, Planes
from bulkhead.reconcile.view import View
from bulkhead.runtime.gate import BreakerOpen

log = structlog.get_logger(__name__)


def differing(outlines: Iterable[Outline], engine: EngineName, surveyed: Mapping[str, str]) -> Iterator[Outline]:
    """Records whose engine shows something else than when it was last in order; of retained data, than when its access
    was last cut. Pure."""
    for outline in outlines:
        expected = outline.fingerprints.get(engine)
        if expected and surveyed.get(outline.uid) != expected:
            yield outline


class DriftScan:
    """One cycle looks at every engine of every plane in bulk, and at a few planes and DataClusters in depth."""

    def __init__(
        self,
        view: View,
        planes: Planes,
        suspect: Callable[[Key], None],
        read_ahead: Callable[[Sequence[str]], Awaitable[None]],
        *,
        cycles_per_sweep: int,
    ) -> None:
        """`read_ahead`: has the records of DataClusters with these UIDs at hand for the looks that follow."""
        self._view = view
        self._planes = planes
        self._suspect = suspect
        self._read_ahead = read_ahead
        self._cycles_per_sweep = cycles_per_sweep
        self._deep: Iterator[Key] = iter(())
        self._told: dict[tuple[str, EngineName], dict[str, str]] = {}
        """What differed in the last survey of an engine, by UID, and is not repaired since: a loss that waits for a
        person is told once."""
        self._repaired: set[tuple[str, EngineName]] = set()
        """What was repaired while a survey was under way, which may show it as it was before."""

    async def cycle(self) -> None:
        """Survey every engine, and take the next few keys of the rolling sweep."""
        for plane, opened in self._planes.all():
            for engine in opened.engines.values():
                if isinstance(engine, OpenEngine) and not engine.gate.is_open:
                    await self._survey(plane, engine)
        await self._sweep()

    def repaired(self, record: Record, engine: EngineName) -> None:
        """A difference was repaired. The same one is news when it comes back."""
        self._told.get((record.plane, engine), {}).pop(record.uid, None)
        self._repaired.add((record.uid, engine))

    async def _survey(self, plane: str, opened: OpenEngine) -> None:
        outlines = [outline for outline in self._view.outlines() if outline.plane == plane]
        self._repaired.clear()
        try:
            surveyed = await opened.gate.call(opened.engine.survey)
        except (EngineError, BreakerOpen) as error:
            log.warning("survey_failed", plane=plane, engine=opened.engine.name.value, error=str(error))
            return
        except Exception as error:  # noqa: BLE001 - what one server answers must not end the operator of all
            log.critical("survey_broke", plane=plane, engine=opened.engine.name.value, error=type(error).__name__)
            return
        engine = opened.engine.name
        different = [
            outline
            for outline in differing(outlines, engine, surveyed)
            if self._lives(outline) and self._is_expected(outline, engine)
        ]
        told = self._told.get((plane, engine), {})
        self._told[plane, engine] = {each.uid: _difference(each, engine, surveyed) for each in different}
        for outline in different:
            if told.get(outline.uid) != _difference(outline, engine, surveyed):
                log.info("drift", data_cluster=outline.slug, engine=engine.value)
                self._suspect(_key_of(outline))

    def _is_expected(self, outline: Outline, engine: EngineName) -> bool:
        """Whether the survey should still have shown that. Of what changed meanwhile, the next one tells."""
        newest = self._view.outline(outline.uid)
        stays = newest is not None and newest.fingerprints.get(engine) == outline.fingerprints[engine]
        return stays and (outline.uid, engine) not in self._repaired

    def _lives(self, outline: Outline) -> bool:
        """Whether it is looked after. Of one that is being deleted, everything differs for a while."""
        if outline.retained_at:
            return True
        cluster = self._view.data_cluster(outline.slug)
        return cluster is not None and cluster.metadata.uid == outline.uid and not cluster.metadata.deletion_timestamp

    async def _sweep(self) -> None:
        """Deep checks see what no survey can: privileges inside a database, settings of an index, a server that was
        upgraded or opened. Their records come by one call, or a thousand tenants would cost seventeen a minute."""
        wanted = list(self._next_few())
        found = [self._view.data_cluster(each.name) for each in wanted if each.kind == DATA_CLUSTERS.kind]
        kept = [each.name for each in wanted if each.kind == key.RETAINED_DATA]
        try:
            await self._read_ahead([*(cluster.metadata.uid for cluster in found if cluster is not None), *kept])
        except KubeError as error:
            log.warning("records_not_read_ahead", error=str(error))  # each look reads its own then
        for each in wanted:
            self._suspect(each)

    def _next_few(self) -> Iterator[Key]:
        total = len(self._view.planes) + len(self._view.clusters) + len(self._kept())
        for _ in range(-(-total // self._cycles_per_sweep)):
            wanted = next(self._deep, None)
            if wanted is None:
                self._deep = self._everything()
                wanted = next(self._deep, None)
            if wanted is not None:
                yield wanted

    def _everything(self) -> Iterator[Key]:
        """As it is now; what comes later is looked at in the next sweep."""
        planes = [key.data_plane(each.metadata.name) for each in self._view.planes]
        clusters = [key.data_cluster(each.metadata.name) for each in self._view.clusters]
        return iter([*planes, *clusters, *self._kept()])

    def _kept(self) -> list[Key]:
        return [_key_of(outline) for outline in self._view.outlines() if outline.retained_at]


def _key_of(outline: Outline) -> Key:
    return key.retained_data(outline.uid) if outline.retained_at else key.data_cluster(outline.slug)


def _difference(outline: Outline, engine: EngineName, surveyed: Mapping[str, str]) -> str:
    return f"{outline.fingerprints[engine]} {surveyed.get(outline.uid, '')}"
