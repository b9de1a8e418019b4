"""Every error of the client libraries becomes one of ours, and none of ours shows more than it should."""

from __future__ import annotations

import inspect
import ssl
from xml.etree import ElementTree as ET

import msgspec
import pytest
import urllib3.exceptions as http
from minio import error as vendor
from minio.error import InvalidResponseError, MinioAdminException, S3Error, ServerError
from urllib3.response import HTTPResponse

from bulkhead.engines.errors import EngineError, Refused, Unavailable
from bulkhead.engines.minio.errors import VENDOR_ERRORS, Tolerated, code_of, error_of

DOING = 'trying to create bucket "acme-data"'


def s3_error(status: int, code: str, message: str = "") -> S3Error:
    return S3Error(HTTPResponse(status=status), code, message, "/acme-data", "request", "host")


def admin_error(status: int, code: str, message: str = "") -> MinioAdminException:
    return MinioAdminException(str(status), msgspec.json.encode({"Code": code, "Message": message}).decode())


def untrusted() -> http.SSLError:
    cause = ssl.SSLCertVerificationError()
    cause.verify_message = "self-signed certificate"
    return http.SSLError(cause)


ANSWERS = [
    (401, "Unauthorized", Refused),
    (403, "AccessDenied", Refused),
    (403, "InvalidAccessKeyId", Refused),
    (403, "SignatureDoesNotMatch", Refused),
    (403, "RequestTimeTooSkewed", Refused),
    (301, "PermanentRedirect", Refused),
    (400, "XMinioAdminInvalidArgument", Refused),
    (400, "XMinioIAMPolicyInUse", Refused),
    (404, "NoSuchBucket", Unavailable),
    (404, "XMinioAdminNoSuchUser", Unavailable),
    (408, "RequestTimeout", Unavailable),
    (409, "OperationAborted", Unavailable),
    (429, "TooManyRequests", Unavailable),
    (500, "InternalError", Unavailable),
    (501, "NotImplemented", Refused),
    (503, "SlowDown", Unavailable),
    (503, "XMinioServerNotInitialized", Unavailable),
    (507, "XMinioStorageFull", Refused),
    (500, "XMinioStorageFull", Refused),
]


@pytest.mark.parametrize(("status", "code", "kind"), ANSWERS)
def test_an_answer_means_the_same_from_either_api(status: int, code: str, kind: type[EngineError]) -> None:
    errors = [error_of(error(status, code), DOING) for error in (s3_error, admin_error)]
    assert [type(error) for error in errors] == [kind, kind]
    assert str(errors[0]) == str(errors[1])
    assert str(errors[0]).startswith(f"while {DOING}: the object store answered {status} {code}")


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_missing_rights_name_the_secret_to_correct(code: str) -> None:
    assert "spec.objectStore.adminSecretRef" in str(error_of(admin_error(403, code), DOING))


def test_a_clock_that_is_wrong_is_not_taken_for_a_wrong_key() -> None:
    text = str(error_of(s3_error(403, "RequestTimeTooSkewed"), DOING))
    assert "clocks" in text
    assert "adminSecretRef" not in text


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ServerError("server failed", 503), Unavailable, "answered 503"),
        (InvalidResponseError(502, "text/html", "<html>"), Unavailable, "answered 502"),
        (InvalidResponseError(400, None, "Client sent an HTTP request"), Refused, "answered 400"),
        (MinioAdminException("400", "<html>"), Refused, "answered 400"),
        (MinioAdminException("502", "[]"), Unavailable, "answered 502"),
        (untrusted(), Refused, "tls.caSecretRef"),
        (ssl.SSLCertVerificationError(), Refused, "tls.caSecretRef"),
        (http.SSLError(ssl.SSLError("x")), Refused, "TLS 1.2"),
        (TimeoutError(), Unavailable, "in time"),
        (ConnectionResetError(), Unavailable, "can not be reached"),
        (ET.ParseError(), Unavailable, "not one of MinIO"),
        (msgspec.ValidationError("x"), Unavailable, "not one of MinIO"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), Unavailable, "not one of MinIO"),
    ],
)
def test_each_kind_of_failure_says_what_to_do(error: Exception, kind: type[EngineError], words: str) -> None:
    mapped = error_of(error, DOING)
    assert type(mapped) is kind
    assert words in str(mapped)


HTTP_ERRORS = [kind for _, kind in inspect.getmembers(http, inspect.isclass) if issubclass(kind, http.HTTPError)]
VENDORS = [kind for _, kind in inspect.getmembers(vendor, inspect.isclass) if issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", [*HTTP_ERRORS, *VENDORS, *VENDOR_ERRORS], ids=lambda kind: kind.__name__)
def test_every_class_of_the_libraries_is_caught_and_mapped(kind: type[Exception]) -> None:
    error = kind.__new__(kind)
    if isinstance(error, S3Error):
        error = s3_error(500, "InternalError")
    if isinstance(error, ServerError):
        error = ServerError("server failed", 500)
    assert isinstance(error, VENDOR_ERRORS)
    assert str(error_of(error, DOING)).startswith(f"while {DOING}: ")


def test_no_text_shows_addresses_headers_or_pages_of_the_answer() -> None:
    secret = "AWS4-HMAC-SHA256 Credential=somebody"
    errors = (
        http.ReadTimeoutError(None, f"/?x={secret}", secret),  # type: ignore[arg-type]  # no pool is needed
        http.ProtocolError(secret),
        ValueError(secret),
        OSError(secret),
        InvalidResponseError(400, "text/html", secret),
        MinioAdminException("400", secret),
    )
    assert not [error for error in errors if secret in str(error_of(error, DOING))]


def test_what_a_server_says_is_cut_to_one_short_line() -> None:
    text = str(error_of(s3_error(400, "Bad", "line\nline " + "x" * 5000), DOING))
    assert "\n" not in text
    assert len(text) < 500


def test_an_expected_answer_ends_the_block_quietly() -> None:
    with Tolerated("NoSuchBucket"):
        raise s3_error(404, "NoSuchBucket")


def test_an_unexpected_answer_is_not_swallowed() -> None:
    with pytest.raises(MinioAdminException), Tolerated("NoSuchBucket"):
        raise admin_error(404, "NoSuchUser")


def test_an_answer_without_json_has_no_code() -> None:
    assert code_of(MinioAdminException("400", "<html>")) == ""
