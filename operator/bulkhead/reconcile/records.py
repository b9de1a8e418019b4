"""Where records rest: one Secret per DataCluster and per DataPlane, in the operator's own namespace.

A record is created once, changed only under its resourceVersion, and removed last. Two operators at once can not both
win a write; the loser reads again.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from bulkhead.api import labels, sensitive
from bulkhead.api.record import Outline, PlaneRecord, Record
from bulkhead.kube.client import KubeClient
from bulkhead.kube.errors import AlreadyExists, NotFound
from bulkhead.kube.resources import SECRETS

R = TypeVar("R", Record, PlaneRecord)

_KEY = "record"
_AT_ONCE = 100
"""UIDs in one selector: some 4 KB of URL."""
_PREFIXES: Mapping[type, str] = {Record: "record", PlaneRecord: "plane"}
_LABELS: Mapping[type, str] = {Record: labels.RECORD_DATA_CLUSTER, PlaneRecord: labels.RECORD_DATA_PLANE}


class RecordUnreadable(Exception):
    """What rests is no record: nothing is done until it is restored, for a new one would forget what was made."""


class OpenRecord(Generic[R]):
    """A record in hand: `record` may be changed freely, `save` writes it if it differs from what rests."""

    def __init__(self, records: Records, record: R, *, written: R | None = None, version: str = "") -> None:
        self.record: R = record
        self.outline: Outline | None = None
        self._records = records
        self._written: R | None = written
        self._version = version
        self._written_outline: Outline | None = None

    @classmethod
    def read(cls, records: Records, record: R, version: str, outline: Outline | None) -> OpenRecord[R]:
        """A record as it rests."""
        opened = cls(records, record, written=record, version=version)
        opened.outline = opened._written_outline = outline
        return opened

    async def save(self) -> None:
        """Write what changed. Raises AlreadyExists or Conflict when somebody else wrote: the next reconcile reads."""
        if self._written == self.record and self._written_outline == self.outline:
            return
        self._version = await self._records.write(self.record, self.outline, self._version)
        self._written, self._written_outline = self.record, self.outline

    async def remove(self) -> None:
        """Forget: the last step after verified erasure."""
        await self._records.remove(self.record, self._version)


class Records:
    """Reads and writes records through the API server.

    on_write, on_remove: told of our own changes, ahead of the watch: the Secret as it rests now; its name
    newest: the version of the Secret of that name, as far as is known; empty where there is none
    """

    def __init__(
        self,
        kube: KubeClient,
        namespace: str,
        *,
        on_write: Callable[[dict[str, Any]], None],
        on_remove: Callable[[str], None],
        newest: Callable[[str], str],
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._on_write = on_write
        self._on_remove = on_remove
        self._newest = newest
        self._ahead: dict[str, dict[str, Any]] = {}

    async def load(self, kind: type[R], uid: str) -> OpenRecord[R] | None:
        """The record of the object with that UID, or None where there is none."""
        name = _name(kind, uid)
        try:
            secret = self._taken(name) or await self._kube.get(SECRETS, name, self._namespace)
        except NotFound:
            return None
        record = _decoded(kind, secret)
        metadata = secret["metadata"]
        return OpenRecord.read(self, record, metadata["resourceVersion"], outline_in(metadata.get("annotations", {})))

    async def read_ahead(self, uids: Sequence[str]) -> None:
        """Read the records of these DataClusters in one call for many. The next `load` of each asks nobody, unless the
        record was written since; what was not loaded until the next reading ahead is forgotten."""
        self._ahead.clear()
        for start in range(0, len(uids), _AT_ONCE):
            listed = ",".join(uids[start : start + _AT_ONCE])
            selector = f"{labels.RECORD}={labels.RECORD_DATA_CLUSTER},{labels.DATA_CLUSTER_UID} in ({listed})"
            async for secret in self._kube.list(SECRETS, self._namespace, label_selector=selector):
                self._ahead[secret["metadata"]["name"]] = secret

    async def all(self) -> AsyncIterator[OpenRecord[Record]]:
        """The records of all DataClusters, a page at a time; one that can not be read is left out."""
        async for secret in self._kube.list(
            SECRETS, self._namespace, label_selector=f"{labels.RECORD}={labels.RECORD_DATA_CLUSTER}"
        ):
            metadata = secret["metadata"]
            try:
                record = _decoded(Record, secret)
            except RecordUnreadable:
                continue
            yield OpenRecord.read(
                self, record, metadata["resourceVersion"], outline_in(metadata.get("annotations", {}))
            )

    def draft(self, record: R) -> OpenRecord[R]:
        """A record that was never written."""
        return OpenRecord(self, record)

    async def write(self, record: R, outline: Outline | None, version: str) -> str:
        """Create (empty version) or replace the Secret; returns its new version."""
        body = self._secret(record, outline, version)
        if version:
            secret = await self._kube.replace(SECRETS, body["metadata"]["name"], body, self._namespace)
        else:
            secret = await self._create(body)
        self._on_write(secret)
        return str(secret["metadata"]["resourceVersion"])

    def _taken(self, name: str) -> dict[str, Any] | None:
        secret = self._ahead.pop(name, None)
        return secret if secret is not None and secret["metadata"]["resourceVersion"] == self._newest(name) else None

    async def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self._kube.create(SECRETS, body, self._namespace)
        except AlreadyExists:
            # Taken note of before the watch shows it, so that the next reconcile reads it.
            self._on_write(await self._kube.get(SECRETS, body["metadata"]["name"], self._namespace))
            raise

    async def remove(self, record: R, version: str) -> None:
        """Delete the Secret at that version."""
        name = _name(type(record), record.uid)
        await self._kube.delete(SECRETS, name, self._namespace, resource_version=version)
        self._on_remove(name)

    def _secret(self, record: R, outline: Outline | None, version: str) -> dict[str, Any]:
        value = msgspec.json.encode(record, enc_hook=sensitive.encode)
        marks = {labels.RECORD: _LABELS[type(record)], labels.INSTALLATION: record.installation}
        if isinstance(record, Record):
            marks |= {labels.DATA_CLUSTER: record.slug, labels.DATA_CLUSTER_UID: record.uid}
        metadata: dict[str, Any] = {
            "name": _name(type(record), record.uid),
            "namespace": self._namespace,
            "labels": marks,
        }
        if outline is not None:
            metadata["annotations"] = {labels.OUTLINE: msgspec.json.encode(outline).decode()}
        if version:
            metadata["resourceVersion"] = version
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "bulkhead.dev/record",
            "metadata": metadata,
            "data": {_KEY: base64.b64encode(value).decode()},
        }


def outline_in(annotations: Mapping[str, str]) -> Outline | None:
    """The outline that a record's metadata carries; None where it is missing or not readable (then nothing is
    settled).
    """
    try:
        return msgspec.json.decode(annotations.get(labels.OUTLINE, ""), type=Outline)
    except msgspec.DecodeError:
        return None


def _decoded(kind: type[R], secret: Mapping[str, Any]) -> R:
    try:
        value = base64.b64decode(secret["data"][_KEY])
        return msgspec.json.decode(value, type=kind, dec_hook=sensitive.decode)
    except (KeyError, TypeError, ValueError) as error:
        # Without the cause: a decoder's text quotes what it could not read.
        name = secret["metadata"]["name"]
        raise RecordUnreadable(
            f'the record (Secret "{name}" in the operator\'s namespace) can not be read ({type(error).__name__}): '
            "restore it"
        ) from None


def record_name(uid: str) -> str:
    """Name of the Secret that holds the record of the DataCluster with this UID."""
    return _name(Record, uid)


def _name(kind: type, uid: str) -> str:
    return f"{_PREFIXES[kind]}-{uid}"
