"""The limits of a collection. They hold for every caller, the administrator too.

`max_resident_memory_percent`, `multivector_config`, `sparse_config` and `search_max_oversampling` are kept in the
configuration and not enforced.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from hack.plane.emulators.qdrant import filters
from hack.plane.emulators.qdrant.errors import bad_request, over_strict_limit
from hack.plane.emulators.qdrant.payloads import Json
from hack.plane.emulators.qdrant.rates import TokenBucket

STATISTICS_INTERVAL = 32
MEBIBYTE = 1024 * 1024


class Limits(msgspec.Struct, frozen=True):
    """`strict_mode_config` of a collection. What is not named here is kept in the configuration, and has no effect."""

    enabled: bool | None = None
    max_query_limit: int | None = None
    max_timeout: int | None = None
    unindexed_filtering_retrieve: bool | None = None
    unindexed_filtering_update: bool | None = None
    search_max_hnsw_ef: int | None = None
    search_allow_exact: bool | None = None
    upsert_max_batchsize: int | None = None
    search_max_batchsize: int | None = None
    max_collection_vector_size_bytes: int | None = None
    max_collection_payload_size_bytes: int | None = None
    max_points_count: int | None = None
    read_rate_limit: int | None = None
    write_rate_limit: int | None = None
    filter_max_conditions: int | None = None
    condition_max_size: int | None = None
    max_payload_index_count: int | None = None
    max_disk_usage_percent: int | None = None


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a collection is. `vectors` and `payloads` are bytes."""

    points: int = 0
    vectors: int = 0
    payloads: int = 0


@dataclass(frozen=True, slots=True)
class Demand:
    """What a request asks of a collection, as far as limits are concerned."""

    limit: int | None = None
    read_filter: Json | None = None
    write_filter: Json | None = None
    exact: bool = False
    params: Json = field(default_factory=dict)
    group_by: str | None = None
    prefetch: tuple["Demand", ...] = ()
    batch: tuple[str, int] | None = None  # what the points of a write are called, and how many they are
    grows: bool = False  # takes room: is measured against sizes and the disk
    adds_index: bool = False


