"""Every way in which a gateway can fail has a problem of ours; a fault of ours stays one."""

from __future__ import annotations

import ssl
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest

from bulkhead.platform.destinations import Refused
from bulkhead.platform.http.incoming import Left
from bulkhead.platform.proxy.forwarding import Unseen, told
from bulkhead.protocol.problems import Code, Problem

KEY: Any = Mock()

ERRORS = [
    (aiohttp.ClientConnectorError(KEY, OSError(111, "refused")), Code.TARGET_UNREACHABLE),
    (aiohttp.ClientConnectorError(KEY, Refused("no")), Code.TARGET_UNREACHABLE),
    (aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "no such name")), Code.TARGET_UNREACHABLE),
    (aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError()), Code.TARGET_UNTRUSTED),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError()), Code.TARGET_UNTRUSTED),
    (aiohttp.ConnectionTimeoutError(), Code.TARGET_TIMEOUT),
    (aiohttp.SocketTimeoutError(), Code.TARGET_TIMEOUT),
    (TimeoutError(), Code.TARGET_TIMEOUT),
    (aiohttp.ServerDisconnectedError(), Code.TARGET_UNREACHABLE),
    (aiohttp.ClientPayloadError(), Code.TARGET_UNREACHABLE),
    (aiohttp.ClientOSError(104, "reset"), Code.TARGET_UNREACHABLE),
    (ConnectionResetError(), Code.TARGET_UNREACHABLE),
    (aiohttp.ClientResponseError(KEY, ()), Code.TARGET_ANSWER_REFUSED),
    (Unseen(), Code.UNAVAILABLE),
]


@pytest.mark.parametrize(("error", "code"), ERRORS)
def test_what_goes_wrong_on_the_way_has_a_problem(error: Exception, code: Code) -> None:
    found = told(error)
    assert isinstance(found, Problem)
    assert found.code is code


@pytest.mark.parametrize("error", [Problem(Code.BODY_TOO_LARGE), Left(), RuntimeError("a fault"), KeyError("x")])
def test_what_is_no_word_of_the_gateway_stays_what_it_is(error: Exception) -> None:
    assert told(error) is error
