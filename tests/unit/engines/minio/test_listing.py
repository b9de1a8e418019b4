"""Lists of uploads as the server sends them, read piece by piece."""

from __future__ import annotations

import io
from xml.etree import ElementTree as ET

import pytest

from bulkhead.engines.minio.listing import read
from bulkhead.engines.minio.state import Upload, Uploads

MANY = 1000


class Pieces(io.BytesIO):
    """A body of which each read gives at most so many bytes."""

    def __init__(self, text: bytes, size: int) -> None:
        super().__init__(text)
        self._size = size

    def read(self, length: int | None = None, /) -> bytes:
        return super().read(min(self._size, length or self._size))


class Long:
    """A body with an upload in each of very many pieces."""

    def __init__(self) -> None:
        self.uploads = 0

    def read(self, length: int = 0, /) -> bytes:  # noqa: ARG002 - part of what a body is
        self.uploads += 1
        if self.uploads > MANY:
            return b""
        head = listing().removesuffix(b"</ListMultipartUploadsResult>") if self.uploads == 1 else b""
        return head + upload(self.uploads)


def upload(number: int, key: str = "k") -> bytes:
    who = "<Initiator><ID>x</ID><DisplayName>x</DisplayName></Initiator>"
    return f"<Upload><Key>{key}</Key><UploadId>{number}</UploadId>{who}</Upload>".encode()


def listing(*uploads: bytes, truncated: str = "false") -> bytes:
    head = (
        '<?xml version="1.0"?><ListMultipartUploadsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<EncodingType>url</EncodingType><IsTruncated>{truncated}</IsTruncated>"
    )
    return head.encode() + b"".join(uploads) + b"</ListMultipartUploadsResult>"


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_an_answer_may_come_in_pieces_of_any_size(size: int) -> None:
    text = listing(upload(1, "a%2Fb+c%25"), upload(2))
    assert read(Pieces(text, size), 5) == Uploads((Upload("a/b c%", "1"), Upload("k", "2")))


def test_an_answer_without_uploads_says_that_there_are_none() -> None:
    assert read(Pieces(listing(), 100), 5) == Uploads()


def test_what_is_beyond_the_bound_is_not_even_read() -> None:
    answer = Long()
    found = read(answer, 3)
    assert [each.upload_id for each in found.found] == ["1", "2", "3"]
    assert (found.more, answer.uploads) == (True, 4)


def test_as_many_as_are_asked_for_are_all() -> None:
    assert not read(io.BytesIO(listing(upload(1), upload(2))), 2).more


def test_a_server_that_keeps_to_pages_has_more() -> None:
    assert read(io.BytesIO(listing(upload(1), truncated="true")), 5) == Uploads((Upload("k", "1"),), more=True)


def test_a_page_that_has_more_and_shows_none_does_not_pass_for_an_empty_list() -> None:
    with pytest.raises(ValueError, match="none is listed"):
        read(io.BytesIO(listing(truncated="true")), 5)


def test_an_answer_that_ends_early_does_not_pass_for_all_there_is() -> None:
    with pytest.raises(ET.ParseError):
        read(Pieces(listing(upload(1))[:-5], 10), 5)


@pytest.mark.parametrize("text", [b"<html/>", b"<ListBucketResult></ListBucketResult>"])
def test_another_answer_does_not_pass_for_an_empty_list(text: bytes) -> None:
    with pytest.raises(ValueError, match="no list"):
        read(io.BytesIO(text), 5)