class StrictMode:
    """The limits in force on one collection, with the state that rates and sizes have."""

    def __init__(self, measure: Callable[[], Sizes], disk_percent: Callable[[], int], now: Callable[[], float]) -> None:
        self._measure = measure
        self._disk_percent = disk_percent
        self._now = now
        self._sizes = measure()
        self._updates = 1
        self._limits = Limits()
        self._reads: TokenBucket | None = None
        self._writes: TokenBucket | None = None

    def configure(self, config: Json | None) -> None:
        """Take up `strict_mode_config`; the buckets start full."""
        limits = msgspec.convert(config or {}, Limits)
        self._limits = limits if limits.enabled else Limits()
        self._reads = self._bucket("Read", self._limits.read_rate_limit)
        self._writes = self._bucket("Write", self._limits.write_rate_limit)

    def take_read(self, cost: int) -> None:
        if self._reads is not None:
            self._reads.take(cost)

    def take_write(self, cost: Callable[[], int]) -> None:
        """`cost` is asked for only where writes are limited: it may have to search."""
        if self._writes is not None:
            self._writes.take(cost())

    def check(
        self, demands: Sequence[Demand], schema: Json, *, timeout: int | None = None, searches: int | None = None
    ) -> None:
        """`schema` are the payload indexes; `searches` is the size of a batch of searches."""
        limits = self._limits
        if limits.enabled is None:
            return
        _at_most("search batch size", searches, limits.search_max_batchsize)
        for demand in demands:
            self._check_one(demand, schema)
        if any(demand.grows for demand in demands):
            self._check_disk()
        _at_most("timeout", timeout, limits.max_timeout)

    def _check_one(self, demand: Demand, schema: Json) -> None:
        limits = self._limits
        for inner in demand.prefetch:
            self._check_one(inner, schema)
        self._check_write(demand, schema)
        if demand.group_by is not None and limits.unindexed_filtering_retrieve is False:
            _require_groupable(demand.group_by, schema)
        _at_most("limit", demand.limit, limits.max_query_limit)
        self._check_filter(demand.read_filter, schema, allow_unindexed=limits.unindexed_filtering_retrieve)
        self._check_filter(demand.write_filter, schema, allow_unindexed=limits.unindexed_filtering_update)
        _at_most("hnsw_ef", demand.params.get("hnsw_ef"), limits.search_max_hnsw_ef)
        if limits.search_allow_exact is False and (demand.exact or demand.params.get("exact")):
            raise over_strict_limit("Exact search disabled!", "Set exact=false.")

    def _check_write(self, demand: Demand, schema: Json) -> None:
        if demand.batch is not None:
            _at_most(*demand.batch, self._limits.upsert_max_batchsize)
        if demand.grows and not demand.adds_index:
            self._check_sizes()
        most = self._limits.max_payload_index_count
        if demand.adds_index and most is not None and len(schema) >= most:
            raise over_strict_limit(
                f"Collection already has the maximum number of payload indices ({most})",
                "Please delete an existing index before creating a new one.",
            )

    def _check_sizes(self) -> None:
        limits = self._limits
        points, vectors = limits.max_points_count, limits.max_collection_vector_size_bytes
        payloads = limits.max_collection_payload_size_bytes
        if points is vectors is payloads is None:
            return
        # Statistics are as old as up to 31 updates, so a cap is overrun before it bites.
        if self._updates % STATISTICS_INTERVAL == 0:
            self._sizes = self._measure()
        self._updates += 1
        if vectors is not None and self._sizes.vectors >= vectors:
            raise bad_request(f"Max vector storage size limit of {vectors / MEBIBYTE:g}MB reached!")
        if payloads is not None and self._sizes.payloads >= payloads:
            raise bad_request(f"Max payload storage size limit of {payloads / MEBIBYTE:g}MB reached!")
        if points is not None and self._sizes.points >= points:
            raise bad_request(f"Max points count limit of {points} reached!")

    def _check_filter(self, filter_: Json | None, schema: Json, *, allow_unindexed: bool | None) -> None:
        if filter_ is None:
            return
        if allow_unindexed is False and (found := filters.unindexed(filter_, schema)):
            key, types = found
            raise over_strict_limit(
                f'Index required but not found for "{key}" of one of the following types: [{", ".join(types)}]',
                "Create an index for this key or use a different filter.",
            )
        most, largest = self._limits.filter_max_conditions, self._limits.condition_max_size
        if most is not None and (given := filters.count(filter_)) > most:
            raise over_strict_limit(
                f"Filter condition limit reached ({given} > {most})", "Reduce the amount of conditions of your filter."
            )
        if largest is not None and (given := filters.size(filter_)) > largest:
            raise over_strict_limit(
                f"Condition size limit reached ({given} > {largest})", "Reduce the size of your condition."
            )

    def _check_disk(self) -> None:
        most = self._limits.max_disk_usage_percent
        if most is not None and (used := self._disk_percent()) >= most:
            raise over_strict_limit(
                f"Disk usage is at {used}% of total capacity, exceeding the configured limit of {most}%",
                "Reduce disk usage (e.g. delete points or drop collections) "
                "or raise `max_disk_usage_percent` in strict mode.",
            )

    def _bucket(self, kind: str, per_minute: int | None) -> TokenBucket | None:
        return None if per_minute is None else TokenBucket(kind, per_minute, self._now)


def _at_most(name: str, value: Any, limit: int | None) -> None:
    if limit is not None and value is not None and value > limit:
        raise over_strict_limit(
            f'Limit exceeded {value} > {limit} for "{name}"', f'Reduce the "{name}" parameter to or below {limit}.'
        )


def _require_groupable(key: str, schema: Json) -> None:
    remedy = "Create an index supporting `match` for this key."
    if key not in schema:
        raise over_strict_limit(f'Index required but not found for "{key}"', remedy)
    if not any(served.endswith(" match") for served in filters.serves(schema[key])):
        kind = filters.schema_type(schema[key]).capitalize()
        raise over_strict_limit(f'Index of type "{kind}" found for "{key}"', remedy)
