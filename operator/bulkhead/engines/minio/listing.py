"""A list of unfinished uploads, read as it comes and no further than asked for.

MinIO answers with all that it knows of a bucket, whatever number it is asked for. Uploads cost a tenant nothing, not
even quota: what is read whole is as large as a tenant likes.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from bulkhead.engines.minio.state import Upload, Uploads


class Answer(Protocol):
    """A body that comes piece by piece."""

    def read(self, length: int = ..., /) -> bytes: ...


def read(answer: Answer, most: int) -> Uploads:
    """The first uploads of an answer, at most so many. Raises ParseError where it ends early, as then nobody knows what
    else there is, and ValueError where it is no such answer, or one of more than it shows and shows none."""
    reading = _Reading()
    # The store can not hurt us by what it nests: expat bounds that, and the client library reads all answers so.
    for event, element in ET.iterparse(answer, ("start", "end")):  # noqa: S314
        reading.take(event, element)
        if len(reading.found) > most:
            return Uploads(tuple(reading.found[:most]), more=True)
    if reading.truncated and not reading.found:
        raise ValueError("more uploads than listed, and none is listed")
    return Uploads(tuple(reading.found), more=reading.truncated)


class _Reading:
    """What was read so far. Elements are let go as they end, or the document would stay whole in memory."""

    def __init__(self) -> None:
        self.found: list[Upload] = []
        self.truncated = False
        self._encoded = False
        self._root: ET.Element | None = None

    def take(self, event: str, element: ET.Element) -> None:
        if self._root is None:
            if _name_of(element) != "ListMultipartUploadsResult":
                raise ValueError("no list of uploads")
            self._root = element
        if event == "start":
            return
        match _name_of(element):
            case "EncodingType":
                self._encoded = element.text == "url"
            case "IsTruncated":
                self.truncated = element.text == "true"
            case "Upload":
                self.found.append(self._upload(element))
                self._root.clear()

    def _upload(self, element: ET.Element) -> Upload:
        texts = {_name_of(child): child.text or "" for child in element}
        key = texts.get("Key", "")
        return Upload(unquote_plus(key) if self._encoded else key, texts.get("UploadId", ""))


def _name_of(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]
