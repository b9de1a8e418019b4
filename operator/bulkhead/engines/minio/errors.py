"""What the errors of the client libraries mean. One total mapping; no text of ours holds a secret or a URL."""

from __future__ import annotations

import ssl
from xml.etree import ElementTree as ET

import msgspec
import urllib3.exceptions as http
from minio.error import InvalidResponseError, MinioAdminException, MinioException, S3Error, ServerError

from bulkhead.engines.errors import EngineError, Refused, Unavailable

VENDOR_ERRORS = (
    MinioException,
    MinioAdminException,
    http.HTTPError,
    OSError,  # incl. TimeoutError and ssl.SSLError
    ValueError,  # incl. msgspec's, and what the libraries raise for an answer that they can not read
    ET.ParseError,
)
"""All that a call may raise; anything else is a mistake in this program."""

_TEXT_LIMIT = 300


class _AdminError(msgspec.Struct, rename="pascal"):
    code: str = ""
    message: str = ""


def code_of(error: S3Error | MinioAdminException) -> str:
    """The server's code, such as `NoSuchBucket`; empty where the answer held none."""
    return (error.code or "") if isinstance(error, S3Error) else _body(error).code


class Tolerated:
    """The block may end early by an answer with one of these codes; what follows it then says what that means."""

    def __init__(self, *codes: str) -> None:
        self._codes = codes

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, S3Error | MinioAdminException) and code_of(error) in self._codes


def error_of(error: BaseException, doing: str) -> EngineError:
    """What `error` means for an engine. Total over VENDOR_ERRORS: what is not known better is `Unavailable`."""
    match error:
        case S3Error():
            return _answered(error.response.status, error.code or "", error.message or "", doing)
        case MinioAdminException():
            return _answered(_status(error), _body(error).code, _body(error).message, doing)
        case ServerError():
            return _answered(error.status_code, "", "", doing)
        case InvalidResponseError():
            return _answered(_status(error), "", "in words that are not MinIO's", doing)
        case http.HTTPError() | OSError():
            return _unanswered(error, doing)
        case _:
            return Unavailable(f"while {doing}: the answer is not one of MinIO ({type(error).__name__})")


def _answered(status: int, code: str, message: str, doing: str) -> EngineError:
    words = " ".join(f"{code}: {message}".strip(": ").split())[:_TEXT_LIMIT]
    said = f"while {doing}: the object store answered {status} {words}".rstrip()
    if code == "RequestTimeTooSkewed":
        return Refused(f"{said}; set the clocks of its machine and of ours right")
    if status in (401, 403):
        return Refused(
            f"{said}; put the keys of an account with all admin and S3 rights into the Secret that "
            "spec.objectStore.adminSecretRef of the DataPlane names"
        )
    if status == 507 or code == "XMinioStorageFull":
        return Refused(f"{said}; it is full: make room or add drives")
    if 300 <= status < 400:
        return Refused(f"{said}; it redirects elsewhere: give the address of the server itself in the DataPlane")
    if status >= 500 and status != 501:
        return Unavailable(said)
    if status in (404, 408, 425, 429) or code == "OperationAborted":
        return Unavailable(said)  # 404: gone since it was observed; the next look sees how things are
    return Refused(said)


def _unanswered(error: http.HTTPError | OSError, doing: str) -> EngineError:
    match error:
        case http.SSLError() | ssl.SSLError():
            return _untrusted(error, doing)
        case http.NameResolutionError():
            return Unavailable(f"while {doing}: the host of spec.objectStore.endpoint of the DataPlane has no address")
        case http.NewConnectionError():
            return Unavailable(f"while {doing}: nobody listens at spec.objectStore.endpoint of the DataPlane")
        case TimeoutError() | http.TimeoutError():
            return Unavailable(f"while {doing}: the object store did not answer in time")
        case _:
            return Unavailable(f"while {doing}: the object store can not be reached ({type(error).__name__})")


def _untrusted(error: BaseException, doing: str) -> EngineError:
    cause = error.args[0] if error.args and isinstance(error.args[0], ssl.SSLError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = getattr(cause, "verify_message", "") or "no reason given"
        return Refused(
            f"while {doing}: the certificate of the object store is not trusted ({reason}); set "
            "spec.objectStore.tls.caSecretRef of the DataPlane to the CA that signed it, or renew it for this host name"
        )
    reason = getattr(cause, "reason", None) or type(cause).__name__
    return Refused(f"while {doing}: no TLS connection to the object store ({reason}); does it speak TLS 1.2?")


def _body(error: MinioAdminException) -> _AdminError:
    try:
        return msgspec.json.decode(_private(error, "_body"), type=_AdminError)
    except (msgspec.DecodeError, TypeError):
        return _AdminError()


def _status(error: MinioAdminException | InvalidResponseError) -> int:
    text = str(_private(error, "_code"))
    return int(text) if text.isdecimal() else 0


def _private(error: Exception, name: str) -> str:
    """The library shows status and body of an answer in no other place."""
    value = getattr(error, name, "")
    return "" if value is None else value
