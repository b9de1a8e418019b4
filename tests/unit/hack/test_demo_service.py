"""What the demo says when the platform's API does not do what it was asked."""

import datetime as dt
import socket

import pytest

from hack.demo.service import Answer, Service
from hack.plane.certificates import Authority
from hack.plane.ports import LOOPBACK
from hack.plane.process import ProcessError


def test_a_platform_that_is_not_there_is_told_in_one_sentence() -> None:
    with socket.create_server((LOOPBACK, 0)) as closed:
        url = f"https://{LOOPBACK}:{closed.getsockname()[1]}"
    service = Service(url, Authority("test", dt.datetime.now(dt.UTC)).certificate)
    with pytest.raises(ProcessError, match=rf"the platform does not answer at {url}: .*refused"):
        service.done("oat_x", "GET", "/v1/clusters")


def test_a_problem_is_told_with_its_detail_and_what_to_do() -> None:
    document = {"code": "not_found", "title": "It is not there.", "detail": "no such cluster", "remedy": "Look again."}
    assert Answer(404, document).problem == "It is not there. (no such cluster) Look again."


@pytest.mark.parametrize("body", [None, [], "text"])
def test_an_answer_that_is_no_problem_document_is_told_as_it_is(body: object) -> None:
    assert Answer(502, body).problem == str(body)
